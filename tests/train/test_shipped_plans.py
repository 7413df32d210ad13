"""The shipped recipes' plans: parameters as published, memory within the card that a recipe names."""

from pathlib import Path

import pytest

from aquilamed.planned_trainings import check_hardware, known_shape, planned_trainings
from aquilamed.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
# Parameters as the models' pages state them, to the figures given there.
PUBLISHED = {"qwen3-8b-lora": (8.2e9, 6.95e9), "qwen3-0.6b-lora": (0.6e9, 0.44e9)}
"""Of all, and of all but embeddings and head."""


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is made from `hardware.architecture`."""
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_holds_what_its_recipe_trains(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    shape, _ = known_shape(recipe)
    assert shape is not None
    whole, inner = PUBLISHED[name]
    assert shape.parameters == pytest.approx(whole, rel=0.01)
    assert shape.blocks == pytest.approx(inner, rel=0.01)
    check_hardware(recipe)
    planned = planned_trainings(recipe, [])
    assert [p.stage for p in planned] == ["pretrain/stage1", "pretrain/stage2", "finetune", "align"]
    assert recipe.hardware is not None
    for training in planned:
        assert training.choice is not None
        assert training.choice.method == "lora"
        assert training.choice.memory.total <= recipe.hardware.memory_gb * 1e9
        # Adapters, their gradients and two moments are float32 beside weights in bfloat16.
        held = training.choice.memory
        assert training.trained is not None
        assert (held.gradients, held.optimizer) == (4 * training.trained, 8 * training.trained)
        assert held.weights >= 2 * shape.parameters + 4 * training.trained
