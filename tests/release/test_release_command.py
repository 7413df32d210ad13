"""`aquilamed release` from the shell: the folder on stdout, mistakes with exit code 2."""

import subprocess
import sys
from pathlib import Path

import polars as pl

from release_workspace import make, usual


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "aquilamed.cli", "release", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_nothing_that_may_go_out_exits_2_and_says_why(tmp_path: Path) -> None:
    space = make(tmp_path, records=lambda stage: usual(stage).with_columns(license=pl.lit("NC")))
    done = run(str(space.root), "--what", "instruct")
    assert done.returncode == 2
    assert "10 of closed (NC)" in done.stderr
    assert "--include-restricted" in done.stderr
    done = run(str(space.root), "--what", "instruct", "--include-restricted", "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "out")), done.stderr


def test_a_folder_that_is_no_workspace(tmp_path: Path) -> None:
    done = run(str(tmp_path), "--what", "instruct")
    assert done.returncode == 2
    assert "is not a workspace" in done.stderr
    done = run(str(tmp_path), "--what", "instruct", "--public")
    assert "--public goes with --push" in done.stderr
