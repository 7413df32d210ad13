"""Human judgements of pairs: one form, from the file that a doctor fills in to what it means for the pair.

A judgement is one JSON object per line. The two answers were shown as A and B in an order that hides which one the model's
judge preferred; `shown` is a hash of the prompt and both answers in that order, so a judgement finds its side again
whatever the seed, and one of a text that has changed since is noticed.

    {"pair": "…", "shown": "…", "rater": "dr.li", "verdict": "A", "aspects": {"fluency": "tie", …},
     "dangerous": ["B"], "edited": "…", "comment": "…", "time": "2026-11-26T09:30:00Z"}
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from aquilamed.config import Config, Invalid
from aquilamed.records import digest
from aquilamed.sources.files import BadRecord, read_records

Letter = Literal["A", "B"]
Aspect = Literal["fluency", "relevance", "completeness", "proficiency"]
Side = Literal["chosen", "rejected", "tie"]
TEXTS = ("kind", "lang", "prompt", "answer_a", "answer_b")
"""What an exported line shows beside the judgement's own fields."""


class Judgement(Config):
    """What one rater says of one pair."""

    pair: str = Field(min_length=1)
    """The pair's id."""
    shown: str = Field(pattern="^[0-9a-f]{16}$")
    """The hash of what was shown (`shown_hash`)."""
    rater: str = Field(min_length=1, max_length=200)
    """Who judged."""
    verdict: Literal["A", "B", "tie", "skip"]
    """The better answer; "skip" is no vote."""
    aspects: dict[Aspect, Literal["A", "B", "tie"]] = {}
    """The better answer in single aspects."""
    dangerous: list[Letter] = []
    """Answers that could harm a patient."""
    edited: str = ""
    """The better answer as the rater corrected it."""
    comment: str = ""
    """Anything the rater wants to say."""
    time: str = ""
    """When, in ISO 8601."""

    @field_validator("time")
    @classmethod
    def _iso(cls, value: str) -> str:
        if value:
            datetime.fromisoformat(value)
        return value

    @field_validator("dangerous")
    @classmethod
    def _once(cls, value: list[Letter]) -> list[Letter]:
        return sorted(set(value))

    @model_validator(mode="after")
    def _edited_is_the_better(self) -> Self:
        if self.edited.strip() and self.verdict not in ("A", "B"):
            raise ValueError("an edited answer needs the verdict A or B: it replaces the better answer")
        return self


class Placed(NamedTuple):
    """A judgement and where it stands: "file:line"."""

    origin: str
    said: Judgement


@dataclass(frozen=True)
class Vote:
    """A judgement with its letters undone."""

    rater: str
    verdict: Literal["chosen", "rejected", "tie", "skip"]
    aspects: Mapping[str, Side]
    dangerous: frozenset[str]
    edited: str
    comment: str = ""


@dataclass(frozen=True)
class Decision:
    """What a pair's votes come to. `verdict` is None where they decide nothing.

    `dangerous` holds the sides that somebody called dangerous; `votes` counts chosen, rejected and tie among those that
    count: the adjudicators' where there are any.
    """

    verdict: Side | None
    edited: str
    dangerous: frozenset[str]
    votes: Mapping[str, int]
    adjudicated: bool

    @property
    def margin(self) -> float:
        """(votes for the verdict - votes for the other side) / votes."""
        other = {"chosen": "rejected", "rejected": "chosen"}.get(self.verdict or "", "")
        mine = self.votes.get(self.verdict or "", 0)
        return (mine - self.votes.get(other, 0)) / max(sum(self.votes.values()), 1)


def shown_hash(prompt: Sequence[Any], answer_a: Sequence[Any], answer_b: Sequence[Any]) -> str:
    """16 hex digits of what a rater was shown: three lists of messages, in this order."""
    plain = [[[m["role"], m["content"]] for m in messages] for messages in (prompt, answer_a, answer_b)]
    return digest(plain)[:16]


def text(messages: Iterable[Mapping[str, str]]) -> str:
    """An answer's words."""
    return "\n".join(m["content"] for m in messages)


