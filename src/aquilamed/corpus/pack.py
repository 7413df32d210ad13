"""Packing a mix into rows of `length` tokens (stages corpus/pack1 and corpus/pack2; paper, section 2: length 4096).

Every document ends with the end token. Documents are never truncated: longer ones are split at token boundaries, and
best-fit packing fills rows with whole pieces. Where a tokenizer puts a begin token in front of texts, every piece starts
with it. A shard is three memory-mapped arrays,

    tokens.npy   int32, all documents one after the other
    pieces.npy   int64 (pieces, 2): where a piece starts in tokens, and its length; in row order
    rows.npy     int64 (rows + 1): where a row starts in pieces

(a held-out one has documents.parquet too: the id, start and tokens of every document) so that any row is read in constant time. Positions restart with every piece: attention must not cross documents.
"""

import bisect
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from aquilamed.config import Config, StageFailed
from aquilamed.corpus.proportions import hash_share
from aquilamed.corpus.tokenise import Ids, choose_encoder, exact_encoder, tokenise_part
from aquilamed.records import iter_parts, write_part
from aquilamed.stage import Context, Result

SHARD_TOKENS = 2**26
DOCUMENTS = "documents.parquet"
SAMPLE = 200


class PackConfig(Config):
    """How a mix becomes rows of tokens."""

    length: int = Field(default=4096, ge=8)
    """Tokens of a row: the training's sequence length."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most training tokens; whole documents are taken in seeded hash order until they are reached. None takes all."""
    heldout_tokens: int | None = Field(default=100_000, ge=1)
    """Most held-out tokens of each language, taken the same way; what is measured before and after training."""


@dataclass
class Counted:
    """What a pack holds."""

    documents: int = 0
    tokens: int = 0
    rows: int = 0
    split_documents: int = 0
    left_out_documents: int = 0


@dataclass
class Shards:
    """Writes documents' tokens as packed shards below a folder; only the documents' lengths wait in memory."""

    folder: Path
    length: int
    counted: Counted = field(default_factory=Counted)
    waiting: list[int] = field(default_factory=list)
    size: int = 0
    number: int = 0
    tokens: BinaryIO | None = None
    named: bool = False
    """Whether documents.parquet says which documents they are."""
    names: list[str] = field(default_factory=list)

    def add(self, ids: Ids, lengths: Sequence[int], names: Sequence[str]) -> None:
        """Take documents that lie one after the other in `ids`, end tokens included."""
        if not lengths:
            return
        if self.tokens is None:
            folder = self.folder / f"{self.number:05d}"
            folder.mkdir(parents=True, exist_ok=True)
            self.tokens = (folder / "tokens.npy").open("wb")
            self._write_header(0)
        self.tokens.write(np.ascontiguousarray(ids, np.int32).data)
        self.waiting += lengths
        self.names += names if self.named else ()
        self.size += len(ids)
        self.counted.documents += len(lengths)
        self.counted.tokens += len(ids)
        self.counted.split_documents += sum(n > self.length for n in lengths)
        if self.size >= SHARD_TOKENS:
            self.flush()

    def _write_header(self, size: int) -> None:
        # numpy pads it, so that the true size can be written over the first one.
        assert self.tokens is not None
        header = {"descr": "<i4", "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(self.tokens, header)

    def flush(self) -> None:
        """Pack what waits and finish the shard."""
        if self.tokens is None:
            return
        self.tokens.seek(0)
        self._write_header(self.size)
        self.tokens.close()
        pieces = split_pieces(self.waiting, self.length)
        rows = best_fit([length for _, length in pieces], self.length)
        folder = self.folder / f"{self.number:05d}"
        np.save(folder / "pieces.npy", np.array([pieces[i] for row in rows for i in row], np.int64))
        np.save(folder / "rows.npy", np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64))
        if self.named:
            starts = np.cumsum([0, *self.waiting[:-1]], dtype=np.int64)
            table = pl.DataFrame({"id": self.names, "start": starts, "tokens": self.waiting})
            write_part(folder / DOCUMENTS, table)
        self.counted.rows += len(rows)
        self.waiting, self.names, self.size, self.number, self.tokens = [], [], 0, self.number + 1, None


