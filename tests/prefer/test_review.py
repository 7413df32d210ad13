"""Pairs out to doctors and their verdicts in, through three formats, on a workspace that a real run made."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from aquilamed import pipeline
from aquilamed.cli import app
from aquilamed.config import Invalid
from aquilamed.prefer import review
from aquilamed.prefer.exchange import TITLES, Format
from aquilamed.progress import Progress
from aquilamed.recipe import Recipe, load_recipe
from aquilamed.records import read_parts
from aquilamed.workspace import Workspace

RECIPE = """\
name: review
sources: {}
prefer:
  subjective: null
  objective: {questions: [{name: exam, path: exam.jsonl}], styles: [letter_text]}
align: null
"""
RIGHT = "deep vein thrombosis"
Opened = tuple[Recipe, Workspace]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review")
    rows = [
        {
            "id": str(n),
            "lang": "en",
            "question": f"Leg {n}: swollen and warm after {n + 9} hours of flight. What is it?",
        }
        | {"options": {"A": "gout", "B": RIGHT, "C": "a muscle tear"}, "answer": "B", "split": "train"}
        for n in range(12)
    ]
    (folder / "exam.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    pipeline.run(load_recipe(folder / "recipe.yaml"), Workspace(folder / "ws"), Progress(quiet=True))
    return folder


@pytest.fixture
def opened(made: Path) -> Opened:
    (made / "ws" / review.FILE).unlink(missing_ok=True)
    return load_recipe(made / "recipe.yaml"), Workspace(made / "ws")


def fill(path: Path, format: Format, judge: Callable[[dict[str, Any]], dict[str, Any] | None], rater: str) -> None:
    """Judge what is shown, as the tool of that format writes it."""
    if format == "jsonl":
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        done = [line | (judge(line) or {}) | {"rater": rater} for line in lines]
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in done), encoding="utf-8")
        return
    records = json.loads(path.read_text("utf-8"))
    for number, record in enumerate(records):
        said = judge(record["fields"] if format == "argilla" else record["data"])
        if said is None:
            continue
        flat = said | said.get("aspects", {})
        flat.pop("aspects", None)
        if format == "argilla":
            # `Record.to_dict` of Argilla 2.8
            who = str(uuid.uuid5(uuid.NAMESPACE_DNS, rater))
            record["responses"] = {q: [{"value": v, "user_id": who}] for q, v in flat.items()}
            record |= {"status": "completed", "_server_id": str(uuid.uuid4())}
            continue
        result = []
        for name, value in flat.items():
            kind = "textarea" if name in ("edited", "comment") else "choices"
            values = value if isinstance(value, list) else [value]
            body = {"text" if kind == "textarea" else kind: values}
            result.append({"id": name, "from_name": name, "to_name": "answer_a", "type": kind, "value": body})
        skipped = said["verdict"] == "skip"
        record |= {"id": number, "drafts": [], "predictions": [], "project": 1}
        record["annotations"] = [
            {"id": number, "completed_by": {"id": 7, "email": rater}, "result": [] if skipped else result}
            | {"was_cancelled": skipped, "created_at": "2026-11-26T09:00:00Z", "updated_at": "2026-11-26T09:30:00Z"}
        ]
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")


def truth(shown: dict[str, Any]) -> dict[str, Any]:
    better = "A" if RIGHT in shown["answer_a"] else "B"
    return {"verdict": better, "aspects": {"fluency": "tie", "proficiency": better}, "comment": "看过了"}


@pytest.mark.parametrize("format", ["jsonl", "argilla", "label-studio"])
def test_a_round_through_each_format(opened: Opened, tmp_path: Path, format: Format) -> None:
    recipe, space = opened
    out = tmp_path / ("pairs.jsonl" if format == "jsonl" else "pairs.json")
    count, files = review.export(recipe, space, out, format, limit=10, kinds=["objective"])
    assert count == 10
    assert [f for f in files if not f.is_file()] == []
    shown = review.items(recipe, space, 10, ["objective"])
    assert {RIGHT in item["answer_a"] for item in shown} == {True, False}, "the chosen answer is A here and B there"
    assert "chosen" not in out.read_text("utf-8"), "blind"

    def judge(item: dict[str, Any]) -> dict[str, Any] | None:
        said = truth(item)
        if item["prompt"] == shown[0]["prompt"]:
            other = {"A": "B", "B": "A"}[said["verdict"]]
            return said | {"verdict": other, "edited": "Ask for the D-dimer.", "dangerous": [said["verdict"]]}
        if item["prompt"] == shown[1]["prompt"]:
            return {"verdict": "skip"}
        return None if item["prompt"] == shown[2]["prompt"] else said

    fill(out, format, judge, "dr.li@example.org")
    counts = review.import_files(recipe, space, [out])
    assert counts == {"new": 9, "replaced": 0, "unchanged": 0, "unjudged": 1}
    before = (space.root / review.FILE).read_bytes()
    assert review.import_files(recipe, space, [out])["unchanged"] == 9
    assert (space.root / review.FILE).read_bytes() == before
    lines = [json.loads(line) for line in before.decode().splitlines()]
    assert all(line["comment"] == "看过了" for line in lines if line["verdict"] != "skip")
    if format == "label-studio":
        assert {line["time"] for line in lines} == {"2026-11-26T09:30:00Z"}
    found = review.agreement(recipe, space)
    assert (found["pairs_judged"], found["skipped"]) == (9, 1)
    assert found["model"]["equal"] == pytest.approx(7 / 8, abs=1e-3)

    states = {s.name: s.state for s in pipeline.states(recipe, space)}
    assert (states["prefer/decontaminate"], states["prefer/select"]) == ("done", "stale"), "the verdicts count"
    [done] = [a for a in pipeline.run(recipe, space, Progress(quiet=True)) if a.stage == "prefer/select"]
    kept = {r["id"]: r for r in read_parts(done.kept).to_dicts()}
    overturned = kept[shown[0]["pair"]]
    assert overturned["chosen"][0]["content"] == "Ask for the D-dimer."
    assert RIGHT in overturned["rejected"][0]["content"]
    assert done.metrics["human"]["upheld"] == 7


def test_the_formats_say_what_the_tools_expect(opened: Opened, tmp_path: Path) -> None:
    """The keys that Argilla 2.8 and Label Studio's SDK 2.1 read; both libraries accepted these files when this was written."""
    _, files = review.export(*opened, tmp_path / "a.json", "argilla", 2, ["objective"])
    settings = json.loads(files[1].read_text("utf-8"))
    assert [q["name"] for q in settings["questions"]] == list(TITLES)
    assert [f["name"] for f in settings["fields"]] == ["prompt", "answer_a", "answer_b"]
    _, files = review.export(*opened, tmp_path / "l.json", "label-studio", 2, ["objective"])
    config = ElementTree.fromstring(files[1].read_text("utf-8"))
    assert {e.get("name") for e in config.iter() if e.tag in ("Choices", "TextArea")} == set(TITLES)
    [task, _] = json.loads(files[0].read_text("utf-8"))
    assert {e.get("value", "")[1:] for e in config.iter() if e.get("value", "").startswith("$")} <= set(task["data"])


