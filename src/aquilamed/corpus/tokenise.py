"""Texts to token ids, part by part: the fastest tokeniser that gives the right ids, as tasks for the engine."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aquilamed.engine import Counts
from aquilamed.models import ModelConfig, document_end, find_model, load_tokenizer

Ids = NDArray[np.int32]
Encode = Callable[[list[str]], tuple[Ids, NDArray[np.int64]]]
"""Texts → all their ids one after the other, and how many each has."""
Backend = Literal["tokie", "tokenizers"]


def choose_encoder(tokenizer: Any, config: ModelConfig, sample: list[str]) -> tuple[Encode, Backend]:
    """The fastest tokeniser that gives the right ids: tokie where it equals `tokenizers` on the sample, else that.

    A text that spells one of the vocabulary's special tokens always goes to `tokenizers`, as plain text: a document
    must not be able to open a turn.
    """
    import tokie

    slow = _careful(tokenizer)
    try:
        fast = _fast(tokenizer, config, slow)
        (ids, sizes), (right_ids, right_sizes) = fast(sample), slow(sample)
        if np.array_equal(ids, right_ids) and np.array_equal(sizes, right_sizes):
            return fast, "tokie"
    except (OSError, ValueError, tokie.TokieError):
        pass  # a hub id has no file here, and not every tokenizer is supported: the other one serves
    return slow, "tokenizers"


def _fast(tokenizer: Any, config: ModelConfig, slow: Encode) -> Encode:
    import tokie

    quick: Any = tokie.Tokenizer.from_json(str(Path(find_model(config.path)) / "tokenizer.json"))
    special = [t for t in tokenizer.all_special_tokens if t] + list(tokenizer.get_added_vocab())
    spelled = re.compile("|".join(map(re.escape, special)) or r"(?!)")

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


def _careful(tokenizer: Any) -> Encode:
    import copy

    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.encode_special_tokens = True
    backend.no_truncation()

    def encode(texts: list[str]) -> tuple[Ids, NDArray[np.int64]]:
        return _joined(np.array(e.ids, np.int32) for e in backend.encode_batch_fast(texts, add_special_tokens=False))

    return encode


def _joined(rows: Iterable[Ids]) -> tuple[Ids, NDArray[np.int64]]:
    found = list(rows)
    return np.concatenate([np.empty(0, np.int32), *found]), np.array([len(r) for r in found], np.int64)


@lru_cache(maxsize=2)
def _encoder(model: str, backend: Backend) -> tuple[Encode, int]:
    """A worker's encoder and the id of the end token."""
    config = ModelConfig.model_validate_json(model)
    tokenizer = load_tokenizer(config)
    slow = _careful(tokenizer)
    return (_fast(tokenizer, config, slow) if backend == "tokie" else slow), document_end(tokenizer)


def tokenise_part(job: tuple[Path, Path, str, Backend]) -> Counts:
    """Write a part's ids (`ids.npy`, every document with its end token) and its documents' sizes (`lengths.npy`).

    The job: the part, the folder, the base model's config as JSON, the backend.
    """
    source, folder, model, backend = job
    encode, end = _encoder(model, backend)
    texts = pl.read_parquet(source, columns=["text"], glob=False)["text"].to_list()
    flat, lengths = encode(texts)
    ends = np.cumsum(lengths)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "ids.npy", np.insert(flat, ends, np.int32(end)))
    np.save(folder / "lengths.npy", lengths + 1)
    return {"tokens": len(flat) + len(texts)}
