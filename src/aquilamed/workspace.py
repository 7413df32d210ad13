"""The workspace: one folder that holds every artefact of a recipe.

WORKSPACE/recipe.yaml                      the recipe of the last run, resolved
WORKSPACE/<stage>/<fingerprint>/           one artefact: kept/ and dropped/ (data stages), models, files
WORKSPACE/<stage>/<fingerprint>/manifest.json   written last and atomically: without it the artefact is half-written
WORKSPACE/<stage>/<fingerprint>/.work/     markers and checkpoints of an unfinished stage; removed on commit
WORKSPACE/calls.sqlite                     the annotator's call store
WORKSPACE/report/                          the report of the last run
"""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from aquilamed.config import Invalid, StageFailed
from aquilamed.records import parts, write_json

MANIFEST = "manifest.json"
WORK = ".work"


@dataclass(frozen=True)
class Artifact:
    """A finished stage's folder and its manifest."""

    stage: str
    path: Path
    manifest: dict[str, Any]

    @property
    def kept(self) -> Path:
        """The folder of kept records."""
        return self.path / "kept"

    @property
    def dropped(self) -> Path:
        """The folder of dropped records, with `reason` and `detail`."""
        return self.path / "dropped"

    @property
    def metrics(self) -> dict[str, Any]:
        """What the stage measured."""
        metrics: dict[str, Any] = self.manifest["metrics"]
        return metrics

    def kept_parts(self) -> list[Path]:
        """The Parquet parts of the kept records, in order."""
        return parts(self.kept)


class Workspace:
    """Access to a workspace folder. Reading never creates anything."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Where an artefact lives, finished or not."""
        return self.root / stage / fingerprint

    def artifact(self, stage: str, fingerprint: str) -> Artifact | None:
        """The finished artefact, or None when it is missing or half-written."""
        path = self.folder(stage, fingerprint)
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:  # written atomically, so somebody else broke it
            raise StageFailed(f"{path / MANIFEST}: not JSON ({error}); delete the folder {path} to redo it") from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("metrics"), dict):
            raise StageFailed(f"{path / MANIFEST}: no manifest of a stage; delete the folder {path} to redo it")
        return Artifact(stage, path, manifest)

    def artifacts(self, stage: str) -> list[Artifact]:
        """Every finished artefact of a stage, the one finished last first."""
        marks = sorted(path.parent.name for path in self.root.glob(f"{stage}/*/{MANIFEST}"))
        found = [a for mark in marks if (a := self.artifact(stage, mark))]
        return sorted(found, key=lambda a: str(a.manifest.get("finished")), reverse=True)

    def begin(self, stage: str, fingerprint: str) -> tuple[Path, int]:
        """Open an artefact for writing; return its folder and how many attempts were made, this one included."""
        path = self.folder(stage, fingerprint)
        attempts = path / WORK / "attempts.json"
        count = json.loads(attempts.read_text())["attempts"] + 1 if attempts.exists() else 1
        _remove_half_written(path)
        write_json(attempts, {"attempts": count})
        return path, count

    def commit(self, stage: str, fingerprint: str, manifest: dict[str, Any]) -> Artifact:
        """Finish an artefact: hash its files, remove its work folder, write the manifest last."""
        path = self.folder(stage, fingerprint)
        _remove_half_written(path)  # of workers that died in this run and whose task another one did
        outputs = {
            str(f.relative_to(path)): file_hash(f)
            for f in sorted(path.rglob("*"))
            if f.is_file() and WORK not in f.relative_to(path).parts
        }
        manifest = {**manifest, "outputs": outputs}
        write_json(path / MANIFEST, manifest)
        shutil.rmtree(path / WORK, ignore_errors=True)
        return Artifact(stage, path, manifest)

    @contextmanager
    def lock(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the workspace for one run. Raises `StageFailed` while another process holds it.

        The kernel frees the lock when its holder dies, so a dead process never blocks; its leftover note is reported.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as f:
            f.seek(0)
            holder = f.read().strip()
            if not _acquire(f):
                raise StageFailed(f"{self.root}: another run holds this workspace ({holder}); wait for it or stop it")
            if holder:
                say(f"Took over the lock of a run that died ({holder}).")
            f.truncate(0)
            f.write(f"pid {os.getpid()} on {socket.gethostname()}")
            f.flush()
            try:
                yield
            finally:
                f.truncate(0)

    def locked(self) -> bool:
        """Whether a run holds the workspace now."""
        try:
            with (self.root / "lock").open("r+") as f:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False


def _acquire(file: IO[str], attempts: int = 5) -> bool:
    """Take the lock; tried for half a second, because `locked` holds it for a moment when it looks."""
    for _ in range(attempts):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


def file_hash(path: Path) -> str:
    """32 hex digits of a file's bytes (BLAKE2b)."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class HashCache:
    """Content hashes of input files, remembered by path, size and time of change, so that big inputs are read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, path: Path, compute: bool) -> str | None:
        """The file's hash; None when it is not known and `compute` is off."""
        stat = path.stat()
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in self.known and compute:
            try:
                self.known[key] = file_hash(path)
            except OSError as error:
                raise Invalid(f"{path}: cannot be read ({error.strerror}); mend the file or its permissions") from error
            write_json(self.path, self.known)
        return self.known.get(key)


def _remove_half_written(folder: Path) -> None:
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)