def test_a_second_verdict_needs_replace(opened: Opened, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    review.export(*opened, out, "jsonl", 2, ["objective"])
    fill(out, "jsonl", truth, "li")
    review.import_files(*opened, [out])
    fill(out, "jsonl", lambda item: {"verdict": "tie"}, "li")
    with pytest.raises(
        Invalid, match=r"p.jsonl:1: 'li' judged pair \w+ before and otherwise, at review/verdicts.jsonl:"
    ):
        review.import_files(*opened, [out])
    assert review.import_files(*opened, [out], replace=True)["replaced"] == 2
    fill(out, "jsonl", truth, "wang")
    assert review.import_files(*opened, [out])["new"] == 2
    assert review.agreement(*opened)["raters"] == {"li": 2, "wang": 2}


@pytest.mark.parametrize(
    ("format", "spoil", "expected"),
    [
        ("jsonl", lambda r: r | {"answer_a": "edited here"}, r"p.jsonl:1: the texts in this line are not those"),
        ("jsonl", lambda r: r | {"rater": ""}, r"p.jsonl:1: field 'rater'"),
        ("jsonl", lambda r: r | {"pair": "nobody"}, r"p.jsonl:1: field 'pair': no pair 'nobody'"),
        ("argilla", lambda r: r | {"id": None}, r"p.json:1: field 'pair'"),
        ("argilla", lambda r: r | {"metadata": {}}, r"p.json:1: field 'metadata.shown' is missing"),
        ("argilla", lambda r: r | {"responses": {"mood": []}}, r"p.json:1: question 'mood' is none of verdict"),
        ("argilla", lambda r: r["responses"]["verdict"].append(r["responses"]["verdict"][0]) or r, r"p.json:1: user .* twice"),
        ("label-studio", lambda r: r | {"data": {}}, r"p.json:1: field 'data' lacks pair and shown"),
        ("label-studio", lambda r: r["annotations"][0]["result"].clear() or r, r"p.json:1: the annotation of li has no verdict"),
        ("label-studio", lambda r: r["annotations"].append(r["annotations"][0]) or r, r"p.json:1: 'li' judged pair"),
        ("label-studio", lambda r: r | {"annotations": [{"result": 3}]}, r"p.json:1: no annotation of Label Studio's"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_named(
    opened: Opened, tmp_path: Path, format: Format, spoil: Callable[[Any], Any], expected: str
) -> None:
    out = tmp_path / ("p.jsonl" if format == "jsonl" else "p.json")
    review.export(*opened, out, format, 1, ["objective"])
    fill(out, format, truth, "li")
    record = json.loads(out.read_text("utf-8"))
    record = spoil(record[0] if isinstance(record, list) else record)
    out.write_text(json.dumps(record if format == "jsonl" else [record]), encoding="utf-8")
    with pytest.raises(Invalid, match=expected):
        review.import_files(*opened, [out], format)
    assert not (opened[1].root / review.FILE).exists(), "nothing of a file with a mistake is kept"


def test_the_commands(opened: Opened, tmp_path: Path) -> None:
    _, space = opened
    call = CliRunner().invoke
    out = tmp_path / "p.jsonl"
    arguments = ["review", "export", str(space.root), "--out", str(out), "--limit", "3", "--kind", "objective"]
    assert call(app, arguments).output.startswith("3 pairs: ")
    fill(out, "jsonl", truth, "li")
    assert "3 new" in call(app, ["review", "import", str(space.root), str(out)]).output
    found = json.loads(call(app, ["review", "agreement", str(space.root), "--json"]).output)
    assert found["model"] == {"pairs": 3, "equal": 1.0, "kappa": found["model"]["kappa"]}
    assert "all and the judge" in call(app, ["review", "agreement", str(space.root)]).output
    result = call(app, ["review", "export", str(space.root), "--out", str(out)])
    assert isinstance(result.exception, Invalid), "objective pairs alone: nothing to review"
