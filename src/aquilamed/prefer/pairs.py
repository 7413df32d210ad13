"""What both preference stages share: writing decided records as kept pairs and dropped ones."""

from typing import Any

import polars as pl

from aquilamed.records import PREFERENCE, REASON, to_schema, write_parts
from aquilamed.stage import Context


def write_pairs(ctx: Context, records: list[dict[str, Any]]) -> pl.DataFrame:
    """Write preference records (with `reason` and `detail`, None for a pair) sorted by id; returns the kept pairs."""
    schema = to_schema(PREFERENCE) | {name: pl.String for name, _ in REASON}
    table = pl.DataFrame(records, schema=schema, orient="row").sort("id")
    kept = table.filter(pl.col("reason").is_null()).drop("reason", "detail")
    write_parts(ctx.out / "kept", kept)
    write_parts(ctx.out / "dropped", table.filter(pl.col("reason").is_not_null()))
    return kept
