"""What was fetched from the Hugging Face hub: hf:// paths and hub models, read without the network.

    hf://datasets/OWNER/NAME[@REVISION]/FILES      FILES is a path or a glob (*, **, ?, [a-z]) inside the repository

`aquilamed fetch RECIPE` (download.py) puts a repository's files below $AQUILAMED_HOME/hub and writes their SHA-256 into
checksums.json last: without it nothing there counts as fetched. Everything else looks here and never at the network.
"""

import fnmatch
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote

from aquilamed.config import Invalid
from aquilamed.records import write_json

SCHEME = "hf://"
CHECKSUMS = "checksums.json"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_MODEL = re.compile(rf"{_NAME}/{_NAME}")
_DATASET = re.compile(rf"hf://datasets/({_NAME}/{_NAME})(?:@([^/]+))?/(.+)")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")


@dataclass(frozen=True)
class Repo:
    """A repository at a revision, as the recipe names it."""

    kind: Literal["dataset", "model"]
    name: str
    revision: str = "main"

    def __post_init__(self) -> None:
        if not _MODEL.fullmatch(self.name):
            raise Invalid(f"{self.name!r} is no hub id; write owner/name")
        if not _REVISION.fullmatch(self.revision) or ".." in self.revision:
            raise Invalid(f"{self.name}: {self.revision!r} is no revision; give a branch, a tag or a commit")

    def __str__(self) -> str:
        return f"{SCHEME}{'datasets/' if self.kind == 'dataset' else ''}{self.name}@{quote(self.revision, safe='')}"

    def folder(self, home: Path) -> Path:
        """Where its files lie."""
        return home / "hub" / f"{self.kind}s--{self.name.replace('/', '--')}" / quote(self.revision, safe="")


def is_hub(path: str) -> bool:
    """Whether a recipe's path is one of the hub."""
    return path.startswith(SCHEME)


def is_model_id(path: str) -> bool:
    """Whether a model's path can be a hub id."""
    return _MODEL.fullmatch(path) is not None


def parse(path: str) -> tuple[Repo, str]:
    """The repository and the pattern of files of an hf:// path. Raises `Invalid` when it is not written as above."""
    match = _DATASET.fullmatch(path)
    if match is None:
        raise Invalid(f"{path!r}: write hf://datasets/owner/name@revision/files, files being a path or a glob")
    revision = (match[2] or "main").replace("%2F", "/")
    return Repo("dataset", match[1], revision), match[3].rstrip("/")


def matches(name: str, pattern: str) -> bool:
    """Whether a file of a repository is meant by a pattern: a file, a glob, or a folder with all below it."""
    return not PurePosixPath(name).name.startswith(".") and _below(name.split("/"), pattern.split("/"))


def _below(name: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return True  # the pattern is a folder above the file
    if pattern[0] == "**":
        return _below(name, pattern[1:]) or (bool(name) and _below(name[1:], pattern))
    return bool(name) and fnmatch.fnmatchcase(name[0], pattern[0]) and _below(name[1:], pattern[1:])


def safe_name(name: str) -> bool:
    """Whether a file's name, which a stranger chose, stays inside its folder and is not one of ours."""
    parts = name.split("/")
    return (
        name.isprintable()
        and "\\" not in name
        and ":" not in name
        and all(part not in ("", ".", "..") for part in parts)
        and CHECKSUMS not in parts
        and not any(part.endswith(".part") for part in parts)
    )


def sha256(path: Path) -> str:
    """A file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mark(path: Path) -> dict[str, Any]:
    """A file's line in checksums.json: its SHA-256, and size and date by which a later look sees whether it changed."""
    stat = path.stat()
    return {"sha256": sha256(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def checksums(folder: Path) -> dict[str, Any] | None:
    """What was fetched into a folder; None when nothing was (to the end)."""
    try:
        found: dict[str, Any] = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Invalid(
            f"{folder / CHECKSUMS}: not JSON ({error}); delete the folder {folder} and fetch again"
        ) from error
    return found


def fetched(home: Path, path: str) -> list[tuple[str, Path]] | None:
    """The files of an hf:// path: (logical name, path), sorted; None when they were not fetched.

    Raises:
        Invalid: nothing fetched matches, or a file is not what it was when it was fetched.
    """
    repo, pattern = parse(path)
    folder = repo.folder(home)
    known = checksums(folder)
    if known is None or (pattern not in known["patterns"] and pattern not in known["files"]):
        return None
    names = sorted(name for name in known["files"] if matches(name, pattern))
    if not names:
        raise Invalid(f"{path}: no file of the repository matches {pattern!r}")
    check(folder, known, names)
    return [(f"{repo}/{name}", folder / name) for name in names]


def fetched_model(home: Path, name: str, revision: str | None) -> Path | None:
    """The folder of a fetched model, None when it was not fetched. Raises `Invalid` when a file of it has changed."""
    folder = Repo("model", name, revision or "main").folder(home)
    known = checksums(folder)
    if known is None:
        return None
    check(folder, known, sorted(known["files"]))
    return folder


def unchanged(path: Path, stated: dict[str, Any]) -> bool:
    """Whether a file is what its line in checksums.json says: by size and date, by SHA-256 where only the date differs."""
    if not path.is_file():
        return False
    stat = path.stat()
    if stat.st_size != stated["size"]:
        return False
    return bool(stat.st_mtime_ns == stated["mtime_ns"] or sha256(path) == stated["sha256"])


def check(folder: Path, known: dict[str, Any], names: list[str]) -> None:
    """Compare files with checksums.json; where only the date differs (a copied folder) the new one is noted.

    Raises `Invalid` for a file that is gone or changed.
    """
    dates = {}
    for name in names:
        path, stated = folder / name, known["files"][name]
        if not unchanged(path, stated):
            raise Invalid(f"{path}: gone, or not the file that was fetched; run aquilamed fetch again")
        if (date := path.stat().st_mtime_ns) != stated["mtime_ns"]:
            dates[name] = {**stated, "mtime_ns": date}
    if dates:
        write_json(folder / CHECKSUMS, {**known, "files": {**known["files"], **dates}})