def split_pieces(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """(start, length) of the pieces of documents that lie one after the other; no piece is longer than `most`."""
    pieces, start = [], 0
    for length in lengths:
        pieces += [(start + at, min(most, length - at)) for at in range(0, length, most)]
        start += length
    return pieces


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: each piece, longest first, goes into the row that it fills best. Returns piece numbers."""
    rows: list[list[int]] = []
    open_rows: dict[int, list[int]] = {}
    rooms: list[int] = []  # the sorted keys of open_rows
    for piece in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        at = bisect.bisect_left(rooms, lengths[piece])
        if at == len(rooms):
            row, room = len(rows), capacity
            rows.append([])
        else:
            room = rooms[at]
            row = open_rows[room].pop()
            if not open_rows[room]:
                del open_rows[room], rooms[at]
        rows[row].append(piece)
        left = room - lengths[piece]
        if left and left not in open_rows:
            bisect.insort(rooms, left)
        if left:
            open_rows.setdefault(left, []).append(row)
    return rows


class PackedRows:
    """Random access to a pack's rows, from memory-mapped files."""

    def __init__(self, folder: Path) -> None:
        names = sorted(p for p in folder.glob("[0-9]*") if p.is_dir())
        self.shards = [[np.load(p / f"{n}.npy", mmap_mode="r") for n in ("tokens", "pieces", "rows")] for p in names]
        self.ends = np.cumsum([len(s[2]) - 1 for s in self.shards]) if self.shards else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row's `input_ids` and its `position_ids`, which restart with every document; not padded."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = int(np.searchsorted(self.ends, index, side="right"))
        tokens, pieces, rows = self.shards[shard]
        row = index - (int(self.ends[shard - 1]) if shard else 0)
        spans = pieces[rows[row] : rows[row + 1]]
        return {
            "input_ids": np.concatenate([tokens[a : a + n] for a, n in spans]),
            "position_ids": np.concatenate([np.arange(n, dtype=np.int32) for _, n in spans]),
        }


def documents(folder: Path) -> list[list[str]]:
    """The id of every piece's document, row by row of a held-out pack."""
    found = []
    for shard in sorted(p.parent for p in folder.glob(f"[0-9]*/{DOCUMENTS}")):
        table = pl.read_parquet(shard / DOCUMENTS)
        pieces, rows = np.load(shard / "pieces.npy"), np.load(shard / "rows.npy")
        at = np.searchsorted(table["start"].to_numpy(), pieces[:, 0], side="right") - 1
        names = table["id"].gather(at).to_list()
        found += [names[a:b] for a, b in pairwise(rows.tolist())]
    return found


def run(ctx: Context, config: PackConfig) -> Result:
    """Tokenise (part by part, in the workers) and pack a mix: `train/` and, by language, `heldout/<lang>/`."""
    (source,) = ctx.inputs.values()
    encoder = choose_encoder(exact_encoder(ctx.recipe.base_model, ctx.work), _sample(source.kept, ctx.seed))
    parts = source.kept_parts()
    folders = [ctx.work / "tokens" / f"{n:05d}" for n in range(len(parts))]
    jobs = [(p, f, encoder, config.length) for p, f in zip(parts, folders, strict=True)]
    ctx.engine.run(tokenise_part, jobs, ctx.work / "tokenised", f"{source.stage}: tokenising")
    limits = _limits(source.kept, folders, config, ctx.seed)
    writers: dict[str, Shards] = {}
    with ctx.progress.track(f"pack {source.stage}", total=int(source.manifest["records_kept"]), unit="document") as bar:
        for part, folder in zip(iter_parts(source.kept, ["id", "lang", "split"]), folders, strict=True):
            ids, lengths = np.load(folder / "ids.npy"), np.load(folder / "lengths.npy")
            targets = part.select(target())["target"]
            draws = _draws(part, ctx.seed) if limits else np.zeros(part.height)
            for key in targets.unique().sort().to_list():
                writer = writers.setdefault(key, Shards(ctx.out / key, config.length, named=key != "train"))
                mine = (targets == key).to_numpy()
                taken = draws <= limits.get(key, 1.0)
                writer.counted.left_out_documents += int((mine & ~taken).sum())
                names = part["id"].filter(pl.Series(mine & taken)).to_list() if writer.named else ()
                writer.add(ids[np.repeat(mine & taken, lengths)], lengths[mine & taken].tolist(), names)
            bar.advance(part.height)
    for writer in writers.values():
        writer.flush()
    if "train" not in writers or not writers["train"].counted.rows:
        raise StageFailed(f"{source.stage} holds no training document that fits max_tokens: nothing to pack")
    return Result(metrics=_metrics(writers, config.length, encoder.backend))


def target() -> pl.Expr:
    """The folder that a document's row belongs to: train, or heldout/<lang>."""
    # Only names of our own language stage become a folder: text from a corpus must never decide a path.
    lang = pl.when(pl.col("lang").is_in(["zh", "zh-Hant", "en"])).then(pl.col("lang").str.slice(0, 2))
    held = pl.concat_str(pl.lit("heldout/"), lang.otherwise(pl.lit("other")))
    return pl.when(pl.col("split") == "heldout").then(held).otherwise(pl.lit("train")).alias("target")


def _limits(kept: Path, folders: list[Path], config: PackConfig, seed: int) -> dict[str, float]:
    """For each capped target the draw up to which documents are taken: whole ones, until the cap is reached."""
    draws: dict[str, list[NDArray[np.float64]]] = {}
    sizes: dict[str, list[NDArray[np.int64]]] = {}
    for part, folder in zip(iter_parts(kept, ["id", "lang", "split"]), folders, strict=True):
        targets, lengths = part.select(target())["target"], np.load(folder / "lengths.npy")
        for key in targets.unique().to_list():
            if (config.max_tokens if key == "train" else config.heldout_tokens) is None:
                continue
            mine = (targets == key).to_numpy()
            draws.setdefault(key, []).append(_draws(part.filter(pl.Series(mine)), seed))
            sizes.setdefault(key, []).append(lengths[mine])
    limits = {}
    for key, found in draws.items():
        draw, size = np.concatenate(found), np.concatenate(sizes[key])
        order = np.argsort(draw, kind="stable")
        cap = (config.max_tokens if key == "train" else config.heldout_tokens) or 0
        count = int(np.searchsorted(np.cumsum(size[order]), cap, side="right"))
        # The first document of a language is taken even if it alone is over the cap: without one nothing is measured.
        count = max(count, 1) if key != "train" else count
        limits[key] = float(draw[order[count - 1]]) if count else -1.0
    return limits


def _draws(part: pl.DataFrame, seed: int) -> NDArray[np.float64]:
    return np.fromiter((hash_share("pack", seed, i) for i in part["id"].to_list()), np.float64, part.height)


def _sample(folder: Path, seed: int) -> list[str]:
    """Texts to compare the tokenizers on, drawn by hash."""
    best: list[tuple[float, str]] = []
    for part in iter_parts(folder, ["id", "text"]):
        draws = [hash_share("tokenizer", seed, i) for i in part["id"].to_list()]
        best = heapq.nsmallest(SAMPLE, [*best, *zip(draws, part["text"].to_list(), strict=True)])
    if not best:
        raise StageFailed("the mix holds no document: nothing to pack")
    return [text for _, text in best]


def _metrics(writers: dict[str, Shards], length: int, tokenizer: str) -> dict[str, Any]:
    def describe(counted: Counted) -> dict[str, Any]:
        share = 1 - counted.tokens / (counted.rows * length) if counted.rows else 0.0
        return {**vars(counted), "padding_share": round(share, 6)}

    heldout = {k.removeprefix("heldout/"): describe(w.counted) for k, w in sorted(writers.items()) if k != "train"}
    return {**describe(writers["train"].counted), "length": length, "tokenizer": tokenizer, "heldout": heldout}
