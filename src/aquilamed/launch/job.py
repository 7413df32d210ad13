"""A training for many processes, written down for them and for the other machines."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from aquilamed.records import write_json
from aquilamed.stage import work_folder
from aquilamed.train.hardware import Layout


@dataclass(frozen=True)
class Job:
    """What a process must know to be one of a training's.

    Its folder lies in the stage's work folder: job.json and recipe.yaml before, result.json or error-RANK.json after.
    """

    stage: str
    out: str
    inputs: dict[str, str]
    """Stage → folder of its artefact."""
    seed: int
    root: str
    nodes: int
    processes: int
    """On each machine."""
    layout: Layout
    offload: bool
    device: str
    host: str
    """Where the first machine is reached by the others."""
    port: int

    @property
    def folder(self) -> Path:
        """Where this job's files are."""
        return job_folder(Path(self.out))

    def write(self) -> None:
        """Write job.json, which others may be waiting for."""
        write_json(self.folder / "job.json", asdict(self))


def job_folder(out: Path) -> Path:
    """The folder of the job that makes an artefact."""
    return work_folder(out) / "launch"


def read_job(path: Path) -> Job:
    """The job of a job.json."""
    return Job(**json.loads(path.read_text(encoding="utf-8")))
