"""Recipes that extend others: what is taken over, what replaces, and where a mistake stands."""

from pathlib import Path

import pytest

from aquilamed.config import Invalid
from aquilamed.recipe import load_recipe, save_recipe

BASE = """\
name: base
data_root: data
sources:
  documents:
    sources:
      - {name: web, path: web/*.jsonl}
      - {name: books, path: books/*.jsonl}
pretrain:
  stage1: {batch: 8, lr: 3.0e-4}
align: {beta: 0.1}
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_sections_are_merged_and_all_else_replaces(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", BASE)
    write(tmp_path, "middle.yaml", "extends: base.yaml\nname: middle\npretrain: {stage1: {batch: 4}}\nseed: 7\n")
    sources = "sources: {documents: {sources: [{name: mine, path: mine.jsonl}]}}\n"
    top = write(tmp_path, "top.yaml", f"extends: middle.yaml\nname: top\nalign: null\n{sources}")
    recipe = load_recipe(top, ["pretrain.stage1.lr=1e-5"])
    assert (recipe.name, recipe.seed, recipe.align) == ("top", 7, None)
    assert recipe.pretrain.stage1 is not None
    assert (recipe.pretrain.stage1.batch, recipe.pretrain.stage1.lr) == (4, 1e-5)
    assert recipe.sources.documents is not None
    assert [s.name for s in recipe.sources.documents.sources] == ["mine"]
    saved = write(tmp_path / "elsewhere", "recipe.yaml", save_recipe(recipe))
    assert "extends" not in saved.read_text("utf-8")
    assert load_recipe(saved).identity() == recipe.identity() | {"data_root": tmp_path / "data"}


def test_data_lies_where_the_file_that_says_so_means_it(tmp_path: Path) -> None:
    write(tmp_path / "a", "base.yaml", BASE)
    other = write(tmp_path / "b", "mine.yaml", "extends: ../a/base.yaml\nname: mine\n")
    assert load_recipe(other).data_folder() == tmp_path / "a" / "data"
    own = write(tmp_path / "b", "own.yaml", "extends: ../a/base.yaml\nname: own\ndata_root: here\n")
    assert load_recipe(own).data_folder() == tmp_path / "b" / "here"


@pytest.mark.parametrize(
    ("base", "top", "expected"),
    [
        (BASE.replace("batch: 8", "batch: eight"), "", "base.yaml:9: pretrain.stage1.batch: "),
        (BASE, "pretrain:\n  stage1: {bacth: 2}\n", "top.yaml:4: pretrain.stage1.bacth: unknown key; did you mean"),
        (BASE, "align:\n  beta: none\n", "top.yaml:4: align.beta: "),
        (f"extends: top.yaml\n{BASE}", "", "base.yaml: extends: top.yaml extends it in turn"),
    ],
)
def test_a_mistake_is_found_in_its_own_file(tmp_path: Path, base: str, top: str, expected: str) -> None:
    write(tmp_path, "base.yaml", base)
    path = write(tmp_path, "top.yaml", f"extends: base.yaml\nname: top\n{top}")
    with pytest.raises(Invalid) as error:
        load_recipe(path)
    assert expected in str(error.value)


def test_what_it_extends_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nowhere\.yaml: cannot read the recipe"):
        load_recipe(write(tmp_path, "top.yaml", "extends: nowhere.yaml\nname: top\n"))
    with pytest.raises(Invalid, match=r"top\.yaml:2: extends: give another recipe's file, got 3"):
        load_recipe(write(tmp_path, "top.yaml", "name: top\nextends: 3\n"))
