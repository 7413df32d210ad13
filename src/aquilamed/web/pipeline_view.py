"""The pipeline as people see it: every stage's state, counts and time, and how far an unfinished one has come."""

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aquilamed.pipeline import StageState, states
from aquilamed.recipe import load_recipe
from aquilamed.records import count_rows, parts
from aquilamed.stage import work_folder
from aquilamed.stages import BY_NAME
from aquilamed.workspace import Artifact, Workspace

_FRESH = 2.0  # seconds for which everybody who looks is shown the same
LANES = {
    "documents": ("sample", "sources/documents", "corpus/"),
    "dialogues": ("sources/dialogues", "instruct/"),
    "pairs": ("sources/preferences", "prefer/"),
    "models": ("pretrain/", "finetune", "align"),
    "evaluation": ("evaluate/",),
}
"""Lane → how the names of its stages begin."""
_TOLD = ("seconds", "records_in", "records_kept", "records_dropped")
_lock = threading.Lock()
_last: dict[Path, tuple[float, list[StageState]]] = {}


@dataclass(frozen=True)
class SeenStage:
    """A stage in the picture. `written` and `step` tell how far an unfinished data stage and training are."""

    name: str
    state: str
    why: str
    inputs: tuple[str, ...]
    data: bool
    seconds: float | None = None
    records_in: int | None = None
    records_kept: int | None = None
    records_dropped: int | None = None
    written: int | None = None
    expected: int | None = None
    step: int | None = None
    steps: int | None = None

    @property
    def kept_share(self) -> float | None:
        """Kept of read records, 0 to 1."""
        return (self.records_kept or 0) / self.records_in if self.records_in else None


@dataclass(frozen=True)
class Lane:
    """The stages of one part of the process: documents, dialogues, pairs, models, evaluation."""

    name: str
    stages: list[SeenStage]


def current_states(workspace: Workspace) -> list[StageState]:
    """The stages of the workspace's recipe; at most two seconds old. Raises `Invalid` when the recipe is broken."""
    with _lock:
        when, found = _last.get(workspace.root, (-_FRESH, []))
        if time.monotonic() - when >= _FRESH:
            found = states(load_recipe(workspace.root / "recipe.yaml"), workspace)
            _last[workspace.root] = time.monotonic(), found
        return found


def newest(workspace: Workspace, state: StageState) -> Artifact | None:
    """A stage's finished artefact: the recipe's own, else the newest one of another recipe or code; None when there is none."""
    return state.artifact or next(iter(workspace.artifacts(state.name)), None)


def look(workspace: Workspace) -> list[Lane]:
    """The stages by lane, in the order in which they run."""
    found = current_states(workspace)
    kept = {s.name: s.artifact.manifest.get("records_kept") for s in found if s.artifact}
    lanes: dict[str, list[SeenStage]] = {lane: [] for lane in LANES}
    for state in found:
        lane = next(n for n, starts in LANES.items() if state.name.startswith(starts))
        lanes[lane].append(_seen(workspace, state, kept))
    return [Lane(name, stages) for name, stages in lanes.items() if stages]


def _seen(workspace: Workspace, state: StageState, kept: dict[str, int | None]) -> SeenStage:
    stage = BY_NAME[state.name]
    seen = SeenStage(state.name, state.state, state.why, state.inputs, stage.records)
    unfinished = state.state in ("running", "interrupted", "failed")
    if not unfinished and (artifact := newest(workspace, state)):
        told: dict[str, Any] = {k: artifact.manifest.get(k) for k in _TOLD}
        return replace(seen, **told)
    if state.fingerprint is None or not unfinished:
        return seen
    folder = workspace.folder(state.name, state.fingerprint)
    expected = [kept.get(i) for i in stage.flow if i in state.inputs]
    step, steps = _step(work_folder(folder) / "checkpoints")
    return replace(
        seen,
        written=count_rows([*parts(folder / "kept"), *parts(folder / "dropped")]) if stage.records else None,
        expected=sum(n or 0 for n in expected) if expected else None,
        step=step,
        steps=steps,
    )


def _step(checkpoints: Path) -> tuple[int | None, int | None]:
    """The last checkpoint's step, and how many there will be."""
    found = sorted(_numbers(checkpoints.glob("checkpoint-*")))
    if not found:
        return None, None
    try:
        told: dict[str, Any] = json.loads((checkpoints / f"checkpoint-{found[-1]}" / "trainer_state.json").read_text())
    except (OSError, ValueError):  # still being written
        return found[-1], None
    return found[-1], told.get("max_steps")


def _numbers(folders: Iterable[Path]) -> list[int]:
    return [int(n) for f in folders if (n := f.name.removeprefix("checkpoint-")).isdecimal()]
