"""What is said about training data before a training starts, and the limits above which it does not."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from aquilamed.config import Config, StageFailed
from aquilamed.stage import Context


class Limits(Config):
    """Largest shares (0 to 1) of the data with which a training still starts."""

    too_long: float = Field(default=0.5, ge=0, le=1)
    """Records longer than `length`, which are left out."""
    unsupervised: float = Field(default=0.2, ge=0, le=1)
    """Records without a token to learn, which are left out."""
    duplicates: float = Field(default=0.2, ge=0, le=1)
    """Records whose tokens equal an earlier one's; they are trained on."""
    padding: float = Field(default=0.6, ge=0, le=1)
    """Padding among all tokens of the packed rows."""


def check_data(
    ctx: Context, limits: Limits, counts: Mapping[str, int], tokens: int, supervised: int, padding: float, unit: str
) -> dict[str, Any]:
    """Say and return what the data holds: records and those left out, tokens, supervised share, padding.

    Args:
        counts: `records`, and of them `too_long`, `unsupervised` and `duplicates` where they can occur.
        tokens: of one epoch, without padding.
        padding: share of padding in the rows.

    Raises `StageFailed` when a share is above its limit.
    """
    records = counts["records"]
    shares = {name: count / records for name, count in counts.items() if name != "records" and records}
    shares["padding"] = padding
    told = {"too_long": "too long", "unsupervised": "with nothing to learn", "duplicates": "duplicate"}
    parts = [f"{counts[name]:,} {text}" for name, text in told.items() if name in counts]
    ctx.progress.say(
        f"  {records:,} {unit}s: {', '.join([*parts, 'none cut'])}; {tokens:,} tokens an epoch, "
        f"{supervised / max(tokens, 1):.1%} of them learned, {padding:.1%} padding."
    )
    for name, share in shares.items():
        if share > getattr(limits, name):
            raise StageFailed(
                f"{share:.1%} {name.replace('_', ' ')} is above the limit of {getattr(limits, name):.1%}: "
                f"{'raise length, ' if name == 'too_long' else ''}mend the data or raise limits.{name}"
            )
    return {
        **counts,
        "tokens_per_epoch": tokens,
        "supervised_per_epoch": supervised,
        "padding_share": round(padding, 6),
    }
