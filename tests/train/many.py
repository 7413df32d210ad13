"""Trainings of a toy workspace in as many processes as torchrun's environment says: python many.py FOLDER RUN…

A RUN is STAGE-LAYOUT-PLACE, such as "pretrain-fsdp-two": a training that was stopped in a place goes on there. With
"-stop" behind it, it is stopped after its fifth step. Metrics go to FOLDER/RUN.json.
tests/train/test_many_processes.py starts it.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import killed

from aquilamed.train import align, finetune, pretrain, ranks

# No randomness but the order of rows: dropout and noise differ from process to process.
COMMON: dict[str, Any] = {"lr": 3e-3, "warmup": 0.1, "save_steps": 2, "max_steps": 7, "epochs": 9}
CONFIGS: dict[str, Any] = {
    "pretrain": pretrain.Stage1Config(**COMMON, batch=4, micro_batch=1),
    "finetune": finetune.FinetuneConfig(
        **COMMON, batch=4, micro_batch=2, length=128, dropout=0.0, validation=0.25, eval_steps=2
    ),
    "align": align.AlignConfig(**COMMON, batch=4, micro_batch=2, length=256, validation=0.25),
}
LORA = {"method": "lora", "max_steps": 3}


def train(folder: Path, run: str) -> dict[str, Any]:
    """Do a run and return its metrics, its first step and the class of its parameters; {} where it was stopped."""
    stage, layout, place, *stop = run.split("-")
    module: Any = {"pretrain": pretrain, "finetune": finetune, "align": align}[stage]
    config = CONFIGS[stage].model_copy(update=LORA if "lora" in place else {})
    ctx = dataclasses.replace(killed.context(folder, stage, place), layout=layout)
    real, kinds, steps = module.train, set(), []

    def watched(*args: Any) -> Any:
        inner = args[4] if len(args) > 4 else None

        def on_log(step: int, logs: dict[str, float]) -> None:
            steps.append(step)
            kinds.update(type(p).__name__ for p in args[2].model.parameters())
            if inner:
                inner(step, logs)
            if stop and step == 5:
                raise KeyboardInterrupt

        return real(*args[:4], on_log)

    module.train = watched
    try:
        metrics: dict[str, Any] = module.run(ctx, config).metrics
    except KeyboardInterrupt:
        return {}
    finally:
        module.train = real
    return {**metrics, "parameters": sorted(kinds), "began": steps[0]}


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    ranks.join()
    folder = Path(sys.argv[1])
    for run in sys.argv[2:]:
        metrics = train(folder, run)
        if ranks.index() == 0:
            (folder / f"{run}.json").write_text(json.dumps(metrics))
