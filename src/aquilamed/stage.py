"""What a stage is: the contract between the runner (`pipeline.py`) and the stages' own files.

A stage is one module with its config and one function `run(ctx, config) -> Result`. It reads finished artefacts from
`ctx.inputs` and writes files below `ctx.out`; what it must remember between attempts goes below `ctx.work`.
It never writes a manifest, a fingerprint or a count: the runner does, from the written files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquilamed.config import Invalid
from aquilamed.engine import Counts, Engine, Kernel, map_parts
from aquilamed.hub import fetched, is_hub
from aquilamed.models import home
from aquilamed.progress import Progress
from aquilamed.remote import fetch, is_url
from aquilamed.train.hardware import Layout
from aquilamed.workspace import WORK, Artifact

if TYPE_CHECKING:
    from aquilamed.annotate import Annotator
    from aquilamed.recipe import Recipe

SAMPLE = "sample://"
WORKSPACE = "workspace://"


@dataclass(frozen=True)
class Result:
    """What a stage tells the runner.

    `metrics` is JSON-able and goes into the manifest. `records_in` is needed from data stages without `flow` (readers,
    samplers): how many records they looked at.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    records_in: int | None = None


@dataclass(frozen=True)
class Context:
    """What a stage may use."""

    out: Path
    work: Path
    inputs: Mapping[str, Artifact]
    engine: Engine
    progress: Progress
    seed: int
    root: Path
    """The workspace's folder (for the call store)."""
    recipe: "Recipe"
    """For shared settings only; a stage that reads one names it in its `uses`, so that it counts in the fingerprint."""
    layout: Layout = "ddp"
    """How the weights of a training with many processes are spread over them."""
    offload: bool = False
    """Whether sharded weights lie in the host's memory."""

    def flow(self, kernel: Kernel, source: str, label: str, gpu: bool = False) -> Counts:
        """Run a kernel over the kept parts of an input into this stage's kept/ and dropped/ (see `map_parts`)."""
        return map_parts(self.engine, kernel, self.inputs[source].kept_parts(), self.out, label, gpu)

    def annotator(self) -> "Annotator":
        """The recipe's annotator with this workspace's call store (a stage that calls this names `annotator` in `uses`)."""
        from aquilamed.annotate import open_annotator

        return open_annotator(self.recipe.annotator, self.root, self.progress)

    def judges(self) -> "list[Annotator]":
        """The annotator and the recipe's further judges, by one call store and within one budget (a stage that calls this
        names `annotator` and `evaluate.judges` in `uses`)."""
        from aquilamed.annotate import open_annotator

        shared = {"budget": self.recipe.annotator.budget}
        panel = [config.model_copy(update=shared) for config in self.recipe.evaluate.judges]
        return [self.annotator(), *(open_annotator(config, self.root, self.progress) for config in panel)]

    def files(self, pattern: str) -> list[tuple[str, Path]]:
        """Files of a recipe path: (name for records and hashes, path), sorted by name.

        `sample://x/*.jsonl` is below the sample stage's output, `workspace://x` below the workspace (there it may be
        absent: the list is empty), `hf://…` was fetched before, a URL is fetched, anything else is below the recipe's
        `data_root`.
        Raises `Invalid` when nothing matches.
        """
        sample = self.inputs["sample"].path / "files" if "sample" in self.inputs else None
        return find_files(pattern, self.recipe.data_folder(), sample, workspace=self.root)


def find_files(
    pattern: str,
    data_root: Path,
    sample: Path | None = None,
    fetch_missing: bool = True,
    workspace: Path | None = None,
) -> list[tuple[str, Path]]:
    """See `Context.files`. Without `fetch_missing` the result is empty when a file behind a URL was not fetched yet."""
    if pattern.startswith(WORKSPACE):
        assert workspace is not None, "a workspace:// path is found from a workspace"
        return [(pattern, path)] if (path := workspace / pattern.removeprefix(WORKSPACE)).is_file() else []
    if is_hub(pattern):
        there = fetched(home(), pattern)
        if there is None and fetch_missing:
            raise Invalid(f"{pattern} is not on this machine: run aquilamed fetch RECIPE")
        return there or []
    if is_url(pattern):
        return fetch(pattern, fetch_missing)
    root, relative = data_root, pattern
    if pattern.startswith(SAMPLE):
        assert sample is not None, "a sample:// path makes the stage depend on the sample stage"
        root, relative = sample, pattern.removeprefix(SAMPLE)
    if Path(relative).is_absolute():
        root, relative = Path("/"), relative.lstrip("/")
    found = [p for p in root.glob(relative.rstrip("/")) if not p.name.startswith(".")]
    files = [f for p in found for f in ([p] if p.is_file() else p.rglob("*"))]
    files = [f for f in files if f.is_file() and not f.name.startswith(".")]
    if not files:
        raise Invalid(f"no file matches {pattern!r} below {root}; check the path or set data_root")
    prefix = SAMPLE if pattern.startswith(SAMPLE) else ""
    return sorted((prefix + f.relative_to(root).as_posix(), f) for f in set(files))


@dataclass(frozen=True)
class Stage:
    """A row of the stage table. Its config is the recipe's section of the same name; null there switches it off.

    Args:
        name: "group/step"; the artefact's folder.
        run: the stage's function.
        inputs: stages whose artefacts it needs; when one is off, so is this stage.
        optional: stages whose artefacts it reads when the recipe has them on.
        any_of: it needs one of these at least.
        without: whether a recipe lets it go without any of those.
        flow: the inputs whose kept records must all come out again, kept or dropped (law 1). () for stages that
            read files, draw samples or train; those that write records then report `records_in` themselves.
        records: whether it writes kept/ and dropped/.
        uses: shared recipe keys that the stage reads through `ctx.recipe` (they count in the fingerprint).
        files: the recipe paths whose contents count in the fingerprint.
    """

    name: str
    run: Callable[[Context, Any], Result]
    inputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    without: Callable[["Recipe"], bool] = lambda recipe: False
    flow: tuple[str, ...] = ()
    records: bool = True
    uses: tuple[str, ...] = ()
    files: Callable[["Recipe"], list[str]] = lambda recipe: []


def work_folder(out: Path) -> Path:
    """Where an unfinished stage keeps markers and checkpoints."""
    return out / WORK
