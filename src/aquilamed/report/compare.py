"""Two workspaces side by side: what changed in the recipe, which stages made something else, what it did to every number.

    aquilamed compare WORKSPACE WORKSPACE [--html FILE] [--json]

`compare` is pure: it reads both workspaces and writes nothing. Stages that one workspace lacks are None there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aquilamed.records import digest
from aquilamed.report.compare_answers import Test
from aquilamed.report.compare_numbers import Group, groups
from aquilamed.report.gather import Run, gather
from aquilamed.report.leaves import leaves
from aquilamed.workspace import Workspace

ABSENT_KEY = "(no such key)"
NOT_THERE = "not in the recipe"
_DECIDES = ("code", "seed", "params", "inputs", "files")


@dataclass(frozen=True)
class Change:
    """A key of the recipe with its value on both sides, as JSON."""

    key: str
    one: str
    two: str


@dataclass(frozen=True)
class StageChange:
    """A stage's state on both sides.

    Args:
        made: whether there is an artefact on either side.
        changed: what of two artefacts differs; nothing when they are the same.
    """

    name: str
    one: str
    two: str
    made: tuple[bool, bool]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two workspaces, and what does not."""

    one: str
    two: str
    recipe: tuple[Change, ...]
    stages: tuple[StageChange, ...]
    groups: tuple[Group, ...]

    def tests(self) -> list[Test]:
        """Every paired test."""
        return [line.test for group in self.groups for line in group.lines if line.test]


def compare(one: Workspace, two: Workspace) -> Comparison:
    """Compare two workspaces by their recipes, manifests and predictions.

    Raises `Invalid` when a recipe cannot be read, `StageFailed` when a manifest or a table of predictions is broken.
    """
    runs = gather(one, earlier=True), gather(two, earlier=True)
    recipes = _recipe(one.root), _recipe(two.root)
    keys = dict.fromkeys([*recipes[0], *recipes[1]])
    changes = [Change(k, *(r.get(k, ABSENT_KEY) for r in recipes)) for k in keys]
    return Comparison(
        *_names(one.root, two.root),
        tuple(c for c in changes if c.one != c.two),
        tuple(_stages(*runs)),
        tuple(groups(*runs)),
    )


def _recipe(root: Path) -> dict[str, str]:
    """The resolved recipe's keys and values: as it was written, so that defaults of that time count."""
    import yaml

    values = yaml.safe_load((root / "recipe.yaml").read_text(encoding="utf-8"))
    return {key: json.dumps(value, ensure_ascii=False, default=str) for key, value in leaves(values)}


def _names(one: Path, two: Path) -> tuple[str, str]:
    """The folders' names, or their paths where the names are the same."""
    short = one.resolve().name, two.resolve().name
    return short if short[0] != short[1] else (str(one), str(two))


def _stages(one: Run, two: Run) -> Iterator[StageChange]:
    first, second = ({s.name: s for s in run.stages} for run in (one, two))
    for name in dict.fromkeys([*first, *second]):
        a, b = first.get(name), second.get(name)
        states = (a.state if a else NOT_THERE, b.state if b else NOT_THERE)
        made = (a.manifest if a else {}), (b.manifest if b else {})
        changed = [k for k in _DECIDES if all(made) and digest(made[0].get(k)) != digest(made[1].get(k))]
        yield StageChange(name, *states, (bool(made[0]), bool(made[1])), tuple(changed))
