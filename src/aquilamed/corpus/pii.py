"""Stage corpus/pii: private information masked, counted, or its documents dropped (paper, section 2: data compliance).

Patterns stand in `pii_patterns.py`. A batch is sieved first; Python's regex sees only what could match.
Doses, laboratory values, dates, DOIs, PMIDs, ICD and drug codes are no private information and stay.
"""

import bisect
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, partial
from typing import Literal, NamedTuple

import polars as pl

from aquilamed.config import Config
from aquilamed.corpus.anchors import Anchors
from aquilamed.corpus.pii_patterns import BEFORE, BEHIND, GATES, NARROW, PATTERNS, Pattern
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result


class Span(NamedTuple):
    """A piece of private information: characters `start` to `end` of a text, and its type."""

    start: int
    end: int
    kind: str


class PiiConfig(Config):
    """What happens to private information."""

    mode: Literal["mask", "drop", "report"] = "mask"
    """mask: typed placeholders such as [PHONE]; drop: the document leaves; report: only counted."""


def run(ctx: Context, config: PiiConfig) -> Result:
    """Add `pii` (JSON counts per type, null for none); reason in drop mode: pii.found."""
    ctx.flow(partial(check, config=config), "corpus/rules", "pii")
    found: Counter[str] = Counter()
    documents = 0
    for folder in ("kept", "dropped"):
        for part in iter_parts(ctx.out / folder, ["pii"]):
            for counts in part["pii"].drop_nulls().to_list():
                documents += 1
                found.update(json.loads(counts))
    return Result({"documents": documents, "found": dict(sorted(found.items()))})


def check(frame: pl.DataFrame, config: PiiConfig) -> pl.DataFrame:
    """The kernel."""
    found = find_all(frame["text"])
    texts = frame["text"].to_list()
    if config.mode == "mask":
        texts = [mask(text, spans) if spans else text for text, spans in zip(texts, found, strict=True)]
    counts = [dict(sorted(Counter(span.kind for span in spans).items())) for spans in found]
    sentences = [_sentence(c) if c and config.mode == "drop" else None for c in counts]
    return no_reason(frame).with_columns(
        pl.Series("text", texts, pl.String),
        pl.Series("pii", [json.dumps(c) if c else None for c in counts], pl.String),
        pl.Series("reason", ["pii.found" if s else None for s in sentences], pl.String),
        pl.Series("detail", sentences, pl.String),
    )


def _sentence(counts: dict[str, int]) -> str:
    return "private information: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())


def find_pii(text: str) -> list[Span]:
    """The private information in a text, from left to right; spans do not overlap."""
    text = text.translate(NARROW) if _WIDE.search(text) else text
    return _chosen(_matches(text, row, [(0, len(text))]) for row in PATTERNS)


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with a typed placeholder such as [PHONE] for each span; spans as `find_pii` gives them."""
    pieces, at = [], 0
    for start, end, kind in spans:
        pieces += [text[at:start], f"[{kind}]"]
        at = end
    return "".join([*pieces, text[at:]])


def mask_text(text: str) -> tuple[str, dict[str, int]]:
    """The text with typed placeholders, and how many of each type there were. Masking twice changes nothing more."""
    spans = find_pii(text)
    return mask(text, spans), dict(sorted(Counter(span.kind for span in spans).items()))


def find_all(texts: pl.Series) -> list[list[Span]]:
    """`find_pii` of many texts (null: nothing), several times as fast: each row only where its gate is open."""
    texts = texts.fill_null("")
    gates = {name: texts.str.contains(gate).to_list() for name, gate in GATES.items()}
    anchored = _anchors()
    found = []
    for number, text in enumerate(texts.to_list()):
        if gates["wide"][number]:
            found.append(find_pii(text))
            continue
        labels = anchored.at_most(text.encode("utf-8", "surrogatepass"))
        open_ = {name for name, passes in gates.items() if passes[number]}
        found.append(_through_gates(text, open_, labels.keys()) if open_ or labels else [])
    return found


@cache
def _anchors() -> Anchors:
    return Anchors({str(n): row.regex.pattern for n, row in enumerate(PATTERNS) if not row.gate})


def _through_gates(text: str, gates: set[str], labels: Iterable[str]) -> list[Span]:
    windows = list(_windows(text)) if "number" in gates else []
    rows = sorted({int(n) for n in labels} | {n for gate in gates for n in _behind()[gate]})
    return _chosen(
        _matches(text, PATTERNS[n], windows if PATTERNS[n].gate == "number" else [(0, len(text))]) for n in rows
    )


@cache
def _behind() -> dict[str, list[int]]:
    return {gate: [n for n, row in enumerate(PATTERNS) if row.gate == gate] for gate in GATES}


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of a text around its long numbers; they do not touch."""
    start = end = -1
    for match in _NUMBER.finditer(text):
        if match.start() - BEFORE > end:
            if end > 0:
                yield start, end
            start = max(match.start() - BEFORE, 0)
        end = min(match.end() + BEHIND, len(text))
    if end > 0:
        yield start, end


def _matches(text: str, row: Pattern, stretches: Iterable[tuple[int, int]]) -> Iterator[Span]:
    group = "value" if "value" in row.regex.groupindex else 0
    for start, end in stretches:
        for match in row.regex.finditer(text, start, end):
            if row.check is None or row.check(match[group], match):
                yield Span(match.start(group), match.end(group), row.kind)


def _chosen(rows: Iterable[Iterable[Span]]) -> list[Span]:
    """The spans of all rows, those left out that overlap one of an earlier row."""
    chosen: list[Span] = []
    for row in rows:
        for span in row:
            at = bisect.bisect(chosen, span)
            if (at == 0 or chosen[at - 1].end <= span.start) and (at == len(chosen) or span.end <= chosen[at].start):
                chosen.insert(at, span)
    return chosen


_NUMBER, _WIDE = re.compile(GATES["number"]), re.compile(GATES["wide"])
