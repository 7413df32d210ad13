"""Context Relevance: packed passes against two passes per turn, and what it tells of shuffled and repeated turns.

    make bench-relevance        prints one JSON object as its last line; 14 CPU-minutes

Speed: dialogues of 4 to 12 turns of an English and a Chinese set, one torch thread, both ways interleaved, medians of CPU-seconds.
The naive way is the plain one of transformers: every pass is one row without padding, float32, `model(input_ids).logits`, and the
cross-entropy of the turn's words. `kept_logits_x` compares with a naive way that asks for the turn's logits only.

Truth: dialogues' first four turns; *shuffled* has some later turns from other dialogues, *permuted* has its own turns in another
order, *repeated* has a later turn replaced by a copy of an earlier one. Which statistic of a dialogue's CR ranks them (mean,
greatest, least turn) is chosen on one half of the dialogues; AUROC is of the other half. Public data lies beside the checkout.
"""

import argparse
import csv
import gzip
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aquilamed.instruct.relevance import relevance, turn_tokens
from aquilamed.instruct.rounds import Round, rounds
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.sources.forms import FORMS, FormName
from aquilamed.sources.raw import Misfit

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sft"
SETS: dict[FormName, str] = {
    "smilechat": "smilechat_2000.jsonl.gz",
    "cmdd": "cmdd_dialogues.jsonl.gz",
    "mts_dialog": "mts_dialog/MTS-Dialog-TrainingSet.csv",
}
TIMED: dict[FormName, tuple[int, ...]] = {"mts_dialog": (4, 8, 12), "cmdd": (4, 8, 12)}
"""Numbers of turns of the timed dialogues. Of each number the one at the tenth percentile of length: the naive way is slow."""
JUDGED_TOKENS = 640
"""Longest four turns that are judged: a Chinese turn of smilechat takes about 250 tokens of an English model."""
SEEN = 30
"""The first dialogues of a set are not judged: on those of mts_dialog we chose to score words without the template's marks."""
STATISTICS: dict[str, Callable[[list[float]], float]] = {"mean": statistics.fmean, "max": max, "min": min}
Dialogue = list[Round]


def read(name: FormName, data: Path = DATA) -> list[Dialogue]:
    """The dialogues of a public set as rounds, in the file's order."""
    path = data / SETS[name]
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            raw: list[Any] = [json.loads(line) for line in lines]
    else:
        with path.open(encoding="utf-8", newline="") as table:
            raw = list(csv.DictReader(table))
    found = []
    for value in raw:
        try:
            found.append(rounds(FORMS[name].parse(value)))
        except Misfit:
            continue
    return found


def naive(model: Any, tokenizer: Any, dialogues: list[Dialogue], kept_logits: bool = False) -> list[list[float | None]]:
    """Equations 1–3 as they stand: two forward passes for every turn that has a history."""
    import torch

    result: list[list[float | None]] = []
    with torch.inference_mode():
        for dialogue in dialogues:
            history: list[int] = []
            values: list[float | None] = []
            for turn in (turn_tokens(tokenizer, r) for r in dialogue):
                ids, scores = list(turn.ids), []
                for before in (history, []) if history else ():
                    row = torch.tensor([before + ids])
                    options = {"logits_to_keep": len(ids)} if kept_logits else {}
                    logits = model(input_ids=row, use_cache=False, **options).logits[0, -len(ids) :]
                    said = torch.tensor(turn.words)
                    targets = row[0, len(before) + said]
                    scores.append(float(torch.nn.functional.cross_entropy(logits[said - 1], targets)))
                values.append(scores[0] / scores[1] if scores else None)
                history += ids
            result.append(values)
    return result


