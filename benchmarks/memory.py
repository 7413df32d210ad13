"""Peak memory of real trainings of random Llamas on a CPU, against the plan's formulae.

    python benchmarks/memory.py

Every training is stage pretrain/stage1 as `aquilamed run` runs it, in a process of its own; the peak of a training of a
one-layer, 8-wide model with the same vocabulary is what Python and its libraries take, and is subtracted.
Prints a table, and as its last line one JSON object with `worst_error`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
NOTHING = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}
CASES: dict[str, dict[str, Any]] = {
    "27 M, 2 × 512 tokens": {
        "model": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4},
        "length": 512, "micro_batch": 2, "batch": 2,
    },
    "27 M, 2 × 512 tokens, two forward passes a step": {
        "model": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4},
        "length": 512, "micro_batch": 2, "batch": 4,
    },
    "4 M, 4 × 1,024 tokens": {
        "model": {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 2},
        "length": 1024, "micro_batch": 4, "batch": 4,
    },
    "27 M, LoRA, 2 × 512 tokens": {
        "model": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4},
        "length": 512, "micro_batch": 2, "batch": 2, "method": "lora",
    },
}  # fmt: skip


def peak() -> int:
    """Peak memory of this process in bytes. Not `ru_maxrss`: a process starts with that of the one that started it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure every case, or run one training (`child`)."""
    if sys.argv[1:2] == ["child"]:
        child(Path(sys.argv[2]), json.loads(sys.argv[3]))
        return
    worst = 0.0
    print(f"{'training':50} {'measured':>9} {'planned':>9}  error")
    for name, case in CASES.items():
        measured, planned = compare(case)
        error = planned / measured - 1
        worst = max(worst, abs(error))
        print(f"{name:50} {measured / 1e6:6.0f} MB {planned / 1e6:6.0f} MB  {error:+.1%}", flush=True)
    print(json.dumps({"worst_error": round(worst, 4)}))


def compare(case: dict[str, Any]) -> tuple[float, float]:
    """Measured and planned bytes of a training."""
    baseline, _ = spawn({**case, "model": NOTHING, "method": "full"})
    peak, planned = spawn(case)
    return peak - baseline, planned


def spawn(case: dict[str, Any]) -> tuple[float, float]:
    """Peak resident bytes of a training in a process of its own, and the plan's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(REPO / "src"), str(REPO / "tests")])
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        command = [sys.executable, __file__, "child", folder, json.dumps(case)]
        done = subprocess.run(
            command, env=os.environ | threads | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    return float(told["peak"]), float(told["planned"])


def child(root: Path, case: dict[str, Any]) -> None:
    """Build the model, train three steps, print the peak."""

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    import tiny_model as tiny
    from aquilamed.corpus import pack
    from aquilamed.corpus.pack import PackConfig
    from aquilamed.models import ModelConfig, load_tokenizer, save_model
    from aquilamed.train import pretrain
    from aquilamed.train.layouts import training_memory
    from aquilamed.train.pretrain import Stage1Config
    from aquilamed.train.shape import base_shape
    from aquilamed.workspace import Artifact

    torch.set_num_threads(1)
    tokenizer = load_tokenizer(ModelConfig(path=str(tiny.build(root / "tokenizer"))))
    vocabulary = case.get("vocabulary", 8192)
    config = LlamaConfig(**case["model"], vocab_size=vocabulary, max_position_embeddings=4096, tie_word_embeddings=True)
    save_model(LlamaForCausalLM(config), tokenizer, root / "model")
    ctx = tiny.context(root, root / "model", {"corpus/mix1": tiny.table(root, "corpus/mix1", tiny.mixed(1200))}, "pack")
    packed = pack.run(ctx, PackConfig(length=case["length"], heldout_tokens=64)).metrics
    inputs = {"corpus/pack1": Artifact("corpus/pack1", ctx.out, {"metrics": packed})}
    settings = Stage1Config(
        batch=case["batch"],
        micro_batch=case["micro_batch"],
        method=case.get("method", "full"),
        max_steps=3,
        save_steps=None,
    )
    pretrain.run(tiny.context(root, root / "model", inputs, "trained"), settings)
    shape = base_shape(ModelConfig(path=str(root / "model")))
    planned = training_memory(shape, settings, case["length"], "ddp", 1, gpu=False, weights=4, checkpointing=False)
    print(json.dumps({"peak": peak(), "planned": planned.total}))


if __name__ == "__main__":
    main()
