"""Where the corpus stage's time goes: its kernels in MB of text per CPU-second.

    make bench        prints one JSON object as its last line

The kernels run in turn, three times each, and the medians are reported.
"""

import json
import statistics
import time
from importlib import resources
from typing import Any

import polars as pl

from aquilamed.corpus import language, pii, rules, toxicity

ROUNDS = 3


def sample(name: str) -> list[dict[str, Any]]:
    """A file of the built-in sample."""
    text = (resources.files("aquilamed") / "sample" / "data" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


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
    print(json.dumps({k: float(f"{v:.4g}") for k, v in corpus_rates().items()}))


if __name__ == "__main__":
    main()
