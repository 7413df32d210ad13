"""Where batch kernels run. `local` (worker processes) is the default; every engine gives byte-identical output.

A *kernel* is a picklable function (a module's function, or `functools.partial` of one) from a data frame of records to
the same records with `reason` and `detail` added: null keeps the record, text drops it. It may add columns and rewrite
text. It must not depend on the order or the size of batches.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from aquilamed.records import write_part

Kernel = Callable[[pl.DataFrame], pl.DataFrame]
Counts = dict[str, int]


class Engine(Protocol):
    """Runs tasks and remembers which are done."""

    def run(self, task: Callable[[Any], Counts], items: Sequence[Any], done: Path, label: str) -> Counts:
        """Call `task` on every item (in worker processes, any order) and return the summed counts.

        Each finished item leaves `done/<index>.json` behind; after a crash those items are not run again, so a task's
        outputs must be complete before it returns. Raises the first exception of a task.
        """
        ...

    def close(self) -> None:
        """Release workers."""
        ...


def apply_kernel(item: tuple[Kernel, Path, Path, str]) -> Counts:
    """Run one kernel over one part: the task behind `map_parts`."""
    kernel, source, out, name = item
    frame = pl.read_parquet(source, glob=False)
    result = kernel(frame)
    if result.height != frame.height:
        raise AssertionError(f"kernel {kernel} returned {result.height} records for {frame.height}")
    kept = result.filter(pl.col("reason").is_null()).drop("reason", "detail")
    dropped = result.filter(pl.col("reason").is_not_null())
    write_part(out / "dropped" / name, dropped)
    write_part(out / "kept" / name, kept)
    return {"records_in": frame.height, "records_kept": kept.height, "records_dropped": dropped.height}


def map_parts(engine: Engine, kernel: Kernel, sources: Sequence[Path], out: Path, label: str) -> Counts:
    """Run a kernel over the parts of a table into `out/kept` and `out/dropped`, part by part, resumable.

    Markers go to `out/.work/map`. Returns records_in, records_kept, records_dropped.
    """
    items = [(kernel, path, out, f"part-{n:05d}.parquet") for n, path in enumerate(sources)]
    counts = engine.run(apply_kernel, items, out / ".work" / "map", label)
    return {"records_in": 0, "records_kept": 0, "records_dropped": 0} | counts


def no_reason(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with empty `reason` and `detail` columns: the start of most kernels."""
    return frame.with_columns(pl.lit(None, pl.String).alias("reason"), pl.lit(None, pl.String).alias("detail"))
