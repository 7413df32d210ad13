"""Stage prefer/decontaminate: preference pairs that hold a benchmark's question, found as in the corpus.

A pair is searched whole: its prompt and both answers one below the other.
"""

import polars as pl

from aquilamed.corpus.decontaminate import DecontaminateConfig, decontaminate_stage
from aquilamed.stage import Context, Result

INPUTS = ("prefer/subjective", "prefer/objective", "sources/preferences")


class PreferDecontaminateConfig(DecontaminateConfig):
    """When a preference pair holds a benchmark's question."""


def pair_texts(frame: pl.DataFrame) -> list[str]:
    """The messages of each pair: prompt, chosen, rejected."""
    rows = frame.select("prompt", "chosen", "rejected").iter_rows()
    return ["\n".join(m["content"] for messages in row for m in messages) for row in rows]


def run(ctx: Context, config: PreferDecontaminateConfig) -> Result:
    """Drop pairs that hold a benchmark's question; reason decontaminate.benchmark_overlap."""
    return decontaminate_stage(ctx, config, [name for name in INPUTS if name in ctx.inputs], pair_texts)
