"""One process of a training with many: python -m aquilamed.launch.worker JOB, started by torchrun's agent.

It runs the stage's function as the runner would. The first process writes the result, and a failing one its error.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from aquilamed.config import Invalid, StageFailed
from aquilamed.engine.local import LocalEngine
from aquilamed.launch.agent import PARENT
from aquilamed.launch.job import Job, read_job
from aquilamed.models import quiet
from aquilamed.planned_trainings import settled
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.records import write_json
from aquilamed.stage import Context, Result, work_folder
from aquilamed.stages import BY_NAME, stage_config
from aquilamed.train import ranks
from aquilamed.train.common import TrainConfig
from aquilamed.workspace import MANIFEST, Artifact


def main(path: Path) -> int:
    """Run a job's stage in this process; returns its exit code."""
    job, rank = read_job(path), int(os.environ["RANK"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word: the runner speaks
    threading.Thread(target=_die_with, args=(int(os.environ[PARENT]),), daemon=True).start()
    try:
        quiet()
        ranks.join()
        result = run(job, rank)
        if rank == 0:
            write_json(job.folder / "result.json", {"metrics": result.metrics, "records_in": result.records_in})
    except Exception as error:
        kind = next((k.__name__ for k in (Invalid, StageFailed) if isinstance(error, k)), "other")
        message = str(error) if kind != "other" else f"{type(error).__name__}: {error}"
        told = {"rank": rank, "kind": kind, "message": message, "time": time.time(), "trace": traceback.format_exc()}
        write_json(job.folder / f"error-{rank}.json", told)
        return 1
    return 0


def run(job: Job, rank: int) -> Result:
    """Run a job's stage as one of its processes."""
    recipe = load_recipe(job.folder / "recipe.yaml")
    progress = Progress(quiet=rank > 0)
    out = Path(job.out)
    inputs = {}
    for name, folder in job.inputs.items():
        manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
        inputs[name] = Artifact(name, Path(folder), manifest)
    context = Context(
        out,
        work_folder(out),
        inputs,
        LocalEngine(progress, workers=1),
        progress,
        job.seed,
        Path(job.root),
        recipe,
        job.layout,
        job.offload,
    )
    config = stage_config(recipe, job.stage)
    assert isinstance(config, TrainConfig)
    return BY_NAME[job.stage].run(context, settled(recipe, job.stage, config))


def _die_with(parent: int) -> None:
    """End this process when its runner is gone: the workspace's lock is free then, and the next run trains itself."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # no waiting for threads of a group whose other members may be gone
