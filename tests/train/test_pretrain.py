"""Continued pre-training: attention stays inside documents, perplexity falls, and a killed run ends the same."""

import itertools
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tiny_model as tiny
from aquilamed.config import Invalid, StageFailed
from aquilamed.corpus import pack
from aquilamed.corpus.pack import PackConfig, PackedRows
from aquilamed.models import ModelConfig, load_model
from aquilamed.train import batches, heldout, pretrain, watch
from aquilamed.train.pretrain import Stage1Config, Stage2Config
from aquilamed.workspace import Artifact

CONFIG = Stage1Config(batch=4, micro_batch=2, lr=3e-3, warmup=0.0, epochs=2, save_steps=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def packed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    root = tmp_path_factory.mktemp("pack")
    ctx = tiny.context(root, base, {"corpus/mix1": tiny.table(root, "corpus/mix1", tiny.mixed())})
    metrics = pack.run(ctx, PackConfig(length=128)).metrics
    return Artifact("corpus/pack1", ctx.out, {"metrics": metrics})


def test_packed_logits_equal_unpacked_ones(base: Path, packed: Artifact) -> None:
    import torch

    model = load_model(ModelConfig(path=str(base)))
    rows = PackedRows(packed.path / "train")
    batch = batches.collate([rows[0], rows[len(rows) - 1]], pad=0)
    with torch.no_grad():
        together = model(**{k: v for k, v in batch.items() if k != "labels"}).logits
    compared = 0
    for i in range(2):
        starts = [*torch.where(batch["position_ids"][i] == 0)[0].tolist(), batch["input_ids"].shape[1]]
        for a, b in itertools.pairwise(starts):
            with torch.no_grad():
                alone = model(input_ids=batch["input_ids"][i : i + 1, a:b]).logits
            assert (together[i, a:b] - alone[0]).abs().max() <= 1e-5
            compared += 1
    assert compared >= 3


def test_labels_leave_out_padding_and_first_tokens() -> None:
    rows = [{"input_ids": [5, 6, 7, 8], "position_ids": [0, 1, 0, 1]}, {"input_ids": [9, 5], "position_ids": [0, 1]}]
    batch = batches.collate(rows, pad=0)
    assert batch["labels"].tolist() == [[-100, 6, -100, 8], [-100, 5, -100, -100]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1], [0, 1, 0, 1]]
    assert "attention_mask" not in batch


def test_training_lowers_heldout_perplexity(base: Path, packed: Artifact, tmp_path: Path) -> None:
    ctx = tiny.context(tmp_path, base, {"corpus/pack1": packed})
    metrics = pretrain.run(ctx, CONFIG).metrics
    assert set(metrics["perplexity"]["before"]) == {"zh", "en"}
    for lang, before in metrics["perplexity"]["before"].items():
        assert metrics["perplexity"]["after"][lang] < before
    told = metrics["perplexity"]
    losses = pl.read_parquet(ctx.out / "heldout" / "part-00000.parquet")
    assert dict(losses["lang"].value_counts().iter_rows()) == told["documents"] == {"zh": 4, "en": 4}
    for step in told["comparisons"]:
        lang, (low, high) = step["lang"], step["interval"]
        assert step["against"] == "base"
        assert step["difference"] == pytest.approx(math.log(told["after"][lang] / told["before"][lang]), abs=1e-3)
        assert low <= step["difference"] <= high < 0
        assert step["noise"], "four documents are too few"
        assert told["intervals"]["after"][lang][0] <= told["after"][lang] <= told["intervals"]["after"][lang][1]
    assert metrics["loss"][0][0] == 1
    assert metrics["loss"][-1][1] < metrics["loss"][0][1]
    assert metrics["steps"] == len(metrics["loss"]) == len((ctx.out / "loss.jsonl").read_text().splitlines()) - 1
    assert metrics["method"] == "full"
    text = (ctx.out / "model" / "config.json").read_text()
    assert str(tmp_path) not in text
    assert str(base) not in text


