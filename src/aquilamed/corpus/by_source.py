"""Duplicates by source: which source each row is of, and the table of what stays and what goes."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aquilamed.records import write_json


def write_sources(folder: Path, sources: Sequence[str]) -> None:
    """Write down the sources of a part's rows."""
    names, numbers = np.unique(np.array(sources, dtype=np.str_), return_inverse=True)
    write_json(folder / "sources.json", names.tolist())
    np.save(folder / "source.npy", numbers.astype(np.uint16))


def metrics(verdicts: npt.NDArray[np.void], names: list[str]) -> dict[str, Any]:
    """Counts of verdicts (`exact`, `source`, `of`): exact, near, within and across sources, and `sources`."""
    exact, across = int(verdicts["exact"].sum()), int((verdicts["source"] != verdicts["of"]).sum())
    pairs = Counter(zip(verdicts["of"].tolist(), verdicts["source"].tolist(), strict=True))
    table: dict[str, dict[str, int]] = {}
    for (of, source), count in sorted(pairs.items()):
        table.setdefault(names[of], {})[names[source]] = count
    total = len(verdicts)
    return {"exact": exact, "near": total - exact, "within": total - across, "across": across, "sources": table}


def read_sources(signed: Sequence[Path]) -> tuple[npt.NDArray[np.uint16], list[str]]:
    """For each row the number of its source, and the sources' names in that order."""
    local = [json.loads((f / "sources.json").read_text(encoding="utf-8")) for f in signed]
    names = sorted({name for some in local for name in some})
    numbers = {name: number for number, name in enumerate(names)}
    found = [np.empty(0, np.uint16)]
    for folder, some in zip(signed, local, strict=True):
        found.append(np.array([numbers[name] for name in some], np.uint16)[np.load(folder / "source.npy")])
    return np.concatenate(found), names
