"""Stage sources/dialogues: the public SFT sets as DIALOGUE records (paper, section 3).

A set's form (forms/) turns a raw record into messages; what does not make a dialogue goes to dropped/ with its reason.
"""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from aquilamed.records import Dialogue, record_id
from aquilamed.sources.forms import FORMS, FormName
from aquilamed.sources.ingest import ingest
from aquilamed.sources.licenses import License
from aquilamed.sources.raw import RawRecord
from aquilamed.sources.source import IngestConfig, Source, distinct_names, renamed
from aquilamed.sources.turns import check_dialogue, cleaned_messages, language
from aquilamed.stage import Context, Result


class DialogueSource(Source):
    """Files of dialogues in one form."""

    form: FormName
    """How a record is laid out: see sources/forms."""
    lang: Literal["zh", "en"] | None = None
    """The language; null decides per record by its script."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our name of a field → its name in the file, where it differs ({question: q, answer: a})."""
    answers: str | None = None
    """A second file, with the records' answers, joined by `id` (CMB-Exam's test part)."""

    def terms(self) -> License:
        """The licence that the recipe gives, else the one that the form's published set states."""
        return self.license_or(FORMS[self.form].published)

    def block(self) -> re.Pattern[str] | None:
        """What begins a record in the form's text files."""
        return FORMS[self.form].block


class DialoguesConfig(IngestConfig):
    """The sources of the SFT set."""

    sources: list[DialogueSource] = Field(min_length=1)
    """What is read, in this order."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        distinct_names(self.sources)
        return self


def run(ctx: Context, config: DialoguesConfig) -> Result:
    """Read every file of every source. Metrics: `per_source` (files, in, kept, dropped), `cleaned` (records changed, by rule),
    `bytes` on disk, `licenses`.

    Raises:
        Invalid: no file, or more than `max_bad_share` of a source is unusable (with the first ten).
    """
    return ingest(ctx, config, config.sources, to_dialogue, Dialogue)


def to_dialogue(source: DialogueSource, raw: RawRecord) -> tuple[Dialogue, set[str]]:
    """A raw record as a dialogue, and what cleaning changed. Raises `Misfit` when it is none."""
    form = FORMS[source.form]
    messages, cleaned = cleaned_messages(form.parse(renamed(raw.value, source.fields)))
    check_dialogue(messages)
    lang = source.lang or language(messages)
    turns = sum(m["role"] == "user" for m in messages)
    kind = f"{form.single if turns == 1 else 'multi_turn_QA'}_{lang}"
    common = (record_id(source.name, raw.origin), source.name, source.terms().name, raw.origin)
    return Dialogue(*common, kind=kind, lang=lang, messages=messages), cleaned
