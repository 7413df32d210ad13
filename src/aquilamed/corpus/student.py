"""Students: small models that learn the annotator's labels and then judge the whole corpus (paper sections 1.3, 1.5).

Two backends with one face: `sklearn` (hashed character n-grams and a linear model; seconds on a CPU) and `transformers`
(an encoder fine-tuned as in the paper; `encoder.py`). A student is saved as safetensors and JSON, never as a pickle.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import zstandard
from pydantic import Field

from aquilamed.config import Config, StageFailed
from aquilamed.corpus.characters import TABLE, batch, classes, classify
from aquilamed.corpus.ngrams import slices
from aquilamed.records import write_json

Floats = npt.NDArray[np.float64]
Task = Literal["classify", "regress"]
CARD, WEIGHTS = "student.json", "student.safetensors"
_LEAST = 20
_SIZES = (1, 2, 3)  # characters of an n-gram


class StudentConfig(Config):
    """A student and its training; the defaults of batch, rate and epochs are those of the domain classifier."""

    backend: Literal["sklearn", "transformers"] = "sklearn"
    """`sklearn` for CPUs, `transformers` for the paper's fine-tuned encoder."""
    model: str = "google-bert/bert-base-multilingual-cased"
    """The encoder (a folder or a hub id) of the transformers backend."""
    batch_size: int = Field(default=64, ge=1)
    """Texts per training step of the transformers backend."""
    learning_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate of the transformers backend."""
    epochs: int = Field(default=10, ge=1)
    """Epochs of the transformers backend; the best one on a validation tenth of the training part is kept."""
    max_length: int = Field(default=512, ge=8)
    """Tokens of a text that the encoder sees."""
    max_chars: int = Field(default=4000, ge=100)
    """Characters of a text that the student sees."""
    features: int = Field(default=2**18, ge=2**10)
    """Columns of the sklearn backend's hashed n-grams (characters, 1 to 3)."""
    penalty: float = Field(default=0.003, gt=0)
    """L2 penalty of the sklearn backend's linear model."""
    heldout: float = Field(default=0.1, gt=0, lt=1)
    """Share of the labelled records that is not trained on and gives the reported figures."""


class Student(Protocol):
    """A trained student."""

    def predict(self, texts: Sequence[str]) -> Floats:
        """One number a text: the probability of the positive class, or the score."""
        ...

    def save(self, folder: Path) -> None:
        """Write it where `load_student` finds it."""
        ...


