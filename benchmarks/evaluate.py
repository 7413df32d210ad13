"""Knowledge evaluation: our lm-eval model class against the harness' own `hf`, same questions, CPU-seconds.

    make bench-eval        prints one JSON object as its last line

Real 3-shot MedQA and C-Eval questions where the public data is at hand. `hf` runs at batch size 1 and at its best of several; the
runs alternate and the medians of the rounds are compared.
"""

import argparse
import contextlib
import io
import json
import logging
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aquilamed.evaluate.harness import likelihoods
from aquilamed.evaluate.prompts import Sheet, sheets
from aquilamed.evaluate.shared_prefix import SharedPrefixLM
from aquilamed.evaluate.tasks import BenchmarkConfig, read_questions
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.stage import find_files

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "benchmarks"
PATHS = {"medqa": "medqa/phrases_no_exclude_test.jsonl", "ceval": "ceval"}


def questions(task: str, count: int) -> list[Sheet]:
    """3-shot prompts of a benchmark."""
    ctx: Any = SimpleNamespace(files=lambda pattern: find_files(pattern, DATA), seed=42)
    return sheets(read_questions(ctx, BenchmarkConfig(task=task, path=PATHS[task]), count), 3)


def main() -> None:
    """Measure and print."""
    import torch
    from lm_eval.models.huggingface import HFLM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=24, help="per benchmark")
    parser.add_argument("--rounds", type=int, default=1, help="ten minutes each")
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8], help="other batch sizes of hf")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    where = ModelConfig(path="smollm2-135m")
    model, tokenizer = load_model(where), load_tokenizer(where)
    docs = {task: questions(task, args.questions) for task in PATHS}

    def run(kind: Any, batch: int) -> tuple[float, list[list[float]]]:
        lm = kind(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=8192)
        start = time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            found = [values for task, d in docs.items() for values in likelihoods(lm, task, d)]
        return time.process_time() - start, found

    sides = {"ours": (SharedPrefixLM, 8), **{f"hf {b}": (HFLM, b) for b in (1, *args.batches)}}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, list[list[float]]] = {}
    for _ in range(args.rounds):
        for name, (kind, batch) in sides.items():
            took, answers[name] = run(kind, batch)
            seconds[name].append(took)
            print(f"{name} {took:.1f} CPU-s", flush=True)
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    print(json.dumps({"cpu_seconds": {n: round(s, 2) for n, s in medians.items()}}))
    pairs = list(zip(answers["ours"], answers["hf 1"], strict=True))
    line = {
        "vs_hf_bs1": medians["hf 1"] / medians["ours"],
        "vs_hf_best": min(s for n, s in medians.items() if n != "ours") / medians["ours"],
        "predictions_equal": all(a.index(max(a)) == b.index(max(b)) for a, b in pairs),
        "max_ll_diff": max(abs(x - y) for a, b in pairs for x, y in zip(a, b, strict=True)),
    }
    print(json.dumps({k: v if isinstance(v, bool) else float(f"{v:.4g}") for k, v in line.items()}))


if __name__ == "__main__":
    main()
