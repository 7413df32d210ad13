"""The folder appears whole or not at all, replaces only releases, and is held to its checksums."""

import subprocess
from pathlib import Path

import pytest

from aquilamed.config import Invalid, StageFailed
from aquilamed.release import folder


def released(target: Path, content: str = "x") -> None:
    with folder.building(target) as new:
        (new / "data").mkdir()
        (new / "data" / "a.txt").write_text(content)
        folder.write_marker(new, {"what": "instruct"})
        folder.write_sums(new)


def test_it_appears_at_once_and_replaces_an_older_release(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    released(target)
    released(target, "y")
    assert (target / "data" / "a.txt").read_text() == "y"
    assert [p.name for p in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_failure_leaves_the_older_release_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "out"
    released(target)
    with pytest.raises(FileNotFoundError), folder.building(target) as new:
        (new / "missing" / "half").write_text("x")
    assert (target / "data" / "a.txt").read_text() == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_nothing_else_is_ever_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(mine)
    for target in (mine, tmp_path / "file", tmp_path / "link"):
        with pytest.raises(Invalid, match="is no release made by aquilamed"):
            released(target)
    assert (mine / "thesis.txt").read_text() == "x"
    released(tmp_path / "empty")


@pytest.mark.parametrize("change", ["edit", "add", "remove", "link", "no sums"])
def test_a_changed_folder_is_noticed(change: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    released(target)
    folder.check_sums(target)
    assert subprocess.run(["sha256sum", "-c", "--quiet", folder.SUMS], cwd=target, check=False).returncode == 0
    if change == "edit":
        (target / "data" / "a.txt").write_text("z")
    elif change == "add":
        (target / "b.txt").write_text("z")
    elif change == "remove":
        (target / "data" / "a.txt").unlink()
    elif change == "link":
        (target / "b").symlink_to("/etc/passwd")
    else:
        (target / folder.SUMS).unlink()
    with pytest.raises(StageFailed, match=r"release again|remove it"):
        folder.check_sums(target)
