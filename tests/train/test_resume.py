"""A training that is killed again and again ends bit for bit like one that was left alone."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import killed
import pytest


@pytest.mark.parametrize("stage", killed.STAGES)
def test_killed_after_every_step_it_ends_bit_equal(stage: str, tmp_path: Path) -> None:
    """Ten kill points in one chain: each attempt dies one step later than the one before."""
    alone = killed.train(stage, killed.context(tmp_path, stage, "alone"))
    assert alone["steps"] == 11
    ctx = killed.context(tmp_path, stage, "killed")
    for last in range(1, 11):

        def die(step: int, last: int = last) -> None:
            if step == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            killed.train(stage, ctx, die)
    assert killed.train(stage, ctx) == alone


@pytest.mark.slow
def test_a_process_that_is_really_killed_goes_on(tmp_path: Path) -> None:
    def attempt(folder: Path, *kill: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, killed.__file__, "finetune", str(folder), *kill]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    alone = json.loads(attempt(tmp_path / "alone").stdout)
    assert attempt(tmp_path / "killed", "5").returncode == -signal.SIGKILL
    assert json.loads(attempt(tmp_path / "killed").stdout) == alone
