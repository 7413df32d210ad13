"""Inputs and workspaces on an S3-compatible server: a real one on loopback (moto's server mode)."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aquilamed import remote
from aquilamed.annotate.store import BatchCall, CallStore, Question, Usage
from aquilamed.cli import app
from aquilamed.config import Invalid, StageFailed
from aquilamed.progress import Progress
from aquilamed.remote import Remote, fetch, is_url
from aquilamed.sample.private import generate

pytest.importorskip("s3fs")
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def _server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import s3fs

    for key, value in {
        "AWS_ENDPOINT_URL": _server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AQUILAMED_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(key, value)
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem(endpoint_url=_server)
    bucket = f"bucket-{tmp_path.name.replace('_', '-').lower()[:40]}"
    fs.mkdir(bucket)
    return fs, bucket


def recipe(s3: Any, tmp_path: Path) -> Path:
    fs, bucket = s3
    lines = [json.dumps({"text": p.text}, ensure_ascii=False) for p in generate(120, seed=3)]
    fs.pipe(f"{bucket}/raw/a.jsonl", "\n".join(lines[:70]).encode())
    fs.pipe(f"{bucket}/raw/b.jsonl", "\n".join(lines[70:]).encode())
    path = tmp_path / "recipe.yaml"
    source = f"{{name: texts, path: 's3://{bucket}/raw/*.jsonl', license: CC0-1.0}}"
    (tmp_path / "model").mkdir()
    path.write_text(
        f"name: far\nbase_model: {{path: {tmp_path / 'model'}}}\nsources:\n  documents:\n    sources: [{source}]\n",
        encoding="utf-8",
    )
    return path


def aquilamed(*arguments: str, ok: bool = True) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert (result.exception is None) == ok, result.output + repr(result.exception)
    return result.output if ok else str(result.exception)


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/x*.jsonl")
    assert is_url("memory://x")
    assert not is_url("sample://corpus")
    assert not is_url("/data/x")
    assert not is_url("C:/x")


def test_run_on_s3_and_go_on_from_another_machine(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, bucket = s3
    path, place = recipe(s3, tmp_path), f"s3://{bucket}/ws"
    aquilamed("run", str(path), "-w", place, "--until", "corpus/rules", "--workers", "1")
    there = fs.find(f"{bucket}/ws")
    assert sum(name.endswith("manifest.json") for name in there) == 3
    assert any(name.endswith("report/index.html") for name in there)
    assert not any("/.work/" in name or name.endswith("lock.json") for name in there)
    manifest = json.loads(fs.cat_file(next(n for n in there if "/sources/" in n and n.endswith("manifest.json"))))
    assert list(manifest["files"]) == [f"s3://{bucket}/raw/a.jsonl", f"s3://{bucket}/raw/b.jsonl"]

    # Another machine: another home, nothing local. What is done is not done again.
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / "other"))
    before = {n: fs.info(n)["LastModified"] for n in there if n.endswith(".parquet")}
    aquilamed("run", str(path), "-w", place, "--until", "corpus/pii", "--workers", "1")
    after = fs.find(f"{bucket}/ws")
    assert sum(name.endswith("manifest.json") for name in after) == 4
    fs.invalidate_cache()
    assert {n: fs.info(n)["LastModified"] for n in before} == before
    assert "corpus/pii" in aquilamed("status", place)
    assert "secret-of-the-test" not in b"".join(fs.cat_file(n) for n in after if n.endswith("json")).decode()


def test_a_half_uploaded_artefact_does_not_count(s3: Any, tmp_path: Path) -> None:
    fs, bucket = s3
    path, place = recipe(s3, tmp_path), f"s3://{bucket}/ws"
    aquilamed("run", str(path), "-w", place, "--until", "corpus/language", "--workers", "1")
    here = Remote(place)
    (manifest,) = [n for n in fs.find(f"{bucket}/ws") if "/corpus/language/" in n and n.endswith("manifest.json")]
    fs.rm(manifest)
    shutil.rmtree(here.root)
    here.down(QUIET)
    assert len(list(here.root.glob("sources/documents/*/manifest.json"))) == 1
    assert not (here.root / "corpus").exists()


def test_inputs_are_fetched_once_and_again_when_they_change(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, bucket = s3
    fs.pipe(f"{bucket}/in/x.jsonl.gz", b"one")
    assert fetch(f"s3://{bucket}/in", missing=False) == []
    ((url, copy),) = fetch(f"s3://{bucket}/in")
    assert url == f"s3://{bucket}/in/x.jsonl.gz"
    assert copy.name == "file.jsonl.gz"
    assert copy.read_bytes() == b"one"
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_get", None)  # would fail if it were called
        assert fetch(f"s3://{bucket}/in") == [(url, copy)]
    fs.pipe(f"{bucket}/in/x.jsonl.gz", b"two")
    ((_, changed),) = fetch(f"s3://{bucket}/in")
    assert changed.read_bytes() == b"two"
    assert copy.read_bytes() == b"one"


def test_calls_paid_on_another_machine_are_not_lost(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, bucket = s3
    question = Question("key", "model", "rubric", "hash", 1)
    for machine, answer in (("a", "one"), ("b", "two"), ("a", "three")):
        monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / machine))
        here = Remote(f"s3://{bucket}/ws")
        here.root.mkdir(parents=True, exist_ok=True)
        here.down(QUIET)
        store = CallStore(here.root / "calls.sqlite")
        store.add(question, "answered", answer, Usage(cost=1.0))
        store.close()
        here.up_top()
    store = CallStore(here.root / "calls.sqlite")
    assert sorted(store.answers("key")) == ["one", "three", "two"]
    assert store.spent() == 3.0


def test_batches_sent_from_another_machine_are_known_and_closed_once(
    s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, bucket = s3
    question = Question("key", "model", "rubric", "hash", 1)

    def on(machine: str, work: Callable[[CallStore], None]) -> CallStore:
        monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / machine))
        here = Remote(f"s3://{bucket}/ws")
        here.root.mkdir(parents=True, exist_ok=True)
        here.down(QUIET)
        store = CallStore(here.root / "calls.sqlite")
        work(store)
        store.close()
        here.up_top()
        return CallStore(here.root / "calls.sqlite")

    def sent(store: CallStore) -> None:
        store.begin_batch("mark", "address", "model", 0.5, [BatchCall(question, 9)])
        store.name_batch("mark", "batch_1")

    on("a", sent)
    there = on("b", lambda store: None)
    assert [b.batch for b in there.open_batches("address")] == ["batch_1"]
    assert there.batch_calls("mark") == {"key": BatchCall(question, 9)}
    assert there.spent() == 0.5
    on("b", lambda store: store.close_batch("mark", "completed", [(question, "answered", "one", Usage(cost=0.25))]))
    back = on("a", lambda store: None)
    assert back.open_batches("address") == []
    assert back.answers("key") == ["one"]
    assert back.spent() == 0.25


def test_bad_urls_are_explained(s3: Any) -> None:
    _, bucket = s3
    with pytest.raises(Invalid, match="no file matches"):
        fetch(f"s3://{bucket}/nothing/*.jsonl")
    with pytest.raises(Invalid, match="nosuch"):
        fetch("nosuch://x/y")


def test_two_runs_do_not_share_a_remote_workspace(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bucket = s3
    place = Remote(f"s3://{bucket}/ws")
    with place.hold(), pytest.raises(StageFailed, match="another run holds"), Remote(f"s3://{bucket}/ws").hold():
        pass
    place.fs.pipe_file(
        f"{place.path}/lock.json", json.dumps({"holder": "a dead one", "at": time.time() - 400}).encode()
    )
    with place.hold():  # taken over
        pass
    place.fs.invalidate_cache()
    assert not place.fs.exists(f"{place.path}/lock.json")


def test_a_run_that_lost_its_lock_says_so_and_leaves_the_other_ones(s3: Any) -> None:
    _, bucket = s3
    place = Remote(f"s3://{bucket}/ws")
    note = json.dumps({"holder": "somebody else", "at": time.time()}).encode()
    with pytest.raises(StageFailed, match="took this workspace over"), place.hold():
        place.fs.pipe_file(f"{place.path}/lock.json", note)
    assert json.loads(place.fs.cat_file(f"{place.path}/lock.json"))["holder"] == "somebody else"


def test_a_path_that_leaves_the_workspace_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path))
    here = Remote("memory://ws")
    monkeypatch.setattr(here.fs, "find", lambda path, detail: {f"{path}/../evil": {"size": 1}})
    with pytest.raises(Invalid, match="is no path of a workspace"):
        here.down(QUIET)


def test_doctors_verdicts_go_to_and_fro(s3: Any, tmp_path: Path) -> None:
    fs, bucket = s3
    place = Remote(f"s3://{bucket}/ws")
    mine = place.root / "review" / "verdicts.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("one\n")
    place.up_review()
    assert fs.cat(f"{bucket}/ws/review/verdicts.jsonl") == b"one\n"
    fs.pipe(f"{bucket}/ws/review/verdicts.jsonl", b"one\ntwo\n")  # another machine's import
    fs.pipe(f"{bucket}/ws/recipe.yaml", b"name: x\n")
    place.up_top()
    place.down(QUIET)
    assert mine.read_text() == "one\ntwo\n", "a run brings the newest and overwrites nothing there"
