"""Releases of data: what is in the folder, who may be in it, and that readers take it as it is."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml

from aquilamed.config import Invalid, StageFailed
from aquilamed.recipe import load_recipe
from aquilamed.records import read_parts
from aquilamed.release import folder, forms, release
from aquilamed.release.wording import limitations
from aquilamed.sources.dialogues import DialogueSource, to_dialogue
from aquilamed.sources.files import RawRecord, read_records
from aquilamed.sources.forms import FORMS, PAIR_FORMS
from aquilamed.train.common import is_heldout
from aquilamed.workspace import Artifact, Workspace
from release_workspace import FINISHED, change, make, usual


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def instruct(space: Workspace) -> Path:
    return release(space, "instruct")


@pytest.fixture(scope="module")
def preference(space: Workspace) -> Path:
    return release(space, "preference")


def table(released: Path, place: str = "data") -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for p in sorted((released / place).glob("*.parquet"))])


def header(released: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        (released / "README.md").read_text("utf-8").split("\n---\n")[0].removeprefix("---")
    )
    return found


def lines(released: Path) -> list[dict[str, Any]]:
    files = sorted((released / "aquilamed").glob("*.jsonl"))
    return [json.loads(line) for f in files for line in f.read_text("utf-8").splitlines()]


def test_everything_a_hub_wants_is_there(instruct: Path) -> None:
    assert set(folder.files(instruct)) >= {
        *("README.md", "LICENSE.md", "croissant.json", "left_out.json", "recipe.yaml", "release.json"),
        *("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        *("aquilamed/train-00000-of-00001.jsonl", "figures/composition.png", "figures/scores.png"),
    }
    told = header(instruct)
    assert told["license"] == ["cc-by-sa-4.0", "cc0-1.0"]
    assert told["language"] == ["en", "zh"]
    assert told["size_categories"] == ["n<1K"]
    assert [c["config_name"] for c in told["configs"]] == ["default", "aquilamed"]
    folder.check_sums(instruct)


def test_only_what_may_be_passed_on_is_in_it(instruct: Path) -> None:
    assert set(table(instruct)["license"]) == {"CC0-1.0", "CC-BY-SA-4.0"}
    told = json.loads((instruct / "left_out.json").read_text("utf-8"))
    assert told["left_out"] == 20
    assert {(r["source"], r["license"]["redistribute"], r["records"]) for r in told["left_out_by"]} == {
        ("closed", False, 10),
        ("silent", None, 10),
    }
    page = (instruct / "README.md").read_text("utf-8")
    assert "20 records were left out" in page
    assert "WARNING" not in page


def test_restricted_records_come_only_when_told_and_loudly(space: Workspace, tmp_path: Path) -> None:
    released = release(space, "instruct", tmp_path / "all", include_restricted=True)
    assert table(released).height == 40
    page = (released / "README.md").read_text("utf-8")
    assert "> [!WARNING]" in page
    assert "**Restricted records are included.** 20 records" in page
    assert header(released)["license"] == "other"
    assert "restricted-sources" in header(released)["tags"]
    assert "**20 records" in (released / "LICENSE.md").read_text("utf-8")
    assert folder.marker(released)["restricted_included"] == 20  # type: ignore[index]


def test_nothing_that_may_be_released_is_an_error(tmp_path: Path) -> None:
    closed = make(tmp_path, records=lambda s: usual(s).with_columns(license=pl.lit("research")))
    with pytest.raises(Invalid, match=r"no record of instruct/select may be passed on.*10 of closed .research."):
        release(closed, "instruct")
    assert not (closed.root / "release" / "instruct").exists()
    assert not list((closed.root / "release").iterdir())


def test_splits_are_those_of_our_trainings(space: Workspace, instruct: Path, preference: Path) -> None:
    for released, stage, share in ((instruct, "instruct/select", 0.1), (preference, "prefer/select", 0.1)):
        ids = sorted(read_parts(next((space.root / stage).iterdir()) / "kept", ["id"])["id"].to_list())
        held = {i for i, h in zip(ids, is_heldout(42, share, ids), strict=True) if h}
        found = set(pl.read_parquet(released / "data" / "validation-*.parquet")["id"])
        assert found == held & set(table(released)["id"])
        assert found, "the seeded split holds something out"


def test_datasets_reads_every_config(instruct: Path, preference: Path, space: Workspace, tmp_path: Path) -> None:
    import datasets

    for released, columns in ((instruct, {"messages"}), (preference, {"prompt", "chosen", "rejected"})):
        data = datasets.load_dataset(str(released), cache_dir=str(tmp_path))
        assert set(data) == {"train", "validation"}
        assert columns <= set(data["train"].column_names)
        assert data["train"].num_rows + data["validation"].num_rows == 20
        plain = datasets.load_dataset(str(released), "aquilamed", cache_dir=str(tmp_path))
        assert [r for s in ("train", "validation") for r in plain[s].to_list()] == lines(released)
    corpus = release(space, "corpus")
    mix = datasets.load_dataset(str(corpus), "mix1", cache_dir=str(tmp_path))
    assert {k: v.num_rows for k, v in mix.items()} == {"train": 18, "validation": 2}
    assert mix["train"][0]["text"]


def test_the_header_declares_the_columns_as_datasets_would(instruct: Path, preference: Path) -> None:
    import datasets

    for schema in (pq.read_schema(next(p.glob("data/*.parquet"))) for p in (instruct, preference)):
        assert forms.features(schema) == datasets.Features.from_arrow_schema(schema)._to_yaml_list()
    for schema in (forms.AQUILAMED_INSTRUCT, forms.AQUILAMED_RL):
        assert forms.features(schema) == datasets.Features.from_arrow_schema(schema)._to_yaml_list()


def test_the_published_forms(space: Workspace, instruct: Path, preference: Path) -> None:
    records = {r["id"]: r for r in table(instruct).to_dicts()}
    for line in lines(instruct):
        record = records[line["id"]]
        turns = [m["content"] for m in record["messages"] if m["role"] != "system"]
        assert [t for pair in line["history"] for t in pair] + [line["instruction"], line["output"]] == turns
        assert bool(line["system"]) == (record["messages"][0]["role"] == "system")
    pairs = {r["id"]: r for r in table(preference).to_dicts()}
    for line in lines(preference):
        record = pairs[line["id"]]
        assert line["output"] == [record["chosen"][0]["content"], record["rejected"][0]["content"]]
        assert line["instruction"] == record["prompt"][0]["content"]


def test_our_own_reader_takes_the_released_dialogues_back(instruct: Path) -> None:
    source = DialogueSource(name="back", path="x", form="messages")
    back = []
    for path in sorted((instruct / "data").glob("*.parquet")):
        for record in read_records(path, path.name):
            assert isinstance(record, RawRecord)
            back.append(to_dialogue(source, record)[0].messages)
    assert back == table(instruct)["messages"].to_list()


def parsed(released: Path, pattern: str) -> list[Any]:
    """The raw values of released files as our own readers see them."""
    files = sorted(released.glob(pattern))
    return [r.value for f in files for r in read_records(f, f.name) if isinstance(r, RawRecord)]


def test_our_own_forms_take_the_published_ones_back(instruct: Path, preference: Path) -> None:
    for pattern in ("aquilamed/*.jsonl", "aquilamed/*.parquet"):
        dialogues = [FORMS["aquilamed_instruct"].parse(v) for v in parsed(instruct, pattern)]
        assert dialogues == table(instruct)["messages"].to_list()
        pairs = [PAIR_FORMS["aquilamed_rl"].parse(v) for v in parsed(preference, pattern)]
        rows = table(preference)
        assert [p.prompt for p in pairs] == rows["prompt"].to_list()
        assert [p.chosen for p in pairs] == rows["chosen"].to_list()
        assert [p.rejected for p in pairs] == rows["rejected"].to_list()
    trl = [PAIR_FORMS["trl_preference"].parse(v) for v in parsed(preference, "data/*.parquet")]
    assert [(p.prompt, p.chosen, p.rejected) for p in trl] == [(p.prompt, p.chosen, p.rejected) for p in pairs]


def test_two_releases_are_the_same_bytes(space: Workspace, instruct: Path, tmp_path: Path) -> None:
    again = release(space, "instruct", tmp_path / "again")
    names = [*folder.files(instruct), folder.SUMS]
    assert [*folder.files(again), folder.SUMS] == names
    assert [n for n in names if (instruct / n).read_bytes() != (again / n).read_bytes()] == []


def test_departments_and_diseases_are_counted_in_what_is_released(instruct: Path) -> None:
    page = (instruct / "README.md").read_text("utf-8")
    assert "| `cardiology` | 10 | 50.0 % |" in page
    rows = table(instruct)["diseases"].explode().drop_nulls()
    assert f"| `asthma` | {(rows == 'asthma').sum()} |" in page
    assert "2 diseases are named" in page


def test_numbers_come_from_the_manifests(space: Workspace, tmp_path: Path) -> None:
    page = (release(space, "preference", tmp_path / "one") / "README.md").read_text("utf-8")
    for shown in ("4,321", "| 17 |", "777", "| 5 |", "0.8125", FINISHED, "`subjective.rule` 3", "1,234"):
        assert shown in page, shown
    copy = make(tmp_path / "other")
    change(copy, "prefer/decontaminate", lambda m: m["metrics"]["benchmarks"]["mmlu"].update(questions=98765))
    assert "98,765" in (release(copy, "preference") / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("answers", "inputs", "who"),
    [
        ("model", {"finetune": "f"}, "the fine-tuned model of this recipe"),
        ("model", {}, "the base model of this recipe"),
        ("annotator", {}, "the annotator"),
    ],
)
def test_who_wrote_answers_is_said(answers: str, inputs: dict[str, str], who: str) -> None:
    manifest = {"params": {"config": {"answers": answers}}, "inputs": inputs, "metrics": {}}
    (said,) = [s for s in limitations([Artifact("prefer/subjective", Path(), manifest)], []) if "One answer" in s]
    assert f"was written by {who}, not by a doctor" in said


def test_templates_hold_no_numbers() -> None:
    for path in Path(forms.__file__).parent.glob("*.j2"):
        text = re.sub(
            r"arXiv [\d.]+|arxiv\S*|SHA256|sha256|max_new_tokens=\d+|\[0\]",
            "",
            path.read_text("utf-8"),
            flags=re.IGNORECASE,
        )
        assert not re.search(r"\d", text), path.name


def test_the_published_recipe_has_no_place_and_no_secret(instruct: Path, space: Workspace) -> None:
    for path in (instruct / n for n in folder.files(instruct) if n.endswith((".md", ".json", ".yaml"))):
        text = path.read_text("utf-8")
        for secret in ("secret-folder", "deep/folder", "intern.example", "WARD_KEY", str(space.root)):
            assert secret not in text, (path.name, secret)
    published = load_recipe(instruct / "recipe.yaml")
    mine = load_recipe(space.root / "recipe.yaml")
    assert published.instruct == mine.instruct
    assert published.base_model.path == "base-model"
    assert set(table(instruct)["origin"].str.split(":").list.first()) == {"data.jsonl"}


def test_a_secret_in_the_environment_stops_a_release(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARD_KEY", "single_turn_QA")  # stands in the card: as if a key did
    with pytest.raises(StageFailed, match=r"\$WARD_KEY") as error:
        release(space, "instruct", tmp_path / "x")
    assert "single_turn_QA" not in str(error.value)
    assert not (tmp_path / "x").exists()


def test_changed_records_are_not_released(tmp_path: Path) -> None:
    space = make(tmp_path)
    part = next((space.root / "instruct" / "select").glob("*/kept/part-00001.parquet"))
    frame = pl.read_parquet(part)
    frame.with_columns(lang=pl.lit("en")).write_parquet(part)
    with pytest.raises(StageFailed, match="not the file that instruct/select wrote"):
        release(space, "instruct")


def test_what_is_not_done_is_said(tmp_path: Path) -> None:
    space = make(tmp_path)
    next((space.root / "instruct" / "select").glob("*/manifest.json")).unlink()
    with pytest.raises(Invalid, match=r"instruct/select is interrupted .*; run the recipe up to it"):
        release(space, "instruct")
    with pytest.raises(Invalid, match="choose one of instruct, preference, corpus, model"):
        release(space, "everything")
    other = make(tmp_path / "other", prefer={"subjective": None, "objective": None})
    with pytest.raises(Invalid, match="makes no preference set"):
        release(other, "preference")


def test_parts_with_different_columns_become_one_table(tmp_path: Path) -> None:
    """Objective and subjective pairs may carry different columns."""

    def records(stage: str) -> pl.DataFrame:
        frame = usual(stage)
        return frame.with_columns(pl.Series("style", ["letter"] * frame.height)) if stage == "prefer/select" else frame

    space = make(tmp_path, records=records)
    part = next((space.root / "prefer" / "select").glob("*/kept/part-00000.parquet"))
    pl.read_parquet(part).drop("style").write_parquet(part)
    from aquilamed.workspace import file_hash

    change(space, "prefer/select", lambda m: m["outputs"].update({"kept/part-00000.parquet": file_hash(part)}))
    styles = table(release(space, "preference"))["style"]
    assert set(styles) == {None, "letter"}


def test_shards(space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr("aquilamed.release.tables.SHARD_BYTES", 1)
    released = release(space, "instruct", tmp_path / "shards")
    assert len(list((released / "data").glob("train-*-of-00004.parquet"))) == 4
    data = datasets.load_dataset(str(released), cache_dir=str(tmp_path / "cache"))
    assert data["train"].num_rows + data["validation"].num_rows == 20
