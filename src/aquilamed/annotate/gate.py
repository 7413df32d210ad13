"""When calling a service stops, and calls side by side.

What may go wrong with one call is that item's `CallError`; what would go wrong with every call (a wrong key, a service
that is down, a budget that is spent) closes the gate, with all paid answers kept for the next run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from aquilamed.annotate.contract import CallError, ServiceConfig

T = TypeVar("T")


class Gate:
    """Counts what was spent and what failed; `stop` says why no further call is sent."""

    def __init__(self, config: ServiceConfig, section: str, budget: float | None, spent: float) -> None:
        self.config, self.section, self.budget, self.spent = config, section, budget, spent
        self.failed_in_a_row = 0
        self.stop: str | None = None

    def shut(self) -> CallError | None:
        """Why a call may not be sent now; None when it may."""
        if self.stop is None and self.budget is not None and self.spent >= self.budget:
            self.stop = (
                f"the annotator's budget of {self.budget:g} is spent ({self.spent:.4f} for this workspace's calls); "
                "all answers are stored: raise annotator.budget and run again, only missing answers will be paid"
            )
        if self.stop is None:
            return None
        return CallError("budget" if self.budget is not None else "stopped", self.stop)

    def answered(self, cost: float) -> None:
        """Count a call that came back."""
        self.failed_in_a_row = 0
        self.spent += cost

    def failed(self, error: CallError) -> None:
        """Count a call that failed after its retries."""
        self.failed_in_a_row += 1
        self.heed(error)
        if self.stop is None and self.failed_in_a_row >= self.config.give_up_after:
            self.stop = (
                f"{self.failed_in_a_row} calls in a row failed at {self.config.base_url}, lastly with {error.kind} "
                f"({error.detail}); all answers are stored: run again when the service works"
            )

    def heed(self, error: CallError) -> None:
        """Stop for an error that every call will have."""
        config = self.config
        if error.kind in ("http_401", "http_403", "http_404"):
            self.stop = (
                f"{config.base_url} refuses the call ({error.kind}: {error.detail}); check {self.section}.model, "
                f"{self.section}.base_url and the key in the environment variable {config.api_key_env}"
            )

    async def side_by_side(self, items: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
        """`do` for every item, `concurrency` at a time. Calls in flight are finished before `stop` is heeded: they are paid for."""
        queue = iter(items)

        async def worker() -> None:
            for item in queue:
                if self.stop is not None:
                    return
                await do(item)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.config.concurrency):
                group.create_task(worker())
