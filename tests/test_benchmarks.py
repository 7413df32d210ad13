"""Every benchmark still finds what it measures: a rename elsewhere must not break one unseen."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
LOAD = """
import runpy, sys
for path in sys.argv[1:]:
    try:
        runpy.run_path(path, run_name="loaded")
    except ModuleNotFoundError as error:
        if error.name not in ("datatrove", "orjson", "xxhash"):  # the extra [bench]
            raise
"""


def test_they_load() -> None:
    command = [sys.executable, "-c", LOAD, *map(str, sorted(BENCHMARKS.glob("*.py")))]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
