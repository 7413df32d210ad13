"""Stage instruct/topics: which department a dialogue belongs to, and which diseases it names (paper, section 3: 15+, 100+).

`department` is one of the closed list of lexicon/departments.txt, or null where nothing tells; `diseases` are the English
names of lexicon/diseases.txt, found by any of their Chinese and English names. By rules, the terms found vote; by the
annotator, the department is asked for, twice if told so, and null where the two answers differ.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.annotate import Annotator, CallError, Rubric, department_rubric
from aquilamed.annotate.agreement import kept_label, two_rounds
from aquilamed.config import Config, StageFailed
from aquilamed.engine import no_reason
from aquilamed.instruct.rounds import score_parts
from aquilamed.records import Message, read_parts
from aquilamed.stage import Context, Result

SOURCE = "instruct/safety"
_FOLDER = Path(__file__).parent / "lexicon"
_NAMED, _DISEASE, _KEYWORD = 2.0, 3.0, 1.0  # a department's vote for its name, one of its diseases, a keyword
_MOST = 2  # times that one term counts
_ANSWER = 0.5  # weight of the answers: they list what else it could be
_LEAST = 1.0  # votes below which a dialogue has no department


class TopicsConfig(Config):
    """Department and disease labels."""

    by: Literal["rules", "annotator"] = "rules"
    """Who gives the department; diseases always go by the lexicon."""
    two_rounds: bool = False
    """Whether the annotator is asked twice, in two wordings; where its answers differ there is no department."""
    max_failed: float = Field(default=0.1, ge=0, le=1)
    """Largest share of dialogues that the annotator may leave unanswered; with more the stage fails."""


@dataclass(frozen=True, slots=True)
class Term:
    """What a term of the lexicons stands for: it votes for a department and may be a disease."""

    department: str
    vote: float
    disease: str | None = None


def run(ctx: Context, config: TopicsConfig) -> Result:
    """Add `department` and `diseases` (a list, most named first). Nothing is dropped here.

    The annotator's labels come with `department_note`: why there is none, where it gave none or two different ones.
    """
    metrics: dict[str, Any] = {"by": config.by}
    if config.by == "rules":
        ctx.flow(label_frame, SOURCE, "topics")
    else:
        metrics |= _annotate(ctx, config)
    return Result(metrics | counted(read_parts(ctx.out / "kept", ["department", "diseases"])))


def counted(frame: pl.DataFrame) -> dict[str, Any]:
    """`departments` and `diseases` (name → dialogues, most frequent first), and dialogues without any."""
    departments = Counter(frame["department"].drop_nulls().to_list())
    diseases = Counter(d for row in frame["diseases"].to_list() for d in row or ())
    return {
        "departments": _ordered(departments),
        "no_department": frame["department"].null_count(),
        "diseases": _ordered(diseases),
        "no_disease": sum(not row for row in frame["diseases"].to_list()),
    }


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def label_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """The kernel of the rules."""
    found = [label(messages) for messages in frame["messages"].to_list()]
    return no_reason(frame).with_columns(
        pl.Series("department", [f[0] for f in found], pl.String),
        pl.Series("diseases", [f[1] for f in found], pl.List(pl.String)),
    )


def label(messages: list[Message]) -> tuple[str | None, list[str]]:
    """Department and diseases of a dialogue by the terms in it."""
    votes: defaultdict[str, float] = defaultdict(float)
    diseases: Counter[str] = Counter()
    for role, weight in (("user", 1.0), ("assistant", _ANSWER)):
        text = "\n".join(m["content"] for m in messages if m["role"] == role)
        for term, count in occurrences(text).items():
            votes[term.department] += weight * term.vote * min(count, _MOST)
            if term.disease:
                diseases[term.disease] += count
    order = list(departments())
    best = min(votes, key=lambda d: (-votes[d], order.index(d)), default=None)
    department = best if best is not None and votes[best] >= _LEAST else None
    return department, list(_ordered(diseases))


def occurrences(text: str) -> Counter[Term]:
    """The lexicons' terms in a text, longest first where they overlap; Latin ones as whole words, singular or plural."""
    automaton, terms = _automaton()
    lower = text.lower().replace("综合症", "综合征")  # both are written
    found: Counter[Term] = Counter()
    for which, start, end in automaton.find_matches_as_indexes(lower):
        if not (_joined(lower, start) or (_joined(lower, end) and not _plural(lower, end))):
            found[terms[which]] += 1
    return found


def _joined(text: str, place: int) -> bool:
    """Whether a Latin word goes on over this place."""
    return 0 < place < len(text) and all(c.isascii() and c.isalnum() for c in text[place - 1 : place + 1])


