"""--push through the command line and huggingface_hub against a real server that plays the hub."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquilamed.config import Invalid, StageFailed
from aquilamed.progress import Progress
from aquilamed.release import folder, push, release
from aquilamed.workspace import Workspace
from fake_hub import TOKEN, Hub
from release_workspace import make


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def released(space: Workspace) -> Path:
    return release(space, "instruct", repository="ward/instruct")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    # Tests run offline, which the client reads when it is imported; Xet speaks to a service of its own.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield server
    server.close()


def send(folder: Path, name: str = "ward/instruct", public: bool = False) -> str:
    return push.push(folder, name, Progress(quiet=True), public)


def test_the_command_line_pushes_whole_and_private(hub: Hub, space: Workspace) -> None:
    command = [sys.executable, "-m", "aquilamed.cli", "release", str(space.root), "--what", "instruct"]
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([*command, "--push", "ward/instruct"], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    path, address = done.stdout.split()
    assert address == f"{hub.url}/datasets/ward/instruct"
    repository = hub.repositories["ward/instruct"]
    names = [*folder.files(Path(path)), folder.SUMS]
    assert sorted(repository.files) == sorted(names)
    assert all(repository.files[n] == (Path(path) / n).read_bytes() for n in names)
    assert repository.private
    assert repository.commits == ["instruct of ward by aquilamed 0.1.0"]
    assert hub.objects, "the larger files went through LFS"
    assert b'load_dataset("ward/instruct")' in repository.files["README.md"]
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in data for data in repository.files.values())


def test_an_interrupted_upload_is_continued(hub: Hub, released: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.fail["commit"] = 1
    with pytest.raises(StageFailed, match="run the same command again") as error:
        send(released)
    assert TOKEN not in str(error.value) + caplog.text
    assert hub.repositories["ward/instruct"].files == {}
    sent = hub.calls["upload"]
    assert sent
    send(released)
    assert hub.calls["upload"] == sent, "what the hub had was not sent again"
    assert "README.md" in hub.repositories["ward/instruct"].files


def test_shards_of_an_older_release_go_and_other_files_stay(hub: Hub, released: Path) -> None:
    send(released)
    files = hub.repositories["ward/instruct"].files
    files |= {"data/train-00000-of-00009.parquet": b"old", ".gitattributes": b"x", "notes.md": b"mine"}
    send(released)
    assert "data/train-00000-of-00009.parquet" not in files
    assert {".gitattributes", "notes.md"} <= set(files)


def test_public_only_when_said(hub: Hub, released: Path) -> None:
    send(released, "ward/open", public=True)
    assert not hub.repositories["ward/open"].private
    with pytest.raises(Invalid, match="is public: say --public"):
        send(released, "ward/open")


def test_restricted_records_never_become_public(hub: Hub, space: Workspace, tmp_path: Path) -> None:
    everything = release(space, "instruct", tmp_path / "all", include_restricted=True)
    with pytest.raises(Invalid, match="private repository only"):
        send(everything, "ward/all", public=True)
    assert not hub.repositories
    send(everything, "ward/all")
    assert hub.repositories["ward/all"].private


def test_a_wrong_token_is_said_without_saying_it(
    hub: Hub, released: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong-token-0987654321")
    with pytest.raises(StageFailed, match="401") as error:
        send(released)
    assert "hf_wrong" not in str(error.value) + caplog.text
    assert hub.tokens == {"Bearer hf_wrong-token-0987654321"}


def test_a_changed_folder_is_never_pushed(hub: Hub, space: Workspace, tmp_path: Path) -> None:
    changed = release(space, "instruct", tmp_path / "out")
    (changed / "README.md").write_text("mine")
    with pytest.raises(StageFailed, match=r"README.md was changed"):
        send(changed)
    assert not hub.calls
    assert not hub.repositories


def test_mistakes_are_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(Invalid, match="OWNER/NAME"):
        push.check("https://evil.example/x")
    with pytest.raises(Invalid, match="HF_TOKEN"):
        push.check("a/b")
