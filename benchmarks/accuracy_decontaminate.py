"""Decontamination against truth: real benchmark questions planted in eight dresses, and real clean documents.

    python benchmarks/accuracy_decontaminate.py [--show]

Questions are those of the public copies of nine benchmarks. A clean document that holds a benchmark's question after
all is no mistake: `--show` prints what was found in them.
"""

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aquilamed.corpus.decontaminate import DecontaminateConfig
from aquilamed.corpus.ngram_index import Index
from aquilamed.corpus.overlap import build_index, clean_tokens, find, words
from aquilamed.evaluate.tasks import TASKS, BenchmarkText
from aquilamed.records import Question
from aquilamed.sample.leaks import VARIANTS, Asked, page, plant
from material import DATA, originals

FILES = {
    "mmlu": "mmlu/test/*.csv",
    "ceval": "ceval/val/*.csv",
    "cmb": "cmb/cmb-single_2000.jsonl",
    "medqa": "medqa/phrases_no_exclude_test.jsonl",
    "medmcqa": "medmcqa/dev.json",
    "pubmedqa": "pubmedqa/*.json",
    "huatuo": "huatuo/*.json",
    "cmtmedqa": "cmtmedqa/*.json",
    "cmb_clin": "cmb/CMB-Clin.json",
}
PLANTED = 4000


def questions(data: Path = DATA) -> list[Asked]:
    """Every scored item of the benchmarks."""
    found = []
    for task, pattern in FILES.items():
        files = [(p.relative_to(data).as_posix(), p) for p in sorted((data / "benchmarks").glob(pattern))]
        for item in TASKS[task].read(files):
            if isinstance(item, Question):
                if item.split == "test":
                    found.append(Asked(task, item.id, item.question, tuple(item.options)))
            else:
                asked = "\n".join(m["content"] for m in item.messages if m["role"] == "user")
                found.append(Asked(task, item.id, asked))
    return found


def indexed(asked: list[Asked], config: DecontaminateConfig) -> Index:
    """The index of all questions."""
    return build_index([BenchmarkText(a.benchmark, a.id, "\n".join([a.question, *a.options])) for a in asked], config)


def measure(data: Path = DATA, show: bool = False) -> dict[str, Any]:
    """Recall on planted leaks, the share of clean documents that would be dropped, and MB per CPU-second on those."""
    config = DecontaminateConfig()
    everything = questions(data)
    index = indexed(everything, config)
    # What is too short to be looked for by the documented rule is no leak that could be found.
    long_enough = [a for a in everything if words(clean_tokens([a.question]).hashes) >= config.min_words]
    pools = originals(data)
    clean = [*pools["en"], *pools["zh"]]
    drawn = random.Random(7).sample(long_enough, min(PLANTED, len(long_enough)))
    planted = plant(drawn, clean, seed=7)
    there, hit = Counter[str](), Counter[str]()
    for p, found in zip(planted, find([p.text for p in planted], index), strict=True):
        right = any((o.benchmark, o.id) == (p.asked.benchmark, p.asked.id) for o in found)
        there[p.variant] += 1
        hit[p.variant] += right
        if show and not right:
            print("MISSED" if not found else "OTHER ", p.variant, p.asked.benchmark, repr(p.text[:200]))
    start = time.process_time()
    over = find(clean, index)
    seconds = time.process_time() - start
    wrong = [(text, o[0]) for text, o in zip(clean, over, strict=True) if o]
    if show:
        named = {(a.benchmark, a.id): a for a in everything}
        for text, o in wrong:
            print("DROPPED", o, repr(page(named[o.benchmark, o.id])[:200]), "\n    IN", repr(text[:300]))
    return {
        "decontam_recall": sum(hit.values()) / sum(there.values()),
        "decontam_false_positive": len(wrong) / len(clean),
        "decontam_recall_per_variant": {name: round(hit[name] / there[name], 4) for name in VARIANTS},
        "decontam_planted": len(planted),
        "decontam_clean": len(clean),
        "decontam_questions": len(everything),
        "decontam_too_short": len(everything) - len(long_enough),
        "decontam_mb_per_s": sum(len(t.encode()) for t in clean) / 1e6 / seconds,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true", help="print what was missed and what was found in clean text")
    print(json.dumps(measure(show=parser.parse_args().show), ensure_ascii=False))