def split_heldout(ids: Sequence[str], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which records are held out: the first `share` of them in the order of their seeded hashes (at least one)."""
    if len(ids) < _LEAST:
        raise StageFailed(
            f"only {len(ids)} labelled records are left: at least {_LEAST} are needed to train and to hold some out; "
            "label more, or look into the dropped labels"
        )
    order = hash_order(ids, seed, "heldout")
    held = np.zeros(len(ids), dtype=np.bool_)
    held[order[: max(1, round(len(ids) * share))]] = True
    return held


def hash_order(ids: Sequence[str], seed: int, purpose: str) -> list[int]:
    """Positions of ids in the order of their hashes: a seeded shuffle that does not depend on the order of `ids`."""
    keys = [_hash_key(i, seed, purpose) for i in ids]
    return sorted(range(len(ids)), key=keys.__getitem__)


def first_by_hash(ids: Iterable[str], count: int, seed: int, purpose: str) -> list[str]:
    """The first `count` ids in the order of `hash_order`; of a stream no more than these are held."""
    return [i for _, i in heapq.nsmallest(count, (_hash_key(i, seed, purpose) for i in ids))]


def _hash_key(identity: str, seed: int, purpose: str) -> tuple[bytes, str]:
    return hashlib.blake2b(f"{seed}\0{purpose}\0{identity}".encode(), digest_size=16).digest(), identity


def train_student(
    task: Task, texts: Sequence[str], targets: Floats, config: StudentConfig, seed: int, weights: Floats | None = None
) -> Student:
    """Train a student.

    Args:
        targets: 1.0 and 0.0 for "classify", scores for "regress".
        weights: how much each text counts; all the same by default.

    Raises `StageFailed` when the labels hold one class only.
    """
    if task == "classify" and len(set(targets.tolist())) < 2:
        raise StageFailed("all training labels are the same: a classifier needs both; label more records")
    weights = np.ones(len(texts)) if weights is None else weights
    cut = [t[: config.max_chars] for t in texts]
    if config.backend == "transformers":
        from aquilamed.corpus.encoder import train_encoder

        return train_encoder(task, cut, targets, weights, config, seed)
    return _train_linear(task, cut, targets, weights, config)


@lru_cache(maxsize=2)
def load_student(folder: str) -> Student:
    """A saved student; loaded once per process."""
    card = json.loads((Path(folder) / CARD).read_text(encoding="utf-8"))
    if card["backend"] == "transformers":
        from aquilamed.corpus.encoder import Encoder

        return Encoder.load(Path(folder), card)
    from safetensors.numpy import load_file

    return Linear(card, load_file(Path(folder) / WEIGHTS))


class Linear:
    """A linear model over hashed character 1- to 3-grams and a few dense features."""

    def __init__(self, card: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.card, self.arrays = card, arrays

    def predict(self, texts: Sequence[str]) -> Floats:
        """See `Student.predict`."""
        values = [np.zeros(0), *(self._some([t[: self.card["max_chars"]] for t in part]) for part in slices(texts))]
        raw: Floats = np.concatenate(values)
        if self.card["task"] == "classify":
            raw = 1 / (1 + np.exp(-raw))
        return raw

    def _some(self, texts: list[str]) -> Floats:
        """The linear score: n-gram weights are added up where they stand, no row of features is built."""
        weights = self.arrays["weights"]
        grams = _grams(texts, self.card["features"])
        sums = np.zeros(len(texts))
        for columns, inside, starts in grams:
            sums += np.add.reduceat(np.where(inside, weights[columns], 0), starts)
        dense = _standardised(_dense(texts), self.arrays["mean"], self.arrays["scale"])
        result: Floats = (
            sums * _scale(texts) + dense @ weights[self.card["features"] :] + float(self.arrays["intercept"][0])
        )
        return result

    def save(self, folder: Path) -> None:
        """See `Student.save`."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.arrays, folder / WEIGHTS)
        write_json(folder / CARD, self.card)


def _train_linear(task: Task, texts: list[str], targets: Floats, weights: Floats, config: StudentConfig) -> Linear:
    from scipy.sparse import csr_matrix, hstack, vstack
    from sklearn.linear_model import LogisticRegression, Ridge

    plain = _dense(texts)
    mean, scale = plain.mean(axis=0), plain.std(axis=0)
    scale[scale == 0] = 1.0
    # In pieces: a text of 4,000 characters gives 12,000 n-grams before equal ones are joined.
    grams = vstack(
        [_rows(texts[start : start + 128], config.features) for start in range(0, len(texts), 128)], format="csr"
    )
    # Columns that no training text fills would stay 0: the solver need not carry them.
    used = np.unique(grams.indices)
    rows = hstack([grams[:, used], csr_matrix(_standardised(plain, mean, scale))], format="csr")
    if task == "classify":
        model = LogisticRegression(C=1 / config.penalty, max_iter=500)
        model.fit(rows, targets.astype(int), sample_weight=weights)
    else:
        model = Ridge(alpha=config.penalty, solver="sparse_cg", tol=1e-5, max_iter=500)
        model.fit(rows, targets, sample_weight=weights)
    card = {"backend": "sklearn", "task": task, "features": config.features, "max_chars": config.max_chars}
    found = np.ravel(model.coef_).astype(np.float64)
    spread = np.zeros(config.features + plain.shape[1])
    spread[used], spread[config.features :] = found[: len(used)], found[len(used) :]
    arrays = {
        "weights": spread,
        "intercept": np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64)),
        "mean": mean,
        "scale": scale,
    }
    return Linear(card, arrays)


