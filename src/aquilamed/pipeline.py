"""The runner: skip what is done, continue what is half-written, check what was written.

`states` (behind `plan` and `status`) reads manifests and the recipe only; `run` does the work.
"""

import errno
import importlib.metadata
import platform
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from aquilamed.config import Config, Invalid, StageFailed
from aquilamed.conservation import conservation
from aquilamed.engine import Engine, open_engine
from aquilamed.hub import CHECKSUMS, is_model_id
from aquilamed.launch import run_stage
from aquilamed.lineage import code_hash
from aquilamed.models import find_model
from aquilamed.progress import Progress, duration
from aquilamed.recipe import Recipe, save_recipe
from aquilamed.records import digest, write_atomic
from aquilamed.stage import SAMPLE, WORKSPACE, Context, Stage, find_files, work_folder
from aquilamed.stages import BY_NAME, choose, enabled, stage_config
from aquilamed.workspace import Artifact, HashCache, Workspace, file_hash

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

State = Literal["done", "running", "failed", "interrupted", "stale", "waiting"]


@dataclass(frozen=True)
class StageState:
    """Where a stage stands.

    Args:
        fingerprint: None while an input file's hash is not known yet.
        identity: what decides its result, as far as that is known (see `fingerprint`).
    """

    name: str
    inputs: tuple[str, ...]
    identity: dict[str, Any]
    fingerprint: str | None
    state: State
    why: str
    artifact: Artifact | None


