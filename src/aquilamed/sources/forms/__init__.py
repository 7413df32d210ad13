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
    """`parse` turns a raw value into messages or raises `Misfit`; `single` is the kind of its one-turn dialogues."""

    parse: Callable[[Any], list[Message]]
    single: str = "single_turn_QA"


FORMS: dict[FormName, Form] = {
    "messages": Form(messages.parse),
    "alpaca": Form(alpaca.parse),
    "qa": Form(qa.parse),
    "sharegpt": Form(sharegpt.parse),
    "chinese_medical_dialogue": Form(chinese_medical_dialogue.parse),
    "chatdoctor": Form(chatdoctor.parse),
    "smilechat": Form(smilechat.parse),
    "cmdd": Form(cmdd.parse),
    "mts_dialog": Form(mts_dialog.parse),
    "exam": Form(exam.parse, "single_turn_option"),
}
