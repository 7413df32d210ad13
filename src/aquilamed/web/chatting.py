"""Asking a model from a page: the conversation, an answer that comes piece by piece without a waiting thread, and files of it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypedDict, cast

from aquilamed.config import StageFailed
from aquilamed.printable import printable
from aquilamed.records import Message
from aquilamed.serve.answerer import Answerer, Piece
from aquilamed.serve.sampling import Sampling
from aquilamed.sources.raw import Misfit
from aquilamed.sources.turns import language

_PULSE = 0.1  # seconds between two updates of a page: more would only cost


class Turn(TypedDict, total=False):
    """A turn of a conversation. The model's own have `model`, and `emergency` where the message told of one."""

    role: str
    content: str
    model: str
    emergency: str


def messages(turns: Sequence[Turn], system: str = "") -> list[Message]:
    """What the model is asked: the system prompt and the turns."""
    first: list[Message] = [{"role": "system", "content": system.strip()}] if system.strip() else []
    return [*first, *(cast(Message, {"role": t["role"], "content": t["content"]}) for t in turns)]


def sampling_of(temperature: float, top_p: float, longest: int, seed: int | None) -> Sampling:
    """What the page's controls ask for; seed 0 or none is a new one each time."""
    return Sampling(int(longest), float(temperature), float(top_p), int(seed) if seed else None)


async def answer(answerer: Answerer, asked: Sequence[Message], sampling: Sampling) -> AsyncGenerator[str, None]:
    """The answer so far, as it grows, ten times a second at most. Closing the iterator stops the model.

    Raises `Invalid` when the conversation leaves no room in the context, `StageFailed` when the model fails.
    """
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[Piece]()

    def deliver(piece: Piece) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

    prompt = await asyncio.to_thread(answerer.prompt, asked)
    name = await asyncio.to_thread(answerer.submit, prompt, sampling, deliver)
    said, told = "", 0.0
    try:
        while True:
            piece = await pieces.get()
            said += piece.text
            if piece.reason == "error":
                raise StageFailed(f"the model could not answer: {piece.error}")
            if piece.reason:
                yield said
                return
            if piece.text and loop.time() - told > _PULSE:
                told = loop.time()
                yield said
    finally:
        answerer.cancel(name)


def message_language(text: str, default: str) -> str:
    """zh or en, by script."""
    try:
        return language([{"role": "user", "content": text}])
    except Misfit:
        return default


def as_jsonl(turns: Sequence[Turn], system: str) -> str:
    """The conversation as a line of JSON, in the form `messages` of the sources."""
    return json.dumps({"messages": messages(turns, system)}, ensure_ascii=False) + "\n"


def as_markdown(turns: Sequence[Turn], system: str, names: dict[str, str], note: str) -> str:
    """The conversation for people: every text is an indented block, so that nothing in it is Markdown, and shown as on the page.

    Args:
        names: role → what it is called.
        note: what stands above.
    """
    parts = [f"> {note}"]
    for turn in [*([Turn(role="system", content=system.strip())] if system.strip() else []), *turns]:
        model = f" ({turn['model']})" if turn.get("model") else ""
        body = "\n".join(f"    {line}" for line in printable(turn["content"]).splitlines())
        parts.append(f"**{names[turn['role']]}**{model}\n\n{body}")
    return "\n\n".join(parts) + "\n"


def kept(value: Any) -> list[Turn]:
    """The turns that a browser kept; [] for anything that is no conversation."""
    turns = [
        cast(Turn, {k: v for k, v in t.items() if k in Turn.__annotations__ and isinstance(v, str)})
        for t in (value if isinstance(value, list) else [])
        if isinstance(t, dict)
    ]
    roles = [t.get("role") for t in turns]
    whole = roles == ["user", "assistant"] * (len(roles) // 2) and all("content" in t for t in turns)
    return turns if whole else []
