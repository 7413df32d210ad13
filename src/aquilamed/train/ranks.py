"""The processes of one training: which of them this is, and sums over all. A training in one process needs no group."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Protocol


class Indexed(Protocol):
    """Rows by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


PATIENCE = 1800
"""Seconds that a process waits for the others: the longest that one of them may write a checkpoint."""


def join() -> None:
    """Join the group that torchrun's environment variables describe: NCCL between GPUs, gloo between CPUs."""
    import torch

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=timedelta(seconds=PATIENCE))


def count() -> int:
    """How many processes train together."""
    return int(_group().get_world_size()) if _group() else 1


def index() -> int:
    """Which of them this is, from 0; the first is the one that writes."""
    return int(_group().get_rank()) if _group() else 0


def wait() -> None:
    """Return when every process has come here."""
    if _group():
        _group().barrier()


def share(rows: Indexed) -> Iterator[tuple[Any, bool]]:
    """This process' rows, each with whether it counts.

    Every process gets as many: a sharded model computes only when all processes do. Rows that would be missing are
    repetitions that do not count.
    """
    for at in range(index(), -(-len(rows) // count()) * count(), count()):
        yield rows[min(at, len(rows) - 1)], at < len(rows)


def total(*values: float) -> list[float]:
    """The sums of values over all processes, in float64."""
    if not _group():
        return list(values)
    import torch

    sums = torch.tensor(values, dtype=torch.float64)
    _group().all_reduce(sums)
    return [float(v) for v in sums]


def gathered(value: Any) -> list[Any]:
    """Every process' value, in their order."""
    if not _group():
        return [value]
    found: list[Any] = [None] * count()
    _group().all_gather_object(found, value)
    return found


def _group() -> Any:
    import torch.distributed as group

    return group if group.is_available() and group.is_initialized() else None
