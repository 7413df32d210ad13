"""What a card says about how something was made: read from the manifests of the stages it came from, and from nothing else.

Stages are taken as the workspace's recipe has them on: a stage that is added to the table appears here by itself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aquilamed.config import Invalid
from aquilamed.recipe import Recipe, load_recipe
from aquilamed.report.gather import Run, gather
from aquilamed.stages import BY_NAME, enabled
from aquilamed.workspace import Artifact, Workspace

MODELS = ("align", "finetune", "pretrain/stage2", "pretrain/stage1")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
Histogram = list[list[float]]


@dataclass(frozen=True)
class Facts:
    """A workspace's recipe and its finished stages."""

    recipe: Recipe
    run: Run

    def done(self, stage: str) -> Artifact:
        """A finished stage. Raises `Invalid`, saying where it stands, when it is not finished."""
        view = next((s for s in self.run.stages if s.name == stage), None)
        if view is None:
            raise Invalid(f"this workspace's recipe has no stage {stage}; it has: {', '.join(enabled(self.recipe))}")
        if view.artifact is None:
            why = f" ({view.why})" if view.why else ""
            raise Invalid(f"{stage} is {view.state}{why}; run the recipe up to it, then release again")
        return view.artifact

    def lineage(self, finals: Sequence[Artifact], records: bool = False) -> list[Artifact]:
        """Everything that these artefacts were made from, and they themselves, in the recipe's order.

        Args:
            records: follow records only: the stages whose kept records went on into these, not the models that helped.
        """
        known = self.run.artifacts()
        seen: dict[str, Artifact] = {}
        open_ends = [a.stage for a in finals]
        while open_ends:
            artifact = known.get(name := open_ends.pop())
            if artifact is None or name in seen or (records and "records_in" not in artifact.manifest):
                continue
            seen[name] = artifact
            open_ends += artifact.manifest.get("inputs", {})
        return [known[name] for name in known if name in seen]


def read(workspace: Workspace) -> Facts:
    """The facts of a workspace. Raises `Invalid` when its recipe cannot be read."""
    return Facts(load_recipe(workspace.root / "recipe.yaml"), gather(workspace))


def last_of(facts: Facts, group: str, what: str) -> Artifact:
    """The last stage of a group through which its records flow: the finished set.

    Raises `Invalid` when the recipe has none, or when it is not done.
    """
    names = [n for n in enabled(facts.recipe) if n.startswith(f"{group}/") and BY_NAME[n].records and BY_NAME[n].flow]
    if not names:
        raise Invalid(f"this workspace's recipe makes no {what}: it has no stage of {group}/")
    return facts.done(names[-1])


def finished(artifacts: Sequence[Artifact]) -> str:
    """The newest date among them: the only clock in a release, and it is the manifests'."""
    return max(str(a.manifest["finished"]) for a in artifacts)


def funnel(chain: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Per stage: stage, in, kept, dropped, reasons (most first), and whether it only draws a sample of what came before."""
    return [
        {
            "stage": a.stage,
            "in": a.manifest["records_in"],
            "kept": a.manifest["records_kept"],
            "dropped": a.manifest["records_dropped"],
            "reasons": sorted(a.manifest.get("reasons", {}).items(), key=lambda r: (-r[1], r[0])),
            "draws": not BY_NAME[a.stage].flow and bool(BY_NAME[a.stage].inputs),
        }
        for a in chain
    ]


def contamination(artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Per decontaminating stage and benchmark: stage, benchmark, and the numbers that the stage measured."""
    return [
        {"stage": a.stage, "benchmark": name, **numbers}
        for a in artifacts
        for name, numbers in sorted(_mapping(a.metrics.get("benchmarks")).items())
        if isinstance(numbers, dict) and "leaked_questions" in numbers
    ]


def labels(artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Per stage that asked an annotator or a scorer: stage, kind, name, rubrics (name → hash), agreement, errors."""
    found = []
    for a in artifacts:
        told = next((a.metrics[k] for k in ("annotator", "judge") if isinstance(a.metrics.get(k), dict)), None)
        scorer = a.metrics.get("scorer")
        if told is None and scorer is None:
            continue
        who = told or {"kind": "scorer", "name": scorer}
        rubrics = _mapping(who.get("rubrics")) or ({"rubric": who["rubric"]} if who.get("rubric") else {})
        agreement = {k: v for k, v in _mapping(a.metrics.get("agreement")).items() if isinstance(v, int | float)}
        errors = who.get("errors")
        failed = sum(errors.values()) if isinstance(errors, dict) else errors
        found.append(
            {"stage": a.stage, "kind": who.get("kind"), "name": who.get("name"), "rubrics": rubrics}
            | {"agreement": agreement, "errors": failed, "calls": who.get("calls")}
        )
    return found


def histograms(artifacts: Sequence[Artifact]) -> dict[str, Histogram]:
    """ "stage: score" → [[lower edge, count], …], wherever a stage's metrics hold one."""
    found: dict[str, Histogram] = {}
    for a in artifacts:
        for name, values in _histograms(a.metrics, ""):
            if values not in found.values():  # a selecting stage repeats what the scoring one measured
                found[f"{a.stage}: {name}" if name else a.stage] = values
    return found


def _histograms(value: Any, path: str) -> Iterator[tuple[str, Histogram]]:
    for key, inner in sorted(_mapping(value).items()):
        if not _NAME.fullmatch(key):  # a name made of corpus text has no place in a figure
            continue
        if key == "histogram" and _is_histogram(inner):
            yield path, inner
        elif key == "histograms":
            found = ((n, h) for n, h in sorted(_mapping(inner).items()) if _NAME.fullmatch(n) and _is_histogram(h))
            yield from ((f"{path} {n}".strip(), h) for n, h in found)
        else:
            yield from _histograms(inner, f"{path} {key}".strip())


def _is_histogram(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(b, list) and len(b) == 2 and all(isinstance(n, int | float) for n in b) for b in value)
    )


def provenance(artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Per stage what decides its result and what came out: for release.json."""
    keys = (
        "fingerprint",
        "code",
        "seed",
        "inputs",
        "records_in",
        "records_kept",
        "records_dropped",
        "reasons",
        "finished",
    )
    return [
        {"stage": a.stage, **{k: a.manifest[k] for k in keys if k in a.manifest}}
        | {"files": sorted([public_name(n), h] for n, h in a.manifest.get("files", {}).items())}
        for a in artifacts
    ]


def public_name(path: str) -> str:
    """A file's own name: where it lay on the machine that made the set is nobody's business."""
    return path.rstrip("/").rsplit("/", 1)[-1]


def versions(artifacts: Sequence[Artifact]) -> dict[str, str]:
    """Library → version, over these stages."""
    found: dict[str, set[str]] = {}
    for a in artifacts:
        for name, version in a.manifest.get("versions", {}).items():
            found.setdefault(name, set()).add(version)
    return {name: " / ".join(sorted(values)) for name, values in sorted(found.items())}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
