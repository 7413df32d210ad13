"""Kill a run again and again, and compare what it ends with to an undisturbed run.

    python benchmarks/kill.py recipes/demo.yaml workspaces/demo --kills 10

The second argument is the undisturbed run's workspace. `kill -9` of the whole process group at random moments of the same
total time, resumed each time; then every data stage's files and every model's weights must have the hashes of the undisturbed
run. Prints one JSON object as its last line; exits 1 when something differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DATA = ("sample", "sources/", "corpus/", "instruct/", "prefer/")
MODELS = ("pretrain/stage1", "pretrain/stage2", "finetune", "align")


def manifests(workspace: Path) -> dict[str, dict[str, Any]]:
    """Stage → manifest."""
    found = [json.loads(p.read_text("utf-8")) for p in workspace.rglob("manifest.json")]
    return {m["stage"]: m for m in found}


def running(workspace: Path) -> str:
    """The stage that was at work when the run died."""
    open_ = [p.parent.parent for p in workspace.rglob(".work/attempts.json")]
    return ", ".join(sorted(p.parent.relative_to(workspace).as_posix() for p in open_)) or "between stages"


def differing(one: dict[str, dict[str, Any]], two: dict[str, dict[str, Any]]) -> list[str]:
    """Outputs of data stages, and weights, whose hashes differ."""
    bad = []
    for stage in sorted(set(one) | set(two)):
        if stage not in one or stage not in two:
            bad.append(f"{stage}: only in one run")
        elif stage.startswith(DATA) and one[stage]["outputs"] != two[stage]["outputs"]:
            bad.append(stage)
        elif stage in MODELS:
            weights = [o for o in one[stage]["outputs"] if o.endswith(".safetensors")]
            bad += [f"{stage}: {w}" for w in weights if one[stage]["outputs"][w] != two[stage]["outputs"].get(w)]
    return bad


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("reference", type=Path, help="workspace of the undisturbed run")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="sets")
    arguments = parser.parse_args()
    one = manifests(arguments.reference)
    total = sum(m["seconds"] for m in one.values())
    draw = random.Random(arguments.seed)
    killed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "aquilamed.cli", "run", str(arguments.recipe), "-w", folder]
        line += [a for s in arguments.sets for a in ("--set", s)]
        while len(killed) < arguments.kills:
            process = subprocess.Popen(line, start_new_session=True, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=draw.uniform(0.02, 0.18) * total)
                break  # it finished before the next kill
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed.append(running(Path(folder)))
                print(f"kill {len(killed)}: {killed[-1]}", flush=True)
        subprocess.run(line, check=True)
        two = manifests(Path(folder))
        bad = differing(one, two)
    attempts = {s: m["attempts"] for s, m in two.items() if m["attempts"] > 1}
    print(json.dumps({"kills": len(killed), "during": killed, "attempts": attempts, "different": bad}))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
