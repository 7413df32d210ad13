"""Chat: any stage's model, its answer as it comes, stop, again, settings, and the conversation as a file."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Any

import gradio as gr

from aquilamed.config import Invalid, StageFailed
from aquilamed.serve.emergency import emergency, notice
from aquilamed.serve.sampling import Sampling
from aquilamed.web.chatting import Turn, answer, as_jsonl, as_markdown, kept, message_language, messages, sampling_of
from aquilamed.web.decoding import LONGEST, decoding
from aquilamed.web.opening import on_opening
from aquilamed.web.shared import models
from aquilamed.web.site import Page, Site

_KEPT_IN_BROWSER = "aquilamed-chat"
_COMMON: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
_DOWNLOAD = """(name, text) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/plain;charset=utf-8"}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}"""


class Stops:
    """Which conversations (by session) are being answered, and whether somebody pressed stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, asyncio.Event] = {}

    def begin(self, session: str) -> asyncio.Event | None:
        """The event that stop sets; None while another answer of the session is under way."""
        with self._lock:
            if session in self._running:
                return None
            self._running[session] = asyncio.Event()
            return self._running[session]

    def end(self, session: str, begun: asyncio.Event) -> None:
        """The answer has ended. Idempotent: a later answer of the session is left alone."""
        with self._lock:
            if self._running.get(session) is begun:
                del self._running[session]

    async def stop(self, request: gr.Request) -> None:
        """Stop the answer of the session that asks."""
        with self._lock:
            event = self._running.get(str(request.session_hash))
        if event is not None:
            event.set()


def build(site: Site) -> None:
    """The conversation, what is said next, the settings."""
    _Chat(site).build()


class _Chat:
    """The page's components and events."""

    def __init__(self, site: Site) -> None:
        self.site, self.text = site, site.text
        self.stops = Stops()

    def build(self) -> None:
        text = self.text
        # The key only keeps two pages apart: whoever can read the browser's storage can read the page.
        kept_there = gr.BrowserState([], storage_key=_KEPT_IN_BROWSER, secret=_KEPT_IN_BROWSER)
        turns = gr.State([])
        model = gr.Dropdown(label=text("chat.model"), elem_id="model", filterable=False)
        system, *drawn = decoding(text)
        log = gr.HTML(elem_id="log")
        said = gr.Textbox(
            label=text("chat.say"), lines=1, max_lines=8, max_length=LONGEST, elem_id="said", autofocus=True
        )
        with gr.Row():
            send = gr.Button(text("chat.send"), variant="primary", elem_id="send", min_width=90)
            stop = gr.Button(text("chat.stop"), elem_id="stop", min_width=90)
            again = gr.Button(text("chat.again"), elem_id="again", min_width=90)
        with gr.Row():
            new = gr.Button(text("chat.new"), size="sm", elem_id="new", min_width=90)
            jsonl = gr.Button(text("chat.jsonl"), size="sm", elem_id="jsonl", min_width=90)
            markdown = gr.Button(text("chat.markdown"), size="sm", elem_id="markdown", min_width=90)
        name, content = (
            gr.Textbox(visible="hidden", elem_id="file-name"),
            gr.Textbox(visible="hidden", elem_id="file-text"),
        )

        settings = [model, system, *drawn]
        shown = [turns, log, said]
        on_opening(self._open, kept_there, [model, turns, log])
        keep: dict[str, Any] = {"fn": lambda turns: turns, "inputs": turns, "outputs": kept_there, **_COMMON}
        gr.on([send.click, said.submit], self._say, [said, turns, *settings], shown, **_COMMON).then(**keep)
        again.click(self._again, [turns, *settings], shown, **_COMMON).then(**keep)
        stop.click(self.stops.stop, None, None, **_COMMON)
        new.click(lambda: ([], self._log([]), ""), None, shown, **_COMMON).then(**keep)
        for button, make in ((jsonl, self._jsonl), (markdown, self._markdown)):
            event = button.click(make, [turns, system], [name, content], **_COMMON)
            event.then(None, [name, content], None, js=_DOWNLOAD)

    def _open(self, there: Any) -> tuple[Any, list[Turn], str]:
        turns = kept(there)
        try:
            names = models(self.site.workspace).names()
        except Invalid as error:
            return gr.update(), turns, self._log(turns, str(error))
        return gr.update(choices=[(n, n) for n in names], value=names[0]), turns, self._log(turns)

    async def _say(
        self, said: str, turns: list[Turn], model: str, system: str, temperature: float, top_p: float, longest: int,
        seed: int | None, request: gr.Request,
    ) -> AsyncGenerator[tuple[list[Turn], str, Any], None]:  # fmt: skip
        if not said.strip():
            yield turns, self._log(turns), gr.update()
            return
        asked = [*turns, Turn(role="user", content=said.strip())]
        sampling = sampling_of(temperature, top_p, longest, seed)
        async with aclosing(self._answered(asked, turns, model, system, sampling, str(request.session_hash))) as steps:
            async for now, html, failed in steps:
                yield now, html, said if failed else ""

    async def _again(
        self, turns: list[Turn], model: str, system: str, temperature: float, top_p: float, longest: int,
        seed: int | None, request: gr.Request,
    ) -> AsyncGenerator[tuple[list[Turn], str, Any], None]:  # fmt: skip
        if not turns:
            yield turns, self._log(turns), gr.update()
            return
        sampling = sampling_of(temperature, top_p, longest, seed)
        steps = self._answered(turns[:-1], turns, model, system, sampling, str(request.session_hash))
        async with aclosing(steps):
            async for now, html, _ in steps:
                yield now, html, gr.update()

    async def _answered(
        self, asked: list[Turn], before: list[Turn], model: str, system: str, sampling: Sampling, session: str
    ) -> AsyncGenerator[tuple[list[Turn], str, bool], None]:
        """(turns, their HTML, whether it failed) as the answer grows; a failure leaves the turns as they were before."""
        stopped = self.stops.begin(session)
        if stopped is None:
            yield before, self._log(before, self.text("chat.busy")), True
            return
        model = model or models(self.site.workspace).names()[0]  # asked before the page knew the models
        turn = Turn(role="assistant", content="", model=model)
        if category := emergency(messages(asked)):
            turn["emergency"] = category
        try:
            yield before, self._log([*asked, turn], waiting=True), False
            with ExitStack() as held:
                found = await asyncio.to_thread(held.enter_context, models(self.site.workspace).use(model))
                grown = answer(found, messages(asked, system), sampling)
                async with aclosing(grown):
                    async for said in _until(grown, stopped):
                        turn = Turn(**{**turn, "content": said})
                        yield [*asked, turn], self._log([*asked, turn], waiting=True), False
            now = [*asked, Turn(**{**turn, "content": turn["content"].strip()})]
            self.stops.end(session, stopped)  # before the page shows that it is done: people are quick
            yield now, self._log(now), False
        except (Invalid, StageFailed) as error:
            yield before, self._log([*asked, turn] if category else before, str(error)), True
        finally:
            self.stops.end(session, stopped)

    def _log(self, turns: list[Turn], problem: str = "", waiting: bool = False) -> str:
        language = self.text.language
        shown = []
        for asked, told in zip(turns[::2], [*turns[1::2], None], strict=False):
            spoken = message_language(asked["content"], language)
            category = told.get("emergency") if told else None
            lines = notice(category, "zh" if spoken == "zh" else "en") if category else []
            shown.append({"asked": asked, "told": told, "lang": spoken, "notice": lines})
        return self.site.html("chat.html.j2", rounds=shown, problem=problem, waiting=waiting)

    def _jsonl(self, turns: list[Turn], system: str) -> tuple[str, str]:
        return "conversation.jsonl", as_jsonl(turns, system) if turns else ""

    def _markdown(self, turns: list[Turn], system: str) -> tuple[str, str]:
        names = {role: self.text("role." + role) for role in ("system", "user", "assistant")}
        text = as_markdown(turns, system, names, self.text("site.not_a_device"))
        return "conversation.md", text if turns else ""


async def _until(grown: AsyncGenerator[str, None], stopped: asyncio.Event) -> AsyncGenerator[str, None]:
    """What comes until the event is set."""
    stop = asyncio.ensure_future(stopped.wait())
    try:
        while True:
            step = asyncio.ensure_future(anext(grown, None))
            await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                await asyncio.wait({step})
                return
            said = step.result()
            if said is None:
                return
            yield said
    finally:
        stop.cancel()


PAGE = Page("chat", "chat.title", build)
