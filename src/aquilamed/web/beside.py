"""What a dropped record is shown beside: the copy that stayed, or the benchmark's question that leaked."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from aquilamed.config import Invalid, StageFailed
from aquilamed.web.scan import by_ids
from aquilamed.workspace import Artifact, Workspace

# As the stages write them: `copy of <id>` (duplicates), `cosine 0.98 with <id>` (diversity), `… of <task> question <id>`.
_COPY = re.compile(r"(?:\bcopy of|\bcosine \S+ with) ([0-9a-f]{16})\b")
_LEAK = re.compile(r" of (\w+) question (\S+?)(?: and \d+ more)?$")


@dataclass(frozen=True)
class Beside:
    """The other text: a kept record, or a question as plain text."""

    kind: Literal["copy", "question"]
    id: str
    record: dict[str, Any] | None = None
    text: str = ""


def beside(workspace: Workspace, artifact: Artifact, rows: list[dict[str, Any]]) -> dict[str, Beside]:
    """Id of a dropped record → what it resembles; records without such a counterpart, or whose one is not found, are absent."""
    copies = {row["id"]: found[1] for row in rows if (found := _COPY.search(row.get("detail") or ""))}
    leaks = {row["id"]: found.groups() for row in rows if (found := _LEAK.search(row.get("detail") or ""))}
    kept = by_ids(artifact.kept, list(copies.values()))
    result = {i: Beside("copy", other, kept[other]) for i, other in copies.items() if other in kept}
    if leaks:
        questions = _questions(workspace.root, str(artifact.manifest.get("fingerprint")))
        result |= {i: Beside("question", key[1], text=questions[key]) for i, key in leaks.items() if key in questions}
    return result


@lru_cache(maxsize=2)
def _questions(root: Path, fingerprint: str) -> dict[tuple[str, str], str]:
    """(task, id) → text of every benchmark item of the recipe; {} when the files are not there any more."""
    from aquilamed.engine.local import LocalEngine
    from aquilamed.evaluate.tasks import benchmark_texts
    from aquilamed.pipeline import states
    from aquilamed.progress import Progress
    from aquilamed.recipe import load_recipe
    from aquilamed.stage import Context

    space = Workspace(root)
    recipe = load_recipe(root / "recipe.yaml")
    inputs = {s.name: s.artifact for s in states(recipe, space) if s.name == "sample" and s.artifact}
    quiet = Progress(quiet=True)
    context = Context(root, root, inputs, LocalEngine(quiet, 1), quiet, recipe.seed, root, recipe)
    try:
        return {(t.benchmark, t.id): t.text for t in benchmark_texts(context)}
    except (Invalid, StageFailed):
        return {}
