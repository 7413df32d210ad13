"""A reviewer's desk: which item comes next, how it is shown, and what becomes of a verdict.

All reviewers work through the same items in one seeded order, those that fewer than two have judged first: agreement needs
two, coverage needs no third. Which answer is A is a coin per reviewer and item; the store records it.
"""

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import ValidationError

from aquilamed.config import Invalid
from aquilamed.prefer import review
from aquilamed.prefer.agreement import agreement
from aquilamed.prefer.judgements import Decision, Judgement, Vote, decide, shown_hash, text
from aquilamed.recipe import Recipe, load_recipe
from aquilamed.review import answers
from aquilamed.review.answers import AnswerJudgement, single_answers
from aquilamed.review.store import ReviewStore, Verdict, now
from aquilamed.workspace import Workspace

Queue = Literal["pair", "answer"]
ENOUGH = 2
"""An item that so many have judged comes after all that fewer have."""
_FRESH = 10.0  # seconds for which what was read of the workspace is not looked up again


@dataclass(frozen=True)
class Shown:
    """An item as one reviewer sees it: `answers` are A and B, or the single answer."""

    kind: Queue
    item: str
    lang: str
    prompt: list[dict[str, str]]
    answers: tuple[str, ...]
    shown: str
    texts: str
    swapped: bool


@dataclass(frozen=True)
class Dispute:
    """A pair that its reviewers do not agree on, as the adjudicator sees it, and what each of them said in those letters."""

    shown: Shown
    said: list[dict[str, Any]]


@dataclass(frozen=True)
class _Items:
    recipe: Recipe
    pairs: dict[str, dict[str, Any]]
    """Every pair that verdicts may be about."""
    order: dict[Queue, dict[str, Shown]]
    """The queues, unswapped."""
    problem: str
    """Why there are no pairs; "" when there are."""


