"""What a report is made from: the finished artefacts of a workspace's recipe, and nothing else."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.printable import printable
from aquilamed.records import digest, iter_parts, parts
from aquilamed.workspace import MANIFEST, Artifact, Workspace

HERE = Path(__file__).parent
Example = dict[str, str]
SHORT = 240


@dataclass(frozen=True)
class StageView:
    """A stage as the report sees it: `manifest` is empty until the stage is done."""

    name: str
    state: str
    why: str
    artifact: Artifact | None

    @property
    def manifest(self) -> dict[str, Any]:
        """The finished artefact's manifest, else {}."""
        return self.artifact.manifest if self.artifact else {}

    @property
    def manifest_file(self) -> str | None:
        """Where the finished artefact's manifest lies, relative to the workspace."""
        return f"{self.name}/{self.artifact.path.name}/{MANIFEST}" if self.artifact else None


@dataclass(frozen=True)
class Run:
    """A recipe's stages, in order, with what they measured."""

    recipe: str
    seed: int
    annotator: str
    stages: tuple[StageView, ...]

    def artifacts(self) -> dict[str, Artifact]:
        """Finished stages by name."""
        return {s.name: s.artifact for s in self.stages if s.artifact}

    def metric(self, stage: str, *keys: str) -> Any:
        """A measured value, or None where the stage is not done or did not measure it."""
        artifact = self.artifacts().get(stage)
        value: Any = artifact.manifest.get("metrics", {}) if artifact else None
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def fingerprint(self) -> str:
        """32 hex digits that change when any shown manifest, any stage's state, or the report's own code changes."""
        shown = [
            [s.name, s.state, s.why, s.manifest.get("fingerprint"), s.manifest.get("finished")] for s in self.stages
        ]
        return digest([self.recipe, self.seed, self.annotator, shown, code_hash()])


def gather(workspace: Workspace, earlier: bool = False) -> Run:
    """The stages of WORKSPACE/recipe.yaml. Raises `Invalid` when the recipe cannot be read.

    Args:
        earlier: also take what the recipe's stages made before our code changed, or where their input files cannot be seen
            from here; the state still says so.
    """
    from aquilamed.pipeline import states
    from aquilamed.recipe import load_recipe

    recipe = load_recipe(workspace.root / "recipe.yaml")
    taken: dict[str, Artifact] = {}
    views = []
    for s in states(recipe, workspace):
        artifact = s.artifact
        if artifact is None and earlier:
            made = workspace.artifacts(s.name)
            artifact = next((a for a in made if _agrees(a, s.identity, s.inputs, taken)), None)
        if artifact:
            taken[s.name] = artifact
        views.append(StageView(s.name, s.state, s.why, artifact))
    return Run(recipe.name, recipe.seed, recipe.annotator.kind, tuple(views))


def _agrees(artifact: Artifact, identity: dict[str, Any], inputs: tuple[str, ...], taken: dict[str, Artifact]) -> bool:
    """Whether an artefact is of these settings and files, as far as both sides know them, and made from what was taken."""
    made, marks = artifact.manifest, artifact.manifest.get("inputs") or {}
    return all(_alike(made.get(k), identity[k]) for k in ("seed", "params", "files")) and all(
        i in taken and taken[i].manifest.get("fingerprint") == marks[i] for i in inputs if i in marks
    )


def _alike(one: Any, two: Any) -> bool:
    """Equality, where of mappings only the keys count that both have: another version may know more keys."""
    if isinstance(one, dict) and isinstance(two, dict):
        return all(_alike(one[k], two[k]) for k in one.keys() & two.keys())
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_alike, one, two))
    return bool(one == two)


def code_hash() -> str:
    """32 hex digits of the files that decide how a report looks."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted([*HERE.glob("*.py"), *HERE.glob("*.j2"), HERE.parent / "evaluate" / "parity.py"]):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def examples(artifact: Artifact, per_reason: int = 3) -> dict[str, list[Example]]:
    """The first dropped records of every reason: origin, detail and shortened text. Reads one part at a time."""
    open_reasons = set(artifact.manifest.get("reasons", {}))
    found: dict[str, list[Example]] = {reason: [] for reason in sorted(open_reasons)}
    for path, frame in zip(parts(artifact.dropped), iter_parts(artifact.dropped, ["reason"]), strict=True):
        if not open_reasons:
            break
        if not frame["reason"].is_in(list(open_reasons)).any():
            continue
        rows = pl.read_parquet(path, glob=False).filter(pl.col("reason").is_in(list(open_reasons)))
        for row in rows.group_by("reason", maintain_order=True).head(per_reason).iter_rows(named=True):
            if len(found[row["reason"]]) < per_reason:
                found[row["reason"]].append(
                    {"origin": printable(row["origin"]), "detail": printable(row["detail"] or ""), "text": _text(row)}
                )
        open_reasons = {r for r in open_reasons if len(found[r]) < per_reason}
    return found


def _text(row: dict[str, Any]) -> str:
    messages = row.get("messages") or row.get("prompt")
    text = row.get("text") or row.get("raw")
    if not text and messages:
        text = "\n".join(f"{m['role']}: {m['content']}" for m in messages)
    text = printable(text or "")
    return text if len(text) <= SHORT else f"{text[:SHORT]} … ({len(text):,} characters)"
