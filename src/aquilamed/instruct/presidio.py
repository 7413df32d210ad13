"""Microsoft Presidio over dialogues: our kernels, our recognisers of names and addresses, and a spaCy model's persons.

Everything it finds gets the kernels' placeholders. Nothing is fetched: a spaCy model that is named must be installed, and
without one the pipeline is blank.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from aquilamed.config import Config, Invalid
from aquilamed.corpus.pii import Span, find_pii, mask
from aquilamed.instruct.recognisers import addresses, chinese_name, english_name, names

LANGUAGES = ("zh", "en")
Find = Callable[[str], Iterable[Span]]
_RECOGNISERS: tuple[tuple[str, Find, float], ...] = (
    ("kernels", find_pii, 1.0),
    ("addresses", addresses, 0.9),
    ("names", names, 0.8),
)
"""Name, function, score: of overlapping findings the one of higher score counts."""
_NER_SCORE = 0.6
_KINDS = (
    *("NAME", "ADDRESS", "PHONE", "EMAIL", "URL", "ID_NUMBER", "PASSPORT", "MEDICAL_ID", "BANK_CARD", "SSN", "IP"),
    *("PLATE", "ACCOUNT"),
)


class PresidioConfig(Config):
    """Presidio's language models."""

    models: dict[Literal["zh", "en"], str] = {}
    """Language → spaCy model (an installed package or a folder), whose persons are masked too; none: a blank pipeline."""


def ready(config: PresidioConfig) -> None:
    """Raises `Invalid` when Presidio or a model that the recipe names is not installed."""
    try:
        import presidio_analyzer  # noqa: F401
        import spacy
    except ImportError as error:
        raise Invalid(
            f'instruct.safety.pii: presidio is not installed ({error}); pip install "aquilamed[presidio]", or set kernels'
        ) from error
    for lang, name in config.models.items():
        if not spacy.util.is_package(name) and not Path(name).is_dir():
            raise Invalid(
                f"instruct.safety.presidio.models.{lang}: no spaCy model {name!r}; install it (python -m spacy download "
                f"{name}) or give its folder: nothing is fetched at run time"
            )


def presidio_mask(text: str, lang: str, config: PresidioConfig) -> tuple[str, dict[str, int]]:
    """The text with typed placeholders, and how many of each type there were.

    Args:
        lang: zh or en; decides the spaCy model, all recognisers work on both.
    """
    spans = find(text, lang, config)
    counts: dict[str, int] = {}
    for span in spans:
        counts[span.kind] = counts.get(span.kind, 0) + 1
    return mask(text, spans), dict(sorted(counts.items()))


def find(text: str, lang: str, config: PresidioConfig) -> list[Span]:
    """The private information in a text, from left to right; spans do not overlap."""
    results = _analyzer(tuple(sorted(config.models.items()))).analyze(text=text, language=lang)
    chosen: list[Span] = []
    for r in sorted(results, key=lambda r: (-r.score, r.start, -r.end, r.entity_type)):
        if all(r.end <= s.start or s.end <= r.start for s in chosen):
            chosen.append(Span(r.start, r.end, r.entity_type))
    return sorted(chosen)


@lru_cache(maxsize=2)
def _analyzer(models: tuple[tuple[str, str], ...]) -> Any:
    import spacy
    from presidio_analyzer import AnalyzerEngine, LocalRecognizer, RecognizerRegistry, RecognizerResult
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Ours(LocalRecognizer):  # type: ignore[misc, unused-ignore]
        """One of our functions as a Presidio recogniser."""

        def __init__(self, name: str, function: Find, score: float, language: str) -> None:
            self.function, self.score = function, score
            super().__init__(supported_entities=list(_KINDS), name=name, supported_language=language)

        def load(self) -> None:
            """Nothing to load."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: Any) -> list[Any]:
            """Presidio's interface."""
            return [RecognizerResult(s.kind, s.start, s.end, self.score) for s in self.function(text)]

    class Persons(LocalRecognizer):  # type: ignore[misc, unused-ignore]
        """The spaCy model's persons, without eponyms and authors."""

        def load(self) -> None:
            """Nothing to load."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: Any) -> list[Any]:
            """Presidio's interface."""
            found = (e for e in nlp_artifacts.entities if e.label_ in ("PERSON", "PER"))
            spans = (person(text, e.start_char, e.end_char) for e in found)
            return [RecognizerResult("NAME", *span, _NER_SCORE) for span in spans if span]

    engine: Any = SpacyNlpEngine(models=[{"lang_code": lang, "model_name": ""} for lang in LANGUAGES])
    # Not engine.load(): it would fetch what is missing.
    named = dict(models)
    engine.nlp = {lang: spacy.load(named[lang]) if lang in named else spacy.blank(lang) for lang in LANGUAGES}
    ours = [Ours(*row, language) for row in _RECOGNISERS for language in LANGUAGES]
    persons = [Persons(["NAME"], "persons", language) for language in named]
    registry = RecognizerRegistry(recognizers=[*ours, *persons], supported_languages=list(LANGUAGES))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=list(LANGUAGES))


def person(text: str, start: int, end: int) -> tuple[int, int] | None:
    """What of a model's person is masked: Chinese names of at least two characters, Latin ones of two words."""
    value = text[start:end]
    if any("\u4e00" <= c <= "\u9fff" for c in value):
        return (start, end) if 2 <= len(value) <= 4 and chinese_name(value) else None
    span = english_name(text, start, end)
    return span if span and " " in text[span[0] : span[1]].strip() else None
