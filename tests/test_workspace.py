"""Artefacts, manifests, the lock, and the hash cache."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aquilamed.config import StageFailed
from aquilamed.workspace import HashCache, Workspace

HOLD = """
import sys, time
from pathlib import Path
from aquilamed.workspace import Workspace
with Workspace(Path(sys.argv[1])).lock(print):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def test_a_second_run_is_refused_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    said: list[str] = []
    with pytest.raises(StageFailed, match=f"pid {holder.pid}"), Workspace(tmp_path).lock(said.append):
        pass
    assert Workspace(tmp_path).locked()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not Workspace(tmp_path).locked()
    with Workspace(tmp_path).lock(said.append):
        pass
    assert len(said) == 1
    assert f"pid {holder.pid}" in said[0]
    with Workspace(tmp_path).lock(said.append):
        pass
    assert len(said) == 1, "a lock that was released properly is not a dead one"


def test_an_artifact_exists_only_once_committed(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    out, attempt = space.begin("corpus/rules", "abc")
    (out / "kept").mkdir()
    (out / "kept" / "part-00000.parquet").write_bytes(b"x")
    (out / "kept" / ".part-00001.parquet.9.tmp").write_bytes(b"half")
    assert attempt == 1
    assert space.artifact("corpus/rules", "abc") is None
    assert space.begin("corpus/rules", "abc")[1] == 2
    assert not list(out.rglob("*.tmp"))
    artifact = space.commit("corpus/rules", "abc", {"metrics": {}})
    assert list(artifact.manifest["outputs"]) == ["kept/part-00000.parquet"]
    assert not (out / ".work").exists()
    assert space.artifact("corpus/rules", "abc") == artifact


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\x00", "not JSON"),
        (b"[]", "no manifest of a stage"),
        (b'{"metrics": 1}', "no manifest of a stage"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, text: bytes, said: str) -> None:
    out, _ = Workspace(tmp_path).begin("sample", "abc")
    (out / "manifest.json").write_bytes(text)
    with pytest.raises(StageFailed, match=rf"manifest\.json: {said}"):
        Workspace(tmp_path).artifact("sample", "abc")


def test_the_artefact_that_was_finished_last_comes_first(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    for mark, day in (("a", 2), ("b", 3), ("c", 1)):
        space.begin("corpus/rules", mark)
        space.commit("corpus/rules", mark, {"metrics": {}, "finished": f"2026-11-0{day}"})
    space.begin("corpus/rules", "half")
    assert [a.path.name for a in space.artifacts("corpus/rules")] == ["b", "a", "c"]
    assert space.artifacts("corpus") == []


def test_the_hash_cache_reads_a_file_again_only_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one")
    cache = HashCache(tmp_path / "inputs.json")
    assert cache.get(file, compute=False) is None
    first = cache.get(file, compute=True)
    assert HashCache(tmp_path / "inputs.json").get(file, compute=False) == first
    time.sleep(0.01)
    file.write_text("two")
    assert cache.get(file, compute=False) is None
    assert cache.get(file, compute=True) != first


def test_what_a_killed_worker_left_is_no_output(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    out, _ = space.begin("corpus/rules", "f" * 32)
    (out / "kept").mkdir()
    (out / "kept" / "part-00000.parquet").write_bytes(b"whole")
    (out / "kept" / ".part-00000.parquet.9.tmp").write_bytes(b"half")
    outputs = space.commit("corpus/rules", "f" * 32, {}).manifest["outputs"]
    assert list(outputs) == ["kept/part-00000.parquet"]
    assert not list(out.rglob("*.tmp"))
