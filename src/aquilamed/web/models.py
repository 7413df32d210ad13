"""The workspace's models in the web app: loaded when somebody asks one, shared by all, two in memory at most while nobody waits."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aquilamed.config import Invalid
from aquilamed.models import ModelConfig
from aquilamed.pipeline import states
from aquilamed.recipe import load_recipe
from aquilamed.serve.engine import Engine
from aquilamed.serve.target import NEWEST
from aquilamed.workspace import Artifact, Workspace

BASE = "base"
_HELD = 2  # Compare needs two


@dataclass
class _Loaded:
    engine: Engine
    users: int = 0


class Models:
    """Loaded models by name; thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._loaded: dict[str, _Loaded] = {}  # by folder, least recently used first
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def names(self) -> list[str]:
        """The stages that have a model, newest first, then "base". Raises `Invalid` when the recipe is broken."""
        return list(self._configs())

    @contextmanager
    def use(self, name: str) -> Iterator[Engine]:
        """A model, kept in memory until the block ends. Raises `Invalid` when there is none of that name or it cannot be loaded."""
        config = self._configs().get(name)
        if config is None:
            raise Invalid(f"stage {name!r} has no model in this workspace")
        with self._loading:  # one at a time: two at once would need the memory of both, and of what they replace
            loaded = self._take(config.path)
            if loaded is None:
                self._make_room()
                loaded = _Loaded(Engine(config), 1)
                with self._lock:
                    self._loaded[config.path] = loaded
        try:
            yield loaded.engine
        finally:
            with self._lock:
                loaded.users -= 1

    def close(self) -> None:
        """Stop all models."""
        with self._lock:
            found, self._loaded = list(self._loaded.values()), {}
        for loaded in found:
            loaded.engine.close()

    def _take(self, path: str) -> _Loaded | None:
        with self._lock:
            loaded = self._loaded.pop(path, None)
            if loaded is None or not loaded.engine.alive:  # one that failed is loaded anew
                return None
            self._loaded[path] = loaded
            loaded.users += 1
            return loaded

    def _make_room(self) -> None:
        with self._lock:
            idle = [path for path, loaded in self._loaded.items() if not loaded.users]
            gone = [self._loaded.pop(path) for path in idle[: max(0, len(self._loaded) - _HELD + 1)]]
        for loaded in gone:
            loaded.engine.close()

    def _configs(self) -> dict[str, ModelConfig]:
        recipe = load_recipe(self.workspace.root / "recipe.yaml")
        done = {s.name: s.artifact for s in states(recipe, self.workspace) if s.artifact}
        found: dict[str, ModelConfig] = {}
        for name in NEWEST:
            artifact = done.get(name) or self._last(name)
            if artifact is not None and (artifact.path / "model").is_dir():
                found[name] = ModelConfig(path=str(artifact.path / "model"), dtype=recipe.base_model.dtype)
        return {**found, BASE: recipe.base_model}

    def _last(self, stage: str) -> Artifact | None:
        """What the stage made last: a new verdict makes trainings stale, and people still talk to the model."""
        folders = (self.workspace.root / stage).glob("*")
        made = [a for f in folders if (a := self.workspace.artifact(stage, f.name)) is not None]
        return max(made, key=lambda a: str(a.manifest["finished"]), default=None)
