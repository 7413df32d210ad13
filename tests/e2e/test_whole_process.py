"""The main job through the command line on a tiny random model: every stage, skipped when done, resumed when killed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from report_run import schema_mistakes

REPO = Path(__file__).parents[2]
# The demo recipe as shipped, on a model of two layers; a few numbers smaller to suit its context of 512 tokens.
SMALLER = [
    "corpus.pack1.length=128",
    "corpus.pack1.max_tokens=2048",
    "corpus.pack2.length=128",
    "corpus.pack2.max_tokens=1024",
    "pretrain.stage1.save_steps=2",
    "finetune.save_steps=2",
    "align.save_steps=1",
    "evaluate.knowledge.shots=0",
    "prefer.subjective.max_new_tokens=8",
    "evaluate.pairwise.max_new_tokens=8",
    "evaluate.multiturn.max_new_tokens=8",
    "evaluate.safety.max_new_tokens=8",
]
DATA = ("sample", "sources/", "corpus/", "instruct/", "prefer/")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("base"))


def command(base: Path, workspace: Path, *more: str) -> list[str]:
    sets = [a for s in [f"base_model.path={base}", *SMALLER] for a in ("--set", s)]
    run = [sys.executable, "-m", "aquilamed.cli", "run", str(REPO / "recipes" / "demo.yaml"), "-w", str(workspace)]
    return [*run, *sets, *more]


def start(line: list[str]) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True, env=env)


def finish(line: list[str]) -> str:
    process = start(line)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def manifests(workspace: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(p.read_text("utf-8")) for p in workspace.rglob("manifest.json")]
    return {m["stage"]: m for m in found}


@pytest.fixture(scope="session")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("undisturbed")
    finish(command(base, workspace))
    return workspace


@pytest.mark.slow
def test_every_stage_is_done_and_counted(undisturbed: Path) -> None:
    done = manifests(undisturbed)
    assert {"sample", "corpus/quality", "pretrain/stage2", "finetune", "align", "evaluate/multiturn"} <= set(done)
    for name, manifest in done.items():
        if "records_in" in manifest:
            assert manifest["records_in"] == manifest["records_kept"] + manifest["records_dropped"], name
            assert manifest["records_in"] > 0, name
    assert abs(done["align"]["metrics"]["step0_loss"] - 0.6931) < 1e-4
    summary = json.loads((undisturbed / "report" / "summary.json").read_text("utf-8"))
    assert {s["state"] for s in summary["stages"].values()} == {"done"}
    assert schema_mistakes(summary) == []
    page = (undisturbed / "report" / "index.html").read_text("utf-8").replace("http://www.w3.org", "")
    assert not re.search("https?://", page), "the page asks nothing of the network"


@pytest.mark.slow
def test_a_second_run_does_nothing(base: Path, undisturbed: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("manifest.json")}
    said = finish(command(base, undisturbed))
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("manifest.json")} == before
    assert "▶" not in said


@pytest.mark.slow
@pytest.mark.parametrize("what", ["instruct", "preference", "corpus", "model"])
def test_all_of_it_is_released(what: str, undisturbed: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "aquilamed.cli", "release", str(undisturbed), "--what", what, "--out"]
    for out in ("one", "two"):
        finish([*line, str(tmp_path / out)])
    names = sorted(str(p.relative_to(tmp_path / "one")) for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert {"README.md", "LICENSE.md", "release.json", "SHA256SUMS"} <= set(names)
    assert [n for n in names if (tmp_path / "one" / n).read_bytes() != (tmp_path / "two" / n).read_bytes()] == []
    page = (tmp_path / "one" / "README.md").read_text("utf-8")
    assert "Not a medical device" in page
    assert str(undisturbed) not in page


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(base: Path, undisturbed: Path, tmp_path: Path) -> None:
    """SIGKILL of the process group at random moments, other number of workers: data and weights are the same."""
    workspace, line = tmp_path / "killed", command(base, tmp_path / "killed", "--workers", "1")
    moments = random.Random(7)
    for _ in range(6):
        process = start(line)
        try:
            process.communicate(timeout=moments.uniform(5, 20))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    finish(line)
    one, two = manifests(undisturbed), manifests(workspace)
    assert set(one) == set(two)
    for name in one:
        if name.startswith(DATA):
            assert two[name]["outputs"] == one[name]["outputs"], name
    weights = "model/model.safetensors"
    for name in ("pretrain/stage1", "pretrain/stage2", "finetune", "align"):
        assert two[name]["outputs"][weights] == one[name]["outputs"][weights], name


@pytest.mark.slow
def test_ctrl_c_exits_130_and_resumes(base: Path, tmp_path: Path) -> None:
    line = command(base, tmp_path, "--until", "corpus")
    process = start(line)
    assert process.stderr is not None
    while "corpus/rules" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "run the same command again" in said
    finish(line)
