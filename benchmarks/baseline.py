"""Where the time goes: corpus kernels in MB of text per CPU-second, and Context Relevance against two passes per turn.

    make bench        prints one JSON object as its last line

The rows are interleaved, three times each, and the medians are reported.
"""

import json
import statistics
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

import polars as pl

from aquilamed.corpus import language, pii, rules, toxicity
from aquilamed.instruct.relevance import relevance, turn_tokens
from aquilamed.instruct.rounds import Round, rounds
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.scoring import token_losses

ROUNDS = 3


def sample(name: str) -> list[dict[str, Any]]:
    """A file of the built-in sample."""
    text = (resources.files("aquilamed") / "sample" / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def cpu(work: Callable[[], Any]) -> float:
    """CPU-seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def naive(model: Any, tokenizer: Any, dialogues: list[list[Round]]) -> list[list[float | None]]:
    """Equations 1–3 as they stand: two forward passes for every turn."""
    result: list[list[float | None]] = []
    for dialogue in dialogues:
        history: list[int] = []
        values: list[float | None] = []
        for turn in (turn_tokens(tokenizer, r) for r in dialogue):
            if history:
                conditioned = token_losses(model, [history + turn])[0][len(history) :]
                direct = token_losses(model, [turn])[0]
                values.append(float(conditioned.mean() / direct.mean()))
            else:
                values.append(None)
            history += turn
        result.append(values)
    return result


def corpus_rates() -> dict[str, float]:
    """MB of text per CPU-second of each kernel over the sample's documents, 20 times over."""
    names = ("medical.en", "medical.zh", "general.en", "general.zh")
    texts = [d["text"] for n in names for d in sample(f"documents.{n}.jsonl")] * 20
    frame = pl.DataFrame({"id": [f"{n:06d}" for n in range(len(texts))], "text": texts})
    megabytes = sum(len(t.encode()) for t in texts) / 1e6
    steps = {
        "language": lambda f: language.check(f, language.LanguageConfig()),
        "rules": lambda f: rules.check(f, rules.RulesConfig()),
        "pii": lambda f: pii.check(f, pii.PiiConfig()),
        "toxicity": lambda f: toxicity.check(f, toxicity.ToxicityConfig()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        here = frame
        for name, step in steps.items():
            start = time.process_time()
            here = step(here).drop("reason", "detail")
            seconds[name].append(time.process_time() - start)
    return {f"{name}_mb_s": megabytes / statistics.median(s) for name, s in seconds.items()}


def main() -> None:
    """Measure and print."""
    import torch

    torch.set_num_threads(1)
    config = ModelConfig(path="smollm2-135m")
    model, tokenizer = load_model(config), load_tokenizer(config)
    dialogues = [rounds(d["messages"]) for d in sample("dialogues.en.jsonl") if len(d["messages"]) > 2][:8]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(cpu(lambda: relevance(model, tokenizer, dialogues, 2048)))
        theirs.append(cpu(lambda: naive(model, tokenizer, dialogues)))
    pairs = zip(relevance(model, tokenizer, dialogues, 2048), naive(model, tokenizer, dialogues), strict=True)
    worst = max(abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True) if a is not None and b is not None)
    result = corpus_rates() | {
        "relevance_x": statistics.median(theirs) / statistics.median(ours),
        "relevance_max_abs_diff": worst,
    }
    print(json.dumps({k: float(f"{v:.4g}") for k, v in result.items()}))


if __name__ == "__main__":
    main()
