"""The Ray engine writes what the local one writes, byte for byte, also when a worker is killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from aquilamed import pipeline
from aquilamed.config import Invalid
from aquilamed.engine import Counts, map_parts, no_reason, open_engine
from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.records import parts, write_parts
from aquilamed.sample.private import generate
from aquilamed.workspace import Workspace

ray = pytest.importorskip("ray")
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=80 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},  # the tasks of this file
    )
    yield
    ray.shutdown()


def hashes(folder: Path) -> dict[str, str]:
    """Hash by relative path of everything that a run leaves but for its times."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and ".work" not in p.parts]
    files = [p for p in files if p.name not in ("manifest.json", "inputs.json", "lock")]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def recipe(folder: Path) -> Path:
    """A recipe of the corpus' first stages over a few hundred texts with copies and private information."""
    texts = [p.text for p in generate(400, seed=11)]
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": t}, ensure_ascii=False) for t in [*texts, *texts[:40], "short", *texts[:5]]]
    (folder / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path = folder / "recipe.yaml"
    path.write_text(
        "name: small\nsources:\n  documents:\n    rows_per_part: 50\n"
        "    sources: [{name: texts, path: texts.jsonl, license: CC0-1.0}]\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.usefixtures("_ray")
def test_same_bytes_as_local(tmp_path: Path) -> None:
    loaded = load_recipe(recipe(tmp_path))
    found = {}
    for engine in ("local", "ray"):
        space = Workspace(tmp_path / engine)
        pipeline.run(loaded, space, QUIET, until="corpus/decontaminate", workers=2, engine=engine)
        found[engine] = hashes(space.root)
    assert len(found["local"]) > 60
    assert any(name.endswith("contamination.json") for name in found["local"])
    assert found["local"] == found["ray"]


def dies_once(item: tuple[Path, Path, int]) -> Counts:
    source, flags, number = item
    if number in (2, 5) and not (flags / str(number)).exists():
        (flags / str(number)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    frame = pl.read_parquet(source)
    frame.with_columns(pl.col("n") * 2).write_parquet(flags / f"{number}.parquet")
    return {"rows": frame.height}


@pytest.mark.usefixtures("_ray")
def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    write_parts(tmp_path / "in", pl.DataFrame({"id": [f"{n:03d}" for n in range(80)], "n": range(80)}), rows=10)
    sources = parts(tmp_path / "in")
    flags = tmp_path / "flags"
    flags.mkdir()
    engine = open_engine("ray", QUIET, 2, tmp_path)
    counts = engine.run(dies_once, [(p, flags, n) for n, p in enumerate(sources)], tmp_path / "done", "test")
    assert counts == {"rows": 80}
    assert (flags / "2").exists()
    assert (flags / "5").exists()
    doubled = pl.concat([pl.read_parquet(flags / f"{n}.parquet") for n in range(8)])
    assert doubled["n"].to_list() == [2 * n for n in range(80)]


def drop_odd(frame: pl.DataFrame) -> pl.DataFrame:
    odd = pl.col("n") % 2 == 1
    return no_reason(frame).with_columns(reason=pl.when(odd).then(pl.lit("test.odd")))


def refuse(item: int) -> Counts:
    if item == 3:
        raise Invalid("item 3 is wrong")
    return {"n": 1}


@pytest.mark.usefixtures("_ray")
def test_kernels_and_errors_are_those_of_the_local_engine(tmp_path: Path) -> None:
    write_parts(tmp_path / "in", pl.DataFrame({"id": [f"{n:03d}" for n in range(60)], "n": range(60)}), rows=7)
    engine = open_engine("ray", QUIET, 2, tmp_path)
    found = [
        map_parts(e, drop_odd, parts(tmp_path / "in"), tmp_path / name, "test")
        for name, e in (("a", LocalEngine(QUIET, 1)), ("b", engine))
    ]
    assert found[0] == found[1] == {"records_in": 60, "records_kept": 30, "records_dropped": 30}
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    with pytest.raises(Invalid, match=r"^item 3 is wrong$"):
        engine.run(refuse, range(6), tmp_path / "done", "test")
    engine.close()
    assert ray.is_initialized()


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="local, ray and ray://"):
        open_engine("spark", QUIET, 1, tmp_path)


def test_a_cluster_is_joined_and_the_death_of_a_node_survived(tmp_path: Path) -> None:
    """In a process of its own: a process is in one Ray at a time."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    environment |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    script = [sys.executable, str(Path(__file__).with_name("ray_cluster.py")), str(tmp_path)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-3:] == ["360", str(3 * 2 * sum(range(120))), "0"]
