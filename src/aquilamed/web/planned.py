"""What the next run of a workspace's recipe would do: the numbers of `aquilamed plan`."""

from dataclasses import dataclass
from typing import Any

from aquilamed.config import Invalid
from aquilamed.pipeline import StageState
from aquilamed.recipe import load_recipe
from aquilamed.web.pipeline_view import current_states
from aquilamed.workspace import Workspace


@dataclass(frozen=True)
class Plan:
    """Stages that would run with their reasons; trainings and calls as tables; `refused` says why a run would not start."""

    stages: list[StageState]
    skipped: int
    trainings: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    refused: str


def planned(workspace: Workspace) -> Plan:
    """The plan. Raises `Invalid` when the recipe is broken."""
    from aquilamed.planned_calls import call_table, check_budget, planned_calls, spent
    from aquilamed.planned_trainings import check_hardware, planned_trainings, training_table

    recipe = load_recipe(workspace.root / "recipe.yaml")
    found = current_states(workspace)
    waiting = [s for s in found if s.state != "done"]
    names = {s.name for s in waiting}
    calls = planned_calls(recipe, found, workspace.root)
    refused = ""
    try:
        check_hardware(recipe)
        check_budget(recipe, calls, spent(workspace.root))
    except Invalid as error:
        refused = str(error)
    trainings = [t for t in planned_trainings(recipe, found) if t.stage in names]
    return Plan(
        waiting,
        len(found) - len(waiting),
        training_table(trainings) if trainings else [],
        call_table(recipe, calls) if calls else [],
        refused,
    )
