"""The local engine: same result whatever the number of workers, and finished items are not run again."""

import os
from pathlib import Path

import polars as pl
import pytest

from aquilamed.engine import Counts, map_parts, no_reason
from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import parts, read_parts, write_parts


def drop_odd(frame: pl.DataFrame) -> pl.DataFrame:
    odd = pl.col("n") % 2 == 1
    return no_reason(frame).with_columns(
        reason=pl.when(odd).then(pl.lit("test.odd")), detail=pl.when(odd).then(pl.col("n").cast(pl.String))
    )


def fail_once(item: tuple[int, Path]) -> Counts:
    number, folder = item
    (folder / f"{number}-{len(list(folder.glob(f'{number}-*')))}").touch()
    if number == 3 and not (folder / "again").exists():
        raise ValueError("the third fails")
    return {"n": number}


@pytest.mark.parametrize("workers", [1, 2])
def test_map_parts_keeps_drops_and_is_the_same_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    write_parts(tmp_path / "in", pl.DataFrame({"id": [f"{n:03d}" for n in range(100)], "n": range(100)}), rows=7)
    engine = LocalEngine(Progress(quiet=True), workers)
    counts = map_parts(engine, drop_odd, parts(tmp_path / "in"), tmp_path / "out", "test")
    engine.close()
    assert counts == {"records_in": 100, "records_kept": 50, "records_dropped": 50}
    assert read_parts(tmp_path / "out" / "kept")["n"].to_list() == list(range(0, 100, 2))
    assert read_parts(tmp_path / "out" / "dropped")["detail"].to_list() == [str(n) for n in range(1, 100, 2)]
    again = tmp_path / "again"
    LocalEngine(Progress(quiet=True), 1)
    map_parts(LocalEngine(Progress(quiet=True), 1), drop_odd, parts(tmp_path / "in"), again, "test")
    for one, two in zip(parts(tmp_path / "out" / "kept"), parts(again / "kept"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_a_failed_run_does_not_repeat_finished_items(tmp_path: Path) -> None:
    items = [(n, tmp_path) for n in range(6)]
    engine = LocalEngine(Progress(quiet=True), 1)
    with pytest.raises(ValueError, match="third"):
        engine.run(fail_once, items, tmp_path / "done", "test")
    (tmp_path / "again").touch()
    assert engine.run(fail_once, items, tmp_path / "done", "test") == {"n": 15}
    assert len(list(tmp_path.glob("0-*"))) == 1
    assert len(list(tmp_path.glob("3-*"))) == 2


def crash(item: int) -> Counts:
    if item == 2:
        os._exit(1)
    return {"n": 1}


def test_a_dying_worker_is_an_error_not_a_hang(tmp_path: Path) -> None:
    engine = LocalEngine(Progress(quiet=True), 2)
    with pytest.raises(Exception, match="terminated abruptly"):
        engine.run(crash, [0, 1, 2, 3], tmp_path / "done", "test")
