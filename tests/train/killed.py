"""One training of a toy workspace, which may kill its own process (SIGKILL) after an optimiser step.

python killed.py STAGE FOLDER [STEP]: prepares FOLDER/inputs once, trains into FOLDER/out, prints metrics and the weights'
hash as JSON. tests/train/test_resume.py and benchmarks/kill_training.py run it.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_model as tiny
from aquilamed.corpus import pack
from aquilamed.corpus.pack import PackConfig
from aquilamed.stage import Context
from aquilamed.train import align, finetune, pretrain
from aquilamed.workspace import Artifact

STAGES = ("pretrain", "finetune", "align")
COMMON: dict[str, Any] = {"lr": 3e-3, "warmup": 0.1, "save_steps": 2, "max_steps": 11, "epochs": 9}
CONFIGS: dict[str, Any] = {
    # Noise on the embeddings and dropout draw random numbers in every step: a resumed run must draw the same ones.
    "pretrain": pretrain.Stage1Config(**COMMON, batch=4, micro_batch=2, neftune=5.0),
    "finetune": finetune.FinetuneConfig(**COMMON, batch=2, length=128, dropout=0.1, validation=0.25, eval_steps=3),
    "align": align.AlignConfig(**COMMON, batch=4, micro_batch=2, length=256, validation=0.25),
}


def prepare(folder: Path, stage: str) -> tuple[Path, dict[str, Artifact]]:
    """The tiny model and a stage's inputs, made once."""
    base = folder / "base"
    if not base.exists():
        tiny.build(base)
    if stage == "finetune":
        return base, {"instruct/select": made(folder, "instruct/select", tiny.dialogues())}
    if stage == "align":
        return base, {"prefer/select": made(folder, "prefer/select", tiny.preferences())}
    packed, told = folder / "packed", folder / "packed.json"
    if not told.exists():
        ctx = tiny.context(folder, base, {"corpus/mix1": tiny.table(folder, "corpus/mix1", tiny.mixed())}, "packed")
        told.write_text(json.dumps(pack.run(ctx, PackConfig(length=128)).metrics))
    return base, {"corpus/pack1": Artifact("corpus/pack1", packed, {"metrics": json.loads(told.read_text())})}


def made(folder: Path, stage: str, frame: Any) -> Artifact:
    path = folder / "inputs" / stage
    return Artifact(stage, path, {"metrics": {}}) if path.exists() else tiny.table(folder, stage, frame)


def context(folder: Path, stage: str, name: str) -> Context:
    base, inputs = prepare(folder, stage)
    return tiny.context(folder, base, inputs, f"{stage}-{name}")


def train(stage: str, ctx: Context, end: Any = None) -> dict[str, Any]:
    """Run a stage; `end` is called after every optimiser step with its number."""
    module: Any = {"pretrain": pretrain, "finetune": finetune, "align": align}[stage]
    real = module.train

    def watched(*args: Any) -> Any:
        inner = args[4] if len(args) > 4 else None

        def on_log(step: int, logs: dict[str, float]) -> None:
            if inner:
                inner(step, logs)
            if end:
                end(step)

        return real(*args[:4], on_log)

    module.train = watched
    try:
        metrics: dict[str, Any] = module.run(ctx, CONFIGS[stage]).metrics
    finally:
        module.train = real
    changing = {"seconds", "tokens_per_second"}
    return {k: v for k, v in metrics.items() if k not in changing} | {"weights": weights_hash(ctx.out / "model")}


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    import torch

    stage, folder, *kill = sys.argv[1:]
    torch.set_num_threads(
        1
    )  # bit for bit needs as many threads as before; building the model sets them, a second run builds none

    def die(step: int) -> None:
        if kill and step == int(kill[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.stdout.write(json.dumps(train(stage, context(Path(folder), stage, "out"), die), sort_keys=True))
