"""Stage finetune of a toy recipe, for two processes on CPUs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_model as tiny
from aquilamed import launch
from aquilamed.recipe import load_recipe
from aquilamed.records import write_json
from aquilamed.stage import Context
from aquilamed.stages import BY_NAME

RECIPE = """
name: many
base_model: {{path: {base}}}
sources: {{dialogues: {{sources: [{{name: toy, path: toy.jsonl, form: messages, license: CC0-1.0}}]}}}}
hardware: {{device: cpu, gpus: 2, memory_gb: 4, layouts: [{layout}], {hardware}}}
finetune: {{batch: 2, lr: 0.003, warmup: 0, epochs: 99, length: 128, max_steps: {steps}, save_steps: 2, validation: 0, dropout: 0}}
"""


def prepared(folder: Path, layout: str = "fsdp", steps: int = 4, hardware: str = "") -> Context:
    """Everything that stage finetune needs in a folder."""
    base = tiny.build(folder / "base")
    (folder / "recipe.yaml").write_text(RECIPE.format(base=base, layout=layout, steps=steps, hardware=hardware))
    selected = tiny.table(folder, "instruct/select", tiny.dialogues())
    write_json(selected.path / "manifest.json", selected.manifest)
    recipe = load_recipe(folder / "recipe.yaml")
    return replace(tiny.context(folder, base, {"instruct/select": selected}), recipe=recipe)


def run(ctx: Context) -> dict[str, Any]:
    return launch.run_stage(BY_NAME["finetune"], ctx, ctx.recipe.finetune).metrics
