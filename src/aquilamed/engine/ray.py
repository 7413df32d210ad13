"""The Ray engine: the same tasks on a local Ray or on a cluster (`--engine ray`, `--engine ray://host:port`).

Parts are the unit of work: each task reads some files, writes others and returns counts, so nothing large passes through
Ray's object store and a task that died with its worker is simply run again. Models that a task opens stay loaded in the
worker process, which Ray reuses for tasks of one kind.
"""

import os
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aquilamed
from aquilamed.config import Invalid, StageFailed
from aquilamed.engine import Counts, Finish, Task, Waiting, run_marked
from aquilamed.progress import Progress

_RETRIES = 5  # of a task whose worker or node died
_ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"), "1")


class RayEngine:
    """Runs tasks on Ray, which starts (or is joined) at the first one.

    Args:
        address: ray://host:port of a cluster; None joins the one that RAY_ADDRESS names (as in a submitted Ray job)
            or else starts a Ray of this machine's cores.
        workers: tasks at a time; 0 is as many as there are cores.
        root: the workspace's folder.
    """

    def __init__(self, progress: Progress, address: str | None, workers: int, root: Path) -> None:
        self.progress, self.workers, self.root = progress, workers, root
        self.address = address or os.environ.get("RAY_ADDRESS")
        self._ray: Any = None

    def _start(self) -> Any:
        if self._ray is not None:
            return self._ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray is about to change the default: a task without GPUs must not hide them from the process.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise Invalid("--engine ray needs Ray: pip install 'aquilamed[ray]'") from None
        if ray.is_initialized():  # somebody's own: used, and left running
            self._ray = ray
            return ray
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self.address is None:
                cores = self.workers or len(os.sched_getaffinity(0))
                ray.init(
                    address="local",
                    num_cpus=cores,
                    include_dashboard=False,
                    runtime_env={"env_vars": _ONE_THREAD},
                    **quiet,
                )
            else:
                package = str(Path(aquilamed.__file__).parent)
                ray.init(self.address, runtime_env={"env_vars": _ONE_THREAD, "py_modules": [package]}, **quiet)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise Invalid(f"--engine {self.address or 'ray'}: cannot start or join Ray ({why})") from error
        self._started = True
        self._check_shared(ray)
        self._ray = ray
        return ray

    _started = False

    def _check_shared(self, ray: Any) -> None:
        """Every node must see the workspace: it is where tasks read and write. Raises `Invalid` naming the node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        if self.address is None:
            return
        token = self.root.absolute() / f".seen-{uuid.uuid4().hex}"
        token.touch()
        try:
            look = ray.remote(num_cpus=0)(_exists)
            for node in nodes:
                strategy = On(node["NodeID"], soft=False)
                if not ray.get(look.options(scheduling_strategy=strategy).remote(str(token))):
                    raise Invalid(
                        f"the Ray node {node['NodeManagerAddress']} does not see {self.root}; "
                        "put the workspace on storage that every node mounts at the same path (docs/scale.md)"
                    )
        finally:
            token.unlink()

    def run(self, task: Task, items: Sequence[Any], done: Path, label: str, gpu: bool = False) -> Counts:
        """See `Engine.run`."""
        return run_marked(self.progress, items, done, label, partial(self._work, task, gpu))

    def _work(self, task: Task, gpu: bool, waiting: Waiting, finish: Finish) -> None:
        if not waiting:
            return
        ray = self._start()
        resources = ray.cluster_resources()
        gpus = 1 if gpu and resources.get("GPU", 0) >= 1 else 0
        slots = int(resources["GPU"] if gpus else self.workers or resources.get("CPU", 1))
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(_call)
        queue = iter(waiting)
        running: dict[Any, Path] = {}
        try:
            while True:
                while len(running) < 2 * slots and (entry := next(queue, None)) is not None:
                    running[remote.remote(task, entry[1])] = entry[0]
                if not running:
                    return
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    finish(running.pop(reference), ray.get(reference))
        except ray.exceptions.RayTaskError as error:
            # Ray wraps what the task raised, with the worker's traceback as its message.
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except ray.exceptions.RayError as error:
            raise StageFailed(
                f"Ray lost a task {_RETRIES + 1} times ({type(error).__name__}: {str(error).splitlines()[0]}); "
                "often a node ran out of memory: look there, or give fewer --workers"
            ) from error
        finally:
            for reference in running:
                ray.cancel(reference, force=False)

    def close(self) -> None:
        """Leave the cluster; a local Ray stops."""
        if self._started:
            import ray

            ray.shutdown()
        self._ray, self._started = None, False


def _call(task: Task, item: Any) -> Counts:
    return task(item)


def _exists(path: str) -> bool:
    return Path(path).exists()
