"""Pairwise and per-round judging: the order must not decide, and a failure is never a score."""

from pathlib import Path
from typing import Any

import pytest

from aquilamed.annotate import ASPECTS, CallError, TurnScores, Verdict
from aquilamed.evaluate import parity
from aquilamed.evaluate.multiturn import MultiturnConfig, converse, summarise
from aquilamed.evaluate.verdicts import aspects, judge_figures, judge_pairs
from aquilamed.records import Dialogue, Message


def dialogue(*texts: str) -> Dialogue:
    messages: list[Message] = [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]  # type: ignore[typeddict-item]
    return Dialogue("d", "s", "l", "o", "single_turn_QA_en", "en", messages)


def verdict(side: str) -> Verdict:
    """One side better in everything."""
    return Verdict(**dict.fromkeys((*ASPECTS, "winner"), side))  # type: ignore[arg-type]


class Judge:
    """Answers by a rule given to it."""

    kind = name = "test"

    def __init__(self, rule: Any) -> None:
        self.rule = rule

    def annotate(self, rubric: Any, items: list[dict[str, str]], round: int = 1) -> list[Any]:
        return [self.rule(i) for i in items]


ITEMS = [dialogue("q", "ref"), dialogue("q", "ref")]


def outcomes(rule: Any) -> list[str]:
    return [o for o, _, _ in judge_pairs(Judge(rule), ITEMS, ["long answer", "x"], ["short", "longer"])]  # type: ignore[arg-type]


def test_a_judge_that_sees_the_answers_decides() -> None:
    assert outcomes(lambda i: verdict("A" if len(i["answer_a"]) > len(i["answer_b"]) else "B")) == [
        "win",
        "loss",
    ]
    assert outcomes(lambda i: verdict("tie")) == ["tie", "tie"]


def test_a_judge_that_sees_the_order_only_ties() -> None:
    assert outcomes(lambda i: verdict("A")) == ["tie", "tie"]


def test_a_failed_judgement_is_unscored_and_no_tie() -> None:
    def fails_backwards(item: dict[str, str]) -> Any:
        return CallError("timeout", "60 s") if item["answer_b"] == "x" else verdict("A")

    assert outcomes(fails_backwards) == ["tie", "unscored"]


def test_aspects_are_counted_by_the_same_rule() -> None:
    def careful(item: dict[str, str]) -> Any:
        longer = "A" if len(item["answer_a"]) > len(item["answer_b"]) else "B"
        if item["answer_a"] == "x":
            return CallError("timeout", "60 s")
        return verdict(longer).model_copy(update={"fluency": "A", "relevance": "tie"})

    judged = judge_pairs(Judge(careful), ITEMS, ["long answer", "x"], ["short", "longer"])  # type: ignore[arg-type]
    assert [o for o, _, _ in judged] == ["win", "unscored"]
    counts = aspects(judged)
    assert counts["proficiency"] == {"win": 1, "tie": 0, "loss": 0}
    assert counts["fluency"] == {"win": 0, "tie": 1, "loss": 0}, "A in both orders is the position, not the answer"
    assert counts["relevance"] == {"win": 0, "tie": 1, "loss": 0}


def test_a_judge_that_sees_the_order_is_found_out() -> None:
    items, answers = [dialogue("q", "ref")] * 40, ["a" * (10 + 2 * n) for n in range(40)]

    def figures(rule: Any) -> dict[str, Any]:
        judged = judge_pairs(Judge(rule), items, answers, ["b" * 31] * 40)  # type: ignore[arg-type]
        return judge_figures(judged, answers, ["b" * 31] * 40)

    first = figures(lambda i: verdict("A"))["position"]
    assert (first["first"]["share"], first["second"]["share"], first["agree"]["share"]) == (1.0, 0.0, 0.0)
    assert first["first"]["interval"][0] == pytest.approx(0.025 ** (1 / 40)), "40 of 40 is no certainty"
    assert figures(lambda i: verdict("B"))["position"]["second"]["share"] == 1.0
    fair = figures(lambda i: verdict("A" if len(i["answer_a"]) > len(i["answer_b"]) else "B"))
    assert (fair["position"]["first"]["share"], fair["position"]["agree"]["share"]) == (0.0, 1.0)
    assert (fair["win"], fair["loss"]) == (29, 11)
    assert fair["shares"]["win"]["share"] == 29 / 40
    assert fair["win_rate"] == 29 / 40
    assert "separates" in fair["length_controlled"]["reason"], "the judge saw nothing but length"