def speed(model: Any, tokenizer: Any, repeats: int) -> dict[str, float]:
    """CPU-seconds of the naive way over ours, and the largest difference of a value."""
    dialogues = []
    for name, counts in TIMED.items():
        pool = read(name)
        for count in counts:
            same = sorted((d for d in pool if len(d) == count), key=lambda d: _tokens(tokenizer, d))
            dialogues.append(same[len(same) // 10])
    relevance(model, tokenizer, dialogues[:1], 4096)  # what is done once per model: is it packable?
    kept = cpu(lambda: naive(model, tokenizer, dialogues, kept_logits=True))
    print(f"naive with logits_to_keep {kept[0]:.1f} CPU-s", flush=True)
    theirs, ours = [], []
    for _ in range(repeats):
        theirs.append(cpu(lambda: naive(model, tokenizer, dialogues)))
        ours.append(cpu(lambda: relevance(model, tokenizer, dialogues, 4096)))
        print(f"naive {theirs[-1][0]:.1f} CPU-s, packed {ours[-1][0]:.1f}", flush=True)
    pairs = [(a, b) for x, y in zip(theirs[0][1], ours[0][1], strict=True) for a, b in zip(x, y, strict=True)]
    median = statistics.median(seconds for seconds, _ in ours)
    return {
        "relevance_x": statistics.median(seconds for seconds, _ in theirs) / median,
        "max_abs_diff": max(abs(a - b) for a, b in pairs if a is not None and b is not None),
        "kept_logits_x": kept[0] / median,
    }


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of one call, and what it returned."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def _tokens(tokenizer: Any, dialogue: Dialogue) -> int:
    return sum(len(turn_tokens(tokenizer, r).ids) for r in dialogue)


def shuffled(dialogues: list[Dialogue], seed: int = 0) -> list[Dialogue]:
    """Each later turn comes with probability ½ from another dialogue (same place); at least one does."""
    rng = random.Random(seed)
    result = []
    for n, dialogue in enumerate(dialogues):
        places = [p for p in range(1, len(dialogue)) if rng.random() < 0.5] or [rng.randrange(1, len(dialogue))]
        others = [d for m, d in enumerate(dialogues) if m != n]
        result.append([rng.choice(others)[p] if p in places else turn for p, turn in enumerate(dialogue)])
    return result


def permuted(dialogues: list[Dialogue], seed: int = 0) -> list[Dialogue]:
    """A dialogue's own turns in another order."""
    rng = random.Random(seed)
    result = []
    for dialogue in dialogues:
        order = list(range(len(dialogue)))
        while order == sorted(order):
            rng.shuffle(order)
        result.append([dialogue[p] for p in order])
    return result


def repeated(dialogues: list[Dialogue], seed: int = 0) -> list[Dialogue]:
    """One later turn is a copy of an earlier one."""
    rng = random.Random(seed)
    result = []
    for dialogue in dialogues:
        place = rng.randrange(1, len(dialogue))
        result.append([*dialogue[:place], dialogue[rng.randrange(place)], *dialogue[place + 1 :]])
    return result


def auroc(positives: list[float], negatives: list[float]) -> float:
    """The share of pairs in which the positive is higher; ties count half."""
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


def truth(model: Any, tokenizer: Any, name: FormName, count: int) -> dict[str, Any]:
    """Statistic, AUROC and share of dialogues with a turn of CR > 1 or below 0.5, per kind of damage."""
    pool = [d[:4] for d in read(name) if len(d) >= 4]
    plain = [d for d in pool if _tokens(tokenizer, d) <= JUDGED_TOKENS][SEEN : SEEN + count]
    kinds = {"plain": plain, "shuffled": shuffled(plain), "permuted": permuted(plain), "repeated": repeated(plain)}
    flat = iter(relevance(model, tokenizer, [d for ds in kinds.values() for d in ds], JUDGED_TOKENS * 4))
    scores = {kind: [[v for v in next(flat) if v is not None] for _ in ds] for kind, ds in kinds.items()}
    result: dict[str, Any] = {"dialogues": len(plain)}
    for kind in ("shuffled", "permuted", "repeated"):
        sign = -1 if kind == "repeated" else 1

        def rank(statistic: str, half: int, kind: str = kind, sign: int = sign) -> float:
            of = STATISTICS[statistic]
            return auroc(
                [sign * of(s) for s in scores[kind][half::2]], [sign * of(s) for s in scores["plain"][half::2]]
            )

        best = max(STATISTICS, key=lambda s: rank(s, 0))
        result[f"auroc_{kind}"] = {"statistic": best} | {s: round(rank(s, 1), 3) for s in STATISTICS}
    for kind, values in scores.items():
        turns = [v for s in values for v in s]
        result[kind] = {
            "turns_above_1": round(sum(v > 1 for v in turns) / len(turns), 3),
            "dialogues_with_a_turn_below_0.5": round(sum(min(s) < 0.5 for s in values) / len(values), 3),
            "median_cr": round(statistics.median(turns), 3),
            "median_least_cr": round(statistics.median(min(s) for s in values), 3),
        }
    return result


def main() -> None:
    """Measure and print."""
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3, help="interleaved timings of each way; 0 leaves speed out")
    parser.add_argument("--dialogues", type=int, default=40, help="judged dialogues per set")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS), help="judged sets")
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"the public data is not there: {DATA}")
    torch.set_num_threads(1)
    config = ModelConfig(path="smollm2-135m")
    model, tokenizer = load_model(config), load_tokenizer(config)
    result: dict[str, float] = speed(model, tokenizer, options.repeats) if options.repeats else {}
    for kind in ("shuffled", "repeated"):
        result[f"auroc_{kind}"] = 0.0
    for name in options.sets:
        found = truth(model, tokenizer, name, options.dialogues)
        print(json.dumps({name: found}), flush=True)
        for kind in ("shuffled", "permuted", "repeated"):
            of = found[f"auroc_{kind}"]
            result[f"auroc_{kind}_{name}"] = of[of["statistic"]]
    for kind in ("shuffled", "repeated"):
        result[f"auroc_{kind}"] = statistics.fmean(result[f"auroc_{kind}_{name}"] for name in options.sets)
    print(json.dumps({k: float(f"{v:.4g}") for k, v in result.items()}))


if __name__ == "__main__":
    main()
