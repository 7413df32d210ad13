"""Licences are data: by name or described, the same in recipe, records and manifest, and never guessed."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from aquilamed import pipeline
from aquilamed.config import Invalid
from aquilamed.progress import Progress
from aquilamed.recipe import Recipe, load_recipe, save_recipe
from aquilamed.records import read_parts
from aquilamed.sources.licenses import KNOWN, find_license, license_table
from aquilamed.workspace import Workspace


def recipe(tmp_path: Path, *licenses: Any, form: str | None = None) -> Path:
    sources = []
    for n, given in enumerate(licenses):
        source = {"name": f"s{n}", "path": f"s{n}.jsonl"} | ({} if given is None else {"license": given})
        sources.append(source | ({"form": form} if form else {}))
    path = tmp_path / "recipe.yaml"
    section = {"dialogues" if form else "documents": {"sources": sources}}
    path.write_text(yaml.safe_dump({"name": "t", "data_root": str(tmp_path), "sources": section}), encoding="utf-8")
    return path


def test_names_are_found_as_people_write_them() -> None:
    for written in ("CC-BY-4.0", "cc-by-4.0", "CC BY 4.0"):
        found = find_license(written)
        assert found.name == written
        assert found.url == "https://creativecommons.org/licenses/by/4.0/"
        assert found.redistribute is True
    assert find_license("research").redistribute is False
    assert find_license("NC").redistribute is False
    assert find_license("CC-BY-NC-ND-4.0").redistribute is False
    assert find_license("a neighbour said yes").redistribute is None
    assert find_license("").redistribute is None
    assert len({k.name.lower() for k in KNOWN}) == len(KNOWN)


def test_a_recipe_describes_a_licence_and_saves_it(tmp_path: Path) -> None:
    described = {"name": "ward-7", "url": "https://ward.example/terms", "redistribute": True}
    path = recipe(tmp_path, described, "CC0", None, {"name": "MIT", "note": "with names"})
    loaded = load_recipe(path)
    table = license_table(loaded)
    assert list(table) == ["CC0", "MIT", "unknown", "ward-7"]
    assert (table["ward-7"].url, table["ward-7"].redistribute) == (described["url"], True)
    assert (table["MIT"].redistribute, table["MIT"].note) == (True, "with names")
    assert table["unknown"].redistribute is None
    path.write_text(save_recipe(loaded), encoding="utf-8")
    assert license_table(load_recipe(path)) == table


def test_one_name_with_two_meanings_is_refused(tmp_path: Path) -> None:
    for other in ("ward-7", {"name": "ward-7", "redistribute": False}):
        path = recipe(tmp_path, {"name": "ward-7", "redistribute": True}, other)
        with pytest.raises(Invalid, match=r"licence 'ward-7' means two things: .* in source s0, .* in source s1"):
            load_recipe(path)
    assert load_recipe(recipe(tmp_path, "MIT", "MIT"))


def test_a_wrong_description_is_explained(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"license\.redistribut: unknown key; did you mean 'redistribute'"):
        load_recipe(recipe(tmp_path, {"name": "x", "redistribut": True}))
    assert "License" in Recipe.model_json_schema()["$defs"]


def test_licences_reach_records_and_manifest(tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / f"s{n}.jsonl").write_text('{"text": "Rest."}\n{"text": ""}\n' * (n + 1), encoding="utf-8")
    path = recipe(tmp_path, "research", {"name": "ward", "redistribute": True, "url": "https://w.example"})
    loaded = load_recipe(path, ["sources.documents.max_bad_share=1"])
    done = pipeline.run(loaded, Workspace(tmp_path / "ws"), Progress(quiet=True), until="sources/documents", workers=1)
    for folder in (done[0].kept, done[0].dropped):
        assert set(read_parts(folder).select("source", "license").iter_rows()) == {("s0", "research"), ("s1", "ward")}
    assert done[0].metrics["licenses"] == {
        "research": {**find_license("research").model_dump(exclude={"name"})},
        "ward": {"url": "https://w.example", "redistribute": True, "note": ""},
    }


def test_a_form_knows_its_sets_licence(tmp_path: Path) -> None:
    table = license_table(load_recipe(recipe(tmp_path, None, form="chinese_medical_dialogue")))
    assert list(table) == ["MIT"]
    assert list(license_table(load_recipe(recipe(tmp_path, None, form="messages")))) == ["unknown"]
    assert list(license_table(load_recipe(recipe(tmp_path, "NC", form="chatdoctor")))) == ["NC"]
