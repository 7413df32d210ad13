"""Cells and tables of the report: numbers as text, and "not measured" where there is no number."""

from dataclasses import dataclass
from typing import Any

from aquilamed.printable import printable

ABSENT = "not measured"
Row = list[str]


@dataclass
class Table:
    """A table of finished cells; a row that begins with a stage's name links to its manifest.

    Args:
        text: how many of its first columns are words, the rest are numbers.
        folded: shown only when asked for.
        sources: for every row the stage whose manifest holds its numbers, which link to it; "" for none.
    """

    headers: list[str]
    rows: list[Row]
    text: int = 1
    caption: str = ""
    folded: bool = False
    sources: list[str] | None = None


def count(value: Any) -> str:
    """An integer with thousands separators."""
    return ABSENT if value is None else f"{value:,}"


def number(value: Any, digits: int = 4) -> str:
    """A number with so many significant digits; large ones are whole, not powers of ten."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:,.{digits}g}"


def percent(value: Any, digits: int = 1) -> str:
    """A share as percent."""
    return ABSENT if value is None else f"{100 * value:.{digits}f} %"


def arrow(*values: str) -> str:
    """Values in their order of time; "not measured" once when none was."""
    return ABSENT if all(v == ABSENT for v in values) else " → ".join(values)


def get(values: Any, *keys: str) -> Any:
    """A nested value, or None where a key on the way is missing."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def spans(p: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Pack → (mix, what came before, what after)."""
    start = "stage 1" if p["sets"]["pack1"] else "base"
    return {"pack1": ("mix 1", "base", "stage 1"), "pack2": ("mix 2", start, "stage 2")}


def accuracy(r: dict[str, Any]) -> str:
    """An accuracy with its standard error and number of questions."""
    if r["accuracy"] is None:
        return ABSENT
    error = f" ± {r['stderr']:.1f}" if r["stderr"] is not None else ""
    return f"{r['accuracy']:.1f}{error} % (n = {r['n']:,})"


def between(value: Any, interval: Any, form: str = "{:.2f}") -> str:
    """A value with its interval: "3.10 (2.84 to 3.35)"."""
    if value is None:
        return ABSENT
    return form.format(value) + (f" ({form.format(interval[0])} to {form.format(interval[1])})" if interval else "")


def points(share: Any) -> str:
    """A share with its interval, in percent."""
    interval = get(share, "interval")
    return between(
        None if get(share, "share") is None else 100 * share["share"],
        interval and [100 * v for v in interval],
        "{:.1f}",
    )


def called(judge: Any) -> str:
    """A judge's name as it is shown: of a local model's folder the last part."""
    name = printable(judge)
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name


def difference(noise: bool, few: bool = False) -> str:
    """What a tested difference is."""
    return "too few to say" if few else "noise" if noise else "a difference"