def _scale(texts: list[str]) -> Floats:
    """What a text's n-gram counts are multiplied with: 1 / √(number of n-grams)."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    grams = np.sum([np.maximum(sizes - n + 1, 0) for n in _SIZES], axis=0)
    scale: Floats = 1 / np.sqrt(np.maximum(grams, 1))
    return scale


def _rows(texts: list[str], features: int) -> Any:
    """The n-gram features of texts as a sparse matrix [texts, features]."""
    from scipy.sparse import coo_matrix, diags

    where, owner = [], []
    for columns, inside, starts in _grams(texts, features):
        where.append(columns[inside])
        owner.append(np.searchsorted(starts, np.flatnonzero(inside), side="right") - 1)
    columns = np.concatenate(where)
    counts = coo_matrix((np.ones(len(columns)), (np.concatenate(owner), columns)), shape=(len(texts), features))
    return diags(_scale(texts)) @ counts.tocsr()


Grams = tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_], npt.NDArray[np.int64]]


def _grams(texts: list[str], features: int) -> Iterator[Grams]:
    """For each size of n-gram: the column of every place, whether it lies inside one text, and where texts start."""
    chars = batch(texts)
    codes = _lower().take(chars.codes, mode="clip")
    hashes = codes * np.uint32(0x01000193) + np.uint32(1)
    for n in _SIZES:
        while len(codes) - len(hashes) < n - 1:
            done = len(codes) - len(hashes) + 1
            hashes = hashes[:-1] * np.uint32(0x01000193) + codes[done:] + np.uint32(done + 1)
        mixed = (hashes ^ (hashes >> np.uint32(15))) * np.uint32(0x9E3779B1)
        columns = np.zeros(len(codes), np.uint32)
        columns[: len(hashes)] = (mixed ^ (mixed >> np.uint32(13))) % np.uint32(features)
        inside = np.ones(len(codes), np.bool_)
        for back in range(n):
            inside[np.maximum(chars.ends - back, chars.starts)] = False
        yield columns, inside, chars.starts


@cache
def _lower() -> npt.NDArray[np.uint32]:
    """Code point → its lower case, where that is one character."""
    table = np.arange(TABLE, dtype=np.uint32)
    for code in range(TABLE):
        small = chr(code).lower()
        if len(small) == 1:
            table[code] = ord(small)
    return table


def _standardised(dense: Floats, mean: Floats, scale: Floats) -> Floats:
    """Dense features in standard deviations, clipped, half as big."""
    result: Floats = np.clip((dense - mean) / scale, -3, 3) / 2
    return result


def _dense(texts: Sequence[str]) -> Floats:
    """Eight figures of form: length, Chinese, digits, marks, variety, compressibility, line length, repetition."""
    chars = batch(texts)
    bits = classify(chars.codes, classes((r"\p{Han}", r"\d", r"[^\w\s]")))
    sizes = np.maximum(chars.ends - chars.starts, 1)
    han, digits, marks = (chars.count((bits & np.uint8(bit)) > 0) / sizes for bit in (1, 2, 4))
    squeeze = zstandard.ZstdCompressor(level=1)
    rest = []
    for text, size in zip(texts, sizes.tolist(), strict=True):
        lines = [line for line in text.splitlines() if line.strip()] or [""]
        data = text.encode("utf-8", "replace")
        packed = len(squeeze.compress(data)) / max(len(data), 1)
        rest.append((len(set(text)), packed, size / len(lines), 1 - len(set(lines)) / len(lines)))
    variety, ratio, line, repeated = np.asarray(rest, dtype=np.float64).reshape(-1, 4).T
    columns = (np.log1p(sizes), han, digits, marks, variety / np.sqrt(sizes), ratio, np.log1p(line), repeated)
    return np.stack(columns, axis=1)
