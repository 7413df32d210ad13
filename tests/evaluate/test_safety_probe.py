"""The safety probe: its cases, who decides, the counts, and the stage on a tiny model."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import tiny_model
from aquilamed.annotate import CallError, SafeAnswer
from aquilamed.evaluate import backends, safety
from aquilamed.evaluate.kept import Kept
from aquilamed.evaluate.probe import KINDS, LANGUAGES, cases
from aquilamed.evaluate.safety import EXPECTED, SafetyProbeConfig, score, summarise
from aquilamed.evaluate.triage import rule
from aquilamed.records import digest
from aquilamed.report.probe_sections import probe, probe_text

SMALL = SafetyProbeConfig(models=["base"], limit=2, max_new_tokens=8)


def test_the_cases_are_well_formed() -> None:
    every = cases()
    assert len({c.id for c in every}) == len(every)
    assert len({c.text for c in every}) == len(every)
    count = Counter((c.kind, c.lang, c.action) for c in every)
    for lang in LANGUAGES:
        assert count["red_flag", lang, "emergency"] >= 60
        assert count["trap", lang, "warn"] >= 20
        assert count["harmless", lang, "answer"] >= 20
    allowed = {"red_flag": {"emergency"}, "trap": {"warn"}, "harmless": {"answer"}}
    allowed["not_urgent"] = {"see_doctor_soon", "self_care"}
    assert all(c.action in allowed[c.kind] for c in every)
    assert {c.action for c in every} == set(EXPECTED)
    chinese = [c.lang == "zh" for c in every]
    assert [any("\u4e00" <= x <= "\u9fff" for x in c.text) for c in every] == chinese
    wanted = {
        "cardiac",
        "stroke",
        "suicide",
        "anaphylaxis",
        "infant_fever",
        "meningitis",
        "gi_bleeding",
        "pre_eclampsia",
    }
    wanted |= {"dka", "sepsis", "torsion", "cauda_equina", "overdose", "choking"}
    for lang in LANGUAGES:
        assert wanted <= {c.category for c in every if c.lang == lang and c.kind == "red_flag"}


def test_repeating_the_question_passes_no_case() -> None:
    assert [c.id for c in cases() if rule(c, c.text).outcome == "right"] == []


def test_a_limit_draws_by_seed() -> None:
    drawn = cases(["en"], 3, seed=1)
    assert Counter(c.kind for c in drawn) == dict.fromkeys(KINDS, 3)
    assert drawn == cases(["en"], 3, seed=1)
    assert drawn != cases(["en"], 3, seed=2)


class Judge:
    """Says what it is told to, and remembers what it was shown."""

    kind = name = "test"

    def __init__(self, *says: Any) -> None:
        self.says, self.shown = list(says), []  # type: ignore[var-annotated]

    def annotate(self, rubric: Any, items: list[dict[str, str]], round: int = 1) -> list[Any]:
        self.shown += items
        return [self.says.pop(0) for _ in items]


def test_the_judge_decides_only_what_the_rules_leave_open() -> None:
    asked = [c for c in cases(["en"]) if c.action == "emergency"][:5]
    answers = ["Call 911 now.", "Press here.", "Lie flat.", "Drink.", "Breathe."]
    judge = Judge(
        SafeAnswer(analysis="fine", verdict="right"),
        SafeAnswer(verdict="wrong"),
        SafeAnswer(verdict="unclear"),
        CallError("timeout", "60 s"),
    )
    scored = score(judge, asked, answers)  # type: ignore[arg-type]
    assert [(by, r.outcome) for by, r in scored] == [
        ("rules", "right"),
        ("judge", "right"),
        ("judge", "wrong"),
        ("nobody", "undecided"),
        ("nobody", "undecided"),
    ]
    assert [i["answer"] for i in judge.shown] == answers[1:]
    assert judge.shown[0]["expected"] == EXPECTED["emergency"]
    assert "timeout: 60 s" in scored[4][1].detail


def test_undecided_is_counted_and_never_a_pass() -> None:
    outcomes = ["right", "right", "wrong", "undecided", "undecided"]
    rows = [{"model": "m", "outcome": o, "by": "rules", "names_it": n == 0} for n, o in enumerate(outcomes)]
    (found,) = summarise(rows, "model")
    assert (found["n"], found["right"], found["wrong"], found["undecided"]) == (5, 2, 1, 2)
    assert found["share"] == pytest.approx(2 / 3)
    assert (found["at_least"], found["at_most"], found["named"]) == (0.4, 0.8, 0.2)
    low, high = found["interval"]
    assert 0 <= low < 2 / 3 < high <= 1
    (none,) = summarise(rows[3:], "model")
    assert (none["share"], none["interval"], none["at_least"]) == (None, None, 0.0)


def test_end_to_end_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = tiny_model.context(tmp_path, tiny_model.build(tmp_path / "base"), {})
    # As after a crash: twelve answers are there, and only the other four are generated.
    asked = cases(LANGUAGES, 2, ctx.seed)
    messages = [[{"role": "user", "content": c.text}] for c in asked]
    kept = Kept(ctx.work / "answers" / "base.jsonl")
    kept.add({digest(m): "Call 911 now. 很难说。" for m in messages[:12]})
    generated: list[int] = []
    real = backends.generate

    def counted(*args: Any, **more: Any) -> list[str]:
        generated.append(len(args[2]))
        return real(*args, **more)

    monkeypatch.setattr(backends, "generate", counted)
    result = safety.run(ctx, SMALL)
    assert sum(generated) == 4
    rows = pl.read_parquet(ctx.out / "answers" / "part-00000.parquet")
    results = result.metrics["results"]
    assert [(r["kind"], r["lang"], r["n"]) for r in results] == [(k, lang, 2) for k in KINDS for lang in LANGUAGES]
    assert [r["right"] for r in results[:2]] == [2, 2]
    open_cases = rows.filter(pl.col("outcome") == "undecided")
    assert open_cases.height >= 4, "no trap is warned of"
    assert open_cases["detail"].str.contains("unsupported").all()
    assert set(open_cases["by"]) == {"nobody"}
    assert result.metrics["judge"]["errors"] == {"unsupported": open_cases.height}
    first = {p.name: p.read_bytes() for p in ctx.out.rglob("*") if p.is_file()}
    assert safety.run(ctx, SMALL).metrics == result.metrics
    assert sum(generated) == 4
    assert {p.name: p.read_bytes() for p in ctx.out.rglob("*") if p.is_file()} == first
    run: Any = SimpleNamespace(metric=lambda stage, key: result.metrics[key])
    assert "no judge" in probe_text(run)[1]
    table, folded = probe({"safety_probe": result.metrics})
    assert table.rows[0][:4] == ["base", "Emergencies: sent to emergency care", "zh", "2"]
    assert folded.folded
    assert probe({"safety_probe": {}}) == []
