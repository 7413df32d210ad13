"""Stage sources/dialogues: the public SFT sets as DIALOGUE records (paper, section 3).

A set's form (forms/) turns a raw record into messages; what does not make a dialogue goes to dropped/ with its reason.
"""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from aquilamed.records import Dialogue, Message, record_id
from aquilamed.sources.forms import FORMS, FormName
from aquilamed.sources.ingest import IngestConfig, Source, distinct_names, ingest
from aquilamed.sources.licenses import UNKNOWN, License, find_license
from aquilamed.sources.raw import Misfit, RawRecord
from aquilamed.stage import Context, Result

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z]")
# A Chinese text may hold Latin abbreviations; a Han character says about as much as four Latin letters.
_LETTERS_PER_HAN = 4
# "OK." – "OK." amid a conversation is courtesy, not an answer that repeats its question.
_COURTESY = 8


class DialogueSource(Source):
    """Files of dialogues in one form."""

    form: FormName
    """How a record is laid out: see sources/forms."""
    lang: Literal["zh", "en"] | None = None
    """The language; null decides per record by its script."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our name of a field → its name in the file, where it differs ({question: q, answer: a})."""

    def terms(self) -> License:
        """The licence that the recipe gives, else the one that the form's published set states."""
        known = FORMS[self.form].published
        return self.license or (find_license(known.license) if known else UNKNOWN)


class DialoguesConfig(IngestConfig):
    """The sources of the SFT set."""

    sources: list[DialogueSource] = Field(min_length=1)
    """What is read, in this order."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        distinct_names(self.sources)
        return self


def run(ctx: Context, config: DialoguesConfig) -> Result:
    """Read every file of every source. Metrics: `per_source` (files, in, kept, dropped), `bytes` on disk, `licenses`.

    Raises:
        Invalid: no file, or more than `max_bad_share` of a source is unusable (with the first ten).
    """
    return ingest(ctx, config, config.sources, to_dialogue, Dialogue)


def to_dialogue(source: DialogueSource, raw: RawRecord) -> Dialogue:
    """A raw record as a dialogue. Raises `Misfit` when it is none."""
    value = raw.value
    if source.fields and isinstance(value, dict):
        value = value | {ours: value[theirs] for ours, theirs in source.fields.items() if theirs in value}
    form = FORMS[source.form]
    messages = checked_messages(form.parse(value))
    lang = source.lang or language(messages)
    turns = sum(m["role"] == "user" for m in messages)
    kind = f"{form.single if turns == 1 else 'multi_turn_QA'}_{lang}"
    common = (record_id(source.name, raw.origin), source.name, source.terms().name, raw.origin)
    return Dialogue(*common, kind=kind, lang=lang, messages=messages)


def checked_messages(messages: list[Message]) -> list[Message]:
    """The messages, stripped: a system text at most, then user and assistant in turn, assistant last.

    Raises:
        Misfit: no_question, no_answer, roles (out of order) or echo (an answer that repeats its question).
    """
    cleaned: list[Message] = [{"role": m["role"], "content": m["content"].strip()} for m in messages]
    if cleaned and cleaned[0]["role"] == "system" and not cleaned[0]["content"]:
        cleaned = cleaned[1:]
    turns = cleaned[1:] if cleaned and cleaned[0]["role"] == "system" else cleaned
    for number, turn in enumerate(turns, 1):
        if not turn["content"]:
            rule = "no_answer" if turn["role"] == "assistant" else "no_question"
            raise Misfit(rule, f"turn {number} ({turn['role']}) is empty")
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
    return cleaned


def language(messages: list[Message]) -> Literal["zh", "en"]:
    """zh or en by script. Raises `Misfit` when the text has letters of neither."""
    text = "\n".join(m["content"] for m in messages)
    han, latin = len(_HAN.findall(text)), len(_LATIN.findall(text))
    if not han and not latin:
        raise Misfit("language", "no Chinese character and no Latin letter; set the source's `lang`")
    return "zh" if _LETTERS_PER_HAN * han >= latin else "en"
