"""The threshold's panel of Explore: a histogram of a stage's scores, a slider, what it would keep, the recipe's lines."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import gradio as gr
import numpy as np

from aquilamed.recipe import Recipe
from aquilamed.web.distribution import KEYS, Distribution, numeric, spread
from aquilamed.web.site import Site
from aquilamed.workspace import Artifact

_BARS = 100
_RIVALS = {"corpus.quality.threshold": "keep_share"}
"""A key that would outrank the threshold, so that it must be null."""


def build(site: Site, tables: Callable[[Site], dict[str, Artifact]], stage: gr.Dropdown) -> None:
    """The panel, closed at first; nothing is read before somebody asks: a picture needs a whole column.

    Args:
        tables: the finished data stages by name.
        stage: the box above in which a stage is chosen.
    """
    text = site.text
    with gr.Accordion(text("threshold.title"), open=False, elem_id="threshold"):
        with gr.Row():
            choice = gr.Dropdown([], label=text("explore.score"), elem_id="threshold-score")
            draw = gr.Button(text("threshold.draw"), elem_id="threshold-draw")
        picture = gr.HTML(elem_id="histogram")
        slider = gr.Slider(0, 1, label=text("threshold.value"), visible=False, elem_id="threshold-value")
        line = gr.Textbox(
            label=text("threshold.line"), lines=3, visible=False, elem_id="threshold-line", buttons=["copy"]
        )

    def found(name: str, column: str) -> Distribution | None:
        artifact = tables(site).get(name)
        return spread(artifact, column) if artifact and column in numeric(artifact) else None

    def offered(name: str) -> tuple[Any, ...]:
        artifact = tables(site).get(name)
        columns = numeric(artifact) if artifact else []
        hidden = gr.Slider(visible=False), gr.Textbox(visible=False)
        return gr.Dropdown(choices=columns, value=columns[0] if columns else None), "", *hidden

    def drawn(name: str, column: str) -> tuple[Any, ...]:
        if (spread_ := found(name, column)) is None:
            message = site.html("problem.html.j2", message=text("threshold.none"))
            return message, gr.Slider(visible=False), gr.Textbox(visible=False)
        edges = spread_.edges
        key = KEYS.get((name, column))
        start = _applied(tables(site)[name], key) or _now(site.recipe(), key)
        start = _nearest(spread_, float(np.median(edges)) if start is None else start)
        moved = gr.Slider(minimum=edges[0], maximum=edges[-1], step=edges[1] - edges[0], value=start, visible=True)
        return _picture(site, spread_, start), moved, _line(site, key, start)

    def moved(name: str, column: str, value: float) -> tuple[Any, ...]:
        if (spread_ := found(name, column)) is None:
            return "", gr.Textbox(visible=False)
        value = _nearest(spread_, value)
        return _picture(site, spread_, value), _line(site, KEYS.get((name, column)), value)

    stage.change(offered, stage, [choice, picture, slider, line], show_progress="hidden")
    gr.on([draw.click, choice.input], drawn, [stage, choice], [picture, slider, line])
    slider.input(moved, [stage, choice, slider], [picture, line], show_progress="hidden", trigger_mode="always_last")


def _nearest(found: Distribution, value: float) -> float:
    """The bin's edge next to a value: there the counts are exact."""
    return float(found.edges[np.abs(found.edges - value).argmin()])


def _applied(artifact: Artifact, key: str | None) -> float | None:
    """The threshold that the stage took, where it chose one itself."""
    value = artifact.metrics.get("threshold") if key and key.endswith("threshold") else None
    return float(value) if isinstance(value, int | float) else None


def _now(recipe: Recipe, key: str | None) -> float | None:
    try:
        value = attrgetter(key)(recipe) if key else None
    except AttributeError:  # a section that the recipe switches off
        return None
    return None if value is None else float(value)


def recipe_lines(recipe: Recipe, key: str, value: float) -> str:
    """The YAML that sets a key, nested as in a recipe; a key that would outrank it is set to null."""
    *sections, last = key.split(".")
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(sections)]
    lines.append(f"{'  ' * len(sections)}{last}: {f'{value:.10g}'}")
    rival = _RIVALS.get(key)
    if rival and _now(recipe, f"{'.'.join(sections)}.{rival}") is not None:
        lines.append(f"{'  ' * len(sections)}{rival}: null")
    return "\n".join(lines)


def _line(site: Site, key: str | None, value: float) -> Any:
    if key is None:
        return gr.Textbox(visible=False)
    info = site.text("threshold.option", option=f"--set {key}={value:.10g}")
    return gr.Textbox(value=recipe_lines(site.recipe(), key, value), info=info, visible=True)


def _picture(site: Site, found: Distribution, threshold: float) -> str:
    """The histogram as SVG, the threshold in it, and the count."""
    group = -(-len(found.kept) // _BARS)
    starts = range(0, len(found.kept), group)
    counts = [(int(found.kept[i : i + group].sum()), int(found.dropped[i : i + group].sum())) for i in starts]
    span = float(found.edges[-1] - found.edges[0])
    return site.html(
        "histogram.html.j2",
        column=found.column,
        bars=[
            {
                "x": 100 * float(found.edges[i] - found.edges[0]) / span,
                "width": 100 * float(found.edges[min(i + group, len(found.kept))] - found.edges[i]) / span,
                "kept": kept,
                "dropped": dropped,
            }
            for i, (kept, dropped) in zip(starts, counts, strict=True)
        ],
        highest=max(sum(pair) for pair in counts),
        low=f"{found.edges[0]:g}",
        high=f"{found.edges[-1]:g}",
        threshold=f"{threshold:g}",
        at=100 * (threshold - float(found.edges[0])) / span,
        above=found.at_least(threshold),
        total=found.total,
    )
