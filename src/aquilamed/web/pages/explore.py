"""Explore: the kept and dropped records of any data stage; the scores, and what a threshold would keep."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from aquilamed.config import Invalid, StageFailed
from aquilamed.web.beside import Beside, beside
from aquilamed.web.distribution import numeric
from aquilamed.web.pages import threshold
from aquilamed.web.pipeline_view import current_states, newest
from aquilamed.web.scan import Filter, Found, Place, look
from aquilamed.web.shown import shown
from aquilamed.web.site import Page, Site
from aquilamed.workspace import Artifact

_PAGE = 20
_LANGUAGES = ["zh", "zh-Hant", "en"]
_FIRST = "corpus/rules"
_MOST = 200  # characters of a search


def tables(site: Site) -> dict[str, Artifact]:
    """The finished stages that write records, by name. Raises `Invalid` when the recipe is broken."""
    found = {s.name: newest(site.workspace, s) for s in current_states(site.workspace)}
    return {name: artifact for name, artifact in found.items() if artifact and "reasons" in artifact.manifest}


def sources(site: Site) -> list[str]:
    """The names of the recipe's sources."""
    section = site.recipe().sources
    groups = (section.documents, section.dialogues, section.preferences)
    return list(dict.fromkeys(s.name for group in groups if group for s in group.sources))


def build(site: Site) -> None:
    """Filters, a page of records, and the threshold's panel."""
    text = site.text
    places = gr.State([Place()])
    with gr.Row():
        stage = gr.Dropdown([], label=text("explore.stage"), elem_id="stage", filterable=True)
        side = gr.Radio(
            [(text("explore.dropped"), "dropped"), (text("explore.kept"), "kept")],
            value="dropped",
            label=text("explore.side"),
            elem_id="side",
        )
        reason = gr.Dropdown([], label=text("explore.reason"), elem_id="reason")
    with gr.Row():
        words = gr.Textbox(label=text("explore.words"), elem_id="words", max_length=_MOST, scale=2)
        source = gr.Dropdown([], label=text("explore.source"), allow_custom_value=True, elem_id="source")
        lang = gr.Dropdown(
            [(text("explore.any"), ""), *((name, name) for name in _LANGUAGES)],
            value="",
            label=text("explore.language"),
            allow_custom_value=True,
            elem_id="lang",
        )
    with gr.Row():
        score = gr.Dropdown([], label=text("explore.score"), elem_id="score")
        # Text boxes: an empty number box of Gradio's says 0.
        low = gr.Textbox(label=text("explore.low"), max_length=30, elem_id="low")
        high = gr.Textbox(label=text("explore.high"), max_length=30, elem_id="high")
        search = gr.Button(text("explore.search"), variant="primary", elem_id="search")
    records = gr.HTML(elem_id="records")
    with gr.Row():
        back = gr.Button(text("explore.back"), elem_id="back")
        more = gr.Button(text("explore.more"), elem_id="more")
    threshold.build(site, tables, stage)

    inputs = [stage, side, reason, words, source, lang, score, low, high]
    outputs = [records, places]
    boxes = [stage, source, side, reason, score]

    def opened(request: gr.Request) -> Iterator[tuple[Any, ...]]:
        try:
            names = list(tables(site))
            old = {s.name for s in current_states(site.workspace) if s.artifact is None}
        except (Invalid, StageFailed) as error:
            yield *[gr.skip()] * 5, site.html("problem.html.j2", message=str(error)), [Place()]
            return
        asked = request.query_params.get("stage")
        first = asked if asked in names else next((n for n in names if n == _FIRST), names[0] if names else "")
        labels = [(f"{n} ({text('state.stale')})" if n in old else n, n) for n in names]
        named = gr.Dropdown(choices=labels, value=first), gr.Dropdown(choices=[_any(site), *sources(site)], value="")
        side = _with_records(site, first, "dropped")
        for page in _pages(site, (first, side, "", "", "", "", "", "", ""), [Place()]):
            yield *named, side, *_offered(site, first), *page

    def chosen(*values: Any) -> Iterator[tuple[Any, ...]]:
        name, side, _, words, source, lang, *_ = values
        side = _with_records(site, name, side)
        for page in _pages(site, (name, side, "", words, source, lang, "", "", ""), [Place()]):
            yield side, *_offered(site, name), *page

    def started(*values: Any) -> Iterator[tuple[str, list[Place]]]:
        yield from _pages(site, values, [Place()])

    def onward(at: list[Place], *values: Any) -> Iterator[tuple[str, list[Place]]]:
        yield from _pages(site, values, at)

    def backward(at: list[Place], *values: Any) -> Iterator[tuple[str, list[Place]]]:
        # The last place is where the next page starts, the one before it where this one did.
        yield from _pages(site, values, at[:-2] or [Place()])

    gr.on(None, opened, None, [*boxes, *outputs], show_progress="hidden")
    stage.input(chosen, inputs, [side, reason, score, *outputs])
    gr.on(
        [search.click, words.submit, low.submit, high.submit, side.input, reason.input, source.input, lang.input],
        started,
        inputs,
        outputs,
        trigger_mode="always_last",
    )
    more.click(onward, [places, *inputs], outputs)
    back.click(backward, [places, *inputs], outputs)


