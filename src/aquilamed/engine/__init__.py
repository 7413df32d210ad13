"""Where batch kernels run: `local` (worker processes, the default) or `ray`; every engine gives byte-identical output.

A *kernel* is a picklable function (a module's function, or `functools.partial` of one) from a data frame of records to
the same records with `reason` and `detail` added: null keeps the record, text drops it. It may add columns and rewrite
text. It must not depend on the order or the size of batches.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from aquilamed.config import Invalid
from aquilamed.progress import Progress
from aquilamed.records import write_json, write_part

Kernel = Callable[[pl.DataFrame], pl.DataFrame]
Counts = dict[str, int]
Task = Callable[[Any], Counts]
Finish = Callable[[Path, Counts], None]
Waiting = list[tuple[Path, Any]]
"""The items that are not done, each behind its marker."""


class Engine(Protocol):
    """Runs tasks and remembers which are done."""

    def run(self, task: Task, items: Sequence[Any], done: Path, label: str, gpu: bool = False) -> Counts:
        """Call `task` on every item (in worker processes, any order) and return the summed counts.

        Each finished item leaves `done/<index>.json` behind; after a crash those items are not run again, so a task's
        outputs must be complete before it returns. `gpu`: the task uses a GPU where there is one. Raises the first
        exception of a task.
        """
        ...

    def close(self) -> None:
        """Release workers."""
        ...


def run_marked(
    progress: Progress, items: Sequence[Any], done: Path, label: str, work: Callable[[Waiting, Finish], None]
) -> Counts:
    """What `Engine.run` is but for the workers: `work` runs the items without a marker and calls `finish` for each."""
    total: Counter[str] = Counter()
    waiting: Waiting = []
    for index, item in enumerate(items):
        marker = done / f"{index:05d}.json"
        if marker.exists():
            total.update(json.loads(marker.read_text()))
        else:
            waiting.append((marker, item))
    with progress.track(label, total=len(items), unit="part", done=len(items) - len(waiting)) as bar:

        def finish(marker: Path, counts: Counts) -> None:
            write_json(marker, counts)
            total.update(counts)
            bar.advance()

        work(waiting, finish)
    return dict(total)


def open_engine(name: str, progress: Progress, workers: int, root: Path) -> Engine:
    """The engine of `--engine`: local, ray (a local Ray), or ray://host:port (a cluster to join).

    Args:
        workers: worker processes; 0 is one per core (on a joined cluster: what the cluster has).
        root: the workspace's folder, which every node of a cluster must see.
    """
    if name == "local":
        from aquilamed.engine.local import LocalEngine

        return LocalEngine(progress, workers)
    if name == "ray" or name.startswith("ray://"):
        from aquilamed.engine.ray import RayEngine

        return RayEngine(progress, None if name == "ray" else name, workers, root)
    raise Invalid(f"--engine {name}: there are local, ray and ray://host:port")


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


def map_parts(
    engine: Engine, kernel: Kernel, sources: Sequence[Path], out: Path, label: str, gpu: bool = False
) -> Counts:
    """Run a kernel over the parts of a table into `out/kept` and `out/dropped`, part by part, resumable.

    Markers go to `out/.work/map`. Returns records_in, records_kept, records_dropped.
    """
    items = [(kernel, path, out, f"part-{n:05d}.parquet") for n, path in enumerate(sources)]
    counts = engine.run(apply_kernel, items, out / ".work" / "map", label, gpu)
    return {"records_in": 0, "records_kept": 0, "records_dropped": 0} | counts


def no_reason(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with empty `reason` and `detail` columns: the start of most kernels."""
    return frame.with_columns(pl.lit(None, pl.String).alias("reason"), pl.lit(None, pl.String).alias("detail"))
