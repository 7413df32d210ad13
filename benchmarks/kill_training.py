"""Kills trainings with SIGKILL at ten steps each and compares them with undisturbed ones.

    python benchmarks/kill_training.py [--kills 10]     a toy model; prints the kill points and both hashes per stage

Each attempt is a process of its own that goes on from the newest whole checkpoint (every second step, every third in
finetune) and dies one step later than the attempt before it. Exits 1 when weights, losses or any other metric differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TRAINING = Path(__file__).parents[1] / "tests" / "train" / "killed.py"
STAGES = ("pretrain", "finetune", "align")


def attempt(stage: str, folder: Path, *kill: str) -> "subprocess.CompletedProcess[str]":
    """One process that trains, and kills itself after a step where one is given."""
    command = [sys.executable, str(TRAINING), stage, str(folder), *kill]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    """Run all stages; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=10)
    kills = parser.parse_args().kills
    good = True
    for stage in STAGES:
        with tempfile.TemporaryDirectory() as root:
            alone = json.loads(attempt(stage, Path(root) / "alone").stdout)
            died = [k for k in range(1, kills + 1) if attempt(stage, Path(root) / "killed", str(k)).returncode == -9]
            done = attempt(stage, Path(root) / "killed")
            if done.returncode:
                raise SystemExit(f"{stage} did not go on:\n{done.stderr[-2000:]}")
            killed = json.loads(done.stdout)
        same = killed == alone and len(died) == kills
        good &= same
        print(
            f"{stage}: killed after steps {died} of {alone['steps']}: weights {killed['weights']}, undisturbed "
            f"{alone['weights']}; losses and metrics {'equal' if same else 'DIFFER'}",
            flush=True,
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
