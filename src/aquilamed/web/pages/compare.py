"""Compare: one prompt, two models side by side, blind and in random order; votes, results with intervals, preference pairs."""

import asyncio
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from aquilamed.annotate import ASPECTS
from aquilamed.config import Invalid, StageFailed
from aquilamed.records import Message
from aquilamed.review.compare import cast, coin, results
from aquilamed.review.hand_over import LINE, hand_over_pairs, reads_pairs
from aquilamed.review.store import Comparison, Twice
from aquilamed.serve.emergency import emergency, notice
from aquilamed.serve.sampling import Sampling
from aquilamed.web.access import user
from aquilamed.web.chatting import Turn, answer, message_language, messages, sampling_of
from aquilamed.web.decoding import LONGEST, decoding
from aquilamed.web.keys import script
from aquilamed.web.shared import desk, models
from aquilamed.web.site import Page, Site

KEYS = {
    "1": "#say-1",
    "0": "#say-0",
    "2": "#say-2",
    "f": "#dangerous label:nth-of-type(1) input",
    "g": "#dangerous label:nth-of-type(2) input",
    "c": "#comment textarea",
}
_COMMON: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}


@dataclass(frozen=True)
class Blind:
    """A comparison as it is shown: with `swapped` the second model's answer is A."""

    made: Comparison
    swapped: bool

    def in_order(self, two: list[str]) -> list[str]:
        """What belongs to the models, as A and B."""
        return two[::-1] if self.swapped else two


def build(site: Site) -> None:
    """The vote in one tab, the results in another."""
    with gr.Tab(site.text("compare.vote"), id="vote"):
        _Vote(site).build()
    with gr.Tab(site.text("compare.results"), id="results") as tab:
        table = gr.HTML(elem_id="results")
        export = gr.Button(site.text("compare.export"), elem_id="export")
        exported = gr.HTML(elem_id="exported")
        tab.select(lambda: _results(site), None, table, concurrency_limit=None)
        export.click(lambda: _export(site), None, exported, concurrency_limit=None)


def _results(site: Site) -> str:
    rows = results(desk(site.workspace).store)
    return site.html("compared.html.j2", rows=rows, aspects=ASPECTS)


def _export(site: Site) -> str:
    try:
        recipe = site.recipe()
        count = hand_over_pairs(recipe, site.workspace, desk(site.workspace).store)
    except (Invalid, StageFailed) as error:
        return site.html("problem.html.j2", message=str(error))
    return site.html("exported.html.j2", count=count, line="" if reads_pairs(recipe) else LINE)


