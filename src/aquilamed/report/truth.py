"""Filters against truth: precision and recall of every filter on the built-in sample, whose dirt is known.

Records are joined by `origin`. A filter is asked only about records that reached its stage and whose truth is known, so
other sources in the same recipe do not count. `predicted` is what the filter acted on (dropped, masked, labelled).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.records import iter_parts
from aquilamed.workspace import Artifact

Rows = list[dict[str, Any]]
DOMAIN = "medical"
"""The domain of the sample's domain texts; a recipe for another domain is not measured against it."""


@dataclass(frozen=True)
class Filter:
    """What one filter should find.

    Args:
        stage: whose kept and dropped records are looked at.
        defects: what it should act on.
        columns: the columns it needs beside `origin` and `reason`.
        acted: whether it acted on a row; None leaves the row out (the filter was not asked about it).
    """

    stage: str
    defects: tuple[str, ...]
    columns: tuple[str, ...] = ()
    acted: Callable[[dict[str, Any]], bool | None] = lambda row: row["reason"] is not None


def _masked(row: dict[str, Any]) -> bool:
    return row["reason"] is not None or any(json.loads(row["pii"] or "{}").values())


def _low_quality(row: dict[str, Any]) -> bool | None:
    return None if row["quality"] is None else row["reason"] is not None


def _unrelated(row: dict[str, Any]) -> bool | None:
    return None if row["relevance"] is None else row["reason"] == "select.relevance_too_high"


FILTERS = {
    "sources/documents": Filter("sources/documents", ("malformed", "undecodable", "empty")),
    "corpus/rules": Filter("corpus/rules", ("advert", "too_short", "symbols")),
    "corpus/pii": Filter("corpus/pii", ("pii",), ("pii",), _masked),
    "corpus/toxicity": Filter("corpus/toxicity", ("toxic",)),
    "corpus/decontaminate": Filter("corpus/decontaminate", ("leak",)),
    "corpus/quality": Filter("corpus/quality", ("spliced", "advert"), ("quality",), _low_quality),
    "sources/dialogues": Filter("sources/dialogues", ("no_answer",)),
    "instruct/decontaminate": Filter("instruct/decontaminate", ("leak",)),
    "instruct/safety": Filter("instruct/safety", ("unsafe",)),
    "instruct/select": Filter("instruct/select", ("shuffled",), ("relevance",), _unrelated),
}
COPIES = ("exact_duplicate", "near_duplicate")


def measure(sample: Artifact | None, stages: dict[str, Artifact]) -> dict[str, dict[str, Any]]:
    """Counts, precision and recall of every filter whose stage is among `stages`; {} without the sample.

    Each value holds `n` (records asked about), `true_positive`, `false_positive`, `false_negative`, `precision` and
    `recall` (None where undefined), `defects`, `found` (defect → [acted on, there]) and `mistaken` (what the false
    positives are: defect → count). corpus/quality also has `auc`: how often a defective text scores below a clean one.
    """
    if sample is None:
        return {}
    table = pl.read_parquet(sample.path / "truth.parquet", glob=False)
    truth = {row["origin"]: row for row in table.iter_rows(named=True)}
    result: dict[str, dict[str, Any]] = {}
    for name in _ORDER:
        if name not in stages:
            continue
        if name in FILTERS:
            result[name] = _filter(FILTERS[name], stages[name], truth)
        elif name == "corpus/domain":
            result[name] = domain(read(stages[name], ("domain",), truth), truth)
        else:
            content = "text" if name.startswith("corpus/") else "messages"
            result[name] = duplicates(read(stages[name], (content,), truth), truth, content)
    if "corpus/quality" in result:
        rows = read(stages["corpus/quality"], ("quality",), truth)
        result["corpus/quality"]["auc"] = _auc(rows, truth)
    return result


_ORDER = (
    *("sources/documents", "corpus/rules", "corpus/pii", "corpus/toxicity", "corpus/dedup", "corpus/decontaminate"),
    *("corpus/domain", "corpus/quality", "sources/dialogues", "instruct/dedup", "instruct/decontaminate"),
    *("instruct/safety", "instruct/select"),
)


def read(artifact: Artifact, columns: Iterable[str], known: Collection[str]) -> Rows:
    """The known records (by origin) that went through a stage: `origin`, `reason` (None if kept) and more columns (None if absent)."""
    wanted = ["origin", "reason", *columns]
    rows: Rows = []
    for folder in (artifact.kept, artifact.dropped):
        for frame in iter_parts(Path(folder)):
            if frame.is_empty():
                continue
            absent = [pl.lit(None).alias(c) for c in wanted if c not in frame.columns]
            mine = frame.filter(pl.col("origin").is_in(list(known)))
            rows += mine.with_columns(absent).select(wanted).to_dicts()
    return rows