def test_every_heldout_document_has_its_own_loss(base: Path, tmp_path: Path) -> None:
    import torch

    # Rows of 16 tokens: documents lie in several pieces of several rows, and each is summed up again.
    ctx = tiny.context(tmp_path, base, {"corpus/mix1": tiny.table(tmp_path, "corpus/mix1", tiny.mixed())})
    pack.run(ctx, PackConfig(length=16))
    model = load_model(ModelConfig(path=str(base)))
    found = {name: (tokens, nats) for _, name, tokens, nats in heldout.measure(ctx, model, ctx.out, 0)}
    names, sizes = tiny.mixed().filter(pl.col("split") == "heldout")["id"].to_list(), []
    for folder in (ctx.out / "heldout").iterdir():
        shard = folder / "00000"
        ids, table = np.load(shard / "tokens.npy"), pl.read_parquet(shard / pack.DOCUMENTS)
        for name, start, tokens in table.iter_rows():
            text = torch.tensor(ids[start : start + tokens].astype(np.int64))
            pieces = [p[None] for p in text.split(16)]
            sizes.append(len(pieces))
            with torch.no_grad():
                nats = sum(float(model(p, labels=p).loss) * (p.shape[1] - 1) for p in pieces if p.shape[1] > 1)
            assert found[name] == (tokens - len(pieces), pytest.approx(nats, rel=1e-5))
    assert sorted(found) == sorted(names)
    assert max(sizes) > 1


def test_stage_2_is_compared_with_the_base_model_where_both_saw_the_documents(
    base: Path, packed: Artifact, tmp_path: Path
) -> None:
    ctx = tiny.context(tmp_path, base, {"corpus/pack1": packed})
    first = pretrain.run(ctx, CONFIG).metrics
    one = Artifact("pretrain/stage1", ctx.out, {"fingerprint": "f", "metrics": first})
    # The same documents and one more, as mix 2 has others.
    more = pl.concat([tiny.mixed(), tiny.mixed(1).with_columns(id=pl.lit("new"))])
    again = tiny.context(tmp_path, base, {"corpus/mix2": tiny.table(tmp_path, "corpus/mix2", more)}, "pack2")
    two = Artifact("corpus/pack2", again.out, {"metrics": pack.run(again, PackConfig(length=128)).metrics})
    then = tiny.context(tmp_path, base, {"corpus/pack2": two, "pretrain/stage1": one}, "stage2")
    told = pretrain.run(then, Stage2Config(**CONFIG.model_dump())).metrics["perplexity"]
    steps = {(s["lang"], s["against"]): s for s in told["comparisons"]}
    assert {k: s["documents"] for k, s in steps.items()} == {
        ("zh", "stage 1"): 4,
        ("en", "stage 1"): 5,
        ("zh", "base"): 4,
        ("en", "base"): 4,
    }
    zh = steps["zh", "base"]
    assert zh["first"] == pytest.approx(math.log(first["perplexity"]["before"]["zh"]), abs=1e-4)
    assert zh["second"] == pytest.approx(math.log(told["after"]["zh"]), abs=1e-4)