def _any(site: Site) -> tuple[str, str]:
    return site.text("explore.any"), ""


def _with_records(site: Site, name: str, side: str) -> str:
    """The side that is asked for, or the other one where that is empty: a stage that drops nothing shows what it kept."""
    artifact = tables(site).get(name)
    if artifact and not artifact.manifest[f"records_{side}"]:
        return "kept" if side == "dropped" else "dropped"
    return side


def _offered(site: Site, name: str) -> tuple[Any, Any]:
    """The reasons and scores of a stage, for their boxes."""
    if (artifact := tables(site).get(name)) is None:
        return gr.Dropdown(choices=[_any(site)], value=""), gr.Dropdown(choices=[_any(site)], value="")
    reasons = sorted(artifact.manifest["reasons"].items(), key=lambda item: -item[1])
    return (
        gr.Dropdown(
            choices=[_any(site), *((f"{site.text.reason(reason)} ({count:,})", reason) for reason, count in reasons)],
            value="",
        ),
        gr.Dropdown(choices=[_any(site), *numeric(artifact)], value=""),
    )


def _pages(site: Site, values: tuple[Any, ...], at: list[Place]) -> Iterator[tuple[str, list[Place]]]:
    """The page that starts at the last place of `at`, first as it is, then with what its records stand beside.

    With it comes where pages start: this one, those before it, and the one after it (itself again at the end).
    """
    name, side, reason, words, source, lang, score, low, high = values
    artifact = tables(site).get(name or "")
    if artifact is None:
        yield site.html("problem.html.j2", message=site.text("explore.nothing")), [Place()]
        return
    try:
        lowest, highest = (float(bound) if bound and bound.strip() else None for bound in (low, high))
    except ValueError:
        yield site.html("problem.html.j2", message=site.text("explore.no_number")), at
        return
    dropped = side == "dropped"
    wanted = Filter(
        reason=(reason or None) if dropped else None,
        source=source or None,
        lang=lang or None,
        score=score or None,
        low=lowest,
        high=highest,
        words=(words or "")[:_MOST],
    )
    found = look(artifact.dropped if dropped else artifact.kept, wanted, Place(*at[-1]), _PAGE)
    places = [*at, found.rest or at[-1]]
    yield _html(site, artifact, side, wanted, found, {}, len(at)), places
    if dropped and (others := beside(site.workspace, artifact, found.rows)):
        yield _html(site, artifact, side, wanted, found, others, len(at)), places


def _html(
    site: Site, artifact: Artifact, side: str, wanted: Filter, found: Found, others: dict[str, Beside], page: int
) -> str:
    rows = [record for row in found.rows if (record := shown(row)).holds(wanted.words)]
    return site.html(
        "records.html.j2",
        records=rows,
        others={i: (o, shown(o.record) if o.record else None) for i, o in others.items()},
        found=found,
        page=page,
        total=artifact.manifest[f"records_{side}"],
    )


PAGE = Page("explore", "explore.title", build)
