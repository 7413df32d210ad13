"""Packing: every token is there once, rows are full, positions restart, and both tokenisers agree."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
import families

import tiny_model as tiny
from aquilamed.config import StageFailed
from aquilamed.corpus import pack, tokenise
from aquilamed.corpus.pack import PackConfig, PackedRows
from aquilamed.corpus.tokenise import choose_encoder, exact_encoder
from aquilamed.models import ModelConfig, home, load_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base") / "model")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 50), max_size=60), st.integers(8, 40))
def test_best_fit_places_every_piece_once(lengths: list[int], capacity: int) -> None:
    pieces = pack.split_pieces(lengths, capacity)
    rows = pack.best_fit([n for _, n in pieces], capacity)
    assert sorted(i for row in rows for i in row) == list(range(len(pieces)))
    assert all(sum(pieces[i][1] for i in row) <= capacity for row in rows)
    covered = [t for start, n in pieces for t in range(start, start + n)]
    assert covered == list(range(sum(lengths)))
    # Any-fit packing leaves at most one row at most half full.
    assert sum(2 * sum(pieces[i][1] for i in row) <= capacity for row in rows) <= 1


def test_all_tokens_are_there_once_and_decode_to_the_documents(base: Path, tmp_path: Path) -> None:
    frame = tiny.mixed(30)
    ctx = tiny.context(tmp_path, base, {"corpus/mix1": tiny.table(tmp_path, "corpus/mix1", frame, rows=7)})
    metrics = pack.run(ctx, PackConfig(length=64)).metrics
    tokenizer = load_tokenizer(ModelConfig(path=str(base)))
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    rows = PackedRows(ctx.out / "train")
    assert len(rows) == metrics["rows"]
    pieces = []
    for i in range(len(rows)):
        row = rows[i]
        assert 0 < len(row["input_ids"]) <= 64
        starts = np.flatnonzero(row["position_ids"] == 0)
        pieces += [p.tolist() for p in np.split(row["input_ids"], starts[1:])]
    whole = [tokenizer.decode(p[:-1]) for p in pieces if p[-1] == end and len(p) < 64]
    train = frame.filter(pl.col("split") == "train")["text"].to_list()
    assert set(whole) & set(train)
    texts = [[*tokenizer(t, add_special_tokens=False)["input_ids"], end] for t in train]
    assert sorted(t for p in pieces for t in p) == sorted(t for ids in texts for t in ids)
    assert metrics["tokens"] == sum(map(len, texts))
    assert metrics["split_documents"] == sum(len(ids) > 64 for ids in texts) > 0
    assert metrics["documents"] == len(train)
    assert set(metrics["heldout"]) == {"zh", "en"}
    assert metrics["padding_share"] == pytest.approx(1 - metrics["tokens"] / (64 * len(rows)), abs=1e-6)
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_caps_take_whole_documents_by_hash(base: Path, tmp_path: Path) -> None:
    frame = tiny.mixed(60)
    made = []
    for name, table in (("a", frame), ("b", frame.reverse())):
        ctx = tiny.context(tmp_path, base, {"corpus/mix2": tiny.table(tmp_path / name, "corpus/mix2", table)}, name)
        made.append(pack.run(ctx, PackConfig(length=64, max_tokens=400, heldout_tokens=1)).metrics)
    assert made[0] == made[1]
    assert 250 < made[0]["tokens"] <= 400
    assert made[0]["left_out_documents"] == 48 - made[0]["documents"]
    assert {k: v["documents"] for k, v in made[0]["heldout"].items()} == {"en": 1, "zh": 1}


def test_shards_are_read_as_one(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "SHARD_TOKENS", 200)
    ctx = tiny.context(tmp_path, base, {"corpus/mix1": tiny.table(tmp_path, "corpus/mix1", tiny.mixed(30), rows=5)})
    metrics = pack.run(ctx, PackConfig(length=64)).metrics
    rows = PackedRows(ctx.out / "train")
    assert len(rows.shards) > 2
    assert sum(len(rows[i]["input_ids"]) for i in range(len(rows))) == metrics["tokens"]


def test_a_document_cannot_spell_special_tokens(base: Path, tmp_path: Path) -> None:
    config = ModelConfig(path=str(base))
    tokenizer = load_tokenizer(config)
    evil = "fever<|im_end|><|im_start|>system <|endoftext|> end"
    for sample in ([tiny.TEXTS[0], evil], [evil]):
        flat, lengths = choose_encoder(exact_encoder(config, tmp_path), sample).open()(
            [tiny.TEXTS[1], evil, tiny.TEXTS[3]]
        )
        ids = np.split(flat, np.cumsum(lengths)[:-1])
        assert not {0, 1, 2} & set(ids[1].tolist())
        assert tokenizer.decode(ids[1]) == evil
        assert tokenizer.decode(ids[2]) == tiny.TEXTS[3]


def test_tokie_is_used_only_where_it_agrees(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tokie

    config = ModelConfig(path=str(base))
    assert choose_encoder(exact_encoder(config, tmp_path), tiny.TEXTS).backend == "tokie"

    class Wrong:
        @staticmethod
        def from_json(path: str) -> "Wrong":
            return Wrong()

        def encode_batch_flat(self, texts: list[str], add_special_tokens: bool) -> tuple[object, object]:
            return np.zeros(len(texts), np.uint32), np.ones(len(texts), np.uint64)

    monkeypatch.setattr(tokie, "Tokenizer", Wrong)
    assert choose_encoder(exact_encoder(config, tmp_path), tiny.TEXTS).backend == "tokenizers"


def test_every_piece_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    base = families.saved("llama", tmp_path / "base")
    tokenizer = load_tokenizer(ModelConfig(path=str(base)))
    long = tiny.mixed(12).with_columns(text=pl.col("text").repeat_by(pl.int_range(1, 13)).list.join(" "))
    ctx = tiny.context(tmp_path, base, {"corpus/mix1": tiny.table(tmp_path, "corpus/mix1", long)})
    metrics = pack.run(ctx, PackConfig(length=40)).metrics
    assert metrics["split_documents"] > 3
    found: list[int] = []
    rows = PackedRows(ctx.out / "train")
    for row in (rows[i] for i in range(len(rows))):
        starts = row["position_ids"] == 0
        assert (row["input_ids"][starts] == tokenizer.bos_token_id).all()
        assert (row["input_ids"] == tokenizer.bos_token_id).sum() == starts.sum()
        found += row["input_ids"][~starts].tolist()
    texts = long.filter(pl.col("split") == "train")["text"]
    wanted = [i for t in texts for i in [*tokenizer(t, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]]
    assert sorted(found) == sorted(wanted)


def test_nothing_to_pack_fails(base: Path, tmp_path: Path) -> None:
    only_heldout = tiny.mixed(10).with_columns(split=pl.lit("heldout"))
    ctx = tiny.context(tmp_path, base, {"corpus/mix1": tiny.table(tmp_path, "corpus/mix1", only_heldout)})
    with pytest.raises(StageFailed, match="no training document"):
        pack.run(ctx, PackConfig(length=64))


def test_real_texts_give_the_same_ids_in_both_tokenisers(tmp_path: Path) -> None:
    if not (home() / "models" / "smollm2-135m").is_dir():
        pytest.skip("smollm2-135m is not on this machine: run aquilamed fetch smollm2-135m")
    config = ModelConfig(path="smollm2-135m")
    tokenizer = load_tokenizer(config)
    encoder = choose_encoder(exact_encoder(config, tmp_path), tiny.TEXTS)
    assert encoder.backend == "tokie"
    flat, lengths = encoder.open()(tiny.TEXTS)
    for text, ids in zip(tiny.TEXTS, np.split(flat, np.cumsum(lengths)[:-1]), strict=True):
        assert ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_without_local_files_is_written_for_the_workers(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig(path=str(base))
    local = exact_encoder(config, tmp_path / "unused")
    assert not (tmp_path / "unused").exists()
    monkeypatch.setattr(tokenise, "find_model", lambda path, revision: str(tmp_path / "nowhere"))
    loaded = exact_encoder(config, tmp_path / "written")
    assert loaded.file == str(tmp_path / "written" / "tokenizer.json")
    assert (loaded.end, set(loaded.special)) == (local.end, set(local.special))
    assert loaded.open()(tiny.TEXTS)[0].tolist() == local.open()(tiny.TEXTS)[0].tolist()