def _plural(text: str, end: int) -> bool:
    return text[end] == "s" and not _joined(text, end + 1)


@cache
def departments() -> dict[str, str]:
    """Department → its English and Chinese name, in the lexicon's order."""
    return {name: f"{english}, {_split(chinese)[0]}" for name, english, chinese, _, _ in _department_lines()}


@cache
def diseases() -> dict[str, str]:
    """Disease → department."""
    return {term.disease: term.department for _, term in _disease_terms() if term.disease}


@cache
def _automaton() -> tuple[Any, list[Term]]:
    from ahocorasick_rs import AhoCorasick, MatchKind

    terms: dict[str, Term] = {}
    for name, english, chinese, keywords_en, keywords_zh in _department_lines():
        terms |= dict.fromkeys([*_split(keywords_en), *_split(keywords_zh)], Term(name, _KEYWORD))
        terms |= dict.fromkeys([english.lower(), *_split(chinese)], Term(name, _NAMED))
    terms |= dict(_disease_terms())
    return AhoCorasick(list(terms), matchkind=MatchKind.LeftmostLongest), list(terms.values())


def _department_lines() -> list[tuple[str, str, str, str, str]]:
    rows = [tuple(cell.strip() for cell in line.split("|")) for line in _lines("departments.txt")]
    return [(name, english, chinese, en, zh) for name, english, chinese, en, zh in rows]


def _disease_terms() -> list[tuple[str, Term]]:
    found: list[tuple[str, Term]] = []
    department = ""
    for line in _lines("diseases.txt"):
        if line.startswith("["):
            department = line.strip("[]")
            continue
        english, chinese = (_split(cell) for cell in line.split("|"))
        found += [(name, Term(department, _DISEASE, english[0])) for name in (*english, *chinese)]
    return found


def _lines(name: str) -> list[str]:
    lines = (_FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _split(cell: str) -> list[str]:
    return [name.strip().lower() for name in cell.split(",") if name.strip()]


def _annotate(ctx: Context, config: TopicsConfig) -> dict[str, Any]:
    annotator = ctx.annotator()
    if annotator.kind == "offline":
        raise StageFailed(
            "instruct.topics.by: annotator needs a model; the offline annotator has no rules for departments: "
            "set annotator.kind to openai or local, or by: rules"
        )
    rubric = department_rubric(departments())

    def ask(frame: pl.DataFrame) -> pl.DataFrame:
        items = [{"dialogue": _transcript(m)} for m in frame["messages"].to_list()]
        answers = _twice(annotator, rubric, items) if config.two_rounds else _once(annotator, rubric, items)
        return label_frame(frame).with_columns(
            pl.Series("department", [a[0] for a in answers], pl.String),
            pl.Series("department_note", [a[1] for a in answers], pl.String),
        )

    notes = pl.concat([f.select("department_note") for f in score_parts(ctx, SOURCE, ask, "topics")])
    failed = notes["department_note"].str.starts_with(_FAILED).sum()
    if failed > config.max_failed * notes.height:
        first = notes.filter(pl.col("department_note").str.starts_with(_FAILED))["department_note"][0]
        raise StageFailed(
            f"{failed} of {notes.height} dialogues got no department (most allowed: {config.max_failed:.0%}), {first}; "
            "the answers that came are stored, run again"
        )
    told = {"kind": annotator.kind, "name": annotator.name, **annotator.statistics()}
    return {"failed": failed, "disagreed": notes["department_note"].count() - failed, "annotator": told}


_FAILED, _NONE = "no answer: ", "none"
Answer = tuple[str | None, str | None]
"""A department and a note where there is none for a reason."""


def _once(annotator: Annotator, rubric: Rubric[Any], items: list[dict[str, str]]) -> list[Answer]:
    answers = annotator.annotate(rubric, items)
    return [
        (None, f"{_FAILED}{a.kind}: {a.detail}") if isinstance(a, CallError) else (_known(a.department), None)
        for a in answers
    ]


def _twice(annotator: Annotator, rubric: Rubric[Any], items: list[dict[str, str]]) -> list[Answer]:
    found: list[Answer] = []
    for r in two_rounds(annotator, rubric, items, lambda a: str(a.department)):
        if r.failed is not None or r.first is None:
            found.append((None, f"{_FAILED}{r.failed}"))
        elif kept_label(r):
            found.append((_known(r.first), None))
        else:
            found.append((None, f"round 1 says {r.first}, round 2 says {r.second}"))
    return found


def _known(department: str) -> str | None:
    return None if department == _NONE else department


def _transcript(messages: list[Message]) -> str:
    return "\n".join(f"{m['role']}: {m['content']}" for m in messages)
