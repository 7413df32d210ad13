"""Continued pre-training on one GPU: tokens per second and the share of the card's measured bf16 matrix rate.

    python benchmarks/gpu.py            one command, at most 8 minutes, no network; last line: one JSON object
    python benchmarks/gpu.py --smoke    the same code with a toy model on a CPU, to see that it runs

Needs torch (2.11 or newer) and transformers (5.17 or newer); the ways in brackets need Aquila-Med installed. The model is
Llama-style, 1.2 B parameters, random weights, float32 with bf16 autocast, documents of random lengths. Ways to train it:

    plain      as an example would: batches of 8 padded to their longest, gradient checkpointing, logits in full
    ours       packed rows of 4096 without padding, FlashAttention inside documents, the head in slices, compiled layers
    [trainer]  the same as the stage pretrain/stage1 trains: Trainer, checks of every loss, the stage's collator
    [trainer-again] that with gradient checkpointing, as where memory is short
    [trl]      SFTTrainer as TRL's documentation has it: batches of 8, padded, gradient checkpointing
    [trl-best] SFTTrainer packed, with Liger's kernels where they are installed, without checkpointing

More by name (`--ways`): eager (ours, not compiled), liger (ours with Liger's kernels instead), both. Liger's stay in
transformers for what runs after them, so name these last.
"""

import argparse
import functools
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from aquilamed.train.attention import use_documents
from aquilamed.train.flash import Documents
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

Step = Callable[[], tuple[Any, int, float]]
"""A forward pass: its loss, its tokens (padding not counted), and the sum of its documents' squared lengths."""


