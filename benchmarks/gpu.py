"""Continued pre-training on one GPU: tokens per second and the share of the card's measured bf16 matrix rate.

    python benchmarks/gpu.py            one command, at most 8 minutes, no network; last line: one JSON object
    python benchmarks/gpu.py --smoke    the same code with a toy model on a CPU, to see that it runs

Needs torch (2.11 or newer) and transformers (5.17 or newer) and nothing else of ours: no TRL, no installation. Liger's
kernels are used where liger-kernel is installed. The model is Llama-style, 1.2 B parameters, random weights, float32
with bf16 autocast, documents of random lengths. Two ways to train it on the same documents:

    plain   as an example would: batches of 8 padded to their longest, gradient checkpointing, logits in full
    ours    packed rows of 4096 without padding, FlashAttention inside each document, the head in slices, compiled layers
"""

import argparse
import functools
import inspect
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import torch
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from aquilamed.train.attention import NAME, attend
from aquilamed.train.head import log_probs

LENGTH = 4096
BATCHES = (8, 4, 2, 1)
SIZE = {
    "vocab_size": 65536,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": LENGTH,
    "tie_word_embeddings": True,
}
SMOKE = SIZE | {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


def main() -> None:
    """Measure both ways one after the other and print what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seconds", type=float, default=60, help="of measuring, per way")
    args = parser.parse_args()
    if not args.smoke and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --smoke runs the same code with a toy model on the CPU")
    bench = Bench(args.smoke, 0.0 if args.smoke else args.seconds)
    rate = bench.matrix_rate()
    print(f"{bench.card}: {rate / 1e12:.2f} T bf16 operations a second in matrix products", flush=True)
    found = {}
    for name, way in (("plain", bench.plain), ("ours", bench.ours)):
        found[name] = bench.best(way)
        found[name]["utilisation"] = round(found[name]["operations_per_second"] / rate, 4)
        print(f"{name}: {found[name]}", flush=True)
    speeds = {name: f["tokens_per_second"] for name, f in found.items()}
    result = {"card": bench.card, "matrix_rate": round(rate / 1e12, 2), "x": round(speeds["ours"] / speeds["plain"], 3)}
    print(json.dumps({**result, **found}))


class Bench:
    """One card, one model size, one stream of documents."""

    def __init__(self, smoke: bool, seconds: float) -> None:
        self.smoke, self.seconds = smoke, seconds
        self.device = torch.device("cpu" if smoke else "cuda")
        self.card = "CPU (smoke)" if smoke else torch.cuda.get_device_name()
        self.length = 256 if smoke else LENGTH
        self.size = SMOKE if smoke else SIZE
        AttentionInterface.register(NAME, attend)
        AttentionInterface.register("varlen", flash)

    def matrix_rate(self) -> float:
        """bf16 operations per second of a large square product."""
        n = 512 if self.smoke else 8192
        a, b = (torch.randn(n, n, device=self.device, dtype=torch.bfloat16) for _ in range(2))
        for _ in range(3):
            a @ b
        self.wait()
        start, count = time.perf_counter(), 3 if self.smoke else 50
        for _ in range(count):
            a @ b
        self.wait()
        return 2 * n**3 * count / (time.perf_counter() - start)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def documents(self) -> Iterator[list[int]]:
        """Token ids of documents whose lengths are those of web text: log-normal, median 600, at most a row."""
        draw = random.Random(0)
        while True:
            size = min(self.length, max(16, int(draw.lognormvariate(6.4, 1.0) * self.length / LENGTH)))
            yield [draw.randrange(3, self.size["vocab_size"]) for _ in range(size)]

    def model(self, attention: str) -> Any:
        """A model with random weights on the device, ready to train."""
        torch.manual_seed(0)
        with self.device:
            model = LlamaForCausalLM(LlamaConfig(**self.size))
        model.config._attn_implementation = attention
        return model.train()

    def plain(self, batch: int) -> tuple[Any, Callable[[], tuple[Any, int, float]]]:
        """Padded batches, gradient checkpointing, full logits."""
        model = self.model("sdpa")
        model.gradient_checkpointing_enable()
        stream = self.documents()

        def step() -> tuple[Any, int, float]:
            rows = [next(stream) for _ in range(batch)]
            width = max(map(len, rows))
            ids = torch.zeros(batch, width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for i, row in enumerate(rows):
                ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
            labels = ids.masked_fill(mask == 0, -100)
            ids, mask, labels = (x.to(self.device) for x in (ids, mask, labels))
            loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
            return loss, sum(map(len, rows)), sum(len(r) ** 2 for r in rows)

        return model, step

    def ours(self, batch: int) -> tuple[Any, Callable[[], tuple[Any, int, float]]]:
        """Rows filled to the last token, attention per document, the head in slices, compiled layers."""
        model = self.model(NAME if self.smoke else "varlen")
        liger(model)
        if not self.smoke:
            for layer in model.model.layers:
                layer.compile(dynamic=False)
        stream, left = self.documents(), []

        def step() -> tuple[Any, int, float]:
            nonlocal left
            ids, lengths = list(left), [len(left)] if left else []
            most = batch * self.length
            while len(ids) < most:
                ids += (row := next(stream))
                lengths.append(len(row))
            left, ids = ids[most:], ids[:most]  # the last document goes on in the next batch
            lengths[-1] -= len(left)
            ends = [0, *accumulate(lengths)]
            positions = torch.cat([torch.arange(n) for n in lengths])[None].to(self.device)
            spans = [(a, b, 0, 0) for a, b in pairwise(ends)]
            inputs = torch.tensor([ids], device=self.device)
            extra = {"documents": spans}
            if not self.smoke:
                # Always as many entries, so that nothing is compiled twice: empty documents at the end.
                room = most // 16 + 2
                cuts = torch.tensor(ends + [most] * (room - len(ends)), dtype=torch.int32, device=self.device)
                extra = {"cuts": cuts, "longest": self.length}
            states = model.model(input_ids=inputs, position_ids=positions, use_cache=False, **extra).last_hidden_state[
                0
            ]
            wanted = torch.ones(most, dtype=torch.bool)
            wanted[torch.tensor([b - 1 for b in ends[1:]])] = False  # a document's last token predicts nothing
            at = wanted.nonzero()[:, 0].to(self.device)
            kind = torch.bfloat16 if torch.is_autocast_enabled(self.device.type) else torch.float32
            weight = model.lm_head.weight.to(kind)
            found = log_probs(states[at].to(kind), weight, inputs[0, at + 1], one_weight=True)[0]
            return -found.mean(), most, sum(n * n for n in lengths)

        return model, step

    def best(self, way: Callable[[int], tuple[Any, Callable[[], tuple[Any, int, float]]]]) -> dict[str, Any]:
        """The way at the largest batch that fits."""
        for batch in (2,) if self.smoke else BATCHES:
            try:
                return {"batch": batch, **self.measure(*way(batch))}
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        raise SystemExit("not even a batch of 1 fits this card")

    def measure(self, model: Any, step: Callable[[], tuple[Any, int, float]]) -> dict[str, Any]:
        """Tokens (padding not counted) and operations a second, and the most memory used."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        parameters = sum(p.numel() for p in model.parameters())
        width = self.size["num_hidden_layers"] * self.size["hidden_size"]

        def train() -> tuple[float, int, float]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=not self.smoke):
                loss, tokens, squares = step()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return float(loss.detach()), tokens, squares

        for _ in range(1 if self.smoke else 3):
            first = train()[0]
        self.wait()
        start, tokens, squares, steps = time.perf_counter(), 0, 0.0, 0
        while steps < 2 or time.perf_counter() - start < self.seconds:
            loss, count, square = train()
            tokens, squares, steps = tokens + count, squares + square, steps + 1
        self.wait()
        seconds = time.perf_counter() - start
        if not loss == loss:
            raise SystemExit("the loss is not a number")
        # 6 per parameter and token, and 6 × width × length² (half a square, two products, forward and twice backward).
        operations = 6 * parameters * tokens + 6 * width * squares
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
        return {
            "tokens_per_second": round(tokens / seconds, 1),
            "operations_per_second": operations / seconds,
            "peak_gb": round(peak, 2),
            "steps": steps,
            "loss": [round(first, 4), round(loss, 4)],
        }


def flash(
    module: Any, query: Any, key: Any, value: Any, mask: Any, cuts: Any = None, longest: int = 0, **_: Any
) -> Any:
    """Attention inside documents by PyTorch's own variable-length FlashAttention: `cuts` are their limits."""
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    q, k, v = (x[0].transpose(0, 1).to(torch.bfloat16) for x in (query, key, value))
    extra = varlen_options()
    if "enable_gqa" not in extra:
        k, v = (x.repeat_interleave(groups, 1) for x in (k, v))
    out = varlen_attn(q, k, v, cuts, cuts, longest, longest, **extra)
    return out[None].to(query.dtype), None


@functools.cache
def varlen_options() -> dict[str, Any]:
    """How this torch says "causal, fewer key heads": 2.11's signature differs from 2.13's."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    return options | ({"enable_gqa": True} if "enable_gqa" in known else {})


def liger(model: Any) -> bool:
    """Liger's fused norms, rotations and gates, where it is installed; returns whether it is."""
    try:
        from liger_kernel.transformers import apply_liger_kernel_to_llama
    except ImportError:
        return False
    apply_liger_kernel_to_llama(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
    return True


if __name__ == "__main__":
    main()
