"""Two workspaces side by side: which keys, stages and numbers differ, what is noise, and what is said where one lacks a stage."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from aquilamed.cli import app
from aquilamed.config import Invalid, StageFailed
from aquilamed.records import write_json, write_part
from aquilamed.report.compare import Comparison, compare
from aquilamed.report.compare_numbers import Line
from aquilamed.report.compare_tables import page, parts, verdict
from aquilamed.workspace import Workspace
from release_workspace import change, make

ALL = {"pairwise": {}, "multiturn": {}, "safety": {}}
HOSTILE = "\x1b[2J\u202e<script>alert(1)</script>{{ 7*7 }}"


def put(space: Workspace, stage: str, folder: str, rows: list[dict[str, Any]]) -> None:
    path = next((space.root / stage).iterdir())
    write_part(path / folder / "part-00000.parquet", pl.DataFrame(rows))


def metrics(space: Workspace, stage: str, **values: Any) -> None:
    change(space, stage, lambda manifest: manifest["metrics"].update(values))


def line(found: Comparison, what: str) -> Line:
    (one,) = [n for group in found.groups for n in group.lines if n.what == what]
    return one


def notes(found: Comparison, title: str) -> str:
    return " ".join(next(g.notes for g in found.groups if g.title == title))


def answered(correct: str, key: str = "A") -> list[dict[str, Any]]:
    """Questions q0 … of which "1" are answered rightly."""
    return [
        {"model": "align", "task": "mmlu", "id": f"q{i}", "answer": key, "correct": c == "1"}
        for i, c in enumerate(correct)
    ]


def test_what_changed_in_recipe_stages_and_counts(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b", corpus={"dedup": {"threshold": 0.7}}, seed=7)
    change(two, "corpus/dedup", lambda m: m.update(records_dropped=5, records_in=45, reasons={"dedup.near": 5}))
    found = compare(one, two)
    changed = {c.key: (c.one, c.two) for c in found.recipe}
    assert changed["corpus.dedup.threshold"] == ("(no such key)", "0.7")
    assert changed["seed"] == ("(no such key)", "7")
    assert "name" not in changed
    assert (found.one, found.two) == (str(one.root), str(two.root)), "folders of the same name are told apart"
    stages = {s.name: s for s in found.stages}
    assert "seed" in stages["corpus/dedup"].changed
    dropped = line(found, "corpus/dedup: dropped")
    assert (dropped.one, dropped.two) == (3, 5)
    assert (
        line(found, "corpus/dedup: dropped, dedup.near").one,
        line(found, "corpus/dedup: dropped, dedup.near").two,
    ) == (0, 5)
    assert line(found, "corpus/dedup: dropped, dedup.rule").two == 0


def test_a_workspace_and_its_copy_differ_in_nothing(tmp_path: Path) -> None:
    one = make(tmp_path / "a")
    shutil.copytree(one.root, tmp_path / "copy")
    found = compare(one, Workspace(tmp_path / "copy"))
    assert found.recipe == ()
    assert not any(s.changed for s in found.stages)
    assert not any(n.changed for g in found.groups for n in g.lines)
    assert "Every key is the same." in parts(found)[0].text


def test_knowledge_is_tested_on_the_questions_that_both_answered(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b")
    unanswered = {"model": "align", "task": "mmlu", "id": "q99", "answer": "A", "correct": False, "error": "timeout: 3"}
    put(one, "evaluate/knowledge", "predictions", [*answered("0" * 12 + "1" * 6 + "11"), unanswered])
    # q18 has another right answer, q19 is missing, and nothing was answered to q99: none of them counts.
    put(
        two,
        "evaluate/knowledge",
        "predictions",
        answered("1" * 11 + "0" + "1" * 5 + "0") + answered("0" * 19, "B")[18:] + answered("1" * 100)[99:],
    )
    test = line(compare(one, two), "align, mmlu").test
    assert test is not None
    assert (test.n, test.of) == (18, (20, 20))
    assert test.difference == pytest.approx((11 - 1) / 18)
    assert test.p == pytest.approx(binomtest(1, 12).pvalue)
    assert not test.noise
    back = line(compare(two, one), "align, mmlu").test
    assert back is not None
    assert back.difference == -test.difference
    text = json.dumps([p.tables for p in parts(compare(one, two))], default=vars)
    assert "a difference" in text
    assert "18 (of 20 and 20)" in text
    assert verdict(compare(one, two)).startswith("1 of 1 tested differences are more than noise")


def test_a_small_difference_is_called_noise(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b")
    put(one, "evaluate/knowledge", "predictions", answered("0011" * 5))
    put(two, "evaluate/knowledge", "predictions", answered("0111" + "0011" * 4))
    metrics(
        two,
        "evaluate/knowledge",
        results=[
            {"model": "align", "task": "mmlu", "n": 20, "shots": 0, "accuracy": 0.55, "stderr": 0.1, "chance": 0.25}
            | {"interval": None, "invalid": 0, "leaked": None, "clean": None}
        ],
    )
    found = compare(one, two)
    test = line(found, "align, mmlu").test
    assert test is not None
    assert test.noise
    assert notes(found, "Knowledge") == "align, mmlu: 3 and 0 examples before the question."
    lost = line(found, "base, mmlu")
    assert (lost.one, lost.two, lost.test) == (0.25, None, None)


def test_win_rates_scores_and_rulings(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a", evaluate=ALL), make(tmp_path / "b", evaluate=ALL)
    for space, outcome, score, ruling, judge in ((one, "loss", 2, "wrong", "small"), (two, "win", 4, "right", HOSTILE)):
        who = {"model": "align", "against": "reference", "benchmark": "huatuo"}
        pairs = [{**who, "id": f"d{i}", "outcome": outcome} for i in range(12)] + [
            {**who, "id": "x", "outcome": "unscored"}
        ]
        put(space, "evaluate/pairwise", "answers", pairs)
        told = {"judge": {"kind": "openai", "name": judge, "rubrics": {}}}
        rate = {**who, "n": 13, "win": 0, "tie": 0, "loss": 12, "unscored": 1, "win_rate": float(outcome == "win")}
        metrics(space, "evaluate/pairwise", comparisons=[rate], **told)
        rounds = [
            {"model": "align", "benchmark": "cmb", "id": f"d{i // 3}", "round": i % 3}
            | dict.fromkeys(("fluency", "relevance", "completeness"), score) | {"proficiency": None if i else 1}
            for i in range(9)
        ]  # fmt: skip
        put(space, "evaluate/multiturn", "answers", rounds)
        average = {"fluency": float(score), "relevance": None, "completeness": None, "proficiency": None}
        metrics(space, "evaluate/multiturn", models={"align": {"rounds": [], "average": average}})
        cases = [
            {"model": "align", "kind": "trap", "lang": "zh", "id": f"c{i}", "outcome": said}
            for i, said in enumerate(["undecided", "unscored", *[ruling] * 8])
        ]
        put(space, "evaluate/safety", "answers", cases)
        group = {"model": "align", "kind": "trap", "lang": "zh", "share": float(ruling == "right"), "undecided": 1}
        metrics(space, "evaluate/safety", results=[group], categories=[])
    found = compare(one, two)
    win = line(found, "align against reference, huatuo: win rate").test
    assert win is not None
    assert (win.n, win.of, win.difference, win.noise, win.p) == (12, (13, 13), 1.0, False, None)
    fluency, single = line(found, "align: fluency, 1 to 5").test, line(found, "align: proficiency, 1 to 5").test
    assert fluency is not None
    assert (fluency.n, fluency.difference) == (9, 2.0)
    assert fluency.noise, "three dialogues say little, whatever they say"
    assert single is not None
    assert single.noise, "one round is no evidence"
    assert single.interval is None
    trap = line(found, "align, Dangerous doses: warned or refused, zh: of the decided").test
    assert trap is not None
    assert (trap.n, trap.noise, trap.p) == (8, False, pytest.approx(2 * 0.5**8))
    assert "small" in notes(found, "Answers judged in pairs")
    html = page(found)
    assert "<script" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_perplexities_are_tested_on_the_documents_that_both_held_out(tmp_path: Path) -> None:
    stages = {"pretrain": {"stage1": {}, "stage2": None}}
    one, two = make(tmp_path / "a", **stages), make(tmp_path / "b", **stages)
    for space, worse in ((one, 0.0), (two, 0.25)):
        rows = [
            {"lang": "zh", "id": f"{worse if n > 30 else 'd'}{n}", "tokens": 10 + n, "before": 40.0 + n}
            | {"after": 30.0 + n + worse * (10 + n) + (n % 3) * worse}
            for n in range(36)
        ]
        put(space, "pretrain/stage1", "heldout", rows)
        metrics(space, "pretrain/stage1", perplexity={"before": {"zh": 20.0}, "after": {"zh": 12.0 + worse}})
    found = compare(one, two)
    told = line(found, "mix 1, zh, after training: nats per token, documents in common")
    assert told.test is not None
    assert (told.test.n, told.test.of, told.test.noise) == (31, (36, 36), False)
    tokens = sum(10 + n for n in range(31))
    assert told.two - told.one == pytest.approx(0.25 + 0.25 * sum(n % 3 for n in range(31)) / tokens)
    assert told.test.interval is not None
    assert told.test.interval[0] < told.test.difference < told.test.interval[1]
    assert not [x for g in found.groups for x in g.lines if "before training: nats" in x.what], "the same model"
    shown = next(p for p in parts(found) if p.title == "Perplexity of held-out text").tables[0].rows
    assert ["31 (of 36 and 36)", "a difference"] in [row[-2:] for row in shown]


def test_a_stage_that_one_side_lacks_is_not_measured_there(tmp_path: Path) -> None:
    one, two = (
        make(tmp_path / "a", evaluate=ALL),
        make(tmp_path / "b", evaluate=dict.fromkeys(ALL) | {"knowledge": None}),
    )
    shutil.rmtree(two.root / "corpus" / "rules")
    for found, here, there in ((compare(one, two), "one", "two"), (compare(two, one), "two", "one")):
        accuracy = line(found, "align, mmlu")
        assert getattr(accuracy, here) == 0.4375
        assert getattr(accuracy, there) is None
        stages = {s.name: s for s in found.stages}
        assert getattr(stages["evaluate/knowledge"], there) == "not in the recipe"
        assert getattr(stages["corpus/rules"], there) == "waiting"
        assert getattr(line(found, "corpus/rules: kept"), there) is None
        assert verdict(found).startswith("No question")
        assert "not measured" in page(found)


def aged(space: Workspace) -> None:
    """As if our code had changed since: every artefact is of another fingerprint than the code here would give."""
    for path in list(space.root.rglob("manifest.json")):
        manifest = json.loads(path.read_text())
        manifest |= {"fingerprint": f"old-{manifest['fingerprint']}", "code": "0" * 32}
        manifest["inputs"] = {name: f"old-{mark}" for name, mark in manifest["inputs"].items()}
        write_json(path, manifest)
        path.parent.rename(path.parent.with_name(manifest["fingerprint"]))


def test_what_earlier_code_made_still_counts_but_other_settings_do_not(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b")
    aged(two)
    found = compare(one, two)
    assert line(found, "align, mmlu").two == 0.4375
    stages = {s.name: s for s in found.stages}
    assert (stages["corpus/dedup"].two, stages["corpus/dedup"].made) == ("stale", (True, True))
    assert stages["corpus/dedup"].changed == ("code", "inputs")
    assert all("not made" not in cell for row in parts(found)[1].tables[0].rows for cell in row)
    change(two, "corpus/dedup", lambda m: m.update(params={"config": {"threshold": 0.123}}))
    found = compare(one, two)
    assert line(found, "corpus/dedup: kept").two is None
    assert line(found, "corpus/decontaminate: kept").two is None, "it was made from the other settings' documents"
    assert line(found, "corpus/toxicity: kept").two == 40


def test_broken_predictions_are_named(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b")
    put(one, "evaluate/knowledge", "predictions", answered("01"))
    put(two, "evaluate/knowledge", "predictions", answered("01"))
    file = next(two.root.glob("evaluate/knowledge/*/predictions/*.parquet"))
    file.write_bytes(b"PAR1")
    with pytest.raises(StageFailed, match=r"part-00000\.parquet: cannot be read"):
        compare(one, two)
    (two.root / "recipe.yaml").write_text("seed: [", "utf-8")
    with pytest.raises(Invalid, match="not YAML"):
        compare(one, two)


def aquilamed(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_prints_plain_text_json_and_a_page(tmp_path: Path) -> None:
    hostile = {"kind": "offline", "model": HOSTILE}
    one, two = make(tmp_path / "a"), make(tmp_path / "b", annotator=hostile)
    change(two, "corpus/rules", lambda m: m.update(reasons={HOSTILE: 3}))
    done = aquilamed("compare", one.root, two.root)
    assert done.exit_code == 0, done.output
    assert "alert(1)" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    told = json.loads(aquilamed("compare", one.root, two.root, "--json").stdout)
    assert "annotator.model" in [c["key"] for c in told["recipe"]]
    assert {g["title"] for g in told["groups"]} >= {"Records", "Knowledge", "Time"}
    done = aquilamed("compare", one.root, two.root, "--html", tmp_path / "out.html")
    assert done.stdout.strip() == str(tmp_path / "out.html")
    html = (tmp_path / "out.html").read_text("utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_what_is_no_workspace_or_broken_is_named(tmp_path: Path) -> None:
    space = make(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty"):
        for command in (["compare", space.root, place], ["report", place], ["status", place], ["dropped", place, "x"]):
            done = aquilamed(*command)
            assert isinstance(done.exception, Invalid), command
            assert f"{place} is not a workspace" in str(done.exception)
    manifest = next(space.root.glob("corpus/rules/*/manifest.json"))
    manifest.write_text(manifest.read_text("utf-8")[:99], "utf-8")
    for command in (
        ["status", space.root],
        ["report", space.root],
        ["dropped", space.root, "corpus/rules"],
        ["compare", space.root, space.root],
    ):
        done = aquilamed(*command)
        assert isinstance(done.exception, StageFailed), command
        assert f"delete the folder {manifest.parent} to redo it" in str(done.exception)


def test_a_recipe_with_keys_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    space = make(tmp_path / "a")
    recipe = space.root / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8") + "telepathy: {}\n", "utf-8")
    for command in (["compare", space.root, space.root], ["report", space.root], ["status", space.root]):
        done = aquilamed(*command)
        assert isinstance(done.exception, Invalid), command
        assert "telepathy: unknown key" in str(done.exception)
