"""What a recipe needs from outside this machine, and fetching it: `aquilamed fetch RECIPE`, the one command that uses the
network unasked. All others work without it on what was fetched."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aquilamed.annotate import AnnotatorConfig
from aquilamed.config import Config
from aquilamed.corpus.student import StudentConfig
from aquilamed.download import download_files, download_model
from aquilamed.fetch import FETCHABLE, fetch
from aquilamed.hub import Repo, is_hub, is_model_id, parse
from aquilamed.models import ModelConfig, home
from aquilamed.progress import Progress
from aquilamed.recipe import Recipe


def fetch_recipe(recipe: Recipe, progress: Progress) -> list[Path]:
    """Fetch all that a recipe names and that is not on this machine: data sets' files, models. Returns their folders.

    Raises:
        Invalid, StageFailed: see `fetch` and `download_files`; what was fetched before the error stays.
    """
    needs = Needs()
    needs.read(recipe)
    folders = [fetch(name, progress) for name in sorted(needs.named)]
    for repo, code in sorted(needs.models.items(), key=lambda item: str(item[0])):
        folders.append(download_model(repo, code, home(), progress))
    for repo, patterns in sorted(needs.files.items(), key=lambda item: str(item[0])):
        folders.append(download_files(repo, sorted(patterns), home(), progress))
    return folders


@dataclass
class Needs:
    """What configs name: fetchable models, hub models (with their code or not), files of the hub's data sets."""

    named: set[str] = field(default_factory=set)
    models: dict[Repo, bool] = field(default_factory=dict)
    files: dict[Repo, set[str]] = field(default_factory=dict)

    def read(self, value: Any) -> None:
        """Look through a config and all that it holds."""
        if isinstance(value, str) and is_hub(value):
            repo, pattern = parse(value)
            self.files.setdefault(repo, set()).add(pattern)
        elif isinstance(value, Config):
            if isinstance(value, ModelConfig):
                self._model(value.path, value.revision, value.trust_remote_code)
            elif (isinstance(value, StudentConfig) and value.backend == "transformers") or (
                isinstance(value, AnnotatorConfig) and value.kind == "local"
            ):
                self._model(value.model)
            for name in type(value).model_fields:
                self.read(getattr(value, name))
        elif isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                self.read(item)

    def _model(self, path: str, revision: str | None = None, code: bool = False) -> None:
        if path in FETCHABLE:
            self.named.add(path)
        elif is_model_id(path) and not Path(path).expanduser().is_dir():
            repo = Repo("model", path, revision or "main")
            self.models[repo] = code or self.models.get(repo, False)
