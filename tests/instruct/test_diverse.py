"""The blocked walk equals the plain one, whatever the blocks; embeddings tell copies from others; both kinds run."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tiny_model
from aquilamed.instruct import diverse
from aquilamed.instruct.diverse import Chosen, DiversityConfig, embed, hidden_means, ngram_vectors, unit
from aquilamed.models import ModelConfig, load_model

TEXTS = [
    "How is a high fever treated in children?",
    "孩子发高烧应该怎么处理比较好？",
    "My knee hurts after running uphill.",
]


def points() -> np.ndarray:
    """60 groups of near copies."""
    random = np.random.default_rng(1)
    middles = random.normal(size=(60, 32))
    return unit(np.repeat(middles, 5, axis=0) + random.normal(scale=0.25, size=(300, 32)))


def plainly(vectors: np.ndarray, order: list[int], similarity: float) -> list[int]:
    chosen: list[int] = []
    for row in order:
        if all(float(vectors[row] @ vectors[other]) <= similarity for other in chosen):
            chosen.append(row)
    return chosen


@pytest.mark.parametrize(("block", "chosen"), [(7, 5), (64, 1000), (1000, 16)])
def test_the_blocked_walk_is_the_plain_one(monkeypatch: pytest.MonkeyPatch, block: int, chosen: int) -> None:
    monkeypatch.setattr(diverse, "_BLOCK", block)
    monkeypatch.setattr(diverse, "_CHOSEN", chosen)
    vectors, order = points(), list(np.random.default_rng(2).permutation(300))
    walk = Chosen(vectors, 0.9)
    verdicts = dict(walk.walk(order, lambda row: True))
    assert walk.rows == plainly(vectors, order, 0.9)
    assert 60 <= len(walk.rows) < 300
    for row, near in verdicts.items():
        if near is not None:
            assert near[1] == pytest.approx(max(float(vectors[row] @ vectors[c]) for c in walk.rows if order.index(c) < order.index(row)), abs=1e-5)  # fmt: skip


def test_who_is_not_wanted_is_neither_chosen_nor_dropped() -> None:
    vectors = points()
    walk = Chosen(vectors, 0.9)
    seen = [row for row, _ in walk.walk(list(range(300)), lambda row: len(walk.rows) < 10)]
    assert len(walk.rows) == 10
    assert max(seen) == walk.rows[-1]


def test_copies_are_near_and_others_are_not() -> None:
    weights = np.ones(1 << 20, np.float32)
    vectors = ngram_vectors([*TEXTS, TEXTS[0] + " Thanks!", TEXTS[1].replace("比较", ""), ""], weights)
    cosines = vectors @ vectors.T
    assert cosines[0, 3] > 0.85
    assert cosines[1, 4] > 0.85
    assert abs(cosines[0, 2]) < 0.2
    assert abs(cosines[0, 1]) < 0.2
    assert not vectors[5].any()  # no word: near to nothing


def test_hidden_means_are_those_of_single_rows(tmp_path: Path) -> None:
    import torch

    model = load_model(ModelConfig(path=str(tiny_model.build(tmp_path / "m"))))
    rows = [[5, 9, 11], [8, 3, 20, 21, 22, 23], []]
    found = hidden_means(model.base_model, rows)
    for row, vector in zip(rows[:2], found, strict=False):
        with torch.no_grad():
            states = model.base_model(torch.tensor([row])).last_hidden_state[0].mean(0).numpy()
        assert np.allclose(vector, states / np.linalg.norm(states), atol=1e-5)
    assert not found[2].any()


@pytest.mark.parametrize("embedding", ["ngrams", "model"])
def test_embeddings_of_parts_are_in_order_and_kept(tmp_path: Path, embedding: str) -> None:
    frame = tiny_model.dialogues(10)
    table = tiny_model.table(tmp_path, "instruct/relevance", frame, rows=3)
    ctx = tiny_model.context(tmp_path, tiny_model.build(tmp_path / "base"), {})
    config = DiversityConfig(embedding=embedding, max_tokens=64)
    vectors = embed(ctx, config, table.kept_parts())
    assert vectors.shape[0] == 10
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    again = embed(ctx, config, [])  # an interrupted stage does not embed twice
    assert np.array_equal(vectors, again)
    other = tiny_model.context(tmp_path, tmp_path / "base", {}, name="other")
    whole = tiny_model.table(tmp_path / "whole", "instruct/relevance", frame, rows=100)
    assert np.allclose(embed(other, config, whole.kept_parts()), vectors, atol=1e-5)


def test_nothing_to_embed(tmp_path: Path) -> None:
    table = tiny_model.table(tmp_path, "instruct/relevance", tiny_model.dialogues(2).head(0))
    assert isinstance(table.kept_parts()[0], Path)
    assert pl.read_parquet(table.kept_parts()[0]).height == 0
    for embedding in ("ngrams", "model"):
        ctx = tiny_model.context(tmp_path, tiny_model.build(tmp_path / "base"), {}, embedding)
        assert embed(ctx, DiversityConfig(embedding=embedding), table.kept_parts()).shape[0] == 0
