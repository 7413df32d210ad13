"""What a run will cost, from the recipe alone."""

from typing import Any

from aquilamed.recipe import Recipe
from aquilamed.stages import enabled


def estimates(recipe: Recipe) -> dict[str, Any]:
    """Upper bounds that the recipe fixes: training steps, tokens per step. LLM calls: `planned_calls`.

    What depends on the data (documents kept, tokens) is known only once its stage is done; it is not guessed here.
    """
    on = enabled(recipe)
    numbers: dict[str, Any] = {"stages": len(on)}
    lengths = {
        "pretrain/stage1": (recipe.pretrain.stage1, recipe.corpus.pack1.length),
        "pretrain/stage2": (recipe.pretrain.stage2, recipe.corpus.pack2.length),
        "finetune": (recipe.finetune, recipe.finetune.length if recipe.finetune else 0),
    }
    for name, (config, length) in lengths.items():
        if name in on and config is not None:
            numbers[f"{name}: tokens per step at most"] = config.batch * length
            numbers[f"{name}: steps at most"] = config.max_steps or "by data"
    if recipe.align and "align" in on:
        numbers["align: pairs per step"] = recipe.align.batch
        numbers["align: steps at most"] = recipe.align.max_steps or "by data"
    return numbers
