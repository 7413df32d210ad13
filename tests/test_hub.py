"""Fetching from the hub: a real client against a real server on loopback; then everything else without the network."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants

import tiny_model
from aquilamed import pipeline
from aquilamed.config import Invalid, StageFailed
from aquilamed.hub import Repo, checksums, fetched, matches, parse, safe_name
from aquilamed.models import find_model
from aquilamed.needs import Needs, fetch_recipe
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.records import read_parts
from aquilamed.workspace import Workspace
from hub_server import Hub, serving

DATA = "\n".join(json.dumps({"query": f"第{n}个问题：头痛怎么办？", "response": f"第{n}个回答：多休息。"}, ensure_ascii=False) for n in range(2000)).encode()  # fmt: skip
PATH = "hf://datasets/someone/consult@main/data/*.jsonl"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / "home"))
    repos = {
        "datasets/someone/consult": {
            "README.md": b"# card",
            ".gitattributes": b"*.jsonl lfs",
            "data/a.jsonl": DATA,
            "data/b.jsonl": b'{"query": "Does it hurt?", "response": "A little."}\n',
            "data/deep/c.jsonl": b"{}",
        }
    }
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving(Hub(repos, large={"data/a.jsonl"})) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
        yield server


def command(hub: Hub, what: Path | str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The real command in its own process, which may use the network: this server's."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_secret"}
    line = [sys.executable, "-c", "from aquilamed.cli import main; main()", "fetch", str(what)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment, check=False)


def fetch(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What the command does, here: with the network on for as long as it takes."""
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        return fetch_recipe(load_recipe(path), Progress(quiet=True))


def recipe(tmp_path: Path, path: str = PATH, **more: Any) -> Path:
    source = {"name": "consult", "path": path, "form": "chatmed"}
    values = {"name": "t", "base_model": {"path": "someone/tiny"}, "sources": {"dialogues": {"sources": [source]}}, **more}  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return tmp_path / "recipe.yaml"


def give_model(hub: Hub, tmp_path: Path) -> None:
    files = {f.name: f.read_bytes() for f in tiny_model.build(tmp_path / "built").iterdir() if f.is_file()}
    hub.repos["someone/tiny"] = {
        **files,
        "pytorch_model.bin": b"pickle",
        "onnx/config.json": b"{}",
        "modeling.py": b"1",
    }
    hub.large |= {name for name in files if name.endswith(".safetensors")}


def run(path: Path, until: str = "sources/dialogues") -> Any:
    space = Workspace(path.parent / "ws")
    return pipeline.run(load_recipe(path), space, Progress(quiet=True), until=until, workers=1)[-1]


