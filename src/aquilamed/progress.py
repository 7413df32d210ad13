"""Progress of long work: bars with rate and ETA on a terminal, plain lines every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress


def duration(seconds: float) -> str:
    """`75` → "1:15"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Bar:
    """One piece of counted work."""

    def __init__(self, progress: "Progress", label: str, total: int, unit: str, done: int) -> None:
        self.progress, self.label, self.total, self.unit = progress, label, total, unit
        self.start_count = self.count = done
        self.started = self.printed = time.monotonic()
        self.note = ""
        self.task = None
        if progress.live is not None:
            self.task = progress.live.add_task(label, total=total, completed=done, rate="", note="")

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count `amount` more units done; `note` is shown behind the bar (a loss, a file)."""
        self.count += amount
        self.note = note or self.note
        now = time.monotonic()
        rate = (self.count - self.start_count) / max(now - self.started, 1e-9)
        speed = f"{rate:,.1f} {self.unit}/s"
        if self.progress.live is not None and self.task is not None:
            self.progress.live.update(self.task, completed=self.count, rate=speed, note=self.note)
        elif now - self.printed > self.progress.every:
            self.printed = now
            eta = duration((self.total - self.count) / rate) if rate and self.total >= self.count else "?"
            self.progress.say(
                f"  {self.label}: {self.count:,}/{self.total:,}  {speed}  ETA {eta}  {self.note}".rstrip()
            )


class Progress:
    """Where a run tells what it does. All output goes to stderr, so that `--json` on stdout stays clean."""

    def __init__(self, quiet: bool = False, every: float = 5.0) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.every = every
        self.live: RichProgress | None = None
        self.terminal = sys.stderr.isatty() and not quiet

    def say(self, text: str) -> None:
        """Print one line; markup is off because file names and corpus text may hold brackets."""
        self.console.print(text, markup=False)

    @contextmanager
    def track(self, label: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
        """A bar for `total` units of work of which `done` were done by an earlier run."""
        if not self.terminal or self.live is not None:
            yield Bar(self, label, total, unit, done)
            return
        self.live = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            transient=True,
        )
        try:
            with self.live:
                yield Bar(self, label, total, unit, done)
        finally:
            self.live = None
