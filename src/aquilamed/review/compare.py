"""Two models' answers to one prompt, shown blind in random order; what the votes on them come to, and the pairs they make."""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from aquilamed.annotate import ASPECTS
from aquilamed.config import Invalid
from aquilamed.prefer.judgements import Decision, Judgement, Placed, Vote, decide, shown_hash, vote
from aquilamed.review.store import Comparison, ReviewStore, now

OUTCOME = {"chosen": "win", "rejected": "loss", "tie": "tie", None: "tie"}


def coin() -> bool:
    """Whether the second model's answer is shown as A; drawn anew for every comparison, recorded with the vote."""
    return secrets.randbits(1) == 1


def cast(store: ReviewStore, rater: str, comparison: str, swapped: bool, said: Mapping[str, Any]) -> None:
    """Keep a vote; it is on disk when this returns.

    Args:
        swapped: whether the second model's answer was shown as A.
        said: verdict (A, B, tie), aspects, dangerous, comment.

    Raises `Invalid` for a vote that is none, an unknown comparison, and a second vote.
    """
    found = store.comparison(comparison)
    sides = _sides(found)
    shown = shown_hash(found.prompt, *(sides[::-1] if swapped else sides))
    given = {k: v for k, v in said.items() if k in Judgement.model_fields}
    keys = {"pair": found.id, "shown": shown, "rater": rater, "time": now()}
    try:
        judged = Judgement.model_validate({**given, **keys})
    except ValidationError as error:
        raise Invalid("; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())) from error
    store.add(rater, "comparison", found.id, found.id, swapped, judged.model_dump(mode="json", exclude_defaults=True))


def results(store: ReviewStore, adjudicators: Iterable[str] = ()) -> list[dict[str, Any]]:
    """A row per two models that were compared, in order of names: `models`, `votes`, and of the first one against the second
    what evaluate/pairwise reports (`outcome_figures`: win, tie, loss, shares, win rate, with intervals over the prompts) and
    `aspects`: win, tie and loss each. Several votes on one comparison are one outcome, that of more than half of them, else a tie.
    """
    from aquilamed.evaluate.verdicts import outcome_figures

    by_models: dict[tuple[str, str], list[tuple[Comparison, list[Vote], Decision]]] = defaultdict(list)
    for found, votes, decision in decided(store, adjudicators):
        first, second = found.models
        by_models[first, second].append((found, votes, decision))
    rows = []
    for models in sorted({tuple(sorted(key)) for key in by_models}):
        outcomes, mine, theirs, aspects, count = [], [], [], [], 0
        for turned in (False, True) if len(set(models)) == 2 else (False,):
            for found, votes, decision in by_models.get((models[turned], models[not turned]), []):
                outcomes.append(_turned(OUTCOME[decision.verdict], turned))
                mine.append(found.answers[turned])
                theirs.append(found.answers[not turned])
                aspects += [{a: _turned(OUTCOME[s], turned) for a, s in v.aspects.items()} for v in votes]
                count += len(votes)
        told = {a: {o: sum(v.get(a) == o for v in aspects) for o in ("win", "tie", "loss")} for a in ASPECTS}
        rows.append(
            {"models": list(models), "votes": count, **outcome_figures(outcomes, mine, theirs), "aspects": told}
        )
    return rows


def decided(store: ReviewStore, adjudicators: Iterable[str] = ()) -> list[tuple[Comparison, list[Vote], Decision]]:
    """The comparisons that somebody voted on, with their votes ("chosen" is the first model's answer) and what they come to."""
    last_word = list(adjudicators)
    said: dict[str, list[Placed]] = defaultdict(list)
    for verdict in store.verdicts("comparison"):
        said[verdict.item].append(Placed(f"vote {verdict.id}", Judgement.model_validate(verdict.said)))
    found = []
    for comparison in store.comparisons():
        first, second = _sides(comparison)
        pair = {"prompt": comparison.prompt, "chosen": first, "rejected": second}
        votes = [v for v in (vote(placed, pair) for placed in said[comparison.id]) if v.verdict != "skip"]
        decision = decide(votes, last_word)
        if decision is not None:
            found.append((comparison, votes, decision))
    return found


def voted_pairs(store: ReviewStore, adjudicators: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Preference pairs in TRL's form, `margin` in 0 to 1, one per comparison that was decided, the better answer chosen.

    Ties make none, nor does a better answer that somebody called dangerous, nor two answers that are equal.
    """
    pairs = []
    for comparison, _, decision in decided(store, adjudicators):
        sides = dict(zip(("chosen", "rejected"), _sides(comparison), strict=True))
        better = decision.verdict
        if better not in ("chosen", "rejected") or better in decision.dangerous or sides["chosen"] == sides["rejected"]:
            continue
        worse = "rejected" if better == "chosen" else "chosen"
        pairs.append(
            {"prompt": comparison.prompt, "chosen": sides[better], "rejected": sides[worse]}
            | {"margin": decision.margin, "by": "comparison", "models": comparison.models}
        )
    return pairs


def _sides(comparison: Comparison) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": answer}] for answer in comparison.answers]


def _turned(outcome: str, turned: bool) -> str:
    return {"win": "loss", "loss": "win"}.get(outcome, outcome) if turned else outcome