def main() -> None:
    """Measure the ways one after the other and print what was found; one that fails is named and left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seconds", type=float, default=40, help="of measuring, per way")
    parser.add_argument("--ways", nargs="+", help="which, in order (default: those that can run here)")
    args = parser.parse_args()
    if not args.smoke and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --smoke runs the same code with a toy model on the CPU")
    bench = Bench(args.smoke, 0.0 if args.smoke else args.seconds)
    rate = bench.matrix_rate()
    print(f"{bench.card}: {rate / 1e12:.2f} T bf16 operations a second in matrix products", flush=True)
    more = ["trainer", "trainer-again", "trl", "trl-best"] if find_spec("trl") and find_spec("polars") else []
    found: dict[str, Any] = {}
    for name in args.ways or ["ours", "plain", *more]:
        try:
            found[name] = bench.best(bench.ways[name])
        except Exception as error:  # of any library: what the other ways measured must not be lost
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
        else:
            found[name]["utilisation"] = round(found[name]["operations_per_second"] / rate, 4)
        bench.forget()
        print(f"{name}: {found[name]}", flush=True)
    speeds = {name: f["tokens_per_second"] for name, f in found.items() if "error" not in f}
    x = {name: round(speeds["ours"] / speed, 3) for name, speed in speeds.items() if "ours" in speeds}
    print(json.dumps({"card": bench.card, "matrix_rate": round(rate / 1e12, 2), "x": x, **found}))


class Bench:
    """One card, one model size, one stream of documents."""

    def __init__(self, smoke: bool, seconds: float) -> None:
        self.smoke, self.seconds = smoke, seconds
        self.device = torch.device("cpu" if smoke else "cuda")
        self.card = "CPU (smoke)" if smoke else torch.cuda.get_device_name()
        self.length = 256 if smoke else LENGTH
        self.size = SMOKE if smoke else SIZE
        self.ways: dict[str, Callable[[int], dict[str, Any]]] = {
            "plain": lambda batch: self.measure(*self.plain(batch)),
            "ours": lambda batch: self.measure(*self.ours(batch)),
            "eager": lambda batch: self.measure(*self.ours(batch, compiled=False)),
            "liger": lambda batch: self.measure(*self.ours(batch, compiled=False, kernels=True)),
            "both": lambda batch: self.measure(*self.ours(batch, kernels=True)),
            "trainer": self.trainer,
            "trainer-again": functools.partial(self.trainer, gradient_checkpointing=True),
            "trl": functools.partial(self.trl, gradient_checkpointing=True),
            "trl-best": functools.partial(
                self.trl,
                gradient_checkpointing=False,
                packing=True,
                use_liger_kernel=not smoke and find_spec("liger_kernel") is not None,
            ),
        }

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

    def forget(self) -> None:
        """Free what the way before left on the device and in the compiler's memory."""
        import gc

        torch._dynamo.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def documents(self) -> Iterator[Any]:
        """Token ids of documents whose lengths are those of web text: log-normal, median 600, at most a row."""
        draw = np.random.default_rng(0)
        while True:
            size = min(self.length, max(16, int(draw.lognormal(6.4, 1.0) * self.length / LENGTH)))
            yield draw.integers(3, self.size["vocab_size"], size)

    def rows(self, tokens: int) -> Iterator[tuple[Any, list[int]]]:
        """Documents in rows of so many tokens, filled to the last: the ids, and the lengths of the documents in it."""
        left, stream = np.empty(0, np.int64), self.documents()
        while True:
            parts, size = [left] if len(left) else [], len(left)
            while size < tokens:
                parts.append(np.asarray(next(stream)))
                size += len(parts[-1])
            left = parts[-1][len(parts[-1]) - (size - tokens) :]  # a row's last document goes on in the next one
            lengths = [len(p) for p in parts]
            lengths[-1] -= len(left)
            yield np.concatenate(parts)[:tokens], lengths

    def model(self) -> Any:
        """A model with random weights on the device, ready to train."""
        torch.manual_seed(0)
        with self.device:
            model = LlamaForCausalLM(LlamaConfig(**self.size))
        model.config._attn_implementation = "sdpa"
        return model.train()

    def plain(self, batch: int) -> tuple[Any, Step]:
        """Padded batches, gradient checkpointing, full logits."""
        model = self.model()
        model.gradient_checkpointing_enable()
        stream = self.documents()

        def step() -> tuple[Any, int, float]:
            rows = [torch.as_tensor(next(stream)) for _ in range(batch)]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            labels = ids.masked_fill(mask == 0, -100)
            ids, mask, labels = (x.to(self.device) for x in (ids, mask, labels))
            loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
            return loss, sum(map(len, rows)), sum(len(r) ** 2 for r in rows)

        return model, step

    def ours(self, batch: int, compiled: bool = True, kernels: bool = False) -> tuple[Any, Step]:
        """Rows filled to the last token, attention per document, the head in slices, compiled layers."""
        model = self.model()
        use_documents(model)
        if kernels:
            liger(model)
        compiled = compiled and not self.smoke
        if compiled:
            for layer in model.model.layers:
                layer.compile()
        rows = self.rows(batch * self.length)

        def step() -> tuple[Any, int, float]:
            row, lengths = next(rows)
            ids = torch.as_tensor(row)
            ends = [0, *accumulate(lengths)]
            positions = torch.cat([torch.arange(n) for n in lengths])[None].to(self.device)
            inputs = ids[None].to(self.device)
            spans = Documents((a, b, 0, 0) for a, b in pairwise(ends))
            states = model.model(input_ids=inputs, position_ids=positions, **spans.inputs()).last_hidden_state[0]
            wanted = torch.ones(len(ids), dtype=torch.bool)
            wanted[torch.tensor([b - 1 for b in ends[1:]])] = False  # a document's last token predicts nothing
            at = wanted.nonzero()[:, 0].to(self.device)
            kind = torch.bfloat16 if torch.is_autocast_enabled(self.device.type) else torch.float32
            weight = model.lm_head.weight.to(kind)
            found = log_probs(states[at].to(kind), weight, inputs[0, at + 1], one_weight=True, compiled=compiled)[0]
            return -found.mean(), len(ids), sum(n * n for n in lengths)

        return model, step

    def best(self, way: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
        """The way at the largest batch that fits."""
        for batch in (2,) if self.smoke else BATCHES:
            try:
                return {"batch": batch, **way(batch)}
            except torch.OutOfMemoryError:
                pass
            self.forget()
        raise RuntimeError("not even a batch of 1 fits this card")

    def measure(self, model: Any, step: Step) -> dict[str, Any]:
        """Tokens (padding not counted) and operations a second, and the most memory used."""
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def train() -> tuple[float, int, float]:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=not self.smoke):
                loss, tokens, squares = step()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            return float(loss.detach()), tokens, squares

        clock = self.clock(model)
        while not clock.enough():
            clock.tick(*train())
        return clock.found()

    def clock(self, model: Any) -> "Clock":
        """A clock for a training of this model."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        return Clock(self, sum(p.numel() for p in model.parameters()))

    def trainer(self, batch: int, gradient_checkpointing: bool = False) -> dict[str, Any]:
        """The trainer of the stages pretrain/stage1 and pretrain/stage2."""
        from aquilamed.progress import Progress
        from aquilamed.train import pretrain
        from aquilamed.train.fast import make_fast

        settings = {"batch": batch, "micro_batch": batch, "lr": 1e-4, "warmup": 0.0, "save_steps": None}
        config = pretrain.PretrainConfig(**settings, epochs=1000, gradient_checkpointing=gradient_checkpointing)
        model = make_fast(self.model(), compiled=config.compiled)
        rows = []
        for ids, lengths in self.some_rows():
            rows.append({"input_ids": ids, "position_ids": np.concatenate([np.arange(n) for n in lengths])})
            rows[-1] |= {"records": [], "squares": sum(n * n for n in lengths)}
        with tempfile.TemporaryDirectory() as folder:
            ctx: Any = SimpleNamespace(work=Path(folder), seed=0, progress=Progress(quiet=True), layout="ddp")
            tokenizer = SimpleNamespace(pad_token_id=0)
            trainer = pretrain._trainer(ctx, config, model, tokenizer, rows)  # type: ignore[arg-type]
            mean = float(np.mean([r["squares"] for r in rows]))
            return self.watched(trainer, batch * self.length, batch * mean)

    def some_rows(self) -> Iterator[tuple[Any, list[int]]]:
        """As many packed rows as a trainer may go through again and again."""
        rows = self.rows(self.length)
        for _ in range(4 if self.smoke else 256):
            yield next(rows)

    def trl(self, batch: int, **flags: Any) -> dict[str, Any]:
        """TRL's trainer for next tokens."""
        from datasets import Dataset
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast
        from trl import SFTConfig, SFTTrainer

        words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
        stream = self.documents()
        given = [next(stream) for _ in range(16 if self.smoke else 2048)]
        tokens, squares = (float(np.mean([len(d) ** n for d in given])) for n in (1, 2))
        with tempfile.TemporaryDirectory() as folder:
            args = SFTConfig(
                output_dir=folder,
                max_length=self.length,
                per_device_train_batch_size=batch,
                num_train_epochs=1000,
                learning_rate=1e-4,
                bf16=not self.smoke,
                use_cpu=self.smoke,
                report_to="none",
                save_strategy="no",
                logging_steps=1000,
                disable_tqdm=True,
                **flags,
            )
            trainer = SFTTrainer(
                self.model(),
                args=args,
                train_dataset=Dataset.from_list([{"input_ids": d.tolist()} for d in given]),
                processing_class=tokenizer,
            )
            times = len(given) / len(trainer.train_dataset)  # documents of a packed row
            return self.watched(trainer, batch * times * tokens, batch * times * squares)

    def watched(self, trainer: Any, tokens: float, squares: float) -> dict[str, Any]:
        """Run a Trainer until there is enough; tokens and squared lengths are those of a step, on average."""
        from transformers import TrainerCallback
        from transformers.trainer_callback import PrinterCallback

        clock = self.clock(trainer.model)

        class Watch(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock.tick(None, tokens, squares)
                control.should_training_stop = clock.enough()

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Watch())
        trainer.train()
        losses = [h["loss"] for h in trainer.state.log_history if "loss" in h]
        return clock.found() | ({"loss": [losses[0], losses[-1]]} if losses else {})


