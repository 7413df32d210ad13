"""How the machines of a run find each other: by files in the workspace, which all of them see under one path.

The first machine runs `aquilamed run`; every other one `aquilamed join`. When a training wants several machines, the
first writes a call, waits until all have answered it, and says go. So nobody is bound to a port, a scheduler or a
time-out while data stages run, and a call that a dead run left behind harms nobody: nothing follows an answer to it.

WORKSPACE/launch/call.json      {"id", "state": call | go | ended, "job"}; ended when the run is through
WORKSPACE/launch/node-K.json    {"id"}: machine K's answer
"""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from aquilamed.config import Invalid, StageFailed
from aquilamed.launch.agent import take_part
from aquilamed.launch.job import Job, read_job
from aquilamed.progress import Progress
from aquilamed.records import write_json

LOOK, SAY = 0.5, 60.0
"""Seconds between two looks at the files, and between two words about waiting."""


def gather(root: Path, job: Job, progress: Progress) -> None:
    """Return when the machines 1, 2, … of a job have answered and been told to start."""
    call = {"id": uuid.uuid4().hex, "state": "call", "job": str(job.folder / "job.json")}
    write_json(_call(root), call)
    waiting, said = set(range(1, job.nodes)), 0.0
    while waiting:
        waiting = {node for node in waiting if _read(_answer(root, node)).get("id") != call["id"]}
        if waiting and time.monotonic() - said > SAY:
            said = time.monotonic()
            missing = ", ".join(map(str, sorted(waiting)))
            progress.say(f"  Waiting for machine {missing}: aquilamed join {root} --node NUMBER")
        time.sleep(LOOK if waiting else 0)
    write_json(_call(root), {**call, "state": "go"})


def end(root: Path) -> None:
    """Tell the other machines that the run is through; nothing where no machine was ever called."""
    if _call(root).exists():
        write_json(_call(root), {"id": uuid.uuid4().hex, "state": "ended", "job": ""})


def join(root: Path, node: int, progress: Progress) -> None:
    """Be machine `node` of the runs of a workspace, until one is through.

    A training that fails is said; the machine then waits for the next call, as that of a repeated run.

    Raises `Invalid` when the workspace's folder is not there or the job was meant for other devices than there are.
    """
    if not root.is_dir():
        raise Invalid(f"{root}: no such folder; all machines must see the workspace under the same path")
    before, answered = _read(_call(root)).get("id"), ""
    progress.say(f"Machine {node} of {root}: waiting for a training.")
    while True:
        call = _read(_call(root))
        if call.get("state") == "ended" and call["id"] != before:
            progress.say("The run is through.")
            return
        if call.get("state") == "call" and call["id"] != answered:
            answered = call["id"]
            write_json(_answer(root, node), {"id": answered})
        elif call.get("state") == "go" and call["id"] == answered:
            answered = ""
            job = read_job(Path(call["job"]))
            if node < job.nodes:
                progress.say(f"▶ {job.stage}  with {job.processes} processes of this machine")
                try:
                    take_part(job, node)
                except (StageFailed, Invalid) as error:
                    progress.say(f"failed: {job.stage}: {error}")
        time.sleep(LOOK)


def _call(root: Path) -> Path:
    return root / "launch" / "call.json"


def _answer(root: Path, node: int) -> Path:
    return root / "launch" / f"node-{node}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found
