"""A machine's processes of a job: started and watched by torchrun's agent."""

import json
import logging
import os
import signal
import sys
from typing import Any

from aquilamed.config import Invalid, StageFailed
from aquilamed.launch.job import Job

PARENT = "AQUILAMED_PARENT"
"""The environment variable that tells a process whose child it is."""
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def take_part(job: Job, node: int) -> None:
    """Start this machine's processes of a job with torchrun's agent, and return when all have ended well.

    Raises `Invalid` and `StageFailed` as the first failing process did, and `StageFailed` for one that was killed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # we say ourselves what went wrong
    config = LaunchConfig(
        min_nodes=job.nodes,
        max_nodes=job.nodes,
        nproc_per_node=job.processes,
        run_id=job.stage.replace("/", "-"),
        rdzv_backend="static",
        rdzv_endpoint=f"{job.host}:{job.port}",
        rdzv_configs={"rank": node, "timeout": 900},
        max_restarts=0,  # a failed training is continued from its checkpoint by the next run, with everything checked
        monitor_interval=0.2,
    )
    handlers = {s: signal.getsignal(s) for s in HANDLED}
    changed = {
        PARENT: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")
        or str(max(1, len(os.sched_getaffinity(0)) // job.processes)),
        **({"CUDA_VISIBLE_DEVICES": ""} if job.device == "cpu" else {}),
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)  # the agent hands its own environment on
    try:
        elastic_launch(config, sys.executable)("-m", "aquilamed.launch.worker", str(job.folder / "job.json"))
    except SignalException as error:
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        _raise(job, error)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _raise(job: Job, failed: Any) -> None:
    """Raise what the processes wrote down, else say which of them was killed."""
    told = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(job.folder.glob("error-*.json"))]
    ours = [t for t in told if t["kind"] in ("Invalid", "StageFailed")]
    kinds = {"Invalid": Invalid, "StageFailed": StageFailed}
    if ours:
        first = min(ours, key=lambda t: t["time"])
        raise kinds[first["kind"]](first["message"])
    killed = [
        (rank, f) for rank, f in sorted(failed.failures.items()) if f.exitcode < 0 and f.exitcode != -signal.SIGTERM
    ]
    if killed:
        rank, failure = killed[0]
        raise StageFailed(
            f"process {rank} of {job.nodes * job.processes} was killed by {failure.signal_name()}"
            f"{' (out of memory?)' if failure.exitcode == -signal.SIGKILL else ''}; the others were stopped. "
            "Run the same command again to go on from the last checkpoint"
        ) from failed
    first = min(told, key=lambda t: t["time"], default={"rank": "?", "message": str(failed), "trace": ""})
    raise StageFailed(f"process {first['rank']} failed: {first['message']}\n\n{first['trace']}") from failed
