"""Deita's diversity step: a record is kept only if nothing chosen before it is nearly the same.

Embeddings lie in a file (float32, unit length), so that memory is bounded by two blocks of them; similarities are blocked
matrix products. The order of records alone decides the result.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from aquilamed.config import Config
from aquilamed.corpus.ngrams import ngram_hashes, slices, tokenise
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.records import write_json
from aquilamed.scoring import batches
from aquilamed.stage import Context

Vectors = npt.NDArray[np.float32]
WIDTH = 1024
"""Columns of an n-gram embedding: two unrelated texts then differ from cosine 0 by 0.03 by chance."""
_COLUMNS = 1 << 20  # hash columns whose document frequencies are counted
_SIZES = (1, 2)  # tokens of an n-gram; a token is a Han character or a word
_BLOCK, _CHOSEN = 1024, 8192  # rows compared at a time, with how many chosen ones


class DiversityConfig(Config):
    """Which records are too near to a better one."""

    similarity: float = Field(default=0.9, gt=0, le=1)
    """Cosine from which on a record is too near to one already chosen (Deita's default, made for hidden states). With
    n-grams deduplication has already dropped what is that near; 0.6 finds answers given again under another question."""
    embedding: Literal["ngrams", "model"] = "ngrams"
    """"ngrams": hashed characters and words, alone and in pairs, the rare ones heavier; no model. "model": a language
    model's last hidden states, averaged over the tokens; theirs lie closer together, so look at the metrics."""
    model: ModelConfig | None = None
    """The model of the embeddings; null takes the base model."""
    max_tokens: int = Field(default=512, ge=8)
    """Tokens of a dialogue that the model sees."""


Verdict = tuple[int, tuple[int, float] | None]
"""A row, and if it is too near the chosen row that it is near to, with the cosine."""


def take_all(rows: Sequence[int], wanted: Callable[[int], bool]) -> Iterator[Verdict]:
    """`Chosen.walk` where nothing is too near."""
    yield from ((row, None) for row in rows if wanted(row))


class Chosen:
    """What was chosen so far, by row number of the embeddings."""

    def __init__(self, vectors: Vectors, similarity: float) -> None:
        self.vectors, self.similarity = vectors, similarity
        self.rows: list[int] = []

    def walk(self, rows: Sequence[int], wanted: Callable[[int], bool]) -> Iterator[Verdict]:
        """Go through rows in order and choose what `wanted` says yes to and nothing chosen is near to.

        `wanted` is asked again for every row: it may say no once enough are chosen.
        """
        for start in range(0, len(rows), _BLOCK):
            block = [row for row in rows[start : start + _BLOCK] if wanted(row)]
            if not block:
                continue
            mine = np.asarray(self.vectors[block])
            best, nearest = self._before(mine)
            among = mine @ mine.T
            fresh: list[int] = []  # positions in the block
            for position, row in enumerate(block):
                if not wanted(row):
                    continue
                if fresh:
                    last = fresh[int(np.argmax(among[position, fresh]))]
                    if among[position, last] > best[position]:
                        best[position], nearest[position] = among[position, last], block[last]
                cosine = self._exact(row, int(nearest[position]), float(best[position]))
                if cosine > self.similarity:
                    yield row, (int(nearest[position]), cosine)
                else:
                    fresh.append(position)
                    self.rows.append(row)
                    yield row, None

    def _exact(self, row: int, other: int, cosine: float) -> float:
        """The cosine in double precision where it might be too near: a matrix product's last bits depend on the machine."""
        if cosine < self.similarity - 1e-4:
            return cosine
        return round(float(self.vectors[row].astype(np.float64) @ self.vectors[other].astype(np.float64)), 6)

    def _before(self, mine: Vectors) -> tuple[Vectors, npt.NDArray[np.int64]]:
        """Highest cosine with what is chosen, and whose it is; the first chosen of equals."""
        best = np.full(len(mine), -2.0, np.float32)
        nearest = np.full(len(mine), -1, np.int64)
        for start in range(0, len(self.rows), _CHOSEN):
            part = self.rows[start : start + _CHOSEN]
            cosines = mine @ np.asarray(self.vectors[part]).T
            where = cosines.argmax(axis=1)
            values = cosines[np.arange(len(mine)), where]
            better = values > best
            best[better], nearest[better] = values[better], np.asarray(part)[where[better]]
        return best, nearest


def embed(ctx: Context, config: DiversityConfig, files: Sequence[Path]) -> Vectors:
    """The embeddings of all dialogues of these parts, in order, as a file that is mapped into memory."""
    path, done = ctx.work / "embeddings.f32", ctx.work / "embeddings.json"
    if not done.exists():
        width = _by_ngrams(ctx, files, path) if config.embedding == "ngrams" else _by_model(ctx, config, files, path)
        write_json(done, {"width": width})
    width = json.loads(done.read_text(encoding="utf-8"))["width"]
    rows = path.stat().st_size // (4 * width)
    return np.memmap(path, np.float32, "r", shape=(rows, width)) if rows else np.empty((0, width), np.float32)


def texts(file: Path) -> list[str]:
    """What is compared of each dialogue of a part: what was asked and answered, without a system message."""
    rows = pl.read_parquet(file, columns=["messages"], glob=False)["messages"].to_list()
    return ["\n".join(m["content"] for m in row if m["role"] != "system") for row in rows]


def _by_ngrams(ctx: Context, files: Sequence[Path], path: Path) -> int:
    counts = np.zeros(_COLUMNS, np.int64)
    total = 0
    with ctx.progress.track("embeddings", total=2 * len(files), unit="part") as bar:
        for file in files:
            for part in slices(texts(file)):
                counts += np.bincount(_columns(part)[1], minlength=_COLUMNS)
                total += len(part)
            bar.advance()
        weights = np.log((1 + total) / (1 + counts)).astype(np.float32)  # what every text has says nothing
        with path.open("wb") as f:
            for file in files:
                for part in slices(texts(file)):
                    f.write(ngram_vectors(part, weights).tobytes())
                bar.advance()
    return WIDTH


def ngram_vectors(part: Sequence[str], weights: Vectors) -> Vectors:
    """Unit vectors: every distinct n-gram adds or subtracts its weight at one of `WIDTH` places."""
    owners, columns = _columns(part)
    mixed = columns.astype(np.uint32) * np.uint32(0x9E3779B1)
    places = (mixed >> np.uint32(8)) % np.uint32(WIDTH)
    signs = np.where(mixed >> np.uint32(31), np.float32(1), np.float32(-1))
    sums = np.bincount(owners * WIDTH + places, signs * weights[columns], len(part) * WIDTH)
    return unit(sums.reshape(len(part), WIDTH))


def unit(vectors: Any) -> Vectors:
    """Rows of length 1; a row of zeros (a text without a word) is near to nothing and stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return found


def _columns(part: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every text's distinct n-grams: whose they are and their hash columns."""
    tokens = tokenise(part)
    found = []
    for n in _SIZES:
        hashes = ngram_hashes(tokens.hashes, n)
        owners = np.searchsorted(tokens.starts, np.arange(len(hashes)), side="right") - 1
        inside = np.arange(len(hashes)) + n <= tokens.starts[owners + 1]
        found.append((owners[inside] * _COLUMNS) + (hashes[inside] % np.uint64(_COLUMNS)).astype(np.int64))
    keys = np.sort(np.concatenate(found))
    keys = keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys
    return keys // _COLUMNS, keys % _COLUMNS


def _by_model(ctx: Context, config: DiversityConfig, files: Sequence[Path], path: Path) -> int:
    import torch

    chosen = config.model or ctx.recipe.base_model
    model, tokenizer = load_model(chosen), load_tokenizer(chosen)
    body = model.base_model.to("cuda" if torch.cuda.is_available() else "cpu")
    with path.open("wb") as f, ctx.progress.track("embeddings", total=len(files), unit="part") as bar:
        for file in files:
            said = texts(file)
            rows = tokenizer(said, truncation=True, max_length=config.max_tokens)["input_ids"] if said else []
            f.write(hidden_means(body, rows).tobytes())
            bar.advance()
    return int(model.config.hidden_size)


def hidden_means(body: Any, rows: Sequence[Sequence[int]]) -> Vectors:
    """The mean of the last hidden states over each row's tokens, at length 1."""
    import torch

    result = np.zeros((len(rows), body.config.hidden_size), np.float32)
    with torch.inference_mode():
        for batch in batches(rows):
            width = max(len(rows[i]) for i in batch)
            ids = torch.zeros((len(batch), max(width, 1)), dtype=torch.long, device=body.device)
            mask = torch.zeros_like(ids)
            for line, i in enumerate(batch):
                ids[line, : len(rows[i])] = torch.tensor(rows[i], device=body.device)
                mask[line, : len(rows[i])] = 1
            states = body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state.float()
            sums = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
            result[batch] = sums.cpu().numpy()
    return unit(result)