def test_unscored_pairs_are_in_no_share() -> None:
    def fails(item: dict[str, str]) -> Any:
        return CallError("timeout", "60 s") if "x" in (item["answer_a"], item["answer_b"]) else verdict("tie")

    judged = judge_pairs(Judge(fails), ITEMS, ["long answer", "x"], ["short", "longer"])  # type: ignore[arg-type]
    found = judge_figures(judged, ["long answer", "x"], ["short", "longer"])
    assert (found["tie"], found["unscored"], found["shares"]["tie"]["share"], found["win_rate"]) == (1, 1, 1.0, 0.5)
    assert found["position"]["n"] == 1
    assert found["characters"] == {"answer": 11, "other": 5}
    nothing = judge_figures([("unscored", "", None)], ["x"], ["y"])
    assert (nothing["shares"]["win"], nothing["win_rate"]) == ({"share": None, "interval": None}, None)


class Writer:
    """Answers with the number of turns it was shown."""

    def __init__(self) -> None:
        self.seen: list[list[list[Message]]] = []

    def get(self, conversations: list[list[Message]], label: str) -> list[str]:
        self.seen.append([list(c) for c in conversations])
        return [f"own {len(c)}" for c in conversations]


@pytest.mark.parametrize(("history", "said"), [("own", "own 1"), ("gold", "a1")])
def test_the_history_is_the_models_own_or_the_references(history: Any, said: str) -> None:
    writer = Writer()
    dialogues = [dialogue("q1", "a1", "q2", "a2"), dialogue("only", "one")]
    rounds = converse(writer.get, dialogues, MultiturnConfig(history=history))  # type: ignore[arg-type]
    assert [(i, n) for i, n, _, _ in rounds] == [(0, 1), (1, 1), (0, 2)]
    assert [m["content"] for m in writer.seen[1][0]] == ["q1", said, "q2"]


def test_averages_leave_unscored_rounds_out() -> None:
    good = TurnScores(fluency=4, relevance=5, completeness=2, proficiency=3).model_dump()
    rows = [
        {"benchmark": "b", "id": "1", "round": 1, "error": None, **good},
        {"benchmark": "b", "id": "2", "round": 1, "error": "timeout", **dict.fromkeys(ASPECTS)},
        {"benchmark": "b", "id": "1", "round": 2, "error": "timeout", **dict.fromkeys(ASPECTS)},
    ]
    found = summarise(rows)
    counts = {"n": 1, "dialogues": 1, "unscored": 1}
    assert found["rounds"][0] == {"round": 1, **counts, **good, "intervals": dict.fromkeys(ASPECTS)}
    assert found["rounds"][1]["fluency"] is None
    assert found["average"]["n"] == 1


def test_rounds_of_one_dialogue_are_drawn_together() -> None:
    def rows(score: Any) -> list[dict[str, Any]]:
        places = [(d, r) for d in range(20) for r in range(1, 6)]
        told = {"benchmark": "b", "error": None}
        return [told | {"id": str(d), "round": r, **dict.fromkeys(ASPECTS, score(d, r))} for d, r in places]

    def width(found: dict[str, Any]) -> float:
        low, high = found["average"]["intervals"]["fluency"]
        return float(high - low)

    # The same scores, once all alike within a dialogue, once spread over all.
    alike, mixed = summarise(rows(lambda d, r: 1 + d % 5)), summarise(rows(lambda d, r: r))
    assert alike["average"]["fluency"] == mixed["average"]["fluency"] == 3
    assert width(alike) > 1
    assert width(mixed) == 0, "every dialogue has the same mean"
    assert alike["average"]["dialogues"] == 20
    assert alike["benchmarks"]["b"]["average"] == alike["average"]
    assert summarise(rows(lambda d, r: 5))["average"]["intervals"]["fluency"][0] < 4.5, "20 dialogues are no certainty"


def test_the_papers_numbers_stand_beside_ours() -> None:
    common = {"shots": 3, "interval": None, "invalid": 0, "leaked": {"n": 0}, "clean": {"n": 0}}
    result = {"model": "base", "task": "medqa", "n": 100, "accuracy": 0.25, "stderr": 0.04, "chance": 0.25, **common}
    empty = {"model": "align", "task": "exam", "n": 0, "accuracy": None, "stderr": None, "chance": None, **common}
    one, two = parity.beside([result, empty])
    assert (one["accuracy"], one["paper"], one["paper_model"]) == (25.0, 38.65, "Aquila")
    assert (two["accuracy"], two["paper"]) == (None, None)


def test_answers_of_models_are_kept(tmp_path: Path) -> None:
    import tiny_model
    from aquilamed.evaluate.contestants import Answers, Contestant
    from aquilamed.models import ModelConfig

    ctx = tiny_model.context(tmp_path, tiny_model.build(tmp_path / "base"), {})
    model = Contestant("base", ModelConfig(path=str(tmp_path / "base")), "")
    asked: list[list[Message]] = [[{"role": "user", "content": t}] for t in ("fever", "心脏")]
    first = Answers(ctx, model, max_new_tokens=4, batch_size=2).get(asked, "t")
    again = Answers(ctx, Contestant("base", ModelConfig(path="gone"), ""), max_new_tokens=4, batch_size=2)
    assert again.get(asked[::-1], "t") == first[::-1]
