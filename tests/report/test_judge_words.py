"""What the report says of judges: one that follows places cannot tell, few pairs say little, and what is unscored is named."""

from typing import Any

from aquilamed.report import headline
from aquilamed.report.judge_words import cannot_tell, pairs, rounds


def comparison(n: int, agree: int, first: int, judge: str = "", **more: Any) -> dict[str, Any]:
    shares = {"agree": agree / n, "first": first / n, "second": (n - agree - first) / n} if n else {}
    position = {"n": n} | {k: {"share": v, "interval": None} for k, v in shares.items()}
    told = {"position": position} | ({"judge": judge} if judge else {})
    who = {"model": "align", "against": "reference", "benchmark": "huatuo", "n": n, "unscored": 0}
    return who | (told if not judge else {"judges": [told]}) | {"win_rate": 0.5, "win_rate_interval": [0.4, 0.6]} | more


def summary(*comparisons: dict[str, Any]) -> dict[str, Any]:
    return {"pairwise": list(comparisons), "multiturn": {}, "safety_probe": {}}


def cell(*comparisons: dict[str, Any]) -> str:
    found = summary(*comparisons)
    sets = {"perplexity": {"sets": {"pack1": None, "pack2": None}}, "knowledge": [], "knowledge_comparisons": []}
    (table,) = headline.models(found | sets | {"sft": {"first": None}, "dpo": {"before": None, "after": None}})
    return next(row for row in table.rows if row[0].startswith("huatuo: win rate"))[4]


def test_a_judge_that_takes_the_first_answer_cannot_tell() -> None:
    always = comparison(40, 2, 37)
    (said,) = pairs(summary(always, comparison(20, 0, 20)))
    assert said.startswith("The judge names the same side, or a tie, in both orders for 2 of 60 pairs (95 %: 0 to 8 %)")
    assert "in 57 the answer that was shown first won both times" in said
    assert "this judge cannot tell these answers apart" in said
    assert cannot_tell(always) == (1, 1)
    assert cell(always) == "judge cannot tell"


def test_a_judge_that_keeps_to_its_answer_is_believed() -> None:
    steady = comparison(40, 36, 4)
    (said,) = pairs(summary(steady))
    assert "for 36 of 40 pairs" in said
    assert "cannot tell" not in said
    assert "coin" not in said
    assert cannot_tell(steady) == (0, 1)
    assert cell(steady) == "50.0 (40 to 60)"


def test_too_few_pairs_are_no_proof_of_a_good_judge() -> None:
    (said,) = pairs(summary(comparison(4, 4, 0)))
    assert "too few pairs to say that this judge tells the answers apart" in said
    assert cannot_tell(comparison(4, 4, 0)) == (0, 1)


def test_a_panel_tells_while_one_of_it_does() -> None:
    one, other = comparison(30, 0, 30, "/models/small"), comparison(30, 30, 0, "large")
    both = one | {"judges": one["judges"] + other["judges"]}
    small, large = pairs(summary(both))
    assert small.startswith("small names")
    assert "cannot tell" in small
    assert large.startswith("large names")
    assert "cannot tell" not in large
    assert cannot_tell(both) == (1, 2)
    assert cell(both) == "50.0 (40 to 60), 1 of 2 judges cannot tell"
    assert cell(one) == "judge cannot tell"


def test_much_that_is_unscored_is_said() -> None:
    (said,) = pairs(summary(comparison(0, 0, 0, unscored=9) | {"n": 10}))
    assert said == (
        "9 of 10 pairs of align against reference (huatuo) are unscored (no answer, or a judgement that failed): in no share."
    )
    assert cannot_tell(comparison(0, 0, 0)) == (0, 0), "nothing was seen of it"
    models = {"align": {"average": {"n": 6, "unscored": 4}}, "base": {"average": {"n": 9, "unscored": 1}}}
    (said,) = rounds({"multiturn": {"models": models}})
    assert said.startswith("4 of 10 rounds of align are unscored")