class Clock:
    """What a training has done since it is warm."""

    def __init__(self, bench: Bench, parameters: int) -> None:
        self.bench, self.parameters = bench, parameters
        self.warm = 1 if bench.smoke else 5
        self.start, self.tokens, self.squares, self.steps = time.perf_counter(), 0.0, 0.0, 0
        self.losses: list[float] = []

    def tick(self, loss: float | None, tokens: float, squares: float) -> None:
        """A step is done; the first few start what is compiled and reserved once."""
        self.steps += 1
        if loss is not None:
            self.losses.append(loss)
        if self.steps <= self.warm:
            self.bench.wait()
            self.first = time.perf_counter() - self.start
            self.begun = time.perf_counter()
        else:
            self.tokens, self.squares = self.tokens + tokens, self.squares + squares

    def enough(self) -> bool:
        """Whether it was measured for long enough."""
        return self.steps >= self.warm + 2 and time.perf_counter() - self.begun >= self.bench.seconds

    def found(self) -> dict[str, Any]:
        """Tokens and operations a second, and the most memory used."""
        self.bench.wait()
        seconds = time.perf_counter() - self.begun
        if any(loss != loss for loss in self.losses):
            raise RuntimeError("a loss is not a number")
        size = self.bench.size
        # 6 per parameter and token, and 6 × width × length² (half a square, two products, forward and twice backward).
        operations = 6 * self.parameters * self.tokens
        operations += 6 * size["num_hidden_layers"] * size["hidden_size"] * self.squares
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.bench.device.type == "cuda" else 0.0
        return {
            "tokens_per_second": round(self.tokens / seconds, 1),
            "operations_per_second": operations / seconds,
            "peak_gb": round(peak, 2),
            "steps": self.steps - self.warm,
            "warm_up_seconds": round(self.first, 1),
            "loss": [round(x, 4) for x in (*self.losses[:1], *self.losses[-1:])],
        }


def liger(model: Any) -> None:
    """Liger's fused norms, rotations and gates."""
    from liger_kernel.transformers import apply_liger_kernel_to_llama

    apply_liger_kernel_to_llama(model=model, cross_entropy=False, fused_linear_cross_entropy=False)


if __name__ == "__main__":
    main()
