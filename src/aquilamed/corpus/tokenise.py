"""Texts to token ids, part by part: the fastest tokeniser that gives the right ids, as tasks for the engine."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aquilamed.engine import Counts
from aquilamed.models import DOCUMENT_END, ModelConfig, begin_ids, document_end, find_model, load_tokenizer

Ids = NDArray[np.int32]
Encode = Callable[[list[str]], tuple[Ids, NDArray[np.int64]]]
"""Texts → all their ids one after the other, and how many each has."""
Backend = Literal["tokie", "tokenizers"]


@dataclass(frozen=True)
class Encoder:
    """A tokeniser as data, so that a worker opens it without loading a model library.

    Args:
        backend: who tokenises.
        file: a tokenizer.json.
        special: the texts of its special tokens.
        end: the id that ends a document.
        begin: the id that stands in front of a document, for models that know no text without it.
    """

    backend: Backend
    file: str
    special: tuple[str, ...]
    end: int
    begin: int | None = None

    def open(self) -> Encode:
        """The function from texts to ids. Raises what the backends raise for a file that they cannot read."""
        slow = _careful(self.file)
        return _fast(self, slow) if self.backend == "tokie" else slow


def exact_encoder(config: ModelConfig, folder: Path) -> Encoder:
    """The model's own tokeniser, run by `tokenizers`.

    A local model's files say all that is needed; only for another one is the model library loaded, which takes seconds
    and half a gigabyte, and the tokeniser written to `folder` for the workers. Raises `Invalid` without an end token.
    """
    local = Path(find_model(config.path, config.revision))
    file, settings = local / "tokenizer.json", local / "tokenizer_config.json"
    if file.is_file() and settings.is_file():
        stated = json.loads(file.read_text(encoding="utf-8"))
        added = stated.get("added_tokens", [])
        # What stands around a text is for the model library to say; most tokenizers put nothing there.
        bare = '"SpecialToken"' not in json.dumps(stated.get("post_processor"))
        ids = {token["content"]: int(token["id"]) for token in added}
        end = json.loads(settings.read_text(encoding="utf-8")).get("eos_token")
        end = DOCUMENT_END if DOCUMENT_END in ids else end["content"] if isinstance(end, dict) else end
        if end in ids and bare:
            return Encoder("tokenizers", str(file), tuple(ids), ids[end])
    tokenizer = load_tokenizer(config)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tokenizer.json"
    tokenizer.backend_tokenizer.save(str(file))
    special = [t for t in tokenizer.all_special_tokens if t] + list(tokenizer.get_added_vocab())
    begin = next(iter(begin_ids(tokenizer)), None)
    return Encoder("tokenizers", str(file), tuple(dict.fromkeys(special)), document_end(tokenizer), begin)


def choose_encoder(exact: Encoder, sample: list[str]) -> Encoder:
    """The fastest tokeniser that gives the right ids: tokie where it equals `tokenizers` on the sample, else that.

    A text that spells one of the vocabulary's special tokens always goes to `tokenizers`, as plain text: a document
    must not be able to open a turn.
    """
    import tokie

    quick = replace(exact, backend="tokie")
    try:
        (ids, sizes), (right_ids, right_sizes) = quick.open()(sample), exact.open()(sample)
        if np.array_equal(ids, right_ids) and np.array_equal(sizes, right_sizes):
            return quick
    except (OSError, ValueError, tokie.TokieError):
        pass  # not every tokenizer is supported: the other one serves
    return exact


def _fast(encoder: Encoder, slow: Encode) -> Encode:
    import tokie

    quick: Any = tokie.Tokenizer.from_json(encoder.file)
    spelled = re.compile("|".join(map(re.escape, encoder.special)) or r"(?!)")

    def plain(texts: list[str]) -> tuple[Ids, NDArray[np.int64]]:
        flat, lengths = quick.encode_batch_flat(texts, add_special_tokens=False)
        return np.asarray(flat).astype(np.int32), np.asarray(lengths).astype(np.int64)

    def encode(texts: list[str]) -> tuple[Ids, NDArray[np.int64]]:
        special_ones = {n for n, text in enumerate(texts) if spelled.search(text)}
        if not special_ones:
            return plain(texts)
        flat, lengths = plain([text for n, text in enumerate(texts) if n not in special_ones])
        rows = iter(np.split(flat, np.cumsum(lengths)[:-1]))
        return _joined(slow([text])[0] if n in special_ones else next(rows) for n, text in enumerate(texts))

    return encode


def _careful(file: str) -> Encode:
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(file)
    backend.encode_special_tokens = True
    backend.no_truncation()

    def encode(texts: list[str]) -> tuple[Ids, NDArray[np.int64]]:
        return _joined(np.array(e.ids, np.int32) for e in backend.encode_batch_fast(texts, add_special_tokens=False))

    return encode


def _joined(rows: Iterable[Ids]) -> tuple[Ids, NDArray[np.int64]]:
    found = list(rows)
    return np.concatenate([np.empty(0, np.int32), *found]), np.array([len(r) for r in found], np.int64)


@lru_cache(maxsize=2)
def _opened(encoder: Encoder) -> Encode:
    return encoder.open()


def begun(flat: Ids, lengths: NDArray[np.int64], begin: int, most: int) -> tuple[Ids, NDArray[np.int64]]:
    """Documents with the begin token in front of every `most - 1` of their ids: where packing splits them, it stands again."""
    pieces = -(-lengths // (most - 1))
    starts, first = np.cumsum(lengths) - lengths, np.cumsum(pieces) - pieces
    places = np.repeat(starts - first * (most - 1), pieces) + np.arange(pieces.sum()) * (most - 1)
    return np.insert(flat, places, np.int32(begin)), lengths + pieces


def tokenise_part(job: tuple[Path, Path, Encoder, int]) -> Counts:
    """Write a part's ids (`ids.npy`, every document with its end token) and its documents' sizes (`lengths.npy`).

    The job: the part, the folder, the encoder, and the most tokens of a piece.
    """
    source, folder, encoder, most = job
    texts = pl.read_parquet(source, columns=["text"], glob=False)["text"].to_list()
    flat, lengths = _opened(encoder)(texts)
    folder.mkdir(parents=True, exist_ok=True)
    flat, lengths = np.insert(flat, np.cumsum(lengths), np.int32(encoder.end)), lengths + 1
    if encoder.begin is not None:
        flat, lengths = begun(flat, lengths, encoder.begin, most)
    np.save(folder / "ids.npy", flat)
    np.save(folder / "lengths.npy", lengths)
    return {"tokens": len(flat)}
