"""What makes turns a dialogue or a pair: cleaned texts, roles in order, a question and an answer, a language."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from aquilamed.records import Message
from aquilamed.sources.cleaning import clean
from aquilamed.sources.raw import Misfit

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z]")
# A Chinese text may hold Latin abbreviations; a Han character says about as much as four Latin letters.
_LETTERS_PER_HAN = 4
# "OK." – "OK." amid a conversation is courtesy, not an answer that repeats its question.
_COURTESY = 8


def cleaned_messages(messages: Iterable[Message]) -> tuple[list[Message], set[str]]:
    """The messages with cleaned texts, without an empty system text, and what cleaning changed.

    Raises:
        Misfit: no_question or no_answer for an empty turn, empty for one of which cleaning left nothing.
    """
    kept: list[Message] = []
    rules: set[str] = set()
    for number, message in enumerate(messages, 1):
        text, found = clean(message["content"])
        rules |= found
        if text:
            kept.append({"role": message["role"], "content": text})
        elif message["role"] != "system":
            if message["content"].strip():
                raise Misfit("empty", f"turn {number} ({message['role']}) is empty after cleaning")
            rule = "no_answer" if message["role"] == "assistant" else "no_question"
            raise Misfit(rule, f"turn {number} ({message['role']}) is empty")
    return kept, rules


def check_dialogue(messages: Sequence[Message]) -> None:
    """A system text at most, then user and assistant in turn, assistant last.

    Raises:
        Misfit: no_question, no_answer, roles (out of order) or echo (an answer that repeats its question).
    """
    turns = list(messages[1:] if messages and messages[0]["role"] == "system" else messages)
    roles = [turn["role"] for turn in turns]
    if "user" not in roles:
        raise Misfit("no_question", "no turn of the user")
    if roles[-1] == "user":
        raise Misfit("no_answer", f"the last of {len(roles)} turns is the user's")
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise Misfit("roles", f"user and assistant do not take turns: {', '.join(roles[:8])}")
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        short = len(roles) > 2 and len(answer["content"]) <= _COURTESY
        if question["content"] == answer["content"] and not short:
            raise Misfit("echo", "an answer repeats its question word for word")


def language(messages: Iterable[Message]) -> Literal["zh", "en"]:
    """zh or en by script. Raises `Misfit` when the text has letters of neither."""
    text = "\n".join(m["content"] for m in messages)
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if not han and not latin:
        raise Misfit("language", "no Chinese character and no Latin letter; set the source's `lang`")
    return "zh" if _LETTERS_PER_HAN * han >= latin else "en"
