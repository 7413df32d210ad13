"""The forms in which public sets are published: one file, one form. A new one is a file and a row here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aquilamed.records import Message
from aquilamed.sources.forms import (
    aci_bench,
    alpaca,
    aquilamed_instruct,
    aquilamed_rl,
    chatdoctor,
    chatmed,
    chinese_medical_dialogue,
    cmb_exam,
    cmdd,
    cmtmedqa,
    exam,
    huatuo26m,
    meddialog,
    messages,
    mts_dialog,
    qa,
    reward_pairs,
    sharegpt,
    sharegpt_dpo,
    smilechat,
    trl_preference,
    ultrafeedback,
)
from aquilamed.sources.forms.contract import Pair, Published

FormName = Literal[
    "messages",
    "alpaca",
    "qa",
    "sharegpt",
    "chinese_medical_dialogue",
    "huatuo26m",
    "meddialog",
    "chatmed",
    "cmb_exam",
    "chatdoctor",
    "aquilamed_instruct",
    "cmtmedqa",
    "smilechat",
    "cmdd",
    "mts_dialog",
    "aci_bench",
    "exam",
]
PairFormName = Literal["trl_preference", "ultrafeedback", "aquilamed_rl", "sharegpt_dpo", "reward_pairs"]


@dataclass(frozen=True)
class Form:
    """A form of dialogues.

    `parse` turns a raw value into messages or raises `Misfit`; `published` is what is known of the set, None for a form
    that many sets share; `single` is the kind of its one-turn dialogues; `block` matches the lines that begin a record
    in its text files.
    """

    parse: Callable[[Any], list[Message]]
    published: Published | None = None
    single: str = "single_turn_QA"
    block: re.Pattern[str] | None = None


@dataclass(frozen=True)
class PairForm:
    """A form of preference pairs; the fields as in `Form`."""

    parse: Callable[[Any], Pair]
    published: Published | None = None


FORMS: dict[FormName, Form] = {
    "messages": Form(messages.parse),
    "alpaca": Form(alpaca.parse),
    "qa": Form(qa.parse),
    "sharegpt": Form(sharegpt.parse),
    "chinese_medical_dialogue": Form(chinese_medical_dialogue.parse, chinese_medical_dialogue.PUBLISHED),
    "huatuo26m": Form(huatuo26m.parse, huatuo26m.PUBLISHED),
    "meddialog": Form(meddialog.parse, meddialog.PUBLISHED, block=meddialog.BLOCK),
    "chatmed": Form(chatmed.parse, chatmed.PUBLISHED),
    "cmb_exam": Form(cmb_exam.parse, cmb_exam.PUBLISHED, single="single_turn_option"),
    "chatdoctor": Form(chatdoctor.parse, chatdoctor.PUBLISHED),
    "aquilamed_instruct": Form(aquilamed_instruct.parse, aquilamed_instruct.PUBLISHED),
    "cmtmedqa": Form(cmtmedqa.parse, cmtmedqa.PUBLISHED),
    "smilechat": Form(smilechat.parse, smilechat.PUBLISHED),
    "cmdd": Form(cmdd.parse, cmdd.PUBLISHED),
    "mts_dialog": Form(mts_dialog.parse, mts_dialog.PUBLISHED),
    "aci_bench": Form(aci_bench.parse, aci_bench.PUBLISHED),
    "exam": Form(exam.parse, single="single_turn_option"),
}
PAIR_FORMS: dict[PairFormName, PairForm] = {
    "trl_preference": PairForm(trl_preference.parse),
    "ultrafeedback": PairForm(ultrafeedback.parse, ultrafeedback.PUBLISHED),
    "aquilamed_rl": PairForm(aquilamed_rl.parse, aquilamed_rl.PUBLISHED),
    "sharegpt_dpo": PairForm(sharegpt_dpo.parse),
    "reward_pairs": PairForm(reward_pairs.parse),
}
