"""Deita's model scorer in prompts per CPU-second, and the diversity step over 50,000 records.

    python benchmarks/deita.py [--records 50000] [--max-tokens 256] [--rounds 48]

The scorer runs with and without the shared beginning of its prompts computed once, interleaved, medians of three; the
same rounds of the built-in sample, one model for both prompts. The diversity step embeds and walks records made of
random sentences of the sample, a tenth of them near copies, of which as good as none may be missed.
"""

import argparse
import json
import random
import re
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from aquilamed.engine.local import LocalEngine
from aquilamed.instruct import scorers
from aquilamed.instruct.diverse import Chosen, DiversityConfig, embed
from aquilamed.instruct.rounds import Round, rounds
from aquilamed.instruct.scorers import ModelScorer, ModelScorerConfig
from aquilamed.models import ModelConfig
from aquilamed.progress import Progress
from aquilamed.records import parts, write_parts
from aquilamed.scoring import next_logprobs
from aquilamed.stage import Context
from baseline import ROUNDS, sample
from relevance import cpu


class _Recipe:
    base_model = ModelConfig(path="smollm2-135m")


def context(folder: Path) -> Context:
    """A stage's context without a recipe."""
    progress = Progress(quiet=True)
    recipe: Any = _Recipe()
    return Context(folder, folder, {}, LocalEngine(progress, 1), progress, 42, folder, recipe)


def scorer_rates(max_tokens: int, rounds_wanted: int) -> dict[str, Any]:
    """Prompts per CPU-second with the shared beginning, without it, and how far the scores are apart."""
    lines = [d for name in ("dialogues.en.jsonl", "dialogues.zh.jsonl") for d in sample(name)]
    items: list[Round] = [r for d in lines for r in rounds(d["messages"])][:rounds_wanted]
    plain = lambda *args, **more: next_logprobs(*args, **more, share=10**9)  # noqa: E731
    times: dict[str, list[float]] = {"shared": [], "plain": []}
    found: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        score = ModelScorer(context(Path(folder)), ModelScorerConfig(max_tokens=max_tokens))
        for _ in range(ROUNDS):
            for name, function in (("shared", next_logprobs), ("plain", plain)):
                scorers.next_logprobs = function
                seconds, found[name] = cpu(lambda: score(items))
                times[name].append(seconds)
    apart = np.abs(np.asarray(found["shared"]) - np.asarray(found["plain"])).max()
    shared, without = (2 * len(items) / statistics.median(times[k]) for k in ("shared", "plain"))
    return {
        "prompts_per_cpu_second": shared,
        "prompts_per_cpu_second_unshared": without,
        "shared_x": shared / without,
        "max_abs_diff": float(apart),
    }


def diversity(records: int) -> dict[str, Any]:
    """Seconds to embed and to walk, records kept, and the share of planted copies that were found."""
    names = ("medical.en", "medical.zh", "general.en", "general.zh")
    pools = [
        [s for d in sample(f"documents.{n}.jsonl") for s in re.split(r"(?<=[.!?。！？])\s*", d["text"]) if s]
        for n in names
    ]
    rng = random.Random(5)
    made = [rng.sample(rng.choice(pools), 8) for _ in range(records * 9 // 10)]
    copies = [
        [*made[i][:7], f"{made[i][7]} {n}"] for n, i in enumerate(rng.sample(range(len(made)), records - len(made)))
    ]
    messages = [
        [{"role": "user", "content": " ".join(m[:3])}, {"role": "assistant", "content": " ".join(m[3:])}]
        for m in [*made, *copies]
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_parts(folder / "kept", pl.DataFrame({"messages": messages}))
        start, cpu_start = time.perf_counter(), time.process_time()
        vectors = embed(context(folder), DiversityConfig(), parts(folder / "kept"))
        embedded, cpu_embedded = time.perf_counter(), time.process_time()
        walk = Chosen(vectors, 0.9)
        near = [row for row, close in walk.walk(list(range(records)), lambda _: True) if close]
        done, cpu_done = time.perf_counter(), time.process_time()
    found = sum(row >= len(made) for row in near)
    return {
        "records": records,
        "embed_s": embedded - start,
        "embed_cpu_s": cpu_embedded - cpu_start,
        "walk_s": done - embedded,
        "walk_cpu_s": cpu_done - cpu_embedded,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "kept": len(walk.rows),
        "copies_found": found / len(copies),
        "others_dropped": (len(near) - found) / len(made),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=48)
    arguments = parser.parse_args()
    print(json.dumps({"diversity": diversity(arguments.records)}), flush=True)
    print(json.dumps({"scorer": scorer_rates(arguments.max_tokens, arguments.rounds)}), flush=True)
