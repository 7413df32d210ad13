"""What both preference stages share: writing decided records as kept pairs and dropped ones."""

from typing import Any

import polars as pl

from aquilamed.records import PREFERENCE, REASON, to_schema, write_parts
from aquilamed.stage import Context


def write_pairs(ctx: Context, records: list[dict[str, Any]], verdicts: bool = False) -> pl.DataFrame:
    """Write preference records (with `reason` and `detail`, None for a pair) sorted by id; returns the kept pairs.

    Args:
        verdicts: the records also have a text column of this name: what the judge said in both orders, as JSON.
    """
    extra = ["verdicts"] if verdicts else []
    schema = to_schema(PREFERENCE) | dict.fromkeys([*extra, *(name for name, _ in REASON)], pl.String())
    table = pl.DataFrame(records, schema=schema, orient="row").sort("id")
    kept = table.filter(pl.col("reason").is_null()).drop("reason", "detail")
    write_parts(ctx.out / "kept", kept)
    write_parts(ctx.out / "dropped", table.filter(pl.col("reason").is_not_null()))
    return kept
