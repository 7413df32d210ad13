"""The default engine: a pool of spawned worker processes, one Polars thread each, kept for the whole run."""

import os
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from aquilamed.engine import Counts, Finish, Task, Waiting, run_marked
from aquilamed.progress import Progress


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

    def run(self, task: Task, items: Sequence[Any], done: Path, label: str, gpu: bool = False) -> Counts:
        """See `Engine.run`."""
        return run_marked(self.progress, items, done, label, partial(self._work, task))

    def _work(self, task: Task, waiting: Waiting, finish: Finish) -> None:
        if self.workers == 1 or len(waiting) < 2:
            for marker, item in waiting:
                finish(marker, task(item))
            return
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
