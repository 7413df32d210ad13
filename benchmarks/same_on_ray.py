"""The corpus pipeline under the local engine, under Ray, and under Ray while its workers are killed: equal hashes.

python benchmarks/same_on_ray.py [--mb 12] [--kills 4]
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

import material
from corpus import MODEL, RECIPE


def combined(workspace: Path) -> str:
    """One hash over the output hashes in all manifests."""
    found = {}
    for path in sorted(workspace.rglob("manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found[manifest["stage"]] = manifest["outputs"]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def run(folder: Path, name: str, engine: str, kills: int) -> dict[str, Any]:
    """One run; `kills` workers of Ray get SIGKILL at random moments."""
    aquilamed = str(Path(sys.executable).parent / "aquilamed")
    command = [aquilamed, "run", str(folder / "recipe.yaml"), "-w", str(folder / name), "--until", "corpus/pack1"]
    with (folder / f"{name}.log").open("wb") as log:
        environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
        process = subprocess.Popen([*command, "--engine", engine], env=environment, stdout=log, stderr=log)
        killed, moments = 0, random.Random(7)
        while process.poll() is None:
            time.sleep(moments.uniform(0.3, 1.5))
            if killed < kills and (victims := busy_workers(process.pid)):
                victims[0].send_signal(signal.SIGKILL)
                killed += 1
    if process.returncode:
        raise SystemExit((folder / f"{name}.log").read_text(errors="replace")[-3000:])
    return {"run": name, "hash": combined(folder / name)[:16], "killed": killed}


def busy_workers(pid: int) -> list[psutil.Process]:
    """Ray's workers that are in a task of ours."""
    found = []
    try:
        for child in psutil.Process(pid).children(recursive=True):
            if child.cmdline()[:1] == ["ray::_call"]:
                found.append(child)
    except psutil.NoSuchProcess:
        pass
    return found


def main() -> None:
    """Run three times and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=12)
    parser.add_argument("--kills", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        material.write(folder / "source", args.mb)
        (folder / "recipe.yaml").write_text(RECIPE.format(model=MODEL, data=folder / "source"))
        runs = [("local", "local", 0), ("ray", "ray", 0), ("ray_killed", "ray", args.kills)]
        found = [run(folder, *r) for r in runs]
    equal = len({f["hash"] for f in found}) == 1
    print(json.dumps({"runs": found, "equal": equal}))
    if not equal or found[-1]["killed"] < args.kills:
        raise SystemExit("hashes differ, or too few workers could be killed")


if __name__ == "__main__":
    main()