def _identity(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    config = stage_config(recipe, stage.name)
    shared: dict[str, Any] = {}
    for key in stage.uses:
        value = attrgetter(key)(recipe)
        shared[key] = value.identity() if isinstance(value, Config) else [v.identity() for v in value]
    return {"config": config.identity() if config else None, **shared}


def _file_hashes(recipe: Recipe, stage: Stage, cache: HashCache, compute: bool) -> dict[str, str] | None:
    """Logical name → hash of the files that a stage reads from outside; None when one is not known yet."""
    found: dict[str, Path] = {}
    own: dict[str, str] = {}
    for pattern in stage.files(recipe):
        if pattern.startswith(WORKSPACE):  # small, and changed by people: `status` sees it at once
            files = find_files(pattern, recipe.data_folder(), workspace=cache.path.parent)
            own.update((name, file_hash(path)) for name, path in files)
        elif not pattern.startswith(SAMPLE):  # those come through the sample stage's fingerprint
            if not (files := find_files(pattern, recipe.data_folder(), fetch_missing=compute)):
                return None  # behind a URL and not fetched yet
            found.update(files)
    models = [(recipe.base_model.path, recipe.base_model.revision)] if "base_model" in stage.uses else []
    if "annotator" in stage.uses and recipe.annotator.kind == "local":
        models.append((recipe.annotator.model, None))
    if "evaluate.judges" in stage.uses:
        models += [(judge.model, None) for judge in recipe.evaluate.judges if judge.kind == "local"]
    for model, revision in models:
        try:
            found.update(_model_files(model, revision))
        except Invalid:
            if compute or not is_model_id(model):
                raise
            return None  # on the hub and not fetched yet
    hashes = {name: cache.get(path, compute) for name, path in found.items()}
    return own | {n: h for n, h in hashes.items() if h} if all(hashes.values()) else None


def _model_files(model: str, revision: str | None) -> dict[str, Path]:
    """A model's files on this machine; what we wrote beside them about a fetch is none of them."""
    folder = Path(find_model(model, revision))
    ours = {CHECKSUMS, ".commit"}
    return {f"model/{f.name}": f for f in sorted(folder.iterdir()) if f.is_file() and f.name not in ours}


def fingerprint(recipe: Recipe, stage: Stage, inputs: dict[str, str], files: dict[str, str]) -> dict[str, Any]:
    """What decides a stage's result; its digest names the artefact."""
    return {
        "stage": stage.name,
        "code": code_hash(stage.run.__module__),
        "seed": recipe.seed,
        "params": _identity(recipe, stage),
        "inputs": inputs,
        "files": files,
    }


def states(recipe: Recipe, workspace: Workspace) -> list[StageState]:
    """Every enabled stage's state, from manifests and the recipe alone."""
    cache = HashCache(workspace.root / "inputs.json")
    locked = workspace.locked()
    known: dict[str, str | None] = {}
    result = []
    for name, inputs in enabled(recipe).items():
        files, why = None, "its input files were not read yet"
        try:
            files = _file_hashes(recipe, BY_NAME[name], cache, compute=False)
        except Invalid as error:  # a run stops here; a plan goes on to say what it can
            why = str(error)
        before = {i: mark for i in inputs if (mark := known[i])}
        identity = fingerprint(recipe, BY_NAME[name], before, files or {})
        if files is None or len(before) < len(inputs):
            known[name] = None
            result.append(StageState(name, inputs, identity, None, "waiting", why, None))
            continue
        known[name] = mark = digest(identity)[:16]
        artifact = workspace.artifact(name, mark)
        state, why = _state(workspace, name, mark, identity, artifact, locked)
        result.append(StageState(name, inputs, identity, mark, state, why, artifact))
    return result


def _state(
    workspace: Workspace, name: str, mark: str, identity: dict[str, Any], artifact: Artifact | None, locked: bool
) -> tuple[State, str]:
    if artifact:
        return "done", ""
    folder = workspace.folder(name, mark)
    if (work_folder(folder) / "error.txt").exists():
        return "failed", (work_folder(folder) / "error.txt").read_text(encoding="utf-8").splitlines()[0]
    if folder.exists():
        return ("running", "") if locked else ("interrupted", "continues where it stopped")
    older = sorted(workspace.root.glob(f"{name}/*/manifest.json"), key=lambda p: p.stat().st_mtime)
    if not older:
        return "waiting", "never ran"
    last = workspace.artifact(name, older[-1].parent.name)
    changed = [key for key in identity if last and identity[key] != last.manifest.get(key)]
    return "stale", f"changed: {', '.join(changed)}"


def run(
    recipe: Recipe,
    workspace: Workspace,
    progress: Progress,
    *,
    until: str | None = None,
    only: str | None = None,
    workers: int = 0,
    engine: str = "local",
    finished: Callable[[Artifact], None] | None = None,
) -> list[Artifact]:
    """Run a recipe's stages in order and return their artefacts.

    Args:
        until: a stage or group; only it and what it needs run.
        only: a stage or group; its inputs must be done.
        workers: worker processes; 0 is one per core. Never changes a byte of the output.
        engine: where data stages run (`open_engine`). Never changes a byte of the output.
        finished: called with every artefact that this run made.

    Raises:
        Invalid: the recipe or an input is wrong.
        StageFailed: a stage failed; its traceback is in its `.work/error.txt`.
    """
    chosen = choose(enabled(recipe), until, only)
    with workspace.lock(progress.say):
        write_atomic(workspace.root / "recipe.yaml", save_recipe(recipe).encode())
        cache = HashCache(workspace.root / "inputs.json")
        tasks = open_engine(engine, progress, workers, workspace.root)
        done: dict[str, Artifact] = {}
        try:
            for name, inputs in enabled(recipe).items():
                if name not in chosen and only is None:
                    continue
                files = _file_hashes(recipe, BY_NAME[name], cache, compute=True)
                assert files is not None
                marks = {i: done[i].manifest["fingerprint"] for i in inputs if i in done}
                identity = fingerprint(recipe, BY_NAME[name], marks, files)
                artifact = workspace.artifact(name, digest(identity)[:16])
                if artifact is None and name not in chosen:
                    continue
                if artifact is None and (missing := [i for i in inputs if i not in done]):
                    raise Invalid(f"--only {only}: its input {missing[0]} is not done; run it first")
                if artifact is None:
                    artifact = _run_stage(recipe, workspace, tasks, progress, BY_NAME[name], identity, done)
                    if finished:
                        finished(artifact)
                else:
                    progress.say(f"= {name}  done before{_counts(artifact)}")
                done[name] = artifact
        finally:
            tasks.close()
        return list(done.values())


def _run_stage(
    recipe: Recipe,
    workspace: Workspace,
    engine: Engine,
    progress: Progress,
    stage: Stage,
    identity: dict[str, Any],
    done: dict[str, Artifact],
) -> Artifact:
    mark = digest(identity)[:16]
    out, attempt = workspace.begin(stage.name, mark)
    progress.say(f"▶ {stage.name}" + (f"  (attempt {attempt}: continues)" if attempt > 1 else ""))
    inputs = {name: done[name] for name in identity["inputs"]}
    context = Context(out, work_folder(out), inputs, engine, progress, recipe.seed, workspace.root, recipe)
    started, clock = datetime.now(UTC), time.perf_counter()
    error_file = work_folder(out) / "error.txt"
    error_file.unlink(missing_ok=True)
    try:
        result = run_stage(stage, context, stage_config(recipe, stage.name))
        counts = conservation(stage, out, inputs, result) if stage.records else {}
    except Exception as error:
        with suppress(OSError):  # the disk may be full
            write_atomic(error_file, f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}".encode())
        if isinstance(error, Invalid | StageFailed):
            raise type(error)(f"{stage.name}: {error}") from error
        if isinstance(error, OSError) and _no_room(error):
            raise StageFailed(
                f"{stage.name}: {out} cannot be written to ({error}); make room, then run the same command again: "
                "what is written stays"
            ) from error
        raise
    manifest = {
        **identity,
        "fingerprint": mark,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - clock, 3),
        "attempts": attempt,
        "metrics": result.metrics,
        "versions": versions(),
        **counts,
    }
    artifact = workspace.commit(stage.name, mark, manifest)
    progress.say(f"✓ {stage.name}  {duration(manifest['seconds'])}{_counts(artifact)}")
    return artifact


def _no_room(error: OSError) -> bool:
    # NumPy says only "2000 requested and 1914 written".
    return error.errno in NO_ROOM or (error.errno is None and str(error).endswith(" written"))


def _counts(artifact: Artifact) -> str:
    m = artifact.manifest
    if "records_in" not in m:
        return ""
    return f"  {m['records_in']:,} in, {m['records_kept']:,} kept, {m['records_dropped']:,} dropped"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide results."""
    names = ("aquilamed", "torch", "transformers", "trl", "polars", "tokenizers", "rensa", "scikit-learn", "lm_eval")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
