"""The corpus pipeline against datatrove and `tokenizers`: same documents, same rules, CPU-seconds, children counted.

    make bench-corpus                                        prints one JSON object as its last line
    python benchmarks/corpus.py --sizes 250 1000 4000        the scaling run: cost and memory against size (MB)

Every measurement is a process of its own with one thread per library; ours and the peer's alternate, and the medians of
the rounds are compared. The texts come from `material.py`: public text, multiplied and dirtied, with known truth.
"""

import argparse
import gc
import hashlib
import itertools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

import accuracy

THREADS = {
    "POLARS_MAX_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
MODEL = "smollm2-135m"
RECIPE = """
name: bench
base_model: {{path: {model}}}
annotator: {{kind: offline}}
data_root: {data}
sources:
  documents:
    sources: [{{name: bench, path: "*.jsonl", license: mixed}}]
corpus:
  domain_labels: {{seeds: 300, rounds: 0}}
  mix1: {{domain_share: 1.0}}
  pack1: {{}}
"""


def cpu_seconds() -> float:
    """CPU-seconds of this process and its finished children."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds and result of one call."""
    gc.collect()
    start = cpu_seconds()
    result = work()
    return cpu_seconds() - start, result


def frames(texts: list[str], rows: int = 2000) -> Iterator[Any]:
    """The texts as the parts that the ingest stage would write."""
    import polars as pl

    for at in range(0, len(texts), rows):
        part = texts[at : at + rows]
        ids = [f"{n:016x}" for n in range(at, at + len(part))]
        yield pl.DataFrame({"id": ids, "source": "bench", "text": part})


def rules_ours(texts: list[str], folder: Path) -> tuple[float, Any]:
    """Rules, PII and toxicity: the text of what stays."""
    from aquilamed.corpus import pii, rules, toxicity

    steps = [
        lambda f: rules.check(f, rules.RulesConfig()),
        lambda f: pii.check(f, pii.PiiConfig()),
        lambda f: toxicity.check(f, toxicity.ToxicityConfig()),
    ]

    def run(parts: list[Any]) -> dict[str, str]:
        kept = {}
        for frame in parts:
            for step in steps:
                checked = step(frame)
                frame = checked.filter(checked["reason"].is_null()).drop("reason", "detail")
            kept.update(zip(frame["id"].to_list(), frame["text"].to_list(), strict=True))
        return kept

    run(list(frames(texts[:50])))
    parts = list(frames(texts))
    seconds, kept = measured(lambda: run(parts))
    return seconds, [kept.get(f"{n:016x}") for n in range(len(texts))]


def rules_peer(texts: list[str], folder: Path) -> tuple[float, Any]:
    """The same as a filter of datatrove."""
    from peers import filtered

    filtered(texts[:50])
    return measured(lambda: filtered(texts))


def dedup_ours(texts: list[str], folder: Path) -> tuple[float, Any]:
    """The whole stage, from Parquet parts to Parquet parts: (dropped, kept for it) pairs of numbers."""
    import polars as pl

    from aquilamed.corpus import dedup
    from aquilamed.engine.local import LocalEngine
    from aquilamed.progress import Progress
    from aquilamed.records import read_parts
    from aquilamed.stage import Context
    from aquilamed.workspace import Artifact

    source = Artifact("corpus/toxicity", folder / "in", {})
    (folder / "in" / "kept").mkdir(parents=True)
    for number, frame in enumerate(frames(texts)):
        frame.write_parquet(folder / "in" / "kept" / f"part-{number:05d}.parquet")
    dedup.find_duplicates(["a", "b"], texts[:2])
    progress = Progress(quiet=True)
    engine = LocalEngine(progress, workers=1)
    out = folder / "out"
    ctx = Context(out, out / ".work", {"corpus/toxicity": source}, engine, progress, 0, folder, None)  # type: ignore[arg-type]
    seconds, _ = measured(lambda: dedup.run(ctx, dedup.DedupConfig()))
    dropped = read_parts(out / "dropped").select("id", pl.col("detail").str.extract("copy of ([0-9a-f]{16})"))
    return seconds, [[int(a, 16), int(b, 16)] for a, b in dropped.iter_rows()]


def dedup_peer(texts: list[str], folder: Path) -> tuple[float, Any]:
    """datatrove's four MinHash stages, without reading or writing documents."""
    from peers import deduplicated

    seconds, kept = measured(lambda: deduplicated(texts, folder))
    return seconds, len(texts) - len(kept)


def _digest(rows: Any) -> str:
    import numpy as np

    return hashlib.sha256(b"".join(np.asarray(row, np.int32).tobytes() + b"|" for row in rows)).hexdigest()


def tokenise_ours(texts: list[str], folder: Path) -> tuple[float, Any]:
    """From Parquet parts to packed shards: a hash of the documents' ids."""
    import numpy as np

    from aquilamed.corpus.pack import Shards
    from aquilamed.corpus.tokenise import choose_encoder, exact_encoder, tokenise_part
    from aquilamed.models import ModelConfig

    encoder = choose_encoder(exact_encoder(ModelConfig(path=MODEL), folder), texts[:200])
    parts = []
    for number, frame in enumerate(frames(texts)):
        parts.append((folder / f"{number}.parquet", folder / f"ids-{number}"))
        frame.write_parquet(parts[-1][0])
    tokenise_part((parts[-1][0], folder / "warm", encoder, 4096))

    def run() -> None:
        shards = Shards(folder / "shards", 4096)
        for source, target in parts:
            tokenise_part((source, target, encoder, 4096))
            shards.add(np.load(target / "ids.npy"), np.load(target / "lengths.npy").tolist())
        shards.flush()

    seconds, _ = measured(run)
    rows: list[Any] = []
    for _, target in parts:
        lengths = np.load(target / "lengths.npy")
        rows += [row[:-1] for row in np.split(np.load(target / "ids.npy"), np.cumsum(lengths)[:-1])]
    return seconds, _digest(rows)


def tokenise_peer(texts: list[str], folder: Path) -> tuple[float, Any]:
    """`tokenizers` encode_batch alone."""
    from aquilamed.models import ModelConfig, load_tokenizer

    backend = load_tokenizer(ModelConfig(path=MODEL)).backend_tokenizer
    backend.encode_special_tokens = True
    seconds, found = measured(lambda: backend.encode_batch(texts, add_special_tokens=False))
    return seconds, _digest(e.ids for e in found)


STAGES = {
    "rules": (rules_ours, rules_peer),
    "dedup": (dedup_ours, dedup_peer),
    "tokenize": (tokenise_ours, tokenise_peer),
}


def child(name: str, side: int, megabytes: float) -> None:
    """One measurement, in a process of its own."""
    import material

    texts = [made.text for made in material.make(megabytes)]
    with tempfile.TemporaryDirectory() as folder:
        seconds, result = STAGES[name][side](texts, Path(folder))
    print(json.dumps({"seconds": seconds, "result": result, "mb": sum(len(t.encode()) for t in texts) / 1e6}))


def spawn(name: str, side: int, megabytes: float) -> dict[str, Any]:
    """Run `child` and return what it printed."""
    command = [sys.executable, __file__, "--child", name, str(side), str(megabytes)]
    done = subprocess.run(command, env=os.environ | THREADS, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(name: str, megabytes: float, rounds: int) -> tuple[float, list[Any]]:
    """How many times as fast as the peer, and both results of the last round."""
    seconds: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = []
    for _ in range(rounds):
        found = [spawn(name, side, megabytes) for side in (0, 1)]
        for side in (0, 1):
            seconds[side].append(found[side]["seconds"])
        results = [f["result"] for f in found]
    ours, peer = (found[0]["mb"] / statistics.median(s) for s in seconds)
    print(f"{name}: ours {ours:.2f}, peer {peer:.2f} MB per CPU-second ({ours / peer:.1f}x)", flush=True)
    return ours / peer, results


def watched(command: list[str], log: Path) -> tuple[float, float]:
    """CPU-seconds of a command with all its children, and the peak of their resident memory together (MB)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | THREADS, stdout=out, stderr=out)
        peak, tree = 0, psutil.Process(process.pid)
        while process.poll() is None:
            try:
                members = [tree, *tree.children(recursive=True)]
            except psutil.NoSuchProcess:
                break
            peak = max(peak, sum(_resident(p) for p in members))
            time.sleep(0.1)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak / 1e6


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def whole_ours(source: Path, folder: Path) -> tuple[float, float]:
    """`aquilamed run` from raw JSONL to packed shards; domain classification included."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(model=MODEL, data=source))
    aquilamed = str(Path(sys.executable).parent / "aquilamed")
    command = [aquilamed, "run", str(recipe), "--workspace", str(folder / "ws"), "--until", "corpus/pack1"]
    return watched(command, folder / "ours.log")


def whole_peer(source: Path, folder: Path) -> tuple[float, float]:
    """The same through datatrove."""
    from aquilamed.models import find_model

    tokenizer = Path(find_model(MODEL)) / "tokenizer.json"
    code = f"from pathlib import Path; import peers; peers.whole(Path({str(source)!r}), Path({str(folder)!r}), Path({str(tokenizer)!r}), 2)"
    return watched([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); {code}"], folder / "peer.log")  # fmt: skip


def whole(megabytes: float, peer: bool) -> dict[str, float]:
    """One run of everything (and the peer's): CPU-seconds and peak memory."""
    import material

    with tempfile.TemporaryDirectory() as folder:
        source, ours, theirs = (Path(folder) / n for n in ("source", "ours", "theirs"))
        for path in (ours, theirs):
            path.mkdir()
        files = material.write(source, megabytes, files=max(8, round(megabytes / 64)))
        size = sum(f.stat().st_size for f in files) / 1e6
        seconds, memory = whole_ours(source, ours)
        found = {"mb": size, "seconds": seconds, "rss_mb": memory}
        if peer:
            found["peer_seconds"], found["peer_rss_mb"] = whole_peer(source, theirs)
    print(json.dumps({"whole": {k: round(v, 1) for k, v in found.items()}}), flush=True)
    return found


def exponent(points: list[dict[str, float]]) -> float:
    """The exponent of CPU-seconds against size: the slope in logarithms."""
    xs, ys = [math.log(p["mb"]) for p in points], [math.log(p["seconds"]) for p in points]
    return statistics.linear_regression(xs, ys).slope


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=12, help="MB of text for each stage's comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--sizes",
        type=float,
        nargs="+",
        default=[64, 128, 256, 512],
        help="MB of the whole runs; the peer runs the first",
    )
    parser.add_argument("--stages", nargs="*", default=list(STAGES), help="stages to compare")
    parser.add_argument("--no-whole", action="store_true")
    parser.add_argument("--no-peer", action="store_true", help="whole runs of ours only")
    parser.add_argument("--no-accuracy", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child[0], int(args.child[1]), float(args.child[2]))
    line: dict[str, Any] = {}
    for name in args.stages:
        line[f"{name}_x"], results = compare(name, args.mb, args.rounds)
        line |= EXTRA[name](results, args.mb)
    if not args.no_whole:
        points = [whole(size, peer=n == 0 and not args.no_peer) for n, size in enumerate(args.sizes)]
        if not args.no_peer:
            line["e2e_x"] = points[0]["peer_seconds"] / points[0]["seconds"]
        line["scaling_exponent"] = exponent(points)
        line["peak_rss_mb"] = max(p["rss_mb"] for p in points)
    if not args.no_accuracy:
        line |= accuracy.measure()
    print(json.dumps(accuracy.rounded(line)))
    return None


def _rules_extra(results: list[Any], megabytes: float) -> dict[str, Any]:
    ours, peer = results
    return {"rules_same": sum(a == b for a, b in zip(ours, peer, strict=True)) / len(ours)}


def _dedup_extra(results: list[Any], megabytes: float) -> dict[str, Any]:
    """Recall on planted pairs of true Jaccard ≥ 0.8, and the lowest true Jaccard of a dropped pair, both on strings."""
    import material
    from aquilamed.corpus.ngrams import normalise
    from peers import TOKEN

    made = list(material.make(megabytes))

    def bigrams(number: int) -> set[tuple[str, str]]:
        words = TOKEN.findall(normalise(made[number].text))
        return set(itertools.pairwise(words))

    def jaccard(a: int, b: int) -> float:
        first, second = bigrams(a), bigrams(b)
        return len(first & second) / max(len(first | second), 1)

    gone = {a for a, _ in results[0]}
    planted = [(n, m.original) for n, m in enumerate(made) if m.original is not None]
    alike = [(a, b) for a, b in planted if jaccard(a, b) >= 0.8]
    merged = [jaccard(a, b) for a, b in results[0] if made[a].text != made[b].text and bigrams(a)]
    return {
        "dedup_recall": sum(a in gone or b in gone for a, b in alike) / len(alike),
        "dedup_min_merged_jaccard": min(merged),
        "dedup_pairs": len(alike),
    }


def _tokenise_extra(results: list[Any], megabytes: float) -> dict[str, Any]:
    return {"ids_equal": results[0] == results[1]}


EXTRA = {"rules": _rules_extra, "dedup": _dedup_extra, "tokenize": _tokenise_extra}

if __name__ == "__main__":
    main()
