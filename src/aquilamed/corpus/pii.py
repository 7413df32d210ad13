"""Stage corpus/pii: private information masked, counted, or its documents dropped (paper, section 2: data compliance).

Patterns stand in `pii_patterns.py`. A text is first sieved with Polars; Python's regex sees only what could match.
Doses, laboratory values, dates, DOIs, PMIDs, ICD and drug codes are no private information and stay.
"""

import json
import re
from collections import Counter
from functools import partial
from typing import Literal

import polars as pl

from aquilamed.config import Config
from aquilamed.corpus.pii_patterns import PATTERNS, SUSPICIOUS, Pattern
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts
from aquilamed.stage import Context, Result


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
    suspicious = frame["text"].fill_null("").str.contains(SUSPICIOUS).to_list()
    texts, counts = [], []
    for text, suspect in zip(frame["text"].to_list(), suspicious, strict=True):
        masked, found = mask_text(text) if suspect else (text, {})
        texts.append(masked if config.mode == "mask" else text)
        counts.append(found)
    sentences = [_sentence(c) if c and config.mode == "drop" else None for c in counts]
    return no_reason(frame).with_columns(
        pl.Series("text", texts, pl.String),
        pl.Series("pii", [json.dumps(c, sort_keys=True) if c else None for c in counts], pl.String),
        pl.Series("reason", ["pii.found" if s else None for s in sentences], pl.String),
        pl.Series("detail", sentences, pl.String),
    )


def _sentence(counts: dict[str, int]) -> str:
    return "private information: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))


def mask_text(text: str) -> tuple[str, dict[str, int]]:
    """The text with typed placeholders, and how many of each type there were. Masking twice changes nothing more."""
    counts: Counter[str] = Counter()
    for pattern in PATTERNS:
        text = pattern.regex.sub(partial(_placeholder, pattern=pattern, counts=counts), text)
    return text, dict(sorted(counts.items()))


def _placeholder(match: re.Match[str], pattern: Pattern, counts: Counter[str]) -> str:
    group = "value" if "value" in pattern.regex.groupindex else 0
    value = match[group]
    if pattern.check is not None and not pattern.check(value, match):
        return match[0]
    counts[pattern.kind] += 1
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return f"{match[0][:start]}[{pattern.kind}]{match[0][end:]}"
