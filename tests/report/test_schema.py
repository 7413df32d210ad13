"""summary.json keeps to its published schema, and the schema names every key that it holds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from aquilamed.report.gather import gather
from aquilamed.report.schema import json_schema
from aquilamed.report.summary import summarise
from release_workspace import make
from report_run import METRICS, PUBLISHED, run, schema_mistakes


def test_the_published_schema_is_the_codes() -> None:
    assert json.loads(PUBLISHED.read_text("utf-8")) == json_schema(), (
        "the schema changed: aquilamed report --schema > docs/summary.schema.json; raise VERSION if a key went or means something else"
    )
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("metrics", [METRICS, {}, {stage: {} for stage in METRICS}])
def test_summaries_keep_to_it(tmp_path: Path, metrics: dict[str, dict[str, Any]]) -> None:
    assert schema_mistakes(summarise(run(tmp_path, metrics))) == []


def test_a_workspaces_summary_keeps_to_it_and_points_to_its_manifests(tmp_path: Path) -> None:
    space = make(tmp_path)
    summary = summarise(gather(space))
    assert schema_mistakes(summary) == []
    assert len(summary["stages"]) > 20
    for name, stage in summary["stages"].items():
        assert json.loads((space.root / stage["manifest"]).read_text("utf-8"))["stage"] == name


@pytest.mark.parametrize(
    ("key", "value"),
    [("schema", 2), ("fingerprint", None), ("stages", {"x": {"state": "fine"}}), ("knowledge", [{"model": "base"}])],
)
def test_what_breaks_it_is_noticed(tmp_path: Path, key: str, value: Any) -> None:
    summary = summarise(run(tmp_path, METRICS)) | {key: value}
    assert schema_mistakes(summary, strict=False)
    assert schema_mistakes(summarise(run(tmp_path, METRICS)) | {"novel": 1})
    assert not schema_mistakes(summarise(run(tmp_path, METRICS)) | {"novel": 1}, strict=False), "keys may be added"


def test_the_command_prints_it() -> None:
    line = [sys.executable, "-m", "aquilamed.cli", "report"]
    done = subprocess.run([*line, "--schema"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json_schema()
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert "name a workspace" in done.stderr
