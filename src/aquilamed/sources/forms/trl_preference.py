"""TRL's preference sets: {"prompt", "chosen", "rejected"} or, with the prompt inside both answers, {"chosen", "rejected"};
each a list of messages or a text. Answers that begin with the user's words hold the prompt, also where it is given.

An implicit prompt is what both conversations begin with. Of two texts it is what both say before they part, as TRL cuts
them; texts with "Human:" and "Assistant:" lines (hh-rlhf) are read as conversations.
"""

import re
from dataclasses import replace
from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms import messages
from aquilamed.sources.forms.contract import Pair, Role, answered, number, text
from aquilamed.sources.raw import Misfit

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")
_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


def parse(value: Any) -> Pair:
    """Prompt and both answers; `margin` where the set has that column of TRL's reward trainer."""
    pair = _parse(value)
    return replace(pair, margin=number(value, "margin")) if value.get("margin") is not None else pair


def _parse(value: Any) -> Pair:
    if not isinstance(value, dict):
        raise Misfit("wrong_type", f"an object with `chosen` and `rejected` was expected, not {type(value).__name__}")
    prompt = value.get("prompt")
    chosen, rejected = _said(value, "chosen"), _said(value, "rejected")
    if prompt is None or (isinstance(chosen, list) and chosen and chosen[0]["role"] != "assistant"):
        return _split(chosen, rejected)
    asked = _said(value, "prompt")
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    return Pair(asked, _answer(chosen), _answer(rejected))


def _split(chosen: str | list[Message], rejected: str | list[Message]) -> Pair:
    """A pair whose prompt stands in both answers."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        if not (_SPEAKER.match(chosen) and _SPEAKER.match(rejected)):
            cut = _cut(chosen, rejected)
            return answered([{"role": "user", "content": chosen[:cut]}], chosen[cut:], rejected[cut:])
        chosen, rejected = _conversation(chosen), _conversation(rejected)
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise Misfit("wrong_type", "one answer is a text and the other a list of messages")
    shared = 0
    # The last message is the answer, even where both say the same.
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    return Pair(chosen[:shared], chosen[shared:], rejected[shared:])


def _said(value: dict[str, Any], name: str) -> str | list[Message]:
    found = value.get(name)
    if isinstance(found, list):
        return messages.parse({"messages": found}) if found else []
    return text(value, name)


def _answer(said: str | list[Message]) -> list[Message]:
    return [{"role": "assistant", "content": said}] if isinstance(said, str) else said


def _cut(chosen: str, rejected: str) -> int:
    shortest = min(len(chosen), len(rejected))
    cut = next((n for n in range(shortest) if chosen[n] != rejected[n]), shortest)
    return cut - 1 if chosen[:cut].endswith(" ") else cut


def _conversation(said: str) -> list[Message]:
    parts = _SPEAKER.split(said)
    return [{"role": _ROLES[who], "content": words} for who, words in zip(parts[1::2], parts[2::2], strict=True)]
