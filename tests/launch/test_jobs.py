"""Jobs for schedulers: they render from a recipe's hardware, parse, and start the right command on every machine."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from aquilamed.config import Invalid
from aquilamed.launch.jobs import script
from aquilamed.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
PAPER = RECIPES / "aquila-med-7b.yaml"
PLACE = "/data/it's; $(here)"


@pytest.fixture(autouse=True)
def _no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / "home"))


def job(scheduler: str, overrides: tuple[str, ...] = (), recipe: Path = PAPER) -> str:
    loaded = load_recipe(recipe, list(overrides))
    return script(scheduler, loaded, recipe, PLACE, list(overrides), 48, "registry/aquilamed:1", "shared-data")


def test_slurm_starts_the_run_once_and_joins_elsewhere(tmp_path: Path) -> None:
    """The script is run for real, by an srun that starts its command for three machines."""
    text = job("slurm", ("seed=7", "name=a.b"))
    for line in ("--nodes=3", "--gpus-per-node=8", "--ntasks-per-node=1", "--time=48:00:00", "--job-name=a.b"):
        assert f"#SBATCH {line}\n" in text
    assert "pretrain/stage1: 24 processes, fsdp; batch 768 = 24 × 1 × 32 passes" in text
    assert "finetune: 8 processes, fsdp; batch 128 = 8 × 1 × 16 passes" in text
    path = tmp_path / "job.sh"
    path.write_text(text)
    subprocess.run(["bash", "-n", path], check=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text('#!/bin/bash\nshift\nfor n in 0 1 2; do SLURM_NODEID=$n "$@"; done\n')
    (tools / "aquilamed").write_text('#!/bin/bash\nprintf "%s|" "$SLURM_NODEID" "$@"; echo\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    run = subprocess.run(
        ["bash", path], env={"PATH": f"{tools}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == [
        f"0|run|{PAPER}|--workspace|{PLACE}|--set|seed=7|--set|name=a.b|",
        f"1|join|{PLACE}|",
        f"2|join|{PLACE}|",
    ]


def test_kubernetes_is_an_indexed_job(tmp_path: Path) -> None:
    found: dict[str, Any] = yaml.safe_load(job("kubernetes", ("seed=7",)))
    assert (found["kind"], found["metadata"]["name"]) == ("Job", "aquila-med-7b")
    spec = found["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert spec["activeDeadlineSeconds"] == 48 * 3600
    (container,) = spec["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert container["image"] == "registry/aquilamed:1"
    assert not any("KEY" in e["name"] or "TOKEN" in e["name"] for e in container["env"])
    claims = [
        v["persistentVolumeClaim"]["claimName"]
        for v in spec["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert claims == ["shared-data"]
    (tmp_path / "aquilamed").write_text('#!/bin/bash\nprintf "%s|" "$@"; echo\n')
    (tmp_path / "aquilamed").chmod(0o755)
    said = [
        subprocess.run(
            container["command"],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": str(n)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n in (0, 1)
    ]
    assert said == [f"run|{PAPER}|--workspace|{PLACE}|--set|seed=7|\n", f"join|{PLACE}|\n"]


@pytest.mark.parametrize("scheduler", ["slurm", "kubernetes"])
def test_processes_on_cpus(scheduler: str) -> None:
    hardware = "hardware={device: cpu, gpus: 4, gpus_per_node: 2, memory_gb: 500}"
    text = job(
        scheduler,
        (hardware, "hardware.architecture={layers: 2, hidden: 64, ffn: 64, heads: 4, kv_heads: 4, vocabulary: 300}"),
    )
    assert "2 machines of 2 processes" in text or "2 pods of 2 processes" in text
    assert "ddp" in text
    assert "gpu" not in text.lower().replace("hardware={device: cpu, gpus: 4, gpus_per_node: 2", "").replace(
        "data stages need no gpu", ""
    )


def test_what_no_job_can_be_made_of_is_refused() -> None:
    with pytest.raises(Invalid, match="needs a hardware section"):
        job("slurm", recipe=RECIPES / "demo.yaml")
    with pytest.raises(Invalid, match="batch 64 is not a multiple"):
        job("slurm", ("hardware.gpus_of={finetune: 8}",))
