"""Two machines, here two commands with one process each, train together and find each other by the workspace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launch_stage import prepared, run

from aquilamed.launch import meeting
from aquilamed.records import write_json


def test_a_machine_joins_for_a_training_and_leaves_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILAMED_HOST", "127.0.0.1")
    ctx = prepared(tmp_path, "fsdp", hardware="gpus_per_node: 1")
    # A run that died left a call behind: it is answered, and nothing follows.
    write_json(tmp_path / "launch" / "call.json", {"id": "dead", "state": "call", "job": "/nowhere/job.json"})
    command = [sys.executable, "-m", "aquilamed.cli", "join", str(tmp_path)]
    other = subprocess.Popen(command, env={**os.environ, "AQUILAMED_NODE": "1"}, stderr=subprocess.PIPE, text=True)
    try:
        metrics = run(ctx)
        assert (metrics["processes"], metrics["layout"], metrics["steps"]) == (2, "fsdp", 4)
        assert other.poll() is None, "it waits for the run's next training"
        meeting.end(tmp_path)
        _, said = other.communicate(timeout=60)
    finally:
        other.kill()
    assert other.returncode == 0
    assert "finetune  with 1 processes of this machine" in said
    assert "The run is through." in said


def test_nobody_joins_nowhere(tmp_path: Path) -> None:
    for arguments, said in ((["x", "--node", "1"], "no such folder"), ([str(tmp_path)], "which machine is this?")):
        command = [sys.executable, "-m", "aquilamed.cli", "join", *arguments]
        found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert found.returncode == 2
        assert said in found.stderr


def test_without_a_call_nothing_ends(tmp_path: Path) -> None:
    meeting.end(tmp_path)
    assert not list(tmp_path.iterdir())
