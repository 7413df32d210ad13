"""Thresholds on both sides, composition by target, and every dialogue accounted for."""

from pathlib import Path

import polars as pl
import pytest

import tiny_model
from aquilamed.instruct.diverse import DiversityConfig
from aquilamed.instruct.select import SelectConfig, run
from aquilamed.records import read_parts

ROWS = [
    # id, kind, deita, relevance
    ("s1", "single_turn_QA_zh", 1.0, None),
    ("s2", "single_turn_QA_zh", 9.0, None),
    ("s3", "single_turn_QA_en", 8.0, None),
    ("m1", "multi_turn_QA_zh", 9.0, [None, 1.1, 0.01, 1.1]),  # one turn repeats: the mean does not tell
    ("m2", "multi_turn_QA_zh", 9.5, [None, 0.7]),
    ("m3", "multi_turn_QA_zh", 9.1, [None, 0.8, 0.7]),
    ("m4", "multi_turn_QA_zh", 9.2, [None, 1.9]),
]


def select(
    tmp_path: Path, config: SelectConfig, rows: list = ROWS, asked: dict[str, str] | None = None
) -> tuple[dict[str, str | None], dict]:
    schema = {"id": pl.String, "kind": pl.String, "deita": pl.Float64, "relevance": pl.List(pl.Float64)}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        lang=pl.col("kind").str.slice(-2),
        department=pl.lit("cardiology"),
        diseases=pl.lit(["stroke"], pl.List(pl.String)),
        messages=pl.Series(
            [
                [{"role": "user", "content": (asked or {}).get(r[0], r[0])}, {"role": "assistant", "content": "a"}]
                for r in rows
            ]
        ),
    )
    before = tiny_model.table(tmp_path, "instruct/relevance", frame, rows=3)
    ctx = tiny_model.context(tmp_path, tmp_path, {"instruct/relevance": before})
    metrics = run(ctx, config).metrics
    found = dict.fromkeys(read_parts(ctx.out / "kept")["id"].to_list())
    dropped = read_parts(ctx.out / "dropped")
    return found | dict(zip(dropped["id"], dropped["reason"], strict=True)), metrics


def test_thresholds(tmp_path: Path) -> None:
    config = SelectConfig(deita_threshold=5.0, relevance_low=0.1, relevance_high=0.9)
    found, metrics = select(tmp_path, config)
    assert found == {
        "s1": "select.deita_below_threshold",
        "s2": None,
        "s3": None,
        "m1": "select.relevance_too_low",
        "m2": None,
        "m3": None,
        "m4": "select.relevance_too_high",
    }
    assert metrics["composition"] == {"multi_turn_QA_zh": 2, "single_turn_QA_en": 1, "single_turn_QA_zh": 1}
    assert metrics["thresholds"]["deita"] == 5.0


def test_a_target_takes_the_best_of_each_kind(tmp_path: Path) -> None:
    config = SelectConfig(
        deita_quantile=0,
        relevance_low=0,
        relevance_high=1,
        target=4,
        shares={"multi_turn_QA_zh": 0.5, "single_turn_QA_en": 0.5},
    )
    found, _ = select(tmp_path, config)
    assert {i for i, reason in found.items() if reason is None} == {"m2", "m4", "s3"}
    assert found["s2"] == "select.over_target"


OPEN = {"deita_quantile": 0, "relevance_low": 0, "relevance_high": 1}


@pytest.mark.parametrize(("fill", "taken"), [(False, {"a_zh": 5, "b_en": 2}), (True, {"a_zh": 8, "b_en": 2})])
def test_a_kind_that_cannot_fill_its_share_is_said(tmp_path: Path, fill: bool, taken: dict[str, int]) -> None:
    rows = [(f"{kind}{n}", kind, float(n), None) for kind, many in (("a_zh", 9), ("b_en", 2)) for n in range(many)]
    config = SelectConfig(**OPEN, target=10, shares={"a_zh": 0.5, "b_en": 0.5}, fill=fill)
    found, metrics = select(tmp_path, config, rows)
    assert metrics["composition"] == taken
    assert metrics["kinds"]["b_en"] == {"asked": 5, "available": 2, "not_diverse": 0, "taken": 2}
    assert metrics["kinds"]["a_zh"]["available"] == 9
    assert found["a_zh0"] == "select.over_target"  # the worst of its kind
    assert metrics["topics"]["departments"] == {"cardiology": sum(taken.values())}


def test_diversity_keeps_the_better_of_two_that_are_nearly_the_same(tmp_path: Path) -> None:
    rows = [("x", "a_zh", 5.0, None), ("y", "a_zh", 7.0, None), ("z", "b_en", 6.0, None), ("w", "a_zh", 1.0, None)]
    same = {
        "x": "high fever and cough",
        "y": "high fever and cough",
        "z": "broken bone in the arm",
        "w": "high fever and cough",
    }
    config = SelectConfig(
        **OPEN, diversity=DiversityConfig(), target=3, shares={"a_zh": 2 / 3, "b_en": 1 / 3}, fill=True
    )
    found, metrics = select(tmp_path, config, rows, same)
    assert found == {"x": "select.not_diverse", "y": None, "z": None, "w": "select.not_diverse"}
    assert metrics["kinds"]["a_zh"] == {"asked": 2, "available": 3, "not_diverse": 2, "taken": 1}
    detail = read_parts(tmp_path / "out" / "dropped").filter(pl.col("id") == "x")["detail"][0]
    assert detail == "cosine 1.000 with y, whose s is 7.000"


def test_the_quantile_is_taken_of_every_kind(tmp_path: Path) -> None:
    """A kind whose scores are all lower than another's does not go as a whole."""
    rows = [(f"{kind}{n}", kind, base + n, None) for kind, base in (("a_zh", 20.0), ("b_en", 1.0)) for n in range(10)]
    found, metrics = select(tmp_path, SelectConfig(deita_quantile=0.2, relevance_low=0, relevance_high=1), rows)
    dropped = {i for i, reason in found.items() if reason == "select.deita_below_threshold"}
    assert dropped == {"a_zh0", "a_zh1", "b_en0", "b_en1"}
    assert metrics["thresholds"]["deita_by_kind"] == pytest.approx({"a_zh": 21.8, "b_en": 2.8})
    assert metrics["thresholds"]["deita"] is None


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="below relevance_high"):
        SelectConfig(relevance_low=0.9, relevance_high=0.5)
    with pytest.raises(ValueError, match="shares"):
        SelectConfig(shares={"a": 0.9, "b": 0.9})