class Desk:
    """The review of one workspace; safe to share between threads."""

    def __init__(self, workspace: Workspace, store: ReviewStore) -> None:
        self.workspace, self.store = workspace, store
        self._lock = threading.Lock()
        self._found: tuple[float, _Items] | None = None

    def next(self, rater: str, kind: Queue) -> Shown | None:
        """The item to judge now, or None when the reviewer is through."""
        counts, mine = self.store.counts(kind), self.store.judged(rater, kind)
        left = [s for s in self._items().order[kind].values() if (s.item, s.texts) not in mine]
        first = next((s for s in left if counts.get((s.item, s.texts), 0) < ENOUGH), left[0] if left else None)
        return None if first is None else self._for(rater, first)

    def progress(self, rater: str, kind: Queue) -> tuple[int, int]:
        """(judged or skipped, all) of the queue."""
        mine, order = self.store.judged(rater, kind), self._items().order[kind]
        return sum((s.item, s.texts) in mine for s in order.values()), len(order)

    def judge(self, rater: str, shown: Shown, said: Mapping[str, Any]) -> None:
        """Keep a verdict; it is on disk when this returns.

        Args:
            said: a judgement's own fields: verdict, aspects, dangerous, edited, comment.

        Raises `Invalid` for a verdict that is none, one on texts that have changed, and a second one.
        """
        self.may(rater)
        current = self._current(shown)
        if current is None or self._for(rater, current) != shown:
            raise Invalid("the texts of this item have changed since it was shown; it is shown anew")
        form = Judgement if shown.kind == "pair" else AnswerJudgement
        keys = {shown.kind: shown.item, "shown": shown.shown, "rater": rater, "time": now()}
        given = {k: v for k, v in said.items() if k in form.model_fields}
        try:
            judged = form.model_validate({**given, **keys})
        except ValidationError as error:
            raise Invalid("; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())) from error
        kept = judged.model_dump(mode="json", exclude_defaults=True)
        self.store.add(rater, shown.kind, shown.item, shown.texts, shown.swapped, kept)

    def undo(self, rater: str) -> tuple[Shown, Verdict] | None:
        """Take back the reviewer's last verdict; returns the item, to be judged again, and what was said."""
        undone = self.store.undo(rater, ("pair", "answer"))
        if undone is None:
            return None
        order = self._items().order["pair" if undone.kind == "pair" else "answer"]
        found = order.get(undone.item) or self._current_pair(undone.item)
        return None if found is None else (self._for(rater, found), undone)

    def may(self, rater: str) -> None:
        """Raises `Invalid` for a reviewer whom the recipe does not name though it names some: a run would refuse the verdict."""
        config = self._items().recipe.prefer.select
        if config.raters and rater not in (*config.raters, *config.adjudicators):
            raise Invalid(f"{rater!r} is not in the recipe's prefer.select.raters; ask for the name to be added there")

    def adjudicates(self, rater: str) -> bool:
        """Whether the recipe gives the reviewer the last word (`prefer.select.adjudicators`)."""
        return rater in self._items().recipe.prefer.select.adjudicators

    def disputes(self, rater: str) -> list[Dispute]:
        """Pairs whose votes decide nothing, or whose answers not all call dangerous alike, for an adjudicator.

        Raises `Invalid` for somebody else: nobody sees others' verdicts before.
        """
        if not self.adjudicates(rater):
            raise Invalid("only the recipe's prefer.select.adjudicators see others' verdicts")
        found = []
        for pair, votes in sorted(self.votes().items()):
            if self._open(votes) and (current := self._current_pair(pair)) is not None:
                mine = self._for(rater, current)
                found.append(Dispute(mine, [self._told(mine, v) for v in votes]))
        return found

    def decision(self, pair: str) -> Decision | None:
        """What a pair's votes come to."""
        return decide(self.votes().get(pair, []), self._items().recipe.prefer.select.adjudicators)

    def votes(self) -> dict[str, list[Vote]]:
        """The standing votes by pair: the web's and those that came in files; those on texts that have changed left out."""
        from aquilamed.review.hand_over import hand_over_verdicts

        items = self._items()
        hand_over_verdicts(self.workspace.root, self.store)
        select = items.recipe.prefer.select.model_copy(update={"stale_verdicts": "skip"})
        prefer = items.recipe.prefer.model_copy(update={"select": select})
        return review.all_votes(items.recipe.model_copy(update={"prefer": prefer}), self.workspace, items.pairs)[0]

    def agreement(self, names: bool = False) -> dict[str, Any]:
        """How far reviewers agree: `pair` (`prefer.agreement.agreement`), `answer` (`review.answers.agreement`) and `open`,
        how many pairs wait for an adjudicator."""
        recipe, votes = self._items().recipe, self.votes()
        said: dict[str, dict[str, str]] = {}
        for verdict in self.store.verdicts("answer"):
            if verdict.said["verdict"] != "skip":
                said.setdefault(verdict.item, {})[verdict.rater] = verdict.said["verdict"]
        pairs = agreement(votes, recipe.prefer.select.adjudicators, recipe.seed, names=names)
        single = answers.agreement(said)
        if not names:
            called = {name: f"rater {n}" for n, name in enumerate(single["raters"], 1)}
            single["raters"] = {called[name]: count for name, count in single["raters"].items()}
            single["two"] = [t | {"raters": [called[r] for r in t["raters"]]} for t in single["two"]]
        return {"pair": pairs, "answer": single, "open": sum(self._open(v) for v in votes.values())}

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Every pair that verdicts may be about, by id."""
        return self._items().pairs

    def problem(self) -> str:
        """Why there are no pairs to review; "" when there are."""
        return self._items().problem

    def _open(self, votes: Sequence[Vote]) -> bool:
        decision = decide(votes, self._items().recipe.prefer.select.adjudicators)
        if decision is None or decision.adjudicated or sum(decision.votes.values()) < 2:
            return False
        return decision.verdict is None or len({v.dangerous for v in votes if v.verdict != "skip"}) > 1

    def _told(self, mine: Shown, vote: Vote) -> dict[str, Any]:
        chosen_is_b = mine.swapped
        letter = {"chosen": "AB"[chosen_is_b], "rejected": "BA"[chosen_is_b]}
        return {
            "rater": vote.rater,
            "verdict": letter.get(vote.verdict, vote.verdict),
            "aspects": {name: letter.get(side, side) for name, side in vote.aspects.items()},
            "dangerous": sorted(letter[side] for side in vote.dangerous),
            "edited": vote.edited,
            "comment": vote.comment,
        }

    def _for(self, rater: str, item: Shown) -> Shown:
        """The item as this reviewer sees it."""
        if item.kind == "answer" or not _coin(rater, item.item):
            return item
        turned = item.answers[::-1]
        return replace(item, answers=turned, shown=_pair_hash(item.prompt, turned), swapped=True)

    def _current(self, shown: Shown) -> Shown | None:
        if shown.kind == "answer":
            return self._items().order["answer"].get(shown.item)
        return self._current_pair(shown.item)

    def _current_pair(self, item: str) -> Shown | None:
        pair = self._items().pairs.get(item)
        return None if pair is None else _pair(pair)

    def _items(self) -> _Items:
        with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > _FRESH:
                self._found = time.monotonic(), self._read()
            return self._found[1]

    def _read(self) -> _Items:
        recipe = load_recipe(self.workspace.root / "recipe.yaml")
        pairs: dict[str, dict[str, Any]] = {}
        found: list[dict[str, Any]] = []
        problem = ""
        try:
            pairs = review.pairs(recipe, self.workspace)
            found = review.candidates(recipe, self.workspace, current=pairs)
        except Invalid as error:  # single answers may be there all the same
            problem = str(error)
        single = single_answers(recipe, self.workspace)
        order: dict[Queue, dict[str, Shown]] = {
            "pair": {p["id"]: _pair(p) for p in found},
            "answer": {d["id"]: _single(d) for d in single},
        }
        return _Items(recipe, pairs, order, problem)


def _coin(rater: str, item: str) -> bool:
    return bool(hashlib.blake2b(f"order\0{rater}\0{item}".encode(), digest_size=1).digest()[0] & 1)


def _pair(pair: Mapping[str, Any]) -> Shown:
    sides = text(pair["chosen"]), text(pair["rejected"])
    shown = _pair_hash(pair["prompt"], sides)
    return Shown(
        "pair", pair["id"], pair["lang"], pair["prompt"], sides, shown, texts_hash(pair["prompt"], sides), False
    )


def _single(dialogue: Mapping[str, Any]) -> Shown:
    *prompt, last = dialogue["messages"]
    shown = shown_hash(prompt, [last], [])
    return Shown("answer", dialogue["id"], dialogue["lang"], prompt, (last["content"],), shown, shown, False)


def _pair_hash(prompt: Sequence[Any], sides: Sequence[str]) -> str:
    first, second = ([{"role": "assistant", "content": side}] for side in sides)
    return shown_hash(prompt, first, second)


def texts_hash(prompt: Sequence[Any], sides: Sequence[str]) -> str:
    """A hash of a prompt and two answers in whatever order."""
    return min(_pair_hash(prompt, sides), _pair_hash(prompt, sides[::-1]))
