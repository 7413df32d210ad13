"""The figures of a card: PNG files whose bytes depend on their numbers alone. Labels are ours or from fixed lists."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aquilamed.records import write_atomic
from aquilamed.release.facts import Histogram
from aquilamed.report import instruct_panels, panels
from aquilamed.report.figures import blank, losses, png, style

_MOST_BARS = 12
_MOST_PANELS = 12


def composition(path: Path, counts: Mapping[str, int], paper: Mapping[str, float]) -> bool:
    """The SFT set by kind, beside the paper's. False when there is nothing to draw."""
    if not sum(counts.values()):
        return False
    with _styled():
        drawing = blank(instruct_panels.composition_size(counts, paper))
        instruct_panels.composition(drawing.subplots(), counts, paper, "this release")
        write_atomic(path, png(drawing))
    return True


def bars(path: Path, groups: Mapping[str, Mapping[str, int]], unit: str, columns: int) -> bool:
    """A panel of horizontal bars per way of counting, largest first; beyond twelve the rest is one bar."""
    shown = {title: _largest(counts) for title, counts in groups.items() if sum(counts.values())}
    if not shown:
        return False
    from matplotlib.ticker import MaxNLocator

    with _styled():
        tallest = max(len(counts) for counts in shown.values())
        lines = math.ceil(len(shown) / columns)
        drawing = blank((4.2 * columns, lines * (1.1 + 0.34 * tallest)))
        axes = list(drawing.subplots(lines, columns, squeeze=False).flat)
        for axis, (title, counts), color in zip(axes, shown.items(), panels.PALETTE, strict=False):
            drawn = axis.barh(range(len(counts)), [n for _, n in counts], color=color, height=0.7)
            axis.bar_label(drawn, [f"{n:,}" for _, n in counts], padding=3, fontsize=8)
            axis.set_yticks(range(len(counts)), [name for name, _ in counts])
            axis.set(xlabel=unit, title=title, ylim=(tallest - 0.4, -0.6))
            axis.margins(x=0.18)
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        write_atomic(path, png(drawing))
    return True


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    order = sorted(((k or "unknown", n) for k, n in counts.items() if n), key=lambda c: (-c[1], c[0]))
    rest = sum(n for _, n in order[_MOST_BARS:])
    return order[:_MOST_BARS] + ([("others", rest)] if rest else [])


def scores(path: Path, histograms: Mapping[str, Histogram]) -> bool:
    """A panel per histogram that a stage measured (at most twelve)."""
    shown = list(histograms.items())[:_MOST_PANELS]
    if not shown:
        return False
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    with _styled():
        drawing = blank((3.9 * columns, 2.5 * lines))
        axes = list(drawing.subplots(lines, columns, squeeze=False).flat)
        for axis, (name, values) in zip(axes, shown, strict=False):
            edges = [edge for edge, _ in values]
            width = (edges[-1] - edges[0]) / (len(edges) - 1) or 1.0
            axis.bar(edges, [n for _, n in values], width=width, align="edge", color=panels.BLUE, edgecolor="white")
            axis.set_title(name, fontsize=9)
            axis.set_ylabel("scored")
            axis.xaxis.set_major_locator(MaxNLocator(4))
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        write_atomic(path, png(drawing))
    return True


def training(path: Path, summary: dict[str, Any], stages: Sequence[str]) -> bool:
    """Loss over steps of these trainings."""
    told = {**summary, "trainings": {k: v for k, v in summary["trainings"].items() if k in stages}}
    with _styled():
        drawing = losses(told)
        if drawing is not None:
            write_atomic(path, png(drawing))
    return drawing is not None


def _styled() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(style())
