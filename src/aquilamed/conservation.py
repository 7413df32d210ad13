"""Law 1 of the runner: every record that enters a data stage leaves it, kept or dropped."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aquilamed.config import StageFailed
from aquilamed.records import count_rows, parts, read_parts
from aquilamed.stage import Result, Stage
from aquilamed.workspace import Artifact


def conservation(stage: Stage, out: Path, inputs: dict[str, Artifact], result: Result) -> dict[str, Any]:
    """Law 1, from the written files: in = kept + dropped, no id twice, and for `flow` stages the same ids out as in.

    Raises `StageFailed` with the numbers when it does not hold.
    """
    kept, dropped = parts(out / "kept"), parts(out / "dropped")
    n_kept, n_dropped = count_rows(kept), count_rows(dropped)
    sources = [part for name in stage.flow if name in inputs for part in inputs[name].kept_parts()]
    n_in = count_rows(sources) if stage.flow else result.records_in
    if n_in is None or n_in != n_kept + n_dropped:
        raise StageFailed(f"conservation broken: {n_in} records in, {n_kept} kept + {n_dropped} dropped")
    ids = _id_hashes([*kept, *dropped])
    if twice := int((ids[1:] == ids[:-1]).sum()):
        raise StageFailed(f"conservation broken: {twice} ids were written twice")
    if stage.flow and not np.array_equal(ids, _id_hashes(sources)):
        raise StageFailed("conservation broken: the ids written are not the ids read")
    reasons: dict[str, int] = {}
    if n_dropped:
        table = read_parts(out / "dropped", ["reason"])["reason"]
        if table.null_count():
            raise StageFailed(f"{table.null_count()} dropped records have no reason")
        reasons = dict(sorted(zip(*table.value_counts().to_dict(as_series=False).values(), strict=True)))
    return {"records_in": n_in, "records_kept": n_kept, "records_dropped": n_dropped, "reasons": reasons}


def _id_hashes(files: list[Path]) -> NDArray[np.uint64]:
    """The sorted 64-bit hashes of all ids: a quarter of the memory of the ids."""
    hashes = [pl.read_parquet(f, columns=["id"], glob=False)["id"].hash().to_numpy() for f in files]
    return np.sort(np.concatenate([np.empty(0, np.uint64), *hashes]))
