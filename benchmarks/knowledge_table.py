"""The knowledge table: one model on the paper's six benchmarks, n-shot, with n, standard error, interval and time.

    python benchmarks/knowledge_table.py                    every question (hours on a CPU)
    python benchmarks/knowledge_table.py --limit 40         40 of each, chosen by seeded hash

It is a run of stage evaluate/knowledge on the public data, in a workspace of its own: stopped, it goes on where it was. The last
line is one JSON object. Times are the stage's own, of the wall clock.
"""

import argparse
import json
from pathlib import Path

from aquilamed.pipeline import run
from aquilamed.progress import Progress
from aquilamed.recipe import Recipe
from aquilamed.workspace import Workspace

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "benchmarks"
PATHS = {
    "mmlu": "mmlu",
    "ceval": "ceval",
    "cmb": "cmb/cmb-single_2000.jsonl",
    "medqa": "medqa/phrases_no_exclude_test.jsonl",
    "medmcqa": "medmcqa/dev.json",
    "pubmedqa": "pubmedqa",
}


def main() -> None:
    """Score and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--limit", type=int, help="questions of each benchmark")
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--workspace", type=Path, default=Path("workspaces/knowledge-table"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe.model_validate(
        {
            "name": "knowledge-table",
            "data_root": args.data.resolve(),
            "base_model": {"path": args.model},
            "sources": {},
            "evaluate": {
                "benchmarks": [{"task": task, "path": path} for task, path in PATHS.items()],
                "knowledge": {"models": ["base"], "shots": args.shots, "limit": args.limit},
            },
        }
    )
    (artifact,) = run(recipe, Workspace(args.workspace), Progress(), only="evaluate/knowledge")
    results = artifact.manifest["metrics"]["results"]
    print("| benchmark | n | accuracy, % | 95 % interval | chance, % | time, s |\n|---|---|---|---|---|---|")
    for r in results:
        low, high = (100 * v for v in r["interval"])
        told = (
            f"{100 * r['accuracy']:.1f} ± {100 * r['stderr']:.1f} | {low:.1f} to {high:.1f} | {100 * r['chance']:.1f}"
        )
        print(f"| {r['task']} | {r['n']:,} | {told} | {r['seconds']:,.0f} |")
    line = {r["task"]: {"n": r["n"], "accuracy": round(r["accuracy"], 4), "seconds": r["seconds"]} for r in results}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
