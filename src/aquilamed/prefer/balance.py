"""The fewest pairs whose removal keeps length from telling chosen and rejected answers apart."""

import math

import numpy as np
import polars as pl

from aquilamed.prefer.audit import longer_share


def fewest(pairs: pl.DataFrame, tolerance: float) -> dict[str, str]:
    """id → why, of the pairs to drop so that the chosen answer is the longer one in 50 % ± tolerance of the rest.

    Only pairs of the side that is too frequent go, which is the fewest, and first those that no doctor judged. Which of them is
    free: they are neighbours in the order of their length ratio, those whose leaving brings the mean ratio nearest to 1. (Those with
    the largest ratios would turn a mean of 1.24 into 0.91.)

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
    table = pairs.with_columns((sign * ((chosen + 1) / (rejected + 1)).log()).alias("excess"))
    side = table.filter(pl.col("excess") > 0).sort("excess", "id")
    judged = pl.col("human").is_not_null()
    going, pool = side.clear(), side.filter(~judged)
    if pool.height < count:
        going, pool = pool, side.filter(judged)
    total = float(table["excess"].to_numpy().sum() - going["excess"].to_numpy().sum())
    going = going.vstack(_window(pool, count - going.height, total))
    told = f"the chosen answer is the longer one in {share:.1%} of {pairs.height} pairs; {count} go for 50 % ± {tolerance:.0%}"
    return dict.fromkeys(going["id"].to_list(), told)


def _window(pool: pl.DataFrame, size: int, total: float) -> pl.DataFrame:
    """The `size` neighbours in a sorted pool whose sum of excess is nearest to the total's."""
    sums = np.concatenate([[0.0], np.cumsum(pool["excess"].to_numpy())])
    left = np.abs(total - (sums[size:] - sums[: len(sums) - size]))
    return pool.slice(int(np.argmin(left.round(9))), size)
