"""The released folder: built beside its place, checked, and put there in one rename. Only a release of ours is ever replaced."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aquilamed import __version__
from aquilamed.config import Invalid, StageFailed
from aquilamed.records import write_atomic, write_json

MARKER, SUMS = "release.json", "SHA256SUMS"


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A temporary sibling of `target` that takes its place when the block ends well, and leaves nothing otherwise.

    Raises `Invalid` when something stands at `target` that is no release of ours.
    """
    check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new."))
    try:
        yield new
        new.chmod(0o755)
        check_replaceable(target)
        old = new.with_name(new.name.replace(".new.", ".old."))
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def check_replaceable(target: Path) -> None:
    """Raise `Invalid` when `target` is anything but absent, an empty folder, or a release of ours."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not target.is_symlink() and (marker(target) or not any(target.iterdir())):
        return
    raise Invalid(f"{target} exists and is no release made by aquilamed: it is left alone; give another --out")


def marker(folder: Path) -> dict[str, Any] | None:
    """What release.json of a released folder says; None when the folder is none."""
    try:
        told = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("made_by") == "aquilamed" else None


def write_marker(folder: Path, told: dict[str, Any]) -> None:
    """Write release.json: what the release is, what it came from, and by which version."""
    write_json(folder / MARKER, {"made_by": "aquilamed", "version": __version__, **told})


def files(folder: Path) -> list[str]:
    """All files of a folder but SHA256SUMS, as sorted relative paths.

    Raises `StageFailed` for anything that is neither a file nor a folder: a link could lead out of it.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StageFailed(f"{path}: a release holds files only; remove it")
        if path.is_file() and path.name != SUMS:
            found.append(path.relative_to(folder).as_posix())
    return found


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_sums(folder: Path, known: dict[str, str] | None = None) -> None:
    """Write SHA256SUMS (`sha256sum -c SHA256SUMS` checks it); `known` hashes are not computed again."""
    known = known or {}
    lines = (f"{known.get(name) or sha256(folder / name)}  {name}\n" for name in files(folder))
    write_atomic(folder / SUMS, "".join(lines).encode())


def check_sums(folder: Path) -> None:
    """Hold every file to SHA256SUMS. Raises `StageFailed` naming what is missing, foreign or changed."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StageFailed(f"{folder}: no {SUMS} ({error.strerror}); release again") from error
    stated = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = files(folder)
    wrong = [f"{name} is missing" for name in sorted(stated.keys() - set(found))]
    wrong += [f"{name} was added" for name in found if name not in stated]
    wrong += [f"{name} was changed" for name in found if name in stated and sha256(folder / name) != stated[name]]
    if wrong:
        raise StageFailed(f"{folder} is not what was released: {'; '.join(wrong[:5])}; release again")


def check_secrets(folder: Path, names: list[str]) -> None:
    """Raise `StageFailed` when the value of one of these environment variables stands in a text file of the release."""
    secrets = {name: os.environ[name] for name in names if len(os.environ.get(name, "")) >= 8}
    for path in (folder / name for name in files(folder)):
        if path.suffix in {".md", ".json", ".yaml"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            for name, value in secrets.items():
                if value in text:
                    raise StageFailed(f"{path.name} would hold the secret in ${name}; nothing was released")
