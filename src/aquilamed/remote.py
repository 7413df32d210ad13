"""Inputs and workspaces behind URLs (s3://, gs://, http:// … : whatever fsspec knows).

Work is done on local files. An input is fetched into a cache, named by what the server says of its content. A workspace
has a local mirror: what is finished there comes down before a run, and each artefact goes up when it is finished, its
manifest last, so that a machine that dies leaves whole artefacts only and any other machine goes on from them.
Credentials come from the environment, as each file system documents.
"""

import hashlib
import json
import os
import re
import socket
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from aquilamed.annotate.store import CallStore
from aquilamed.config import Invalid, StageFailed
from aquilamed.models import home
from aquilamed.progress import Progress
from aquilamed.workspace import MANIFEST, WORK, Artifact

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LOCK, _CALLS, _REVIEW = "lock.json", "calls.sqlite", "review"
_BEAT = 60.0  # seconds between two signs of life of a lock's holder
_DEAD = 5 * _BEAT


def is_url(path: str) -> bool:
    """Whether a recipe's path is a URL (sample:// is ours and none)."""
    return _URL.match(path) is not None and not path.startswith("sample://")


def _open(url: str) -> tuple[Any, str]:
    """The file system and the path of a URL. Raises `Invalid` when its library is missing or the URL is wrong."""
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise Invalid(f"{url}: {error}; for s3:// install 'aquilamed[s3]'") from error
    except ValueError as error:
        raise Invalid(f"{url}: {error}") from error
    return fs, str(path)


def fetch(pattern: str, missing: bool = True) -> list[tuple[str, Path]]:
    """The files of a URL, which may have wildcards: (URL, local copy), sorted.

    A copy is fetched again when size, date or checksum on the server change. With `missing` off nothing is fetched, and
    nothing returned unless all copies are there. Raises `Invalid` when nothing matches or the server refuses.
    """
    fs, path = _open(pattern)
    fs.invalidate_cache()
    try:
        found = fs.glob(path, detail=True) if re.search(r"[*?\[]", path) else fs.find(path, detail=True)
        files = {name: info for name, info in found.items() if info["type"] == "file"}
        if not files:
            raise Invalid(f"no file matches {pattern!r}; check the URL")
        scheme = pattern.split("://")[0]
        copies = {name: _copy(fs, name, info) for name, info in files.items()}
        for name, copy in copies.items():
            if not copy.exists() and not missing:
                return []
            if not copy.exists():
                _get(fs, name, copy)
        return sorted((f"{scheme}://{name.lstrip('/')}", copy) for name, copy in copies.items())
    except OSError as error:
        raise Invalid(f"{pattern}: cannot be read ({_why(error)}); check the URL and the credentials") from error


def _copy(fs: Any, name: str, info: dict[str, Any]) -> Path:
    marks = [
        str(info.get(k)) for k in ("size", "ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created")
    ]
    key = hashlib.blake2b("\0".join([str(fs.protocol), name, *marks]).encode(), digest_size=16).hexdigest()
    # The suffixes say how a file is read; nothing else of a stranger's name becomes a path here.
    suffix = "".join(re.findall(r"\.[A-Za-z0-9]{1,10}", PurePosixPath(name).name)[-2:])
    return home() / "inputs" / key / f"file{suffix.lower()}"


