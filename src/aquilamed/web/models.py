"""The workspace's models in the web app: loaded when somebody asks one, shared by all, two in memory at most while nobody waits."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aquilamed.config import Invalid
from aquilamed.serve.engine import Engine
from aquilamed.serve.target import workspace_models
from aquilamed.workspace import Workspace

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
        return list(workspace_models(self.workspace))

    @contextmanager
    def use(self, name: str) -> Iterator[Engine]:
        """A model, kept in memory until the block ends. Raises `Invalid` when there is none of that name or it cannot be loaded."""
        found = workspace_models(self.workspace).get(name)
        if found is None:
            raise Invalid(f"stage {name!r} has no model in this workspace")
        config = found.config
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
