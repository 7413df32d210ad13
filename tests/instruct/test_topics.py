"""Departments and diseases: the lexicon is sound, whole words only, both languages one label, and an annotator's failures."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tiny_model
from aquilamed.annotate import CallError, department_rubric
from aquilamed.annotate.contract import choices
from aquilamed.config import StageFailed
from aquilamed.instruct import topics
from aquilamed.instruct.topics import TopicsConfig, departments, diseases, label, occurrences, run
from aquilamed.records import read_parts


def messages(question: str, answer: str = "ok") -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_the_lexicon_is_sound() -> None:
    assert len(departments()) >= 20
    assert len(diseases()) >= 250
    assert set(diseases().values()) <= set(departments())
    of: dict[str, str | None] = {}
    for name, term in topics._disease_terms():
        assert of.setdefault(name, term.disease) == term.disease, f"{name} names two diseases"


def test_both_languages_have_one_label() -> None:
    assert (
        label(messages("I have high blood pressure."))[1] == label(messages("我有高血压怎么办"))[1] == ["hypertension"]
    )
    assert label(messages("孩子肾病综合症怎么治疗"))[1] == ["nephrotic syndrome"]


def test_latin_terms_are_whole_words_singular_or_plural() -> None:
    assert not occurrences("the fluid is influential, and she is beautiful; wear a scarf")
    assert {t.disease for t in occurrences("two kidney stones, flu; Migraines!")} == {
        "kidney stones",
        "influenza",
        "migraine",
    }


@pytest.mark.parametrize(
    ("question", "department"),
    [
        ("宝宝三个月大，咳嗽发烧怎么办，宝宝一直哭", "paediatrics"),
        ("乙肝小三阳转氨酶高怎么治疗", "hepatology"),
        ("My teeth hurt and my gums bleed", "dentistry"),
        ("I have blurry vision and eye pain, is it glaucoma?", "ophthalmology"),
        ("月经不调，痛经很严重", "gynaecology"),
        ("今天天气很好", None),
    ],
)
def test_departments_by_rules(question: str, department: str | None) -> None:
    assert label(messages(question))[0] == department


def test_the_question_outweighs_what_the_answer_lists() -> None:
    answer = "It may be gastritis, or stomach ulcer."
    assert label(messages("My knee joint hurts, the x-ray shows arthritis of the bone", answer))[0] == "orthopaedics"


class Doctor:
    """Answers by the round; "?" fails."""

    kind, name = "local", "doctor"

    def __init__(self, first: dict[str, str], second: dict[str, str] | None = None) -> None:
        self.answers = (first, second or {})

    def annotate(self, rubric: Any, items: list[dict[str, str]], round: int = 1) -> list[Any]:
        said = [self.answers[round - 1][next(k for k in self.answers[0] if k in i["dialogue"])] for i in items]
        return [CallError("timeout", "late") if s == "?" else rubric.schema(department=s) for s in said]

    def statistics(self) -> dict[str, Any]:
        return {"calls": 4}


def ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, doctor: Any, **config: Any
) -> tuple[pl.DataFrame, dict[str, Any]]:
    frame = pl.DataFrame({"id": list("abcd"), "messages": [messages(t) for t in ("one", "two", "three", "four")]})
    before = tiny_model.table(tmp_path, "instruct/safety", frame)
    ctx = tiny_model.context(tmp_path, tmp_path, {"instruct/safety": before})
    monkeypatch.setattr(type(ctx), "annotator", lambda self: doctor)
    metrics = run(ctx, TopicsConfig(by="annotator", **config)).metrics
    return read_parts(ctx.out / "kept"), metrics


def test_an_annotators_departments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"one": "cardiology", "two": "none", "three": "neurology", "four": "?"}
    second = {"one": "cardiology", "two": "none", "three": "oncology", "four": "dentistry"}
    kept, metrics = ask(tmp_path, monkeypatch, Doctor(first, second), two_rounds=True, max_failed=0.5)
    assert kept["department"].to_list() == ["cardiology", None, None, None]
    notes = kept["department_note"].to_list()
    assert notes[:3] == [None, None, "round 1 says neurology, round 2 says oncology"]
    assert notes[3].startswith("no answer: round 1: timeout")
    assert (metrics["failed"], metrics["disagreed"]) == (1, 1)
    assert metrics["departments"] == {"cardiology": 1}


def test_too_many_failures_stop_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"one": "cardiology", "two": "none", "three": "?", "four": "?"}
    with pytest.raises(StageFailed, match="2 of 4 dialogues got no department"):
        ask(tmp_path, monkeypatch, Doctor(first))


def test_the_offline_annotator_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor = Doctor({})
    doctor.kind = "offline"
    with pytest.raises(StageFailed, match="by: rules"):
        ask(tmp_path, monkeypatch, doctor)


def test_the_rubric_closes_the_list_and_has_two_wordings() -> None:
    rubric = department_rubric(departments())
    assert choices(rubric.schema) == {"department": [*departments(), "none"]}
    assert rubric.fields == ["dialogue"]
    prompts = [rubric.render({"dialogue": "x"}, round=r) for r in (1, 2)]
    assert prompts[0] != prompts[1]
    assert all("心血管内科" in p for p in prompts)


def test_departments_of_a_public_set(public_data: Path) -> None:
    """The half that was not looked at (benchmarks/accuracy_departments.py has the figures)."""
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from accuracy_departments import measure

    figures = measure(public_data)
    assert figures["departments_accuracy"] > 0.9
