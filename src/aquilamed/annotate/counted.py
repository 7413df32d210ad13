"""What an annotator counts of its calls."""

from collections import Counter
from typing import Any


class Counted:
    """The numbers that an annotator gathers while it answers."""

    def __init__(self, priced: bool = True) -> None:
        self.calls = self.cached = self.tokens_in = self.tokens_out = 0
        self.cost = 0.0
        self.priced = priced
        """Whether anybody knows what a call costs."""
        self.errors: Counter[str] = Counter()
        self.rubrics: dict[str, str] = {}

    def statistics(self) -> dict[str, Any]:
        """See `Annotator.statistics`."""
        return {
            "calls": self.calls,
            "cached": self.cached,
            "errors": dict(sorted(self.errors.items())),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost": round(self.cost, 6) if self.priced else None,
            "rubrics": dict(sorted(self.rubrics.items())),
        }
