"""The forms in which public SFT sets are published: one file, one form. A new one is a file and a row here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aquilamed.records import Message
from aquilamed.sources.forms import (
    alpaca,
    chatdoctor,
    chinese_medical_dialogue,
    cmdd,
    exam,
    messages,
    mts_dialog,
    qa,
    sharegpt,
    smilechat,
)
from aquilamed.sources.forms.contract import Published

FormName = Literal[
    "messages",
    "alpaca",
    "qa",
    "sharegpt",
    "chinese_medical_dialogue",
    "chatdoctor",
    "smilechat",
    "cmdd",
    "mts_dialog",
    "exam",
]


@dataclass(frozen=True)
class Form:
    """`parse` turns a raw value into messages or raises `Misfit`; `published` is what is known of the set, None for a
    form that many sets share; `single` is the kind of its one-turn dialogues."""

    parse: Callable[[Any], list[Message]]
    published: Published | None = None
    single: str = "single_turn_QA"


FORMS: dict[FormName, Form] = {
    "messages": Form(messages.parse),
    "alpaca": Form(alpaca.parse),
    "qa": Form(qa.parse),
    "sharegpt": Form(sharegpt.parse),
    "chinese_medical_dialogue": Form(chinese_medical_dialogue.parse, chinese_medical_dialogue.PUBLISHED),
    "chatdoctor": Form(chatdoctor.parse, chatdoctor.PUBLISHED),
    "smilechat": Form(smilechat.parse, smilechat.PUBLISHED),
    "cmdd": Form(cmdd.parse, cmdd.PUBLISHED),
    "mts_dialog": Form(mts_dialog.parse, mts_dialog.PUBLISHED),
    "exam": Form(exam.parse, single="single_turn_option"),
}
