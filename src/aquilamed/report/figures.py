"""The report's figures, drawn once each: as PNG files, and panel by panel as SVG text that takes its ink from the page.

Colours are Okabe and Ito's, told apart by colour-blind readers; hatches, markers and numbers tell them apart in print.
Labels are ours or from fixed lists (stages, tasks, kinds): no corpus text gets into a figure.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aquilamed.annotate import ASPECTS
from aquilamed.printable import printable
from aquilamed.records import write_atomic
from aquilamed.report import instruct_panels, panels
from aquilamed.report.cells import get
from aquilamed.report.panels import INK

SMALLEST = 0.66
"""A panel is not scaled further down than this: it scrolls sideways instead of becoming unreadable."""
Drawing = Callable[[dict[str, Any]], Any]


def draw(summary: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """Write FOLDER/<name>.png for every figure that has something to show; return name → its panels as inline SVG."""
    import matplotlib as mpl

    drawings: dict[str, Drawing] = {
        "overview": overview,
        "deita": deita,
        "relevance": lambda s: single(
            (s["composition"]["histograms"] or {}).get("relevance"), instruct_panels.relevance, s, (5.4, 3)
        ),
        "composition": composition,
        "topics": topics,
        "losses": losses,
        "preference": lambda s: single(s["dpo"]["after"], panels.preference, s, (4.8, 3)),
        "perplexity": lambda s: single(s["perplexity"]["sets"], panels.perplexity, s, (4.8, 3.4)),
        "pairwise": lambda s: single(s["pairwise"], panels.pairwise, s, (8, 1.4 + 0.55 * len(s["pairwise"]))),
        "rounds": rounds,
        "knowledge": lambda s: single(s["knowledge"], panels.knowledge, s, panels.knowledge_size(s)),
        "quality": lambda s: single((s["quality"] or {}).get("histogram"), panels.quality, s, (5.4, 3)),
    }
    found = {}
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(style()):
        for name, drawing in drawings.items():
            (folder / f"{name}.png").unlink(missing_ok=True)
            figure = drawing(summary)
            if figure is not None:
                found[name] = _save(figure, folder / f"{name}.png")
    return found


def style() -> dict[Any, Any]:
    """How all figures look; a dollar sign in a label is a dollar sign."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "aquilamed",
        "font.size": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.axisbelow": True,
        "figure.constrained_layout.use": True,
        "hatch.linewidth": 0.6,
        "text.parse_math": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    }


def _save(figure: Any, path: Path) -> list[str]:
    """Write a figure as PNG and return its panels as SVG."""
    write_atomic(path, png(figure))
    figure.set_layout_engine("none")  # everything stays where it was drawn
    shown = [axis for axis in figure.axes if axis.axison]
    bars = [axis for axis in shown if axis.get_label() == "<colorbar>"]  # only ever beside the last panel
    alone = [[axis] for axis in shown if axis not in bars]
    alone[-1] += bars
    return [_panel(figure, axes) for axes in alone]


def _panel(figure: Any, axes: list[Any]) -> str:
    """One panel of a figure as SVG without its XML head and metadata, with the widths that it may take."""
    from matplotlib.transforms import Bbox

    for axis in figure.axes:
        axis.set_visible(axis in axes)
    box = (
        Bbox.union([axis.get_tightbbox() for axis in axes]).transformed(figure.dpi_scale_trans.inverted()).padded(0.04)
    )
    svg = io.StringIO()
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None}, bbox_inches=box)
    text = svg.getvalue()
    head, _, body = text[text.index("<svg") :].partition("<metadata>")
    text = printable(head + body.partition("</metadata>")[2]).replace(INK, "currentColor")
    text = re.sub(r"<!--.*?-->|\n *", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*; ?", "", text).replace("<defs></defs>", "")  # the page's font has Chinese too
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    width = 96 * box.width
    return text.replace("<svg", f'<svg style="min-width: {SMALLEST * width:.0f}px; max-width: {1.2 * width:.0f}px"', 1)


def png(figure: Any) -> bytes:
    """A figure as PNG; its bytes depend on what it shows alone."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def blank(size: tuple[float, float]) -> Any:
    """A figure that no window system and no global state knows about."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def single(
    data: Any, panel: Callable[[Any, dict[str, Any]], bool], summary: dict[str, Any], size: tuple[float, float]
) -> Any:
    """A figure of one panel; None when there is nothing to show."""
    if not data:
        return None
    figure = blank(size)
    return figure if panel(figure.subplots(), summary) else None


def overview(summary: dict[str, Any]) -> Any:
    """Four panels: what was kept, perplexity, preference accuracy, knowledge."""
    figure = blank((10, 7))
    axes = figure.subplots(2, 2)
    drawn = [
        panel(axis, summary)
        for axis, panel in zip(
            axes.flat, (panels.funnel, panels.perplexity, panels.preference, panels.knowledge), strict=True
        )
    ]
    for axis, done in zip(axes.flat, drawn, strict=True):
        if not done:
            axis.clear()
            axis.set_axis_off()
            axis.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axis.transAxes)
    return figure if any(drawn) else None


def composition(summary: dict[str, Any]) -> Any:
    """The SFT set by kind, ours and the paper's."""
    counts, paper = (summary["composition"][k] for k in ("counts", "paper"))
    if not counts:
        return None
    figure = blank(instruct_panels.composition_size(counts, paper or {}))
    instruct_panels.composition(figure.subplots(), counts, paper or {})
    return figure


def deita(summary: dict[str, Any]) -> Any:
    """Complexity, quality and their product."""
    told = summary["deita"] or {}
    if not all(get(told, key, "n") for key in ("complexity", "quality", "deita")) or not told.get("grid"):
        return None
    figure = blank((13, 3.1))
    instruct_panels.deita(figure.subplots(1, 4, gridspec_kw={"width_ratios": [1, 1, 1, 1.25]}), summary)
    return figure


def topics(summary: dict[str, Any]) -> Any:
    """Departments and diseases of the SFT set."""
    told = summary["topics"]
    if not told or not told["departments"] or not told["diseases"]:
        return None
    figure = blank((9, 1 + 0.17 * max(len(told["departments"]), 25)))
    instruct_panels.topics(figure.subplots(1, 2), summary)
    return figure


def losses(summary: dict[str, Any]) -> Any:
    """Training loss over steps, a panel per training."""
    curves = {name: t["loss"] for name, t in summary["trainings"].items() if t["loss"]}
    if not curves:
        return None
    figure = blank((3.2 * len(curves), 3))
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        validation = summary["sft"]["eval_loss"] if name == "finetune" else None
        panels.loss(axis, name, curve, validation or [])
    return figure


def rounds(summary: dict[str, Any]) -> Any:
    """The judge's four aspects by round, a panel per aspect."""
    models = {m: v for m, v in (summary["multiturn"].get("models") or {}).items() if v["rounds"]}
    if not models:
        return None
    figure = blank((12, 3.2))
    axes = figure.subplots(1, 4)
    for axis, aspect in zip(axes, ASPECTS, strict=True):
        panels.aspect(axis, aspect, models)
    return figure
