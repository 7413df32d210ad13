"""Recipes: every mistake is explained with file, line, key and the nearest right key."""

from pathlib import Path

import pytest
import yaml

from aquilamed.config import Invalid
from aquilamed.recipe import Recipe, load_recipe, save_recipe
from aquilamed.records import digest

GOOD = """\
name: small
sources:
  documents:
    sources:
      - name: web
        path: web/*.jsonl
pretrain:
  stage1:
    batch: 8
"""
RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.pretrain.stage2 is not None
    assert recipe.finetune is not None
    assert recipe.align is not None
    assert (recipe.pretrain.stage2.batch, recipe.pretrain.stage2.lr) == (384, 1e-5)
    assert (recipe.finetune.batch, recipe.finetune.lr, recipe.finetune.length) == (128, 2e-6, 2048)
    assert (recipe.align.batch, recipe.align.lr, recipe.align.beta) == (64, 2e-7, 0.03)
    assert recipe.corpus.domain_labels.seeds == 20_000
    assert recipe.corpus.pack1.length == 4096


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("batch:", "bacth:"), "recipe.yaml:9: pretrain.stage1.bacth: unknown key; did you mean 'batch'?"),
        (GOOD.replace("batch: 8", "batch: eight"), "recipe.yaml:9: pretrain.stage1.batch: "),
        (GOOD.replace("        path: web/*.jsonl\n", ""), "sources.documents.sources.0.path: this key is required"),
        (GOOD.replace("name: small", "name: ../up"), "recipe.yaml:1: name: "),
        (GOOD + "evaluate:\n  benchmarks:\n    - {task: mmul, path: x}\n", "unknown task 'mmul'; known: mmlu"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("a: [1\n", "not YAML"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(Invalid) as error:
        load_recipe(write(tmp_path, text))
    assert expected in str(error.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nowhere\.yaml: cannot read"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_overrides_reach_into_lists_and_make_sections(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    recipe = load_recipe(
        path, ["sources.documents.sources.0.limit=5", "align=null", "corpus.rules.min_tokens=3", "seed=7"]
    )
    assert recipe.sources.documents is not None
    assert recipe.sources.documents.sources[0].limit == 5
    assert recipe.align is None
    assert recipe.seed == 7
    for bad in ("seed", "sources.documents.sources.9.limit=5", "seed=[1"):
        with pytest.raises(Invalid, match="--set"):
            load_recipe(path, [bad])


def test_a_saved_recipe_loads_to_the_same(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    again = load_recipe(write(tmp_path, save_recipe(recipe)))
    assert again.identity() | {"data_root": ""} == recipe.identity() | {"data_root": ""}
    assert again.data_folder() == recipe.data_folder()


def test_every_key_has_a_description() -> None:
    schema = Recipe.model_json_schema()
    missing = [
        f"{name}.{key}"
        for name, model in [("Recipe", schema), *schema["$defs"].items()]
        for key, field in model.get("properties", {}).items()
        # pydantic leaves a field's description out when it is the section's own
        if not field.get("description") and "$ref" not in field
    ]
    assert not missing


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_shipped_recipes_are_valid_and_hold_no_absolute_path(path: Path) -> None:
    load_recipe(path)
    for value in _texts(yaml.safe_load(path.read_text(encoding="utf-8"))):
        assert not value.startswith(("/", "~"))


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [t for v in value.values() for t in _texts(v)]
    if isinstance(value, list):
        return [t for v in value for t in _texts(v)]
    return [value] if isinstance(value, str) else []


def test_a_saved_recipe_has_the_same_fingerprint(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    again = load_recipe(write(tmp_path, save_recipe(recipe)))
    assert recipe.pretrain.stage1 is not None
    assert again.pretrain.stage1 is not None
    assert digest(again.pretrain.stage1.identity()) == digest(recipe.pretrain.stage1.identity())
    assert digest(again.align.identity()) == digest(recipe.align.identity())  # type: ignore[union-attr]
