"""On a GPU: FlashAttention inside documents, the fast model in bfloat16, the trainings, sharding, and the answer engine.

Skipped where there is none. What is computed in float32 on the CPU is the measure of all.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import killed
import many
import pytest

import tiny_model as tiny
from aquilamed.models import ModelConfig, generate, load_model, load_tokenizer
from aquilamed.serve.engine import Engine
from aquilamed.serve.sampling import Sampling
from aquilamed.train import attention, pretrain
from aquilamed.train.attention import attend
from aquilamed.train.batches import batch_for, collate, flatten
from aquilamed.train.fast import make_fast, takes_documents
from aquilamed.train.finetune import encode, pack_rows
from aquilamed.train.flash import Documents, fits, precision

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base") / "model", tied=False)


@pytest.fixture(scope="module")
def rows(base: Path) -> list[dict[str, Any]]:
    tokenizer = load_tokenizer(ModelConfig(path=str(base)))
    return pack_rows([encode(tokenizer, m) for m in tiny.dialogues()["messages"].to_list()], 256, packing=True)


def apart(found: Any, wanted: Any) -> float:
    """‖found − wanted‖ / ‖wanted‖ in float64; a number that is none never passes a limit."""
    found, wanted = found.detach().double().cpu(), wanted.detach().double().cpu()
    return float((found - wanted).norm() / wanted.norm())


class Module:
    num_key_value_groups = 2
    is_causal = True


@pytest.mark.parametrize(
    ("spans", "window"),
    [
        ([(0, 130, 0, 0), (130, 131, 0, 0), (131, 300, 0, 0)], None),
        ([(0, 130, 0, 0), (130, 200, 0, 90), (200, 300, 0, 0)], None),  # the second looks back at a part of the first
        ([(0, 130, 0, 0), (130, 300, 0, 0)], 17),
        ([(0, 130, 0, 0), (130, 300, 0, 90)], 17),
    ],
)
def test_flash_attention_sees_what_the_cpu_sees(spans: list[Any], window: int | None) -> None:
    torch.manual_seed(len(spans))
    shapes = ((1, 4, 300, 64), (1, 2, 300, 64), (1, 2, 300, 64))
    given = [torch.randn(s).bfloat16().float().requires_grad_() for s in shapes]
    on_gpu = [x.detach().cuda().bfloat16().requires_grad_() for x in given]
    assert fits(on_gpu[0], on_gpu[1], 0.0)
    wanted, _ = attend(Module(), *given, None, documents=Documents(spans), sliding_window=window)
    found, _ = attend(Module(), *on_gpu, None, documents=Documents(spans), sliding_window=window)
    outer = torch.randn(wanted.shape)
    (wanted * outer).sum().backward()
    (found * outer.cuda()).sum().backward()
    assert apart(found, wanted) < 1e-2
    for one, two in zip(on_gpu, given, strict=True):
        assert apart(one.grad, two.grad) < 1e-2


def test_dropout_on_the_gpu_drops_weights_and_keeps_their_mean() -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(1, 4, 64, 32, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    v = torch.ones_like(k)
    documents = Documents([(0, 30, 0, 0), (30, 64, 0, 0)])
    assert fits(q, k, 0.3)
    drawn = [attend(Module(), q, k, v, None, dropout=0.3, documents=documents)[0].float() for _ in range(50)]
    assert not torch.equal(drawn[0], drawn[1])
    assert float(torch.stack(drawn).mean()) == pytest.approx(1.0, abs=0.02)


def plain_step(base: Path, rows: list[dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of transformers' own model in float32 on the CPU, rows as padded batches."""
    model = load_model(ModelConfig(path=str(base)))
    out = model(**collate(rows, 0))
    out.loss.backward()
    return float(out.loss.detach()), {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_the_fast_model_computes_what_the_plain_one_does(
    base: Path, rows: list[dict[str, Any]], compiled: bool, again: bool
) -> None:
    loss, expected = plain_step(base, rows)
    model = make_fast(load_model(ModelConfig(path=str(base))).cuda(), compiled=compiled).train()
    assert takes_documents(model)
    if again:
        model.gradient_checkpointing_enable()
    batch = {k: v.cuda() if hasattr(v, "cuda") else v for k, v in batch_for(model, rows, 0).items()}
    with torch.autocast("cuda", torch.bfloat16):
        out = model(**batch)
    out.loss.backward()
    assert float(out.loss.detach()) == pytest.approx(loss, abs=5e-3)
    for name, parameter in model.named_parameters():
        assert apart(parameter.grad, expected[name]) < 5e-2, name


def test_packed_logits_equal_those_of_documents_alone(base: Path, rows: list[dict[str, Any]]) -> None:
    model = make_fast(load_model(ModelConfig(path=str(base), dtype="bfloat16")).cuda())
    alone = load_model(ModelConfig(path=str(base)))
    batch = flatten(rows)
    with torch.no_grad():
        inputs = {k: v.cuda() if hasattr(v, "cuda") else v for k, v in batch.items() if k != "labels"}
        together = model(**inputs).logits[0]
        for start, end, _, _ in batch["documents"]:
            wanted = alone(input_ids=batch["input_ids"][:, start:end]).logits[0]
            assert apart(together[start:end], wanted) < 3e-2


@pytest.mark.parametrize("stage", killed.STAGES)
def test_a_stopped_training_goes_on(stage: str, tmp_path: Path) -> None:
    """Kernels add up in no fixed order, so a loss is not the same bit for bit; a lost state would show at once."""
    alone = killed.train(stage, killed.context(tmp_path, stage, "alone"))
    assert alone["steps"] == 11
    assert all(math.isfinite(loss) for _, loss in alone["loss"])
    ctx = killed.context(tmp_path, stage, "stopped")

    def die(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.train(stage, ctx, die)
    went_on = killed.train(stage, ctx)
    assert [step for step, _ in went_on["loss"]] == [step for step, _ in alone["loss"]]
    for (_, one), (_, two) in zip(went_on["loss"], alone["loss"], strict=True):
        assert one == pytest.approx(two, rel=0.02, abs=5e-3)
    if stage == "align":
        assert alone["step0_loss"] == pytest.approx(math.log(2), abs=5e-3)
        assert alone["after"]["train"]["margin"] > 0
    if stage == "pretrain":
        for language, before in alone["perplexity"]["before"].items():
            assert alone["perplexity"]["after"][language] < before


def test_a_training_computes_on_the_gpu_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()
    real = attention.flash

    def seen(query: Any, *args: Any) -> Any:
        kinds.add((query.device.type, precision(query)))
        return real(query, *args)

    monkeypatch.setattr(attention, "flash", seen)
    ctx = killed.context(tmp_path, "pretrain", "watched")
    config = pretrain.Stage1Config(lr=3e-3, batch=4, micro_batch=2, max_steps=3, gradient_checkpointing=False)
    metrics = pretrain.run(ctx, config).metrics
    assert kinds == {("cuda", torch.bfloat16)}
    assert metrics["steps"] == 3


@pytest.mark.slow
def test_one_process_with_sharded_weights_trains_as_one_without(tmp_path: Path) -> None:
    """FSDP2 over NCCL; the sharded model computes in bfloat16 throughout, the other by autocast."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29731", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    for stage in ("pretrain", "align"):
        runs = [f"{stage}-{layout}-one{layout}" for layout in ("ddp", "fsdp")]
        for run in runs:
            killed.context(tmp_path, stage, run.split("-")[2])
            command = [sys.executable, many.__file__, str(tmp_path), run]
            done = subprocess.run(command, env={**os.environ, **place}, capture_output=True, text=True, check=False)
            assert not done.returncode, done.stderr[-3000:]
        whole, sharded = (json.loads((tmp_path / f"{run}.json").read_text()) for run in runs)
        assert sharded["parameters"] == ["DTensor"]
        for (_, one), (_, two) in zip(sharded["loss"], whole["loss"], strict=True):
            assert one == pytest.approx(two, rel=0.03, abs=1e-2)


def test_the_engine_answers_many_at_once_on_the_gpu(base: Path) -> None:
    config = ModelConfig(path=str(base))
    asked: list[Any] = [[{"role": "user", "content": f"Question {n}: " + "fever 发热 " * n}] for n in range(6)]
    alone = generate(load_model(config).cuda(), load_tokenizer(config), asked, max_new_tokens=12, batch_size=1)
    with Engine(config, max_concurrency=4) as engine:
        assert engine.model.device.type == "cuda"
        answers = ["".join(engine.stream(a, Sampling(max_tokens=12))).strip() for a in asked]
        drawn = ["".join(engine.stream(asked[0], Sampling(max_tokens=12, temperature=1.0, seed=3))) for _ in range(2)]
    assert sum(one == two for one, two in zip(answers, alone, strict=True)) >= 5, "a near tie may fall the other way"
    assert drawn[0] == drawn[1]
