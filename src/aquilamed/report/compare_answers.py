"""Paired tests between two workspaces: the same questions, dialogues and cases, answered by both sides' models.

Knowledge and the safety probe are right or wrong: McNemar's exact test. Win rates, scores and losses are means: the bootstrap
interval of the mean difference, drawn over questions, dialogues or documents. What differs by more than noise may still be due to another judge.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.annotate import ASPECTS
from aquilamed.config import StageFailed
from aquilamed.evaluate.statistics import FEWEST, by_chance, interval, paired, ratio_interval
from aquilamed.evaluate.verdicts import POINTS
from aquilamed.records import parts
from aquilamed.workspace import Artifact

MCNEMAR, BOOTSTRAP = "McNemar's exact test", "paired bootstrap"
Pair = tuple[Artifact | None, Artifact | None]
Key = tuple[str, ...]
_DECIDED = ["right", "wrong"]


@dataclass(frozen=True)
class Test:
    """Second minus first on what both answered.

    Args:
        n: questions, dialogues, cases or documents in common; `of`: how many each side had.
        difference: of shares, mean scores or nats per token, with its 95 % bootstrap `interval`.
        p: McNemar's, None where the interval decides.
        noise: whether the difference may be chance: p above 0.05, or the interval holds 0.
    """

    n: int
    of: tuple[int, int]
    difference: float
    interval: list[float] | None
    p: float | None
    noise: bool
    method: str
    few: bool = False
    """Whether it rests on too few to tell a difference from noise (`statistics.FEWEST`)."""


def knowledge(pair: Pair) -> dict[Key, Test]:
    """(model, task) → test. A question counts when both sides have it with the same right answer."""
    keys = ["model", "task"]
    return {
        key: _right(rows["correct"], rows["correct_2"], of)
        for key, rows, of in _joined(pair, "predictions", keys, ["id", "answer"], ["correct"])
    }


def safety(pair: Pair) -> dict[Key, Test]:
    """(model, kind, lang) → test over the cases that are decided on both sides."""
    found: dict[Key, Test] = {}
    for key, rows, of in _joined(pair, "answers", ["model", "kind", "lang"], ["id"], ["outcome"]):
        decided = rows.filter(pl.col("outcome").is_in(_DECIDED) & pl.col("outcome_2").is_in(_DECIDED))
        if len(decided):
            found[key] = _right(decided["outcome"] == "right", decided["outcome_2"] == "right", of)
    return found


def pairwise(pair: Pair) -> dict[Key, Test]:
    """(model, against, benchmark) → test of the win rate (a tie is half a win) over pairs that were scored on both sides."""
    found: dict[Key, Test] = {}
    for key, rows, of in _joined(pair, "answers", ["model", "against", "benchmark"], ["id"], ["outcome"]):
        both = rows.filter(pl.col("outcome").is_in(list(POINTS)) & pl.col("outcome_2").is_in(list(POINTS)))
        change = [POINTS[b] - POINTS[a] for a, b in zip(both["outcome"], both["outcome_2"], strict=True)]
        if change:
            found[key] = _means(change, None, (-1, 1), of)
    return found


def multiturn(pair: Pair) -> dict[Key, Test]:
    """(model, aspect) → test of the mean score over rounds that were scored on both sides; whole dialogues are drawn."""
    found: dict[Key, Test] = {}
    for (model,), rows, of in _joined(pair, "answers", ["model"], ["benchmark", "id", "round"], [*ASPECTS]):
        for aspect in ASPECTS:
            both = rows.drop_nulls([aspect, f"{aspect}_2"])
            change = (both[f"{aspect}_2"] - both[aspect]).cast(pl.Float64).to_list()
            if change:
                dialogues = list(zip(both["benchmark"], both["id"], strict=True))
                found[model, aspect] = _means(change, dialogues, (-4, 4), of)
    return found


def losses(pair: Pair) -> dict[Key, tuple[float, float, Test]]:
    """(language, before or after training) → nats per token on either side, and the test, over documents that both held out.

    Where all losses are the same there is none.
    """
    found: dict[Key, tuple[float, float, Test]] = {}
    for (lang,), rows, of in _joined(pair, "heldout", ["lang"], ["id", "tokens"], ["before", "after"]):
        tokens = rows["tokens"].to_list()
        for when in ("before", "after"):
            change = (rows[f"{when}_2"] - rows[when]).to_list()
            if any(change):
                span = ratio_interval(change, tokens)
                one, two = (float(rows[c].sum()) / sum(tokens) for c in (when, f"{when}_2"))
                test = Test(
                    len(rows), of, two - one, span, None, by_chance(span, len(rows)), BOOTSTRAP, len(rows) < FEWEST
                )
                found[lang, when] = one, two, test
    return found


def _joined(
    pair: Pair, folder: str, keys: list[str], same: list[str], values: list[str]
) -> Iterator[tuple[Key, pl.DataFrame, tuple[int, int]]]:
    """(key, rows that both sides have, how many each has) per key of both; the second side's values end in `_2`."""
    if pair[0] is None or pair[1] is None:
        return
    columns = [*keys, *same, *values]
    one, two = (_read(side.path / folder, columns) for side in pair if side)
    if one.is_empty() or two.is_empty():
        return
    sizes = [Counter(frame.select(keys).rows()) for frame in (one, two)]
    joined = one.join(two, on=[*keys, *same], suffix="_2", maintain_order="left")
    for key, rows in joined.group_by(keys, maintain_order=True):
        yield tuple(map(str, key)), rows, (sizes[0][key], sizes[1][key])


def _read(folder: Path, columns: list[str]) -> pl.DataFrame:
    """The columns of a folder's rows, without those that a failed call left unanswered; an empty frame where it has none."""
    frames = []
    for file in parts(folder):
        try:
            failed = [c for c in pl.read_parquet_schema(file) if c == "error"]
            frames.append(pl.read_parquet(file, columns=[*columns, *failed], glob=False))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StageFailed(f"{file}: cannot be read ({error}); delete its stage's folder to redo it") from error
    if not frames:
        return pl.DataFrame()
    rows = pl.concat(frames, how="diagonal_relaxed")
    return (rows.filter(pl.col("error").is_null()) if "error" in rows.columns else rows).select(columns)


def _right(one: pl.Series, two: pl.Series, of: tuple[int, int]) -> Test:
    told = paired(one.to_list(), two.to_list())
    return Test(told["n"], of, told["difference"], told["interval"], told["p"], told["noise"], MCNEMAR)


def _means(
    change: Sequence[float], clusters: list[Any] | None, bounds: tuple[float, float], of: tuple[int, int]
) -> Test:
    span = interval(change, clusters=clusters, bounds=bounds)
    drawn = len(set(clusters)) if clusters else len(change)
    mean = sum(change) / len(change)
    return Test(len(change), of, mean, span, None, by_chance(span, drawn), BOOTSTRAP, drawn < FEWEST)