def test_a_recipe_is_fetched_and_the_rest_works_without_the_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_model(hub, tmp_path)
    path = recipe(tmp_path)
    loaded = load_recipe(path)
    with pytest.raises(Invalid, match="not on this machine: run aquilamed fetch RECIPE"):
        run(path)
    states = {s.name: s.state for s in pipeline.states(loaded, Workspace(tmp_path / "ws"))}
    assert states["sources/dialogues"] == states["finetune"] == "waiting"
    with pytest.raises(Invalid, match="run aquilamed fetch RECIPE, or aquilamed fetch someone/tiny"):
        find_model("someone/tiny")

    done = command(hub, path, tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert sorted(f.name for f in folder.rglob("*") if f.is_file()) == [
        ".commit",
        "a.jsonl",
        "b.jsonl",
        "checksums.json",
    ]
    known = checksums(folder)
    assert known is not None
    assert (known["commit"], known["patterns"]) == (hub.commit, ["data/*.jsonl"])
    assert "hf_secret" not in done.stdout + done.stderr + json.dumps(known)
    # The token is for the hub, not for the host that stores large files.
    assert {auth for _, p, _, auth in hub.requests if not p.startswith("/cdn/")} == {"Bearer hf_secret"}
    assert {auth for _, p, _, auth in hub.requests if p.startswith("/cdn/")} == {None}
    model = Path(find_model("someone/tiny"))
    there = {f.name for f in model.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= there
    assert not {"pytorch_model.bin", "onnx", "modeling.py"} & there

    seen = len(hub.requests)
    assert len(fetch(path, monkeypatch)) == 2
    assert len(hub.requests) == seen  # all is here: not a request
    artifact = run(path)
    assert artifact.manifest["records_kept"] == 2001
    origins = read_parts(artifact.kept)["origin"]
    assert origins[0] == "hf://datasets/someone/consult@main/data/a.jsonl:1"
    assert len(hub.requests) == seen


def data_only(tmp_path: Path, path: str = PATH) -> Path:
    return recipe(tmp_path, path, base_model={"path": str(tmp_path)})


def test_an_interrupted_fetch_goes_on_where_it_stopped(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_only(tmp_path)
    hub.break_at["data/a.jsonl"] = 50_000
    with pytest.raises(StageFailed, match=r"cannot be fetched .*run the same command again"):
        fetch(path, monkeypatch)
    folder = Repo("dataset", "someone/consult").folder(tmp_path / "home")
    assert (folder / "data" / "a.jsonl.part").stat().st_size == 50_000
    assert checksums(folder) is None
    with pytest.raises(Invalid, match="run aquilamed fetch RECIPE"):
        run(path)
    # main moves meanwhile: what is missing is still asked for at the commit of what is there.
    hub.break_at.clear()
    hub.requests.clear()
    commit, hub.commit = hub.commit, "beef" * 10
    with pytest.raises(Invalid, match="check owner, name and revision"):
        fetch(path, monkeypatch)
    hub.commit = commit
    fetch(path, monkeypatch)
    asked = {r for m, p, r, _ in hub.requests if m == "GET" and p.endswith("/data/a.jsonl")}
    assert asked == {"bytes=50000-"}
    assert (folder / "data" / "a.jsonl").read_bytes() == DATA
    assert not list(folder.rglob("*.part"))
    assert run(path).manifest["records_kept"] == 2001


@pytest.mark.parametrize("name", ["data/a.jsonl", "data/b.jsonl"])
def test_a_file_that_is_not_what_the_hub_states_is_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = data_only(tmp_path)
    hub.sent[name] = hub.repos["datasets/someone/consult"][name][:-10] + b"0123456789"
    with pytest.raises(StageFailed, match=f"{name} is not what the hub states it to be"):
        fetch(path, monkeypatch)
    folder = Repo("dataset", "someone/consult").folder(tmp_path / "home")
    assert not (folder / name).exists()
    assert not list(folder.rglob("*.part"))
    hub.sent.clear()
    assert fetch(path, monkeypatch) == [folder]


def test_a_file_that_changed_here_is_refused_and_a_copied_folder_is_not(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_only(tmp_path)
    (folder,) = fetch(path, monkeypatch)
    file = folder / "data" / "a.jsonl"
    os.utime(file, (1, 1))
    assert run(path).manifest["records_kept"] == 2001
    known = checksums(folder)
    assert known is not None
    assert known["files"]["data/a.jsonl"]["mtime_ns"] == 1_000_000_000
    file.write_bytes(DATA[:-1] + b" ")
    with pytest.raises(Invalid, match=r"a\.jsonl: gone, or not the file that was fetched"):
        run(path)
    file.unlink()
    with pytest.raises(Invalid, match=r"a\.jsonl: gone, or not the file"):
        run(path)
    # Fetching again mends it.
    fetch(path, monkeypatch)
    assert run(path).manifest["records_kept"] == 2001


def test_other_files_of_a_repository_are_added(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(data_only(tmp_path), monkeypatch)
    hub.requests.clear()
    (folder,) = fetch(data_only(tmp_path, "hf://datasets/someone/consult/data/deep"), monkeypatch)
    assert [p for m, p, *_ in hub.requests if m == "GET" and "resolve" in p] == [
        f"/datasets/someone/consult/resolve/{hub.commit}/data/deep/c.jsonl"
    ]
    known = checksums(folder)
    assert known is not None
    assert sorted(known["files"]) == ["data/a.jsonl", "data/b.jsonl", "data/deep/c.jsonl"]
    # A single file that a glob has brought needs no fetch of its own.
    assert run(data_only(tmp_path, "hf://datasets/someone/consult/data/b.jsonl")).manifest["records_in"] == 1


NAMES = ["../../evil.jsonl", "data/../../evil.jsonl", "/etc/evil.jsonl", "data/x\\..\\evil.jsonl", "data//evil.jsonl", "evil/checksums.json"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_the_folder_are_refused(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hub.repos["datasets/someone/consult"] = {name: b"{}"}
    with pytest.raises(StageFailed, match="would leave its folder or stand for one of ours; nothing"):
        fetch(data_only(tmp_path, "hf://datasets/someone/consult/**"), monkeypatch)
    assert not [p for p in tmp_path.rglob("*") if "evil" in p.name]
    assert not any("resolve" in p for _, p, *_ in hub.requests)
    assert not safe_name(name)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hf://datasets/someone/nothing/a.json", "not on the hub"),
        ("hf://datasets/someone/consult@v9/data/a.jsonl", "check owner, name and revision"),
        ("hf://datasets/someone/consult/*.parquet", r"no file matches '\*.parquet'; it has: .gitattributes, README.md"),
        ("hf://datasets/someone", "write hf://datasets/owner/name@revision/files"),
        ("hf://datasets/someone/consult@..%2Fx/a", "is no revision"),
    ],
)
def test_what_is_wrong_with_a_path_is_said(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        fetch(data_only(tmp_path, path), monkeypatch)


def test_without_a_network_fetch_says_so(hub: Hub, tmp_path: Path) -> None:
    hub.url = "http://127.0.0.1:9"
    failed = command(hub, "someone/tiny", tmp_path)
    assert failed.returncode == 1
    assert "hf://someone/tiny@main: cannot be fetched" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_patterns_and_paths() -> None:
    assert parse("hf://datasets/o/n@refs%2Fconvert%2Fparquet/default/**/*.parquet") == (
        Repo("dataset", "o/n", "refs/convert/parquet"),
        "default/**/*.parquet",
    )
    assert parse("hf://datasets/o/n/a.json") == (Repo("dataset", "o/n"), "a.json")
    for pattern in ("data/*.jsonl", "data", "**/*.jsonl", "data/a.jsonl", "d*/?.jsonl", "data/[ab].jsonl"):
        assert matches("data/a.jsonl", pattern)
    for pattern in ("*.jsonl", "dat", "data/*.json", "a.jsonl", "data/[!a].jsonl", "data/a.jsonl/x"):
        assert not matches("data/a.jsonl", pattern)
    assert matches("a/b/c/d.json", "a/**/d.json")
    assert not matches("data/.hidden", "data")
    with pytest.raises(Invalid):
        Repo("model", "../up")


def test_what_a_recipe_needs(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "t",
                "base_model": {"path": "o/base", "revision": "abc", "trust_remote_code": True},
                "annotator": {"kind": "local", "model": "o/judge"},
                "sources": {
                    "documents": {"sources": [{"name": "w", "path": "hf://datasets/o/web@v1/*.parquet"}]},
                    "dialogues": {
                        "sources": [{"name": "c", "path": "hf://datasets/o/cmb/t/q.json", "form": "cmb_exam", "answers": "hf://datasets/o/cmb/a.json"}]
                    },
                },
                "corpus": {"domain": {"backend": "transformers", "model": "o/bert"}, "quality": {"model": "o/unused"}},
                "instruct": {"deita": {"model": {"path": "o/scorer"}}},
                "evaluate": {"benchmarks": [{"task": "medmcqa", "path": "hf://datasets/o/mcqa/dev.json"}]},
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    needs = Needs()
    needs.read(load_recipe(tmp_path / "r.yaml"))
    assert needs.models == {
        Repo("model", "o/base", "abc"): True,
        Repo("model", "o/judge"): False,
        Repo("model", "o/bert"): False,
        Repo("model", "o/scorer"): False,
    }
    assert needs.files == {
        Repo("dataset", "o/web", "v1"): {"*.parquet"},
        Repo("dataset", "o/cmb"): {"t/q.json", "a.json"},
        Repo("dataset", "o/mcqa"): {"dev.json"},
    }
    assert needs.named == set()
    assert fetched(tmp_path, "hf://datasets/o/web@v1/*.parquet") is None
