"""Review: a doctor works through pairs and single answers, blind and by keyboard; agreement; adjudication."""

from typing import Any

import gradio as gr

from aquilamed.annotate import ASPECTS
from aquilamed.config import Invalid
from aquilamed.review.desk import Desk, Dispute, Shown
from aquilamed.review.store import Twice
from aquilamed.web.access import user
from aquilamed.web.keys import script
from aquilamed.web.opening import on_opening
from aquilamed.web.shared import desk, hand_over
from aquilamed.web.site import Page, Site

SAID = {"pair": ("A", "tie", "B"), "answer": ("good", "acceptable", "poor")}
"""What the keys 1, 0 and 2 say."""
KEYS = {
    "1": "#say-1",
    "0": "#say-0",
    "2": "#say-2",
    "s": "#skip",
    "u": "#undo",
    "e": "#edit-a",
    "r": "#edit-b",
    "f": "#dangerous label:nth-of-type(1) input",
    "g": "#dangerous label:nth-of-type(2) input",
    "c": "#comment textarea",
}
DISPUTE = "dispute"


def build(site: Site) -> None:
    """The desk in one tab, the agreement in another."""
    with gr.Tab(site.text("review.work"), id="work"):
        _Work(site).build()
    with gr.Tab(site.text("review.agreement"), id="agreement") as tab:
        shown = gr.HTML(elem_id="agreement")

        def look(request: gr.Request) -> str:
            return _agreement(site, user(request))

        tab.select(look, None, shown, concurrency_limit=None)


def _agreement(site: Site, rater: str) -> str:
    at = desk(site.workspace)
    try:
        found = at.agreement(names=at.adjudicates(rater))
    except Invalid as error:
        return site.html("problem.html.j2", message=str(error))
    return site.html("agreement.html.j2", found=found, aspects=ASPECTS)


