"""The fast parts compute what the plain model computes: head, packed attention, oneDNN, shared prompts, accumulation."""

import itertools
from pathlib import Path
from typing import Any

import pytest

import tiny_model as tiny
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.train import head
from aquilamed.train.attention import attend, use_documents
from aquilamed.train.batches import batch_for, collate, flatten, mean_loss
from aquilamed.train.fast import make_fast, takes_documents
from aquilamed.train.finetune import encode, pack_rows
from aquilamed.train.flash import Documents
from aquilamed.train.pairs import share_prompts
from aquilamed.train.shard import layers


@pytest.fixture(scope="module", params=["llama", "qwen3", "gemma3"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base") / "model", architecture=request.param)


@pytest.fixture(scope="module")
def rows(base: Path) -> list[dict[str, Any]]:
    tokenizer = load_tokenizer(ModelConfig(path=str(base)))
    return pack_rows([encode(tokenizer, m) for m in tiny.dialogues()["messages"].to_list()], 256, packing=True)


def gradients(model: Any) -> dict[str, Any]:
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def worst(one: dict[str, Any], two: dict[str, Any]) -> float:
    assert one.keys() == two.keys()
    return max(float((one[k] - two[k]).abs().max() / (two[k].abs().max() + 1e-12)) for k in one)


def plain_step(base: Path, rows: list[dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of transformers' own model, a document at a time."""
    model = load_model(ModelConfig(path=str(base)))
    total = sum(sum(label != -100 for label in r["labels"]) for r in rows)
    loss = 0.0
    for row in rows:
        starts = [i for i, p in enumerate(row["position_ids"]) if p == 0] + [len(row["labels"])]
        for a, b in itertools.pairwise(starts):
            batch = collate([{k: row[k][a:b] for k in ("input_ids", "labels", "position_ids")}], 0)
            out = model(**batch, num_items_in_batch=total)
            out.loss.backward()
            loss += float(out.loss.detach())
    return loss, gradients(model)


def test_packed_and_fast_equals_documents_alone(base: Path, rows: list[dict[str, Any]]) -> None:
    loss, expected = plain_step(base, rows)
    model = make_fast(load_model(ModelConfig(path=str(base))))
    assert takes_documents(model)
    out = model(**flatten(rows))
    out.loss.backward()
    assert abs(float(out.loss.detach()) - loss) <= 1e-5
    assert worst(gradients(model), expected) <= 1e-4
    with_logits = load_model(ModelConfig(path=str(base)))
    assert mean_loss(model, rows, 0)[0] == pytest.approx(mean_loss(with_logits, rows, 0)[0], abs=1e-5)


def test_packed_logits_equal_those_of_documents_alone(base: Path, rows: list[dict[str, Any]]) -> None:
    import torch

    model = make_fast(load_model(ModelConfig(path=str(base))))
    batch = flatten(rows)
    spans = batch["documents"]
    assert len(spans) == 12
    with torch.no_grad():
        together = model(**{k: v for k, v in batch.items() if k != "labels"}).logits[0]
        for start, end, _, _ in spans:
            alone = load_model(ModelConfig(path=str(base)))(input_ids=batch["input_ids"][:, start:end]).logits[0]
            assert (together[start:end] - alone).abs().max() <= 1e-5


def test_many_small_batches_equal_one_big_one(base: Path, rows: list[dict[str, Any]]) -> None:
    """Token-weighted: a row with few labels counts as little as it holds."""
    total = sum(sum(label != -100 for label in r["labels"]) for r in rows)
    whole, parts = (make_fast(load_model(ModelConfig(path=str(base)))) for _ in range(2))
    whole(**batch_for(whole, rows, 0)).loss.backward()
    for row in rows:
        parts(**batch_for(parts, [row], 0), num_items_in_batch=total).loss.backward()
    assert worst(gradients(parts), gradients(whole)) <= 1e-5


@pytest.mark.parametrize("one_weight", [True, False])
def test_head_in_slices_equals_the_whole_softmax(one_weight: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(head, "SLICE_BYTES", 1)  # 16 rows a slice
    torch.manual_seed(0)
    states, weight = torch.randn(50, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    labels = torch.randint(0, 30, (50,))
    logits = states @ weight.t()
    expected = logits.log_softmax(-1)
    outer = torch.full((50,), 0.5) if one_weight else torch.randn(50)
    (expected.gather(1, labels[:, None])[:, 0] * outer).sum().backward()
    wanted = [states.grad.clone(), weight.grad.clone()]  # type: ignore[union-attr]
    states.grad = weight.grad = None
    found, entropy, mean, top = head.log_probs(states, weight, labels, one_weight)
    (found * outer).sum().backward()
    assert torch.allclose(found, expected.gather(1, labels[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropy, -(expected.exp() * expected).sum(-1), atol=1e-5)
    assert torch.allclose(mean, logits.mean(-1), atol=1e-5)
    assert torch.equal(top, logits.argmax(-1) == labels)
    assert torch.allclose(states.grad, wanted[0], atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(weight.grad, wanted[1], atol=1e-5)  # type: ignore[arg-type]


def test_a_model_that_waits_for_its_gpu_is_not_made_fast_for_a_cpu(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = make_fast(load_model(ModelConfig(path=str(base))))
    assert takes_documents(model)
    assert not any("forward" in vars(m) for m in model.modules() if isinstance(m, torch.nn.Linear)), "oneDNN is a CPU's"


def test_layers_are_not_compiled_anew_for_other_documents(base: Path, rows: list[dict[str, Any]]) -> None:
    import torch
    from torch._dynamo.utils import counters

    model, plain = (load_model(ModelConfig(path=str(base))) for _ in range(2))
    for one in (model, plain):
        use_documents(one)
    torch._dynamo.reset()
    for layer in layers(model):
        layer.compile(backend="aot_eager")
    graphs = []
    for parts in (1, 2, 3, 4):  # the same tokens as other documents
        count = len(rows[0]["input_ids"])
        batch = flatten([{**rows[0], "position_ids": [i % (count // parts) for i in range(count)]}])
        del batch["labels"]
        with torch.no_grad():
            assert torch.allclose(model(**batch).logits, plain(**batch).logits, atol=1e-5)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert len(set(graphs)) == 1


def test_unequal_weights_are_refused_where_one_was_promised() -> None:
    import torch

    states, weight = torch.randn(4, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    found = head.log_probs(states, weight, torch.tensor([1, 2, 3, 4]), True)[0]
    with pytest.raises(RuntimeError, match="one_weight"):
        (found * torch.arange(4.0)).sum().backward()


def test_pairs_that_share_their_prompt_equal_answers_alone(base: Path) -> None:
    import torch

    torch.manual_seed(0)
    pairs = [
        {
            k: torch.randint(3, 300, (n,)).tolist()
            for k, n in zip(("prompt_ids", "chosen_ids", "rejected_ids"), s, strict=True)
        }
        for s in ((7, 5, 9), (1, 12, 3), (20, 1, 1))
    ]
    model, fast = load_model(ModelConfig(path=str(base))), make_fast(load_model(ModelConfig(path=str(base))), False)
    signs = {"chosen_ids": 1.0, "rejected_ids": -0.5}
    expected, loss = [], 0.0
    for name in signs:
        for pair in pairs:
            ids = torch.tensor([pair["prompt_ids"] + pair[name]])
            logits = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            summed = logits.gather(1, ids[0, 1:, None])[-len(pair[name]) :].sum()
            expected.append(float(summed.detach()))
            loss = loss + signs[name] * summed
    loss.backward()  # type: ignore[attr-defined]
    width = 40
    ids, mask = torch.zeros(6, width, dtype=torch.long), torch.zeros(6, width, dtype=torch.bool)
    for i, (name, pair) in enumerate((n, p) for n in signs for p in pairs):
        row = pair["prompt_ids"] + pair[name]
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, len(pair["prompt_ids"]) : len(row)] = True
    found = fast(input_ids=ids, labels=ids.masked_fill(~mask, -100), shared=share_prompts(pairs)).log_probs.sum(1)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-4)
    (found[:3].sum() - 0.5 * found[3:].sum()).backward()
    assert worst(gradients(fast), gradients(model)) <= 1e-4


def test_sliding_window_and_prefix_are_kept() -> None:
    import torch

    class Module:
        num_key_value_groups = 2
        is_causal = True

    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 10, 8), torch.randn(1, 2, 10, 8), torch.randn(1, 2, 10, 8)
    got, _ = attend(Module(), q, k, v, None, documents=Documents([(0, 6, 0, 0), (6, 10, 0, 2)]), sliding_window=3)
    sight = torch.zeros(10, 10, dtype=torch.bool)
    for i in range(6):
        sight[i, max(0, i - 2) : i + 1] = True
    order = [0, 1, 6, 7, 8, 9]
    for at, i in enumerate(order[2:], 2):
        sight[i, order[max(0, at - 2) : at + 1]] = True
    kk, vv = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    wanted = torch.nn.functional.scaled_dot_product_attention(q, kk, vv, attn_mask=sight).transpose(1, 2)
    assert torch.allclose(got, wanted, atol=1e-6)
