"""What an evaluation has worked out so far, appended batch by batch: a killed run goes on at the next question.

Batches are composed from all questions, not from those that are left, so that a resumed run pads and computes as an
undisturbed one does and ends with the same digits.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aquilamed.records import digest


class Kept:
    """A JSON-lines file of key → value that only grows; what `add` was given is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.values: dict[str, Any] = {}
        self.seconds = 0.0
        """What all attempts took, from each opening to its last `add`."""
        if path.exists():
            self._read()
        self._since = time.perf_counter()

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # killed while it wrote
            os.truncate(self.path, len(whole))
        for line in whole.split(b"\n")[:-1]:
            row = json.loads(line)
            self.values |= row["values"]
            self.seconds += row["seconds"]

    def add(self, values: Mapping[str, Any]) -> None:
        """Append values, which must be JSON-able; floats keep all their digits."""
        now = time.perf_counter()
        seconds = round(now - self._since, 3)
        row = {"values": dict(values), "seconds": seconds}
        with self.path.open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.values |= values
        self.seconds += seconds
        self._since = now

    def all(self, keys: Sequence[str]) -> bool:
        """Whether every key has its value."""
        return all(key in self.values for key in keys)


class Resumable:
    """A mixin before a model class of lm-evaluation-harness: what it answers is kept, batch by batch."""

    kept: Kept | None = None
    together: int = 1
    """Questions of one batch."""

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The answers to the harness' requests, in order; those that are kept are not generated again."""
        plain: Any = super()
        if self.kept is None:
            return list(plain.generate_until(requests, disable_tqdm))
        lengths = [len(self.tok_encode(r.args[0])) for r in requests]  # type: ignore[attr-defined]
        order = sorted(range(len(requests)), key=lambda i: (-lengths[i], i))
        keys = [digest(["generate", *r.args]) for r in requests]
        for start in range(0, len(order), self.together):
            batch = order[start : start + self.together]
            if not self.kept.all([keys[i] for i in batch]):
                texts = plain.generate_until([requests[i] for i in batch], True)
                self.kept.add({keys[i]: text for i, text in zip(batch, texts, strict=True)})
        return [self.kept.values[key] for key in keys]

    def _loglikelihood_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether it is greedy) per tokenised request, in order."""
        plain: Any = super()
        if self.kept is None:
            return list(plain._loglikelihood_tokens(requests, disable_tqdm))
        keys = [digest(["loglikelihood", *name]) for name, _, _ in requests]
        for start in range(0, len(requests), self.together):
            batch = slice(start, start + self.together)
            if not self.kept.all(keys[batch]):
                values = plain._loglikelihood_tokens(requests[batch], True)
                self.kept.add(dict(zip(keys[batch], map(list, values), strict=True)))
        found = (self.kept.values[key] for key in keys)
        return [(value, greedy) for value, greedy in found]