def test_a_killed_training_ends_bit_equal(
    base: Path, packed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    whole = tiny.context(tmp_path, base, {"corpus/pack1": packed}, "whole")
    unbroken = pretrain.run(whole, CONFIG).metrics

    ctx = tiny.context(tmp_path, base, {"corpus/pack1": packed}, "broken")
    marked = watch.write_json

    def killed_after_step_4(path: Path, value: object) -> None:
        if path.name == watch.COMPLETE and value == {"step": 4}:
            raise KeyboardInterrupt  # dies while the second checkpoint lacks its marker
        marked(path, value)

    monkeypatch.setattr(watch, "write_json", killed_after_step_4)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(ctx, CONFIG)
    monkeypatch.undo()
    said: list[str] = []
    monkeypatch.setattr(ctx.progress, "say", said.append)
    continued = pretrain.run(ctx, CONFIG).metrics
    assert any("checkpoint-4 is half-written" in s for s in said)
    assert any("checkpoint of step 2" in s for s in said)
    one, two = tiny.weights(whole.out / "model"), tiny.weights(ctx.out / "model")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert continued["loss"] == unbroken["loss"]
    assert continued["perplexity"] == unbroken["perplexity"]
    assert continued["tokens"] == unbroken["tokens"]


def test_an_attempt_that_died_after_the_last_step_only_finishes(
    base: Path, packed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = tiny.context(tmp_path, base, {"corpus/pack1": packed})

    def dies(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "finish", dies)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(ctx, CONFIG)
    monkeypatch.undo()
    first = (ctx.out / "loss.jsonl").read_text().splitlines()[:-1]
    metrics = pretrain.run(ctx, CONFIG).metrics
    assert metrics["steps"] == len(metrics["loss"]) == len(first)
    assert metrics["perplexity"]["after"]["en"] < metrics["perplexity"]["before"]["en"]


def test_the_first_loss_is_that_of_the_documents_alone(base: Path, packed: Artifact, tmp_path: Path) -> None:
    ctx = tiny.context(tmp_path, base, {"corpus/pack1": packed})
    metrics = pretrain.run(ctx, CONFIG.model_copy(update={"batch": 64, "max_steps": 1})).metrics
    rows = PackedRows(packed.path / "train")
    alone = []
    for i in range(len(rows)):
        row = rows[i]
        cuts = [*(row["position_ids"] == 0).nonzero()[0].tolist(), len(row["input_ids"])]
        alone += [{k: v[a:b] for k, v in row.items()} for a, b in itertools.pairwise(cuts)]
    expected, _ = batches.mean_loss(load_model(ModelConfig(path=str(base))), alone, pad=0)
    assert metrics["loss"][0][1] == pytest.approx(expected, abs=1e-4), "training lets attention leak between documents"


def test_lora_is_merged_and_stage2_starts_from_stage1(base: Path, packed: Artifact, tmp_path: Path) -> None:
    import torch

    stage1 = tiny.context(tmp_path, base, {"corpus/pack1": packed}, "one")
    config = CONFIG.model_copy(update={"method": "lora", "max_steps": 2})
    pretrain.run(stage1, config)
    before, after = tiny.weights(base), tiny.weights(stage1.out / "model")
    assert before.keys() == after.keys()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before[name], after[name])

    inputs = {"corpus/pack2": packed, "pretrain/stage1": Artifact("pretrain/stage1", stage1.out, {})}
    stage2 = tiny.context(tmp_path, base, inputs, "two")
    metrics = pretrain.run(stage2, Stage2Config(batch=4, max_steps=1, lr=1e-30)).metrics
    assert metrics["base"] == "pretrain/stage1"
    assert torch.allclose(tiny.weights(stage2.out / "model")[name], after[name])


def test_impossible_batch_and_exploding_loss_are_refused(base: Path, packed: Artifact, tmp_path: Path) -> None:
    ctx = tiny.context(tmp_path, base, {"corpus/pack1": packed})
    with pytest.raises(Invalid, match="not a multiple"):
        pretrain.run(ctx, CONFIG.model_copy(update={"batch": 3}))
    with pytest.raises(StageFailed, match="lower the learning rate"):
        pretrain.run(ctx, CONFIG.model_copy(update={"lr": 1e30, "save_steps": None}))


def test_defaults_are_the_papers() -> None:
    one, two = Stage1Config(), Stage2Config()
    assert (one.batch, one.lr, one.warmup, one.epochs, one.schedule) == (768, 1e-4, 0.05, 1, "cosine")
    assert (two.batch, two.lr, two.warmup, two.epochs, two.schedule) == (384, 1e-5, 0.01, 1, "cosine")
    assert PackConfig().length == 4096
