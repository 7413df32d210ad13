"""Uploading a release to the Hugging Face hub: private unless told otherwise, and only what its checksums vouch for.

The token comes from $HF_TOKEN and goes into requests only. An interrupted upload is continued by the same command: the hub
knows the files that it has by their hashes.
"""

import os
import re
from pathlib import Path
from typing import Any

from aquilamed.config import Invalid, StageFailed
from aquilamed.progress import Progress
from aquilamed.release.folder import check_sums, marker

TOKEN = "HF_TOKEN"  # noqa: S105 - the variable's name
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
# Shards that a new release no longer has would be read along with the new ones.
_OURS = ["data/*", "aquilamed/*", "mix1/*", "mix2/*", "figures/*", "*.safetensors", "*.safetensors.index.json"]


def check(repository: str) -> None:
    """Raise `Invalid` before any work when a push could not go well: a bad name, or no token."""
    if not _REPOSITORY.fullmatch(repository):
        raise Invalid(f"--push {repository}: write OWNER/NAME")
    if not os.environ.get(TOKEN):
        raise Invalid(f"--push needs a token of the hub with write access in ${TOKEN}")


def push(folder: Path, repository: str, progress: Progress, public: bool = False) -> str:
    """Upload a released folder and return its address.

    Raises:
        Invalid: no release, a bad name, no token, a repository that is public although `public` is off, or restricted records
            that would be public.
        StageFailed: the files are not what was released, or the hub cannot be reached or refuses.
    """
    check(repository)
    told = marker(folder)
    if told is None:
        raise Invalid(f"{folder} is no release made by aquilamed")
    if public and told.get("restricted_included"):
        raise Invalid(
            "this release holds records whose licence does not allow passing them on: it is pushed to a private repository only "
            "(leave out --public; who has the right can change the repository's visibility on the hub)"
        )
    check_sums(folder)
    kind = "model" if told["what"] == "model" else "dataset"
    try:
        return _upload(folder, repository, kind, told, progress, public)
    except (Invalid, StageFailed):
        raise
    except Exception as error:  # the hub's client raises many kinds; each means that the upload did not happen
        said = (str(error).strip().splitlines() or [""])[0].replace(os.environ[TOKEN], "***")
        raise StageFailed(
            f"the hub did not take {repository}: {type(error).__name__}: {said}; run the same command again, what is there already "
            "is not sent twice"
        ) from None  # its traceback could show a request


def _upload(folder: Path, repository: str, kind: str, told: dict[str, Any], progress: Progress, public: bool) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ[TOKEN], library_name="aquilamed")
    address = str(api.create_repo(repository, repo_type=kind, private=not public, exist_ok=True))
    if not public and not api.repo_info(repository, repo_type=kind).private:
        raise Invalid(f"{address} exists and is public: say --public if that is meant, or push to another repository")
    progress.say(f"Uploading {folder} to {address} ({'public' if public else 'private'}) …")
    api.upload_folder(
        repo_id=repository,
        repo_type=kind,
        folder_path=folder,
        commit_message=f"{told['what']} of {told['recipe']} by aquilamed {told['version']}",
        delete_patterns=_OURS,
    )
    return address
