"""The default engine: a pool of spawned worker processes, one Polars thread each, kept for the whole run."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from aquilamed.engine import Counts
from aquilamed.progress import Progress
from aquilamed.records import write_json


def _worker_start() -> None:
    # Ctrl-C reaches the whole process group: only the parent answers it, and it alone stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class LocalEngine:
    """Worker processes on this machine. `workers=1` runs in this process; 0 means one per core."""

    def __init__(self, progress: Progress, workers: int = 0) -> None:
        self.progress = progress
        self.workers = workers or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read by the spawned workers; this process has its own
            self._pool = ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), initializer=_worker_start)
        return self._pool

    def run(self, task: Callable[[Any], Counts], items: Sequence[Any], done: Path, label: str) -> Counts:
        """See `Engine.run`."""
        total: Counter[str] = Counter()
        waiting = []
        for index, item in enumerate(items):
            marker = done / f"{index:05d}.json"
            if marker.exists():
                total.update(json.loads(marker.read_text()))
            else:
                waiting.append((marker, item))
        with self.progress.track(label, total=len(items), unit="part", done=len(items) - len(waiting)) as bar:

            def finish(marker: Path, counts: Counts) -> None:
                write_json(marker, counts)
                total.update(counts)
                bar.advance()

            if self.workers == 1 or len(waiting) < 2:
                for marker, item in waiting:
                    finish(marker, task(item))
            else:
                self._run_pool(task, waiting, finish)
        return dict(total)

    def _run_pool(
        self,
        task: Callable[[Any], Counts],
        waiting: list[tuple[Path, Any]],
        finish: Callable[[Path, Counts], None],
    ) -> None:
        pool = self._executor()
        queue = iter(waiting)
        running: dict[Future[Counts], Path] = {}
        try:
            while True:
                # Twice the workers in flight keeps them busy and memory bounded, whatever the number of parts.
                while len(running) < 2 * self.workers and (entry := next(queue, None)) is not None:
                    running[pool.submit(task, entry[1])] = entry[0]
                if not running:
                    return
                ready, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    finish(running.pop(future), future.result())
        except BaseException:
            for future in running:
                future.cancel()
            self.close()
            raise

    def close(self) -> None:
        """Stop the workers."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