def read_judgements(files: Iterable[tuple[str, Path]]) -> list[Placed]:
    """All judgements of JSONL files (name, path).

    Raises:
        Invalid: naming file, line and field: a line that is no judgement, or a second one of a rater on a pair.
    """
    found: list[Placed] = []
    for name, path in files:
        for record in read_records(path, name, format="jsonl"):
            if isinstance(record, BadRecord):
                raise Invalid(f"{record.detail}; mend the line")
            found.append(judgement(record.origin, record.value))
    no_second(found)
    return found


def judgement(origin: str, value: Any) -> Placed:
    """A judgement from its JSON object, the texts of an exported line left out. Raises `Invalid` with file, line, field."""
    if not isinstance(value, dict):
        raise Invalid(f"{origin}: a judgement is a JSON object, this is {type(value).__name__}")
    try:
        return Placed(origin, Judgement.model_validate({k: v for k, v in value.items() if k not in TEXTS}))
    except ValidationError as error:
        problems = [f"field {'.'.join(map(str, e['loc'])) or 'edited'!r}: {e['msg']}" for e in error.errors()]
        raise Invalid(f"{origin}: {'; '.join(problems)}") from error


def no_second(found: Iterable[Placed]) -> None:
    """Raises `Invalid` when a rater judged a pair twice."""
    seen: dict[tuple[str, str], str] = {}
    for origin, said in found:
        key = said.pair, said.rater
        if key in seen:
            raise Invalid(f"{origin}: {said.rater!r} judged pair {said.pair} before, at {seen[key]}; keep one of them")
        seen[key] = origin


def vote(placed: Placed, pair: Mapping[str, Any] | None) -> Vote:
    """The judgement with its letters undone against the pair (`prompt`, `chosen`, `rejected`).

    Raises `Invalid` with file and line when there is no such pair, or when its texts are not those that were shown.
    """
    origin, said = placed
    if pair is None:
        raise Invalid(
            f"{origin}: field 'pair': no pair {said.pair!r} among the preferences; remove the line, or use the recipe "
            "that it was exported from"
        )
    sides: dict[str, Side]
    if said.shown == shown_hash(pair["prompt"], pair["chosen"], pair["rejected"]):
        sides = {"A": "chosen", "B": "rejected", "tie": "tie"}
    elif said.shown == shown_hash(pair["prompt"], pair["rejected"], pair["chosen"]):
        sides = {"A": "rejected", "B": "chosen", "tie": "tie"}
    else:
        raise Invalid(
            f"{origin}: field 'shown': the texts of pair {said.pair} have changed since {said.rater!r} judged them; export "
            "the pair again and have it judged anew, or remove the line"
        )
    return Vote(
        said.rater,
        "skip" if said.verdict == "skip" else sides[said.verdict],
        {aspect: sides[letter] for aspect, letter in sorted(said.aspects.items())},
        frozenset(sides[letter] for letter in said.dangerous),
        said.edited.strip(),
        said.comment.strip(),
    )


def decide(votes: Sequence[Vote], adjudicators: Iterable[str] = ()) -> Decision | None:
    """What the votes on one pair come to; None when all were skipped.

    The adjudicators' votes outrank the others'. What more than half of the votes that count say holds; else nothing does.
    The edit is that of the first rater by name, among the votes that count, who named the better answer.
    """
    last_word = set(adjudicators)
    counting = [v for v in votes if v.rater in last_word and v.verdict != "skip"]
    adjudicated = bool(counting)
    counting = sorted(counting or [v for v in votes if v.verdict != "skip"], key=lambda v: v.rater)
    if not counting:
        return None
    counts = {side: sum(v.verdict == side for v in counting) for side in ("chosen", "rejected", "tie")}
    sides: tuple[Side, ...] = ("chosen", "rejected", "tie")
    verdict = next((side for side in sides if 2 * counts[side] > len(counting)), None)
    edits = [v.edited for v in counting if v.edited and v.verdict == verdict]
    dangerous = frozenset(side for v in counting for side in v.dangerous)
    return Decision(verdict, edits[0] if edits else "", dangerous, counts, adjudicated)
