"""What stands inside the figures about the SFT set; see panels.py."""

from collections.abc import Mapping
from typing import Any

from aquilamed.report.instruct_sections import ordered
from aquilamed.report.panels import BLUE, GREEN, GREY, ORANGE, VERMILION

_SCORES = (("complexity", "complexity c", BLUE), ("quality", "quality q", ORANGE), ("deita", "s = c · q", GREEN))
_MOST = 25
LABEL = 36
"""Most characters of a name beside a bar."""


def histogram(axis: Any, bins: list[list[float]], color: str) -> None:
    """Bars of [[lower edge, count] …]."""
    edges, counts = zip(*bins, strict=True)
    step = edges[1] - edges[0] if len(edges) > 1 else 1
    axis.bar(edges, counts, step * 0.94, align="edge", color=color)


def deita(axes: Any, summary: dict[str, Any]) -> None:
    """Histograms of c, q and s, and how c and q go together."""
    told = summary["deita"]
    for axis, (key, label, color) in zip(axes, _SCORES, strict=False):
        histogram(axis, told[key]["histogram"], color)
        axis.set(xlabel=label, ylabel="dialogues", title=f"mean {told[key]['mean']:.3g}")
    cut = (summary["composition"]["thresholds"] or {}).get("deita")
    if cut is not None:
        axes[2].axvline(cut, color=VERMILION, linestyle="--", label=f"kept from {cut:.3g} on")
        axes[2].legend(fontsize=8, frameon=False)
    grid = told["grid"]
    shown = [[n or float("nan") for n in column] for column in zip(*grid, strict=True)]  # rows are drawn upwards
    image = axes[3].imshow(shown, origin="lower", extent=(1, 6, 1, 6), aspect="auto", cmap="cividis")
    axes[3].set(xlabel="complexity c", ylabel="quality q", title="dialogues per cell")
    axes[3].figure.colorbar(image, ax=axes[3])


def relevance(axis: Any, summary: dict[str, Any]) -> bool:
    """Mean CR of the multi-turn dialogues, with both thresholds."""
    histogram(axis, summary["composition"]["histograms"]["relevance"], BLUE)
    axis.axvline(1, color=GREY, linestyle=":", label="1: the history does not matter")
    for key, style in (("relevance_low", "--"), ("relevance_high", "-.")):
        cut = summary["composition"]["thresholds"].get(key)
        if cut is not None:
            side = "where no turn is below" if key == "relevance_low" else "to"
            axis.axvline(cut, color=VERMILION, linestyle=style, label=f"kept {side} {cut:.3g}")
    axis.set(xlabel="mean Context Relevance of a dialogue", ylabel="multi-turn dialogues")
    axis.legend(fontsize=8, frameon=False)
    return True


def composition_size(counts: Mapping[str, int], paper: Mapping[str, float]) -> tuple[float, float]:
    """The size of a figure of `composition`."""
    return 6.4, 1.3 + 0.5 * len({*counts, *paper})


def composition(axis: Any, counts: Mapping[str, int], paper: Mapping[str, float], ours: str = "this run") -> None:
    """Shares per kind, ours above the paper's."""
    kinds = sorted({*counts, *paper}, key=lambda kind: (-paper.get(kind, 0), kind))
    total = sum(counts.values())
    rows = (
        (-0.2, {k: n / total for k, n in counts.items()}, f"{ours} ({total:,} dialogues)", BLUE, ""),
        (0.2, paper, "the paper (about 320,000)", ORANGE, "//"),
    )
    for shift, shares, label, color, hatch in rows:
        values = [100 * shares.get(kind, 0.0) for kind in kinds]
        places = [i + shift for i in range(len(kinds))]
        drawn = axis.barh(places, values, 0.38, color=color, hatch=hatch, edgecolor="white", label=label)
        axis.bar_label(drawn, [f"{v:.1f} %" for v in values], padding=3, fontsize=8.5)
    axis.set_yticks(range(len(kinds)), kinds)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set(xlabel="share of the dialogues, %")
    axis.legend(fontsize=8.5, frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)


def _label(name: str) -> str:
    """A name beside a bar; a long one is cut, so that room is left for the bars."""
    name = name.replace("_", " ")
    return name if len(name) <= LABEL else f"{name[: LABEL - 2]} …"


def topics(axes: Any, summary: dict[str, Any]) -> None:
    """Departments, and the diseases named most."""
    for axis, key, color in ((axes[0], "departments", BLUE), (axes[1], "diseases", GREEN)):
        rows = ordered(summary["topics"][key])
        shown = rows[: 2 * _MOST if key == "departments" else _MOST]
        drawn = axis.barh(range(len(shown)), [n for _, n in shown], color=color, height=0.78)
        axis.bar_label(drawn, [f"{n:,}" for _, n in shown], padding=3, fontsize=7.5)
        axis.set_yticks(range(len(shown)), [_label(name) for name, _ in shown], fontsize=8)
        more = f", the first {len(shown)}" if len(rows) > len(shown) else ""
        axis.set(xlabel="dialogues", title=f"{len(rows)} {key}{more}")
        axis.invert_yaxis()
        axis.margins(x=0.12, y=0.01)
