"""Stage sources/preferences: published preference sets as PREFERENCE records, beside the pairs that prefer/ makes itself.

sources:
  preferences:
    sources: [{name: aquilamed-rl, path: "hf://datasets/BAAI/AquilaMed-RL/*.json", form: aquilamed_rl}]
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from aquilamed.records import Message, Preference, record_id
from aquilamed.sources.forms import PAIR_FORMS, PairFormName
from aquilamed.sources.ingest import ingest
from aquilamed.sources.licenses import License
from aquilamed.sources.raw import Misfit, RawRecord
from aquilamed.sources.source import IngestConfig, Source, distinct_names, renamed
from aquilamed.sources.turns import check_dialogue, cleaned_messages, language
from aquilamed.stage import Context, Result


class PreferenceSource(Source):
    """Files of preference pairs in one form."""

    form: PairFormName
    """How a pair is laid out: see sources/forms."""
    lang: Literal["zh", "en"] | None = None
    """The language; null decides per pair by its script."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our name of a field → its name in the file, where it differs ({chosen: better, rejected: worse})."""

    def terms(self) -> License:
        """The licence that the recipe gives, else the one that the form's published set states."""
        return self.license_or(PAIR_FORMS[self.form].published)


class PreferencesConfig(IngestConfig):
    """The published preference sets."""

    sources: list[PreferenceSource] = Field(min_length=1)
    """What is read, in this order."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        distinct_names(self.sources)
        return self


def run(ctx: Context, config: PreferencesConfig) -> Result:
    """Read every file of every source. Metrics: `per_source` (files, in, kept, dropped), `cleaned` (records changed, by rule),
    `bytes` on disk, `licenses`.

    Raises:
        Invalid: no file, or more than `max_bad_share` of a source is unusable (with the first ten).
    """
    return ingest(ctx, config, config.sources, to_preference, Preference)


def to_preference(source: PreferenceSource, raw: RawRecord) -> tuple[Preference, set[str]]:
    """A raw record as a pair of kind "published", and what cleaning changed. Raises `Misfit` when it is none."""
    pair = PAIR_FORMS[source.form].parse(renamed(raw.value, source.fields))
    if not any(m["role"] == "user" and m["content"].strip() for m in pair.prompt):
        raise Misfit("no_prompt", "no turn of the user before the answers")
    prompt, cleaned = cleaned_messages(pair.prompt)
    chosen, in_chosen = _answer("chosen", prompt, pair.chosen)
    rejected, in_rejected = _answer("rejected", prompt, pair.rejected)
    if chosen == rejected:
        raise Misfit("equal", "chosen and rejected are the same text")
    lang = source.lang or language([*prompt, *chosen])
    common = (record_id(source.name, raw.origin), source.name, source.terms().name, raw.origin)
    made = Preference(*common, "published", lang, prompt, chosen, rejected, pair.margin)
    return made, cleaned | in_chosen | in_rejected


def _answer(name: str, prompt: Sequence[Message], messages: list[Message]) -> tuple[list[Message], set[str]]:
    """One cleaned turn of the assistant that answers the prompt."""
    try:
        cleaned, rules = cleaned_messages(messages)
        if not cleaned:
            raise Misfit("no_answer", "it has no turn")
        if len(cleaned) > 1:
            raise Misfit("roles", f"it has {len(cleaned)} turns behind the prompt, not one")
        check_dialogue([*prompt, *cleaned])
    except Misfit as error:
        raise Misfit(error.rule, f"{name}: {error}") from error
    return cleaned, rules
