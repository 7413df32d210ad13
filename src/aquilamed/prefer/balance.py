"""The fewest pairs whose removal keeps length from telling chosen and rejected answers apart."""

import math

import polars as pl

from aquilamed.prefer.audit import longer_share


def most_excess(pairs: pl.DataFrame, tolerance: float) -> dict[str, str]:
    """id → why, of the pairs to drop so that the chosen answer is the longer one in 50 % ± tolerance of the rest.

    Only pairs of the side that is too frequent go, which is the fewest; those with the largest length ratio first, since they
    say most plainly that length decides, and those that a doctor judged last.

    Args:
        pairs: `id`, `human`, `chosen_chars`, `rejected_chars`.
    """
    chosen, rejected = pairs["chosen_chars"], pairs["rejected_chars"]
    share = longer_share(chosen, rejected)
    if share is None or abs(share - 0.5) <= tolerance:
        return {}
    sign = 1 if share > 0.5 else -1
    more = int((chosen > rejected).sum() if sign > 0 else (chosen < rejected).sum())
    points = more + 0.5 * int((chosen == rejected).sum())
    # (points - k) / (n - k) = 0.5 + tolerance
    count = math.ceil(round((points - (0.5 + tolerance) * pairs.height) / (0.5 - tolerance), 9))
    excess = sign * ((pl.col("chosen_chars") + 1) / (pl.col("rejected_chars") + 1)).log()
    going = (
        pairs.with_columns(excess.alias("excess"), pl.col("human").is_not_null().alias("judged"))
        .filter(pl.col("excess") > 0)
        .sort("judged", -pl.col("excess"), "id")
        .head(count)
    )
    told = f"the chosen answer is the longer one in {share:.1%} of {pairs.height} pairs; {count} go for 50 % ± {tolerance:.0%}"
    return dict.fromkeys(going["id"].to_list(), told)
