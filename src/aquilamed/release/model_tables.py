"""Tables of a model's card: what the model is, and with which settings it was trained."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aquilamed.release import text
from aquilamed.release.weights import json_file
from aquilamed.report.cells import count, number
from aquilamed.workspace import Artifact


def parameters(folder: Path) -> int:
    """How many numbers a model's safetensors hold, from their headers."""
    from safetensors import safe_open

    found = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as tensors:
            found += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return found


def model_table(folder: Path) -> str:
    """Architecture, parameters, type, context and vocabulary, from the released files themselves."""
    config = json_file(folder / "config.json")
    said = [
        ("Architecture", text.code(", ".join(map(str, config.get("architectures") or ["?"])))),
        ("Parameters", count(parameters(folder))),
        ("Type of the weights", text.code(config.get("dtype") or config.get("torch_dtype") or "?")),
        ("Layers, width", f"{_count(config.get('num_hidden_layers'))}, {_count(config.get('hidden_size'))}"),
        ("Context, tokens", _count(config.get("max_position_embeddings"))),
        ("Vocabulary", _count(config.get("vocab_size"))),
    ]
    return text.rows(["Model", ""], [list(row) for row in said])


def settings_table(trainings: Sequence[Artifact], known: Mapping[str, Artifact]) -> str:
    """What every training was told: method, learning rate, batch, length, passes; "" where a manifest says nothing."""
    body = []
    for artifact in trainings:
        told = _config(artifact)
        if "lr" not in told:
            continue
        lora = told.get("lora") or {}
        method = (
            f"LoRA, rank {lora.get('rank')}, α {lora.get('alpha')}" if told.get("method") == "lora" else "all weights"
        )
        length = told.get("length") or _config(known.get(f"corpus/pack{artifact.stage[-1]}")).get("length")
        steps = told.get("max_steps")
        passes = number(told.get("epochs")) + (f", at most {count(steps)} steps" if steps else "")
        rest = [f"weight decay {number(told.get('weight_decay'))}"]
        rest += [f"dropout {number(told['dropout'])}"] if told.get("dropout") else []
        rest += [f"β {number(told['beta'])}, loss {told.get('loss')}"] if "beta" in told else []
        body.append(
            [
                text.code(artifact.stage),
                text.cell(method),
                text.cell(f"{told.get('schedule')}, warm-up {number(told.get('warmup'))}"),
                text.cell(", ".join(rest)),
                number(told.get("lr")),
                _count(told.get("batch")),
                _count(length),
                text.cell(passes),
            ]
        )
    headers = ["Training", "Learns", "Schedule", "Besides", "Peak learning rate", "Batch", "Length", "Epochs"]
    return text.rows(headers, body, 4) if body else ""


def _config(artifact: Artifact | None) -> dict[str, Any]:
    found = artifact.manifest.get("params", {}).get("config") if artifact is not None else None
    return found if isinstance(found, dict) else {}


def _count(value: Any) -> str:
    return count(value) if isinstance(value, int) else "–"