def _filter(rule: Filter, artifact: Artifact, truth: dict[str, dict[str, Any]]) -> dict[str, Any]:
    asked = []
    for row in read(artifact, rule.columns, truth):
        if (acted := rule.acted(row)) is not None:
            asked.append((truth[row["origin"]]["defect"], acted))
    wrong = Counter(defect for defect, acted in asked if acted and defect not in rule.defects)
    found = {d: [sum(a for e, a in asked if e == d), sum(e == d for e, _ in asked)] for d in rule.defects}
    hits, there = sum(f[0] for f in found.values()), sum(f[1] for f in found.values())
    return _scores(len(asked), hits, wrong, there - hits, rule.defects, found)


def _scores(
    n: int, hits: int, wrong: Counter[str], missed: int, defects: tuple[str, ...], found: dict[str, list[int]]
) -> dict[str, Any]:
    acted = hits + wrong.total()
    return {
        "n": n,
        "true_positive": hits,
        "false_positive": wrong.total(),
        "false_negative": missed,
        "precision": hits / acted if acted else None,
        "recall": hits / (hits + missed) if hits + missed else None,
        "defects": list(defects),
        "found": found,
        "mistaken": dict(sorted(wrong.items())),
    }


def domain(rows: Rows, truth: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The domain label against truth; texts of no single domain (adverts, splices of both) are not asked about."""
    pairs = [(truth[r["origin"]]["domain"], r["domain"]) for r in rows]
    asked = [(is_, said) for is_, said in pairs if is_ and said is not None]
    hits = sum(is_ == DOMAIN == said for is_, said in asked)
    wrong = Counter(is_ for is_, said in asked if said == DOMAIN != is_)
    there = sum(is_ == DOMAIN for is_, _ in asked)
    return _scores(len(asked), hits, wrong, there - hits, (DOMAIN,), {DOMAIN: [hits, there]})


def duplicates(rows: Rows, truth: dict[str, dict[str, Any]], content: str) -> dict[str, Any]:
    """Of a group of k copies k - 1 should go, whichever stays.

    Records belong to a group by truth, or because their contents are equal: the sample repeats short pieces.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for row in rows:
        same = "=" + json.dumps(row[content], ensure_ascii=False)
        for other in (truth[row["origin"]]["of"], same):
            if other:
                parent[root(row["origin"])] = root(other)
    groups: dict[str, Rows] = defaultdict(list)
    for row in rows:
        groups[root(row["origin"])].append(row)
    return _group_scores(list(groups.values()), truth, len(rows))


def _group_scores(groups: list[Rows], truth: dict[str, dict[str, Any]], n: int) -> dict[str, Any]:
    hits = missed = 0
    wrong: Counter[str] = Counter()
    found = {d: [0, 0] for d in (*COPIES, "other")}
    for group in groups:
        gone = [r for r in group if r["reason"] is not None]
        right = min(len(gone), len(group) - 1)
        hits += right
        missed += len(group) - 1 - right
        if len(gone) > right:  # nobody of the group was left
            wrong[truth[gone[0]["origin"]]["defect"]] += 1
        # Which copy stays is the filter's choice: one that is left counts as the original, a clean one before others.
        for defect in _sorted(group, truth)[1:]:
            found[defect if defect in COPIES else "other"][1] += 1
            found[defect if defect in COPIES else "other"][0] += 1
        for defect in _sorted([r for r in group if r["reason"] is None], truth)[1:]:
            found[defect if defect in COPIES else "other"][0] -= 1
    return _scores(n, hits, wrong, missed, COPIES, {d: v for d, v in found.items() if v[1]})


def _sorted(group: Rows, truth: dict[str, dict[str, Any]]) -> list[str]:
    """The kinds of a group's records, copies last."""
    return sorted((truth[r["origin"]]["defect"] for r in group), key=lambda d: (d in COPIES, d))


def _auc(rows: Rows, truth: dict[str, dict[str, Any]]) -> float | None:
    """P(a spliced text or advert scores below a clean one), ties half: 0.5 is chance."""
    defects = FILTERS["corpus/quality"].defects
    scored = [(truth[r["origin"]]["defect"], r["quality"]) for r in rows if r["quality"] is not None]
    bad = [q for d, q in scored if d in defects]
    clean = [q for d, q in scored if d == "clean"]
    if not bad or not clean:
        return None
    below = sum((b < c) + 0.5 * (b == c) for b in bad for c in clean)
    return float(below / (len(bad) * len(clean)))
