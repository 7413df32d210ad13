"""Students: small models that learn the annotator's labels and then judge the whole corpus (paper sections 1.3, 1.5).

Two backends with one face: `sklearn` (hashed character n-grams and a linear model; seconds on a CPU) and `transformers`
(an encoder fine-tuned as in the paper; `encoder.py`). A student is saved as safetensors and JSON, never as a pickle.
"""

import hashlib
import json
import math
import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from aquilamed.config import Config, StageFailed
from aquilamed.records import write_json

Floats = npt.NDArray[np.float64]
Task = Literal["classify", "regress"]
CARD, WEIGHTS = "student.json", "student.safetensors"
_LEAST = 20


class StudentConfig(Config):
    """A student and its training; the defaults of batch, rate and epochs are those of the domain classifier."""

    backend: Literal["sklearn", "transformers"] = "sklearn"
    """`sklearn` for CPUs, `transformers` for the paper's fine-tuned encoder."""
    model: str = "bert-base-multilingual-cased"
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
    penalty: float = Field(default=0.03, gt=0)
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
    keys = [hashlib.blake2b(f"{seed}\0{purpose}\0{i}".encode(), digest_size=16).digest() for i in ids]
    return sorted(range(len(ids)), key=lambda n: (keys[n], ids[n]))


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
    """A linear model over hashed character n-grams and a few dense features."""

    def __init__(self, card: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.card, self.arrays = card, arrays

    def predict(self, texts: Sequence[str]) -> Floats:
        """See `Student.predict`."""
        if not texts:
            return np.zeros(0)
        cut = [t[: self.card["max_chars"]] for t in texts]
        raw = _matrix(cut, self.card["features"], self.arrays["mean"], self.arrays["scale"])
        values: Floats = np.asarray(raw @ self.arrays["weights"]).ravel() + float(self.arrays["intercept"][0])
        return 1 / (1 + np.exp(-values)) if self.card["task"] == "classify" else values

    def save(self, folder: Path) -> None:
        """See `Student.save`."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.arrays, folder / WEIGHTS)
        write_json(folder / CARD, self.card)


def _train_linear(task: Task, texts: list[str], targets: Floats, weights: Floats, config: StudentConfig) -> Linear:
    from sklearn.linear_model import LogisticRegression, Ridge

    plain = _dense(texts)
    mean, scale = plain.mean(axis=0), plain.std(axis=0)
    scale[scale == 0] = 1.0
    rows = _matrix(texts, config.features, mean, scale)
    if task == "classify":
        model = LogisticRegression(C=1 / config.penalty, max_iter=500)
        model.fit(rows, targets.astype(int), sample_weight=weights)
    else:
        model = Ridge(alpha=config.penalty, solver="sparse_cg", tol=1e-5, max_iter=500)
        model.fit(rows, targets, sample_weight=weights)
    card = {"backend": "sklearn", "task": task, "features": config.features, "max_chars": config.max_chars}
    arrays = {
        "weights": np.ascontiguousarray(np.ravel(model.coef_), dtype=np.float64),
        "intercept": np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64)),
        "mean": mean,
        "scale": scale,
    }
    return Linear(card, arrays)


def _matrix(texts: list[str], features: int, mean: Floats, scale: Floats) -> Any:
    """Rows of hashed n-grams (unit length) and dense features (standardised, a tenth of their size, clipped)."""
    from scipy.sparse import csr_matrix, hstack, vstack

    # In pieces: a text of 4,000 characters gives 12,000 n-grams before equal ones are joined.
    grams = [_grams(texts[start : start + 128], features) for start in range(0, len(texts), 128)]
    dense = np.clip((_dense(texts) - mean) / scale, -3, 3) / 10
    return hstack([vstack(grams), csr_matrix(dense)], format="csr")


def _grams(texts: list[str], features: int) -> Any:
    """Hashed character 1- to 3-grams with damped counts, rows of unit length.

    All texts' code points stand in one array and are hashed at once (scikit-learn's HashingVectorizer walks through
    each text in Python).
    """
    from scipy.sparse import coo_matrix
    from sklearn.preprocessing import normalize

    lower = [t.lower() for t in texts]
    codes = np.frombuffer("".join(lower).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    row = np.repeat(np.arange(len(lower)), [len(t) for t in lower])
    hashes, rows, columns = np.zeros(len(codes), dtype=np.uint32), [], []
    for n in (1, 2, 3):
        hashes = hashes[: len(codes) - n + 1] * np.uint32(0x01000193) + codes[n - 1 :] + np.uint32(n)
        inside = row[: len(hashes)] == row[n - 1 :]  # not across two texts
        mixed = (hashes ^ (hashes >> np.uint32(15))) * np.uint32(0x9E3779B1)
        rows.append(row[: len(hashes)][inside])
        columns.append(((mixed ^ (mixed >> np.uint32(13))) % np.uint32(features))[inside])
    where = np.concatenate(rows), np.concatenate(columns)
    counts = coo_matrix((np.ones(len(where[0])), where), shape=(len(texts), features)).tocsr()
    counts.data = 1 + np.log(counts.data)
    return normalize(counts)


_HAN = re.compile(r"[\u3400-\u9fff]")
_DIGITS = re.compile(r"\d")
_MARKS = re.compile(r"[^\w\s]")


def _dense(texts: Sequence[str]) -> Floats:
    """Eight figures of form: length, Chinese, digits, marks, variety, compressibility, line length, repetition."""
    rows = []
    for text in texts:
        size = max(len(text), 1)
        lines = [line for line in text.splitlines() if line.strip()] or [""]
        data = text.encode("utf-8", "replace")
        rows.append(
            [
                math.log1p(len(text)),
                len(_HAN.findall(text)) / size,
                len(_DIGITS.findall(text)) / size,
                len(_MARKS.findall(text)) / size,
                len(set(text)) / math.sqrt(size),
                len(zlib.compress(data, 6)) / max(len(data), 1),
                math.log1p(size / len(lines)),
                1 - len(set(lines)) / len(lines),
            ]
        )
    return np.asarray(rows, dtype=np.float64).reshape(-1, 8)