class _Work:
    """The desk's components and events."""

    def __init__(self, site: Site) -> None:
        self.site, self.text = site, site.text
        self.desk: Desk = desk(site.workspace)

    def build(self) -> None:
        text = self.text
        self.now = gr.State(None)
        self.edits = gr.State("")
        self.queue = gr.Radio(self._queues(False), value="pair", label=text("review.queue"), elem_id="queue")
        self.progress = gr.HTML(elem_id="progress")
        self.item = gr.HTML(elem_id="item")
        with gr.Row(elem_id="aspects"):
            self.aspects = [
                gr.Radio(label=text("aspect." + name), elem_id=f"aspect-{name}", min_width=220) for name in ASPECTS
            ]
        self.dangerous = gr.CheckboxGroup(label=text("review.dangerous"), elem_id="dangerous")
        with gr.Row():
            self.edit = [gr.Button(elem_id=f"edit-{side}", size="sm", min_width=100) for side in "ab"]
        self.edited = gr.Textbox(
            label=text("review.edited"), elem_id="edited", lines=4, max_lines=16, max_length=20_000
        )
        self.comment = gr.Textbox(
            label=text("review.comment"), elem_id="comment", lines=1, max_lines=6, max_length=4_000
        )
        with gr.Row(elem_id="say"):
            self.say = [gr.Button(elem_id=f"say-{key}", variant="primary", min_width=100) for key in "102"]
        with gr.Row():
            self.skip = gr.Button(text("review.skip"), elem_id="skip", size="sm", min_width=100)
            self.undo = gr.Button(text("review.undo"), elem_id="undo", size="sm", min_width=100)
        gr.HTML(self.site.html("keys.html.j2"), elem_id="keys")
        self._events()

    def _events(self) -> None:
        form = [*self.aspects, self.dangerous, self.edited, self.comment]
        view = [self.now, self.edits, self.queue, self.progress, self.item, *self.say, *form, *self.edit]
        common: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
        on_opening(self._open, self.queue, view)
        gr.on(None, None, None, None, js=script(KEYS))
        self.queue.input(self._open, self.queue, view, **common)
        for number, button in enumerate(self.say):
            given = [self.now, self.edits, self.queue, *form]
            event = button.click(self._sayer(number), given, view, **common)
            event.then(None, None, None, js=_UP)
        self.skip.click(self._skip, [self.now, self.queue], view, **common).then(None, None, None, js=_UP)
        self.undo.click(self._undo, self.queue, view, **common).then(None, None, None, js=_UP)
        for number, button in enumerate(self.edit):
            button.click(self._editor(number), self.now, [self.edited, self.edits], **common).then(
                None, None, None, js="() => document.querySelector('#edited textarea').focus()"
            )

    def _open(self, queue: str, request: gr.Request) -> list[Any]:
        return self._view(user(request), queue)

    def _sayer(self, number: int) -> Any:
        # One parameter each: Gradio finds the request by its place.
        def say(
            now: Shown | None,
            edits: str,
            queue: str,
            fluency: str | None,
            relevance: str | None,
            completeness: str | None,
            proficiency: str | None,
            dangerous: list[str],
            edited: str,
            comment: str,
            request: gr.Request,
        ) -> list[Any]:
            rater = user(request)
            if now is None:  # the server was restarted; nothing was said of what stood there
                return self._view(rater, queue, self.text("review.again"))
            aspects = [fluency, relevance, completeness, proficiency]
            form = [*aspects, dangerous, edited, comment]
            verdict = SAID[now.kind][number]
            if edited.strip() and now.kind == "pair" and edits and edits != verdict:
                note = self.text("review.edited_other", side=edits)
                return self._keep(now, edits, rater, queue, form, note)
            said = {
                "verdict": verdict,
                "aspects": {name: v for name, v in zip(ASPECTS, aspects, strict=True) if v},
                "dangerous": dangerous if now.kind == "pair" else bool(dangerous),
                "edited": edited.strip(),
                "comment": comment.strip(),
            }
            return self._judge(rater, now, edits, queue, said, form)

        return say

    def _skip(self, now: Shown | None, queue: str, request: gr.Request) -> list[Any]:
        rater = user(request)
        return (
            self._view(rater, queue) if now is None else self._judge(rater, now, "", queue, {"verdict": "skip"}, None)
        )

    def _judge(self, rater: str, now: Shown, edits: str, queue: str, said: dict[str, Any], form: Any) -> list[Any]:
        try:
            self.desk.judge(rater, now, said)
        except Twice:
            return self._view(rater, queue)  # a double click, or another tab of the same reviewer
        except Invalid as error:
            return (
                self._keep(now, edits, rater, queue, form, str(error)) if form else self._view(rater, queue, str(error))
            )
        if now.kind == "pair":
            hand_over(self.site.workspace).soon()
        return self._view(rater, queue)

    def _undo(self, queue: str, request: gr.Request) -> list[Any]:
        rater = user(request)
        found = self.desk.undo(rater)
        if found is None:
            return self._view(rater, queue, self.text("review.nothing_to_undo"))
        hand_over(self.site.workspace).soon()
        shown, verdict = found
        return self._view(rater, queue if queue == DISPUTE else shown.kind, "", shown, verdict.said)

    def _editor(self, number: int) -> Any:
        def edit(now: Shown | None) -> tuple[str, str]:
            if now is None or number >= len(now.answers):
                return "", ""
            return now.answers[number], "AB"[number] if now.kind == "pair" else ""

        return edit

    def _keep(self, now: Shown, edits: str, rater: str, queue: str, form: Any, note: str) -> list[Any]:
        """The same item with what was filled in, and why it was not taken."""
        shown = self._view(rater, queue, note, now, {})
        shown[1] = edits
        shown[8 : 8 + len(form)] = [gr.update(value=value) for value in form]
        return shown

    def _view(
        self, rater: str, queue: str, note: str = "", shown: Shown | None = None, said: dict[str, Any] | None = None
    ) -> list[Any]:
        """Updates of all that shows an item: the next one, or the one given with what was said of it."""
        try:
            disputes = self.desk.disputes(rater) if self.desk.adjudicates(rater) else []
            queue = queue if disputes or queue != DISPUTE or shown else "pair"
            dispute = None
            if queue == DISPUTE:
                dispute = next((d for d in disputes if shown is None or d.shown.item == shown.item), None)
                shown = shown or (dispute.shown if dispute else None)
            kind = shown.kind if shown else "pair" if queue == DISPUTE else queue
            shown = shown or self.desk.next(rater, kind)  # type: ignore[arg-type]
            done, total = self.desk.progress(rater, kind)  # type: ignore[arg-type]
            problem = self.desk.problem() if kind == "pair" and not total else ""
        except Invalid as error:
            kind, done, total, problem, disputes, dispute = "pair", 0, 0, str(error), [], None
        progress = self.site.html("progress.html.j2", done=done, total=total, note=note, kind=kind, left=len(disputes))
        queues = gr.update(choices=self._queues(bool(disputes)), value=queue)
        return [shown, "", queues, progress, self._item(shown, dispute, problem), *self._form(kind, shown, said or {})]

    def _form(self, kind: str, shown: Shown | None, said: dict[str, Any]) -> list[Any]:
        text, live = self.text, shown is not None
        words = SAID[kind]
        labels = [text("say." + word) for word in words]
        buttons = [
            gr.update(value=f"{label} ({key})", interactive=live) for label, key in zip(labels, "102", strict=True)
        ]
        short = [(text("short." + word), word) for word in words]
        aspects = [gr.update(choices=short, value=said.get("aspects", {}).get(name)) for name in ASPECTS]
        sides = [("A (f)", "A"), ("B (g)", "B")] if kind == "pair" else [(text("review.this") + " (f)", "A")]
        flagged = said.get("dangerous", [])
        if isinstance(flagged, bool):
            flagged = ["A"] if flagged else []
        edit = [text("review.edit", side=side) if kind == "pair" else text("review.edit_this") for side in "AB"]
        return [
            *buttons,
            *aspects,
            gr.update(choices=sides, value=flagged),
            said.get("edited", ""),
            said.get("comment", ""),
            gr.update(value=f"{edit[0]} (e)", interactive=live),
            gr.update(value=f"{edit[1]} (r)", interactive=live, visible=kind == "pair"),
        ]

    def _item(self, shown: Shown | None, dispute: Dispute | None, problem: str) -> str:
        return self.site.html("item.html.j2", shown=shown, dispute=dispute, problem=problem)

    def _queues(self, disputes: bool) -> list[tuple[str, str]]:
        text = self.text
        found = [(text("review.queue_pair"), "pair"), (text("review.queue_answer"), "answer")]
        return [*found, (text("review.queue_dispute"), DISPUTE)] if disputes else found


_UP = "() => document.querySelector('#progress').scrollIntoView({block: 'nearest'})"
PAGE = Page("review", "review.title", build)
