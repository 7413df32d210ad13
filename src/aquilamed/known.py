"""What is known of a recipe's data before it runs: from finished artefacts, else from a sample of the files, else nothing."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.annotate.contract import clip
from aquilamed.annotate.estimate import text_tokens
from aquilamed.config import Invalid
from aquilamed.evaluate.contestants import dialogue_text
from aquilamed.evaluate.tasks import BenchmarkConfig, Questions, read_dialogues, read_questions
from aquilamed.instruct.rounds import rounds
from aquilamed.pipeline import StageState
from aquilamed.recipe import Recipe
from aquilamed.records import Dialogue, Message
from aquilamed.sources.dialogues import to_dialogue
from aquilamed.sources.documents import to_document
from aquilamed.sources.files import read_records
from aquilamed.sources.lines import COMPRESSION
from aquilamed.sources.raw import Misfit, RawRecord
from aquilamed.sources.source import Source
from aquilamed.stage import find_files
from aquilamed.stages import BY_NAME

BOUND = "the bound annotator.max_chars"
_LOOKED_AT = 200  # records of a source, or of each of some parts, whose lengths are measured
_PARTS = 5
_COUNTED = 5_000  # records of a source that are counted one by one
_DOCUMENTS = ("corpus/domain", "corpus/decontaminate", "corpus/dedup", "corpus/toxicity", "corpus/rules")
_DIALOGUES = ("instruct/select", "instruct/safety", "instruct/decontaminate", "instruct/dedup")


@dataclass(frozen=True)
class Lengths:
    """Mean tokens of judged texts, and what they were measured on.

    `text` is a document, `question` and `answer` are of one round, `dialogue` is everything before the last answer.
    """

    basis: str
    text: float = 0.0
    question: float = 0.0
    answer: float = 0.0
    dialogue: float = 0.0
    rounds: float = 1.0


class Known:
    """The data of a recipe as far as it is known.

    Args:
        states: of all stages, see `pipeline.states`.
    """

    def __init__(self, recipe: Recipe, states: Iterable[StageState]) -> None:
        self.recipe = recipe
        self.states = {s.name: s for s in states}
        # One token per character is what Chinese has.
        most = float(recipe.annotator.max_chars)
        self.bound = Lengths(BOUND, most, most, most, most)

    def kept(self, stage: str) -> int | None:
        """How many records a stage keeps at most; None when nothing that it reads was counted."""
        state = self.states.get(stage)
        if state is None:
            return None
        if state.artifact:
            return int(state.artifact.manifest["records_kept"])
        if stage == "sources/dialogues":
            return self._dialogues_in_files
        sources = [n for i in BY_NAME[stage].flow if i in self.states and (n := self.kept(i)) is not None]
        return sum(sources) if sources else None

    @cached_property
    def documents(self) -> Lengths:
        """Lengths of documents."""
        for stage in (*_DOCUMENTS, "sources/documents"):
            if frame := self._sample_of(stage, ["text"]):
                return Lengths(stage, text=_mean(self._tokens(t) for t in frame["text"]))
        section = self.recipe.sources.documents
        texts = [d.text for s in section.sources for d in self._sampled(s, to_document)] if section else []
        return Lengths("a sample of the source files", _mean(map(self._tokens, texts))) if texts else self.bound

    @cached_property
    def dialogues(self) -> Lengths:
        """Lengths of dialogues and their rounds."""
        for stage in (*_DIALOGUES, "sources/dialogues"):
            if frame := self._sample_of(stage, ["messages"]):
                return self.lengths(stage, frame["messages"])
        section = self.recipe.sources.dialogues
        found = [d.messages for s in section.sources for d in self._sampled(s, to_dialogue)] if section else []
        return self.lengths("a sample of the source files", found) if found else self.bound

    def lengths(self, basis: str, dialogues: list[list[Message]]) -> Lengths:
        """The lengths of these dialogues."""
        flat = [r for d in dialogues for r in rounds(d)]
        return Lengths(
            basis,
            question=_mean(self._tokens(r.question) for r in flat),
            answer=_mean(self._tokens(r.answer) for r in flat),
            dialogue=_mean(self._tokens(dialogue_text(d[:-1])) for d in dialogues),
            rounds=len(flat) / len(dialogues),
        )

    @property
    def seed(self) -> int:
        """The recipe's, for choices of benchmark items."""
        return self.recipe.seed

    @cache  # noqa: B019  (one object per command)
    def items(self, benchmark: BenchmarkConfig, limit: int | None) -> list[Dialogue] | None:
        """The dialogues of a benchmark that are evaluated; None while its files are not there."""
        return read_dialogues(self, benchmark, limit) if self._there(benchmark) else None

    @cache  # noqa: B019
    def questions(self, benchmark: BenchmarkConfig, limit: int | None) -> Questions | None:
        """The same of a multiple-choice benchmark."""
        return read_questions(self, benchmark, limit) if self._there(benchmark) else None

    def _there(self, benchmark: BenchmarkConfig) -> bool:
        try:
            return all(self.files(path) for path in benchmark.paths)
        except Invalid:
            return False

    def _tokens(self, text: str) -> int:
        return text_tokens(clip(text, self.recipe.annotator.max_chars))

    def files(self, pattern: str) -> list[tuple[str, Path]]:
        """See `Context.files`; nothing is fetched."""
        sample = self.states.get("sample")
        folder = sample.artifact.path / "files" if sample and sample.artifact else Path("/nonexistent")
        return find_files(pattern, self.recipe.data_folder(), folder, fetch_missing=False)

    def _sample_of(self, stage: str, columns: list[str]) -> dict[str, list[Any]] | None:
        """Some kept records of a finished stage, from parts that lie evenly."""
        state = self.states.get(stage)
        parts = state.artifact.kept_parts() if state and state.artifact else []
        chosen = parts[:: max(1, len(parts) // _PARTS)][:_PARTS]
        frames = [pl.scan_parquet(p, glob=False).select(columns).head(_LOOKED_AT).collect() for p in chosen]
        frame = pl.concat(frames) if frames else None
        return frame.to_dict(as_series=False) if frame is not None and frame.height else None

    def _records(self, source: Source) -> Iterator[RawRecord]:
        try:
            files = self.files(source.path)
        except Invalid:
            return
        paragraphs = getattr(source, "paragraphs", False)
        for name, path in files:
            found = read_records(
                path,
                name,
                source.format,
                source.encoding,
                columns=source.columns,
                paragraphs=paragraphs,
                block=source.block(),
            )
            yield from (r for r in found if isinstance(r, RawRecord))

    def _sampled(self, source: Any, convert: Callable[[Any, RawRecord], tuple[Any, set[str]]]) -> Iterator[Any]:
        for raw in islice(self._records(source), min(_LOOKED_AT, source.limit or _LOOKED_AT)):
            with suppress(Misfit):
                yield convert(source, raw)[0]

    @cached_property
    def _dialogues_in_files(self) -> int | None:
        section = self.recipe.sources.dialogues
        counts = [self._count(s) for s in section.sources] if section else [0]
        return None if None in counts else sum(c or 0 for c in counts)

    def _count(self, source: Source) -> int | None:
        """Records of a source at most; of a long file by its size and its first records."""
        most = _COUNTED if source.limit is None else min(source.limit, _COUNTED)
        sizes = [len(str(r.value).encode("utf-8", "replace")) for r in islice(self._records(source), most)]
        if len(sizes) < _COUNTED:
            return len(sizes) or None
        files = [path for _, path in self.files(source.path)]
        if any(p.suffix.lower() in (*COMPRESSION, ".parquet") for p in files):
            return source.limit
        counted = round(sum(p.stat().st_size for p in files) / (sum(sizes) / len(sizes)))
        return counted if source.limit is None else min(counted, source.limit)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
