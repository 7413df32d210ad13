"""Trainings in many processes, on one machine or several.

The runner starts the processes, waits, and commits what they wrote; it holds no model meanwhile. Each process runs the
stage's own function (`worker`), knowing only that it is one of many (`train/ranks.py`).
"""

import json
import os
import shutil
import socket

from aquilamed.config import Config, Invalid
from aquilamed.launch.agent import take_part
from aquilamed.launch.job import Job, job_folder
from aquilamed.launch.meeting import gather
from aquilamed.planned_trainings import machine_of, planned_choice, settled
from aquilamed.recipe import Recipe, save_recipe
from aquilamed.records import write_atomic
from aquilamed.stage import Context, Result, Stage
from aquilamed.train.common import TrainConfig


def run_stage(stage: Stage, context: Context, config: Config | None) -> Result:
    """Run a stage: here, or as many processes where the recipe's hardware says so for this training.

    Raises what the stage raises, and `StageFailed` when a process died.
    """
    hardware = context.recipe.hardware
    if not isinstance(config, TrainConfig):
        return stage.run(context, config)
    devices = machine_of(context.recipe, stage.name).devices
    if hardware is None or devices == 1:
        return stage.run(context, settled(context.recipe, stage.name, config))
    nodes, processes = hardware.nodes(devices)
    _check_devices(hardware.device, processes)
    choice = planned_choice(context.recipe, stage.name)
    job = Job(
        stage.name,
        str(context.out.resolve()),
        {name: str(artifact.path.resolve()) for name, artifact in context.inputs.items()},
        context.seed,
        str(context.root.resolve()),
        nodes,
        processes,
        choice.layout,
        choice.offload,
        hardware.device,
        "127.0.0.1" if nodes == 1 else os.environ.get("AQUILAMED_HOST") or socket.gethostname(),
        _free_port(),
    )
    shutil.rmtree(job_folder(context.out), ignore_errors=True)  # of an attempt that failed
    write_atomic(job.folder / "recipe.yaml", save_recipe(context.recipe).encode())
    job.write()
    context.progress.say(f"  {devices} processes ({choice.layout}) on {nodes} machine{'s' if nodes > 1 else ''}.")
    if nodes > 1:
        gather(context.root.resolve(), job, context.progress)
    take_part(job, 0)
    told = json.loads((job.folder / "result.json").read_text(encoding="utf-8"))
    metrics = {**told["metrics"], "processes": devices, "layout": choice.layout}
    return Result(metrics, told["records_in"])


def check_place(recipe: Recipe, remote: bool) -> None:
    """Raise `Invalid` for trainings on several machines whose workspace is behind a URL: they meet in a folder."""
    hardware = recipe.hardware
    if remote and hardware and any(hardware.nodes(n)[0] > 1 for n in (hardware.gpus, *hardware.gpus_of.values())):
        raise Invalid("hardware asks for several machines: give a --workspace folder that all of them share, not a URL")


def _check_devices(device: str, processes: int) -> None:
    import torch

    there = torch.cuda.device_count()
    if device == "gpu" and there < processes:
        raise Invalid(
            f"the recipe's hardware wants {processes} GPUs of each machine and this one has {there}; lower hardware.gpus, "
            "or run the data stages here (--until) and this one where the GPUs are"
        )


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("", 0))
        return int(s.getsockname()[1])