class _Vote:
    """Asking both models, and the vote on their answers."""

    def __init__(self, site: Site) -> None:
        self.site, self.text = site, site.text

    def build(self) -> None:
        text = self.text
        blind = gr.State(None)
        with gr.Row():
            first = gr.Dropdown(label=text("compare.first"), elem_id="first", filterable=False, min_width=140)
            second = gr.Dropdown(label=text("compare.second"), elem_id="second", filterable=False, min_width=140)
        settings = decoding(text)
        prompt = gr.Textbox(
            "", label=text("compare.prompt"), lines=1, max_lines=8, max_length=LONGEST, elem_id="prompt", autofocus=True
        )
        ask = gr.Button(text("compare.ask"), variant="primary", elem_id="ask")
        shown = gr.HTML(elem_id="item")
        with gr.Row(elem_id="aspects"):
            choices = [(text("short." + word), word) for word in ("A", "tie", "B")]
            aspects = [gr.Radio(choices, label=text("aspect." + name), min_width=220) for name in ASPECTS]
        dangerous = gr.CheckboxGroup(
            [("A (f)", "A"), ("B (g)", "B")], label=text("review.dangerous"), elem_id="dangerous"
        )
        comment = gr.Textbox("", label=text("review.comment"), max_lines=6, max_length=4_000, elem_id="comment")
        with gr.Row(elem_id="say"):
            says = [
                gr.Button(f"{text('say.' + word)} ({key})", elem_id=f"say-{key}", interactive=False, min_width=90)
                for word, key in (("A", "1"), ("tie", "0"), ("B", "2"))
            ]

        form = [*aspects, dangerous, comment]
        gr.on(None, self._open, None, [first, second], **_COMMON)
        gr.on(None, None, None, None, js=script(KEYS))
        asked = [prompt, first, second, *settings]
        gr.on([ask.click, prompt.submit], self._ask, asked, [blind, shown, *form, *says], **_COMMON).then(
            None, None, None, js="() => document.activeElement.blur()"
        )
        for word, button in zip(("A", "tie", "B"), says, strict=True):
            button.click(self._voter(word), [blind, *form], [blind, shown, *says], **_COMMON)

    def _open(self) -> tuple[Any, Any]:
        try:
            names, first, second = self._two()
        except Invalid:
            return gr.update(), gr.update()
        choices = [(n, n) for n in names]
        return gr.update(choices=choices, value=first), gr.update(choices=choices, value=second)

    def _two(self) -> tuple[list[str], str, str]:
        """All models, and the newest two (or the one there is, twice)."""
        names = models(self.site.workspace).names()
        return names, names[0], names[:2][-1]

    async def _ask(
        self, prompt: str, first: str, second: str, system: str, temperature: float, top_p: float, longest: int, seed: int
    ) -> Any:  # fmt: skip
        """Yields updates: that both are asked, then their answers, the vote open."""
        clean: list[Any] = [*[None] * len(ASPECTS), [], ""]
        closed = [gr.update(interactive=False)] * 3
        sampling = sampling_of(temperature, top_p, longest, seed)
        if not prompt.strip():
            yield [None, "", *clean, *closed]
            return
        try:
            if not (first and second):  # asked before the page knew the models
                _, first, second = self._two()
        except Invalid as error:
            yield [None, self.site.html("problem.html.j2", message=str(error)), *clean, *closed]
            return
        if first == second and (sampling.temperature == 0 or sampling.seed is not None):
            yield [None, self.site.html("problem.html.j2", message=self.text("compare.same")), *clean, *closed]
            return
        yield [None, self._html(prompt, waiting=True), *clean, *closed]
        asked = messages([Turn(role="user", content=prompt.strip())], system)
        try:
            answers = await asyncio.gather(*(self._answer(name, asked, sampling) for name in (first, second)))
        except (Invalid, StageFailed) as error:
            yield [None, self.site.html("problem.html.j2", message=str(error)), *clean, *closed]
            return
        store = desk(self.site.workspace).store
        told = {k: v for k, v in asdict(sampling).items() if k in ("max_tokens", "temperature", "top_p", "seed")}
        made = await asyncio.to_thread(store.compare, asked, [first, second], list(answers), told)
        blind = Blind(made, coin())
        yield [blind, self._html(prompt, blind), *clean, *[gr.update(interactive=True)] * 3]

    async def _answer(self, name: str, asked: list[Message], sampling: Sampling) -> str:
        with ExitStack() as held:
            found = await asyncio.to_thread(held.enter_context, models(self.site.workspace).use(name))
            return [said async for said in answer(found, asked, sampling)][-1].strip()

    def _voter(self, word: str) -> Any:
        def vote(
            blind: Blind | None,
            fluency: str | None,
            relevance: str | None,
            completeness: str | None,
            proficiency: str | None,
            dangerous: list[str],
            comment: str,
            request: gr.Request,
        ) -> list[Any]:
            closed = [gr.update(interactive=False)] * 3
            if blind is None:
                return [None, "", *closed]
            aspects = zip(ASPECTS, (fluency, relevance, completeness, proficiency), strict=True)
            said = {"verdict": word, "aspects": {n: v for n, v in aspects if v}, "dangerous": dangerous}
            prompt = blind.made.prompt[-1]["content"]
            try:
                cast(
                    desk(self.site.workspace).store,
                    user(request),
                    blind.made.id,
                    blind.swapped,
                    {**said, "comment": comment},
                )
            except Twice:
                pass  # a double click
            except Invalid as error:
                return [blind, self._html(prompt, blind, problem=str(error)), *[gr.update()] * 3]
            a, b = blind.in_order(blind.made.models)
            return [None, self._html(prompt, blind, note=self.text("compare.was", a=a, b=b)), *closed]

        return vote

    def _html(
        self, prompt: str, blind: Blind | None = None, waiting: bool = False, note: str = "", problem: str = ""
    ) -> str:
        spoken = message_language(prompt, self.text.language)
        category = emergency([{"role": "user", "content": prompt}])
        return self.site.html(
            "comparison.html.j2",
            prompt=prompt,
            lang=spoken,
            notice=notice(category, "zh" if spoken == "zh" else "en") if category else [],
            answers=blind.in_order(blind.made.answers) if blind else [],
            waiting=waiting,
            note=note,
            problem=problem,
        )


PAGE = Page("compare", "compare.title", build)
