"""Downloading from the Hugging Face hub: the only code that talks to it, called by `aquilamed fetch` alone.

A revision such as main is pinned to its commit at the first fetch, so that all files are of one commit; deleting the
folder takes the newest. A file arrives as NAME.part and goes on there after an interruption; it gets its name when its
hash is the one that the hub states. HF_ENDPOINT and HF_TOKEN are heeded as huggingface_hub documents them.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from aquilamed.config import Invalid, StageFailed
from aquilamed.hub import CHECKSUMS, Repo, checksums, mark, matches, safe_name, unchanged
from aquilamed.progress import Progress
from aquilamed.records import write_json

# Weights only as safetensors: a pickle can run code. Folders (onnx/, original/) hold the same weights once more.
_MODEL_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken")


def model_file(name: str, code: bool) -> bool:
    """Whether a file of a model's repository is needed to load it; its Python code only where that may run."""
    return "/" not in name and (name.endswith(_MODEL_SUFFIXES) or (code and name.endswith(".py")))


def download_files(repo: Repo, patterns: list[str], home: Path, progress: Progress) -> Path:
    """Fetch the files of a data set that match the patterns; returns their folder.

    Raises:
        Invalid: the repository, its revision or a pattern's files are not there, or it may not be read with this token.
        StageFailed: the hub cannot be reached, or what it sent is not what it states.
    """
    return _download(repo, {p: lambda name, p=p: matches(name, p) for p in patterns}, home, progress)  # type: ignore[misc]


def download_model(repo: Repo, code: bool, home: Path, progress: Progress) -> Path:
    """Fetch a model's configuration, tokenizer and safetensors; returns their folder. Raises as `download_files` does."""
    return _download(repo, {"model+code" if code else "model": lambda n: model_file(n, code)}, home, progress)


def _download(repo: Repo, wanted: dict[str, Callable[[str], bool]], home: Path, progress: Progress) -> Path:
    folder = repo.folder(home)
    known = checksums(folder)
    known = known or {"repo": str(repo), "commit": None, "patterns": [], "files": {}}
    marks = {name: stated for name, stated in known["files"].items() if unchanged(folder / name, stated)}
    if set(wanted) <= set(known["patterns"]) and len(marks) == len(known["files"]):
        progress.say(f"{repo} is here already: {folder}")
        return folder
    with _explained(repo):
        from huggingface_hub import HfApi

        pinned = known["commit"] or _pinned(folder) or repo.revision
        info: Any = HfApi().repo_info(repo.name, revision=pinned, repo_type=repo.kind, files_metadata=True)
        files = {s.rfilename: s for s in info.siblings or []}
        chosen: dict[str, Any] = {}
        for pattern, fits in wanted.items():
            found = {name: sibling for name, sibling in files.items() if fits(name)}
            if not found:
                some = ", ".join(sorted(files)[:12])
                raise Invalid(f"{repo}: no file matches {pattern!r}; it has: {some}")
            chosen |= found
        chosen |= {name: files[name] for name in known["files"] if name in files}
        if bad := [name for name in chosen if not safe_name(name)]:
            raise StageFailed(
                f"{repo}: the hub lists the file {bad[0]!r}, which would leave its folder or stand for one of ours; nothing was fetched"
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".commit").write_text(str(info.sha), encoding="utf-8")
        with progress.track(f"fetching {repo}", total=len(chosen), unit="file") as bar:
            for name, sibling in sorted(chosen.items()):
                if name not in marks:
                    marks[name] = _fetch(repo, info.sha, name, sibling, folder / name)
                bar.advance()
    patterns = sorted({*known["patterns"], *wanted})
    write_json(folder / CHECKSUMS, {"repo": str(repo), "commit": info.sha, "patterns": patterns, "files": marks})
    progress.say(f"{repo} (commit {str(info.sha)[:12]}, {len(chosen)} files) is at {folder}")
    return folder


def _pinned(folder: Path) -> str | None:
    """The commit of a fetch that was interrupted: its rest must be of the same one."""
    file = folder / ".commit"
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def _fetch(repo: Repo, commit: str, name: str, sibling: Any, target: Path) -> dict[str, Any]:
    """Download one file, or what is missing of it, and check it. Returns its line for checksums.json."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    if target.is_file() and _is(target, sibling):
        return mark(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    if part.exists() and sibling.size is not None and part.stat().st_size > sibling.size:
        part.unlink()
    url = hf_hub_url(repo.name, name, repo_type=repo.kind, revision=commit)
    location = get_hf_file_metadata(url).location
    headers = build_hf_headers()
    if urlparse(location).netloc != urlparse(url).netloc:
        headers.pop("authorization", None)  # the token is the hub's, not its storage's
    with part.open("ab") as file:
        http_get(location, file, resume_size=file.tell(), headers=headers, expected_size=sibling.size)
        file.flush()
        os.fsync(file.fileno())
    if not _is(part, sibling):
        part.unlink()
        raise StageFailed(
            f"{repo}: {name} is not what the hub states it to be (its hash differs); it was deleted, fetch again"
        )
    part.replace(target)
    return mark(target)


def _is(path: Path, sibling: Any) -> bool:
    """Whether a file has the hash that the hub states: SHA-256 of large files, git's of the others."""
    if sibling.lfs is not None:
        digest, stated = hashlib.sha256(), str(sibling.lfs.sha256)
    else:
        digest, stated = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()), str(sibling.blob_id)  # noqa: S324 — git's
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest() == stated


@contextmanager
def _explained(repo: Repo) -> Iterator[None]:
    """Turn the hub's errors into ours: what is wrong with the recipe, and what with the network."""
    from huggingface_hub import errors

    try:
        yield
    except (Invalid, StageFailed):
        raise
    except errors.GatedRepoError as error:
        raise Invalid(f"{repo}: its owner asks to accept terms on the hub first, then set HF_TOKEN") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise Invalid(f"{repo}: not on the hub, or not for this HF_TOKEN; check owner, name and revision") from error
    except Exception as error:  # the network fails in many ways, each of its libraries in its own
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise StageFailed(
            f"{repo}: cannot be fetched ({type(error).__name__}: {first}); what has arrived stays, run the same command again"
        ) from error