def _get(fs: Any, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        fs.get_file(name, str(part))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class Remote:
    """A workspace behind a URL and its mirror `root` on this machine."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.fs, self.path = _open(self.url)
        self.root = home() / "workspaces" / hashlib.blake2b(self.url.encode(), digest_size=12).hexdigest()

    def down(self, progress: Progress) -> None:
        """Bring what is finished there and missing here."""
        try:
            files = self._files()
            folders = [PurePosixPath(f).parent for f in files if PurePosixPath(f).name == MANIFEST]
            missing = {f for f in folders if not (self.root / f / MANIFEST).exists()}
            wanted = [f for f in files if missing & set(PurePosixPath(f).parents)]
            wanted += [f for f in files if "/" not in f and f != _LOCK and not (self.root / f).exists()]
            wanted += [f for f in files if f.startswith(f"{_REVIEW}/")]  # people add to them: always anew
            # Manifests last: without one a folder is half-written.
            wanted.sort(key=lambda f: (PurePosixPath(f).name == MANIFEST, f))
            with progress.track(f"from {self.url}", total=len(wanted), unit="file") as bar:
                for file in wanted:
                    _get(self.fs, f"{self.path}/{file}", self.root / file)
                    bar.advance()
            if _CALLS in files and _CALLS not in wanted:
                with tempfile.TemporaryDirectory() as folder:
                    _get(self.fs, f"{self.path}/{_CALLS}", Path(folder) / _CALLS)
                    _join_calls(self.root / _CALLS, Path(folder) / _CALLS)
        except OSError as error:
            raise StageFailed(f"{self.url}: cannot be read ({_why(error)})") from error

    def _files(self) -> dict[str, int]:
        """Size by relative path of everything there; paths that would leave the folder are refused."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.find(self.path, detail=True)
        except FileNotFoundError:
            return {}
        files = {
            str(PurePosixPath(name).relative_to(self.path)): int(info["size"] or 0) for name, info in found.items()
        }
        if bad := [f for f in files if ".." in PurePosixPath(f).parts or "\\" in f]:
            raise Invalid(f"{self.url}: {bad[0]!r} is no path of a workspace")
        return files

    def up(self, artifact: Artifact) -> None:
        """Bring a finished artefact there, its manifest last, then the workspace's own files."""
        files = [p for p in sorted(artifact.path.rglob("*")) if p.is_file() and WORK not in p.parts]
        files.sort(key=lambda p: p.name == MANIFEST)
        self._put(files)
        self.up_top()

    def up_top(self) -> None:
        """Bring the recipe, the call store and the report there."""
        top = [p for p in sorted(self.root.iterdir()) if p.is_file() and p.name in ("recipe.yaml",)]
        report = [p for p in sorted((self.root / "report").rglob("*")) if p.is_file()]
        self._put([*top, *report])
        if (self.root / _CALLS).exists():
            with tempfile.TemporaryDirectory() as folder:
                # A copy through SQLite: the file alone lacks what is still in its write-ahead log.
                copy = Path(folder) / _CALLS
                with closing(sqlite3.connect(self.root / _CALLS)) as source, closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
                self._put([copy], Path(folder))

    def up_review(self) -> None:
        """Bring the doctors' verdicts there. Runs never do: theirs may be older than what was imported meanwhile."""
        self._put([p for p in sorted((self.root / _REVIEW).glob("*.jsonl")) if p.is_file()])

    def _put(self, files: list[Path], root: Path | None = None) -> None:
        try:
            for file in files:
                target = f"{self.path}/{file.relative_to(root or self.root).as_posix()}"
                self.fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                self.fs.put_file(str(file), target)
        except OSError as error:
            raise StageFailed(
                f"{self.url}: cannot be written ({_why(error)}); what is finished stays in {self.root}, "
                "run the same command again"
            ) from error

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the remote workspace for one run: a lock with signs of life.

        Raises `StageFailed` while another machine holds it, and at the end when another one took it over meanwhile.
        Object stores cannot free a dead holder's lock, so one without a sign of life for five minutes is taken over.
        """
        me = f"pid {os.getpid()} on {socket.gethostname()}, {uuid.uuid4().hex[:8]}"
        self.fs.makedirs(self.path, exist_ok=True)
        if not self._take(me):
            held = self._holder()
            if held is not None and time.time() - held["at"] < _DEAD:
                raise StageFailed(
                    f"{self.url}: another run holds this workspace ({held['holder']}); wait for it or stop it. "
                    f"A dead run's lock is free after {_DEAD / 60:.0f} minutes"
                )
            self._beat(me)
        over, lost = threading.Event(), threading.Event()

        def beats() -> None:
            while not over.wait(_BEAT):
                with suppress(OSError):  # one sign of life may be missed
                    held = self._holder()
                    if held is not None and held["holder"] != me:
                        return lost.set()
                    self._beat(me)
            return None

        thread = threading.Thread(target=beats, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            held = self._holder()
            if held is not None and held["holder"] == me:
                self.fs.rm_file(self._lock)
        if lost.is_set() or held is None or held["holder"] != me:
            raise StageFailed(f"{self.url}: another run took this workspace over while this one worked; look at both")

    @property
    def _lock(self) -> str:
        return f"{self.path}/{_LOCK}"

    def _note(self, me: str) -> bytes:
        return json.dumps({"holder": me, "at": time.time()}).encode()

    def _take(self, me: str) -> bool:
        """Create the lock if there is none; in one step where the file system can."""
        try:
            self.fs.pipe_file(self._lock, self._note(me), mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError, ValueError):
            if self._holder() is not None:
                return False
            self._beat(me)
        return True

    def _beat(self, me: str) -> None:
        self.fs.pipe_file(self._lock, self._note(me))

    def _holder(self) -> dict[str, Any] | None:
        self.fs.invalidate_cache()
        try:
            found: dict[str, Any] = json.loads(self.fs.cat_file(self._lock))
        except FileNotFoundError:
            return None
        return found


def _join_calls(here: Path, there: Path) -> None:
    """Add the calls of another copy of the store that this one lacks: what was paid for on any machine stays."""
    columns = "key,at,model,rubric,rubric_hash,round,outcome,content,tokens_in,tokens_out,estimated,cost"
    for store in (here, there):
        CallStore(store).close()  # its tables
    with closing(sqlite3.connect(here)) as db:
        db.execute("ATTACH ? AS other", (str(there),))
        new = f"SELECT {columns} FROM other.calls EXCEPT SELECT {columns} FROM calls"  # noqa: S608
        db.execute(f"INSERT INTO calls ({columns}) {new}")
        # A batch that one copy knows to be closed is closed: its calls came along.
        db.execute(
            """INSERT INTO batches SELECT * FROM other.batches WHERE true
               ON CONFLICT (mark) DO UPDATE SET batch = COALESCE(batch, excluded.batch),
               state = CASE state WHEN 'open' THEN excluded.state ELSE state END"""
        )
        db.execute("INSERT OR IGNORE INTO batch_calls SELECT * FROM other.batch_calls")
        db.commit()


def _why(error: OSError) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
