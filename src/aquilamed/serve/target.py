"""Which model a command's argument means: a workspace's newest, one of its stages', a folder's, or a fetched one's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aquilamed.config import Invalid
from aquilamed.models import ModelConfig
from aquilamed.workspace import Workspace

NEWEST = ("align", "finetune", "pretrain/stage2", "pretrain/stage1")
BASE = "base"


@dataclass(frozen=True, slots=True)
class StageModel:
    """A workspace's model, and what is to be known of it."""

    config: ModelConfig
    about: str


def find(target: str, say: Callable[[str], None] | None = None) -> ModelConfig:
    """The model of WORKSPACE (its newest, else its base model), WORKSPACE:stage, a model's folder or name.

    Args:
        say: told which of a workspace's models it is.

    Raises `Invalid` for a workspace's stage that has no model.
    """
    folder, _, stage = target.rpartition(":")
    if not (folder and is_workspace(Path(folder))):
        folder, stage = target, ""
    if not is_workspace(Path(folder)):
        return ModelConfig(path=target, dtype="auto")
    models = workspace_models(Workspace(Path(folder)))
    name = stage or next(iter(models))
    if name not in models:
        raise Invalid(f"{folder}: stage {name!r} has no model; those with one: {', '.join(models)}")
    if say:
        say(f"Model: {name}, {models[name].about}.")
    return models[name].config


def workspace_models(workspace: Workspace) -> dict[str, StageModel]:
    """The models of a workspace by stage, the newest stage first, then "base".

    A stage's model is the last one that it finished, also where its recipe or data have changed since: new verdicts make a
    training stale, and people still talk to the model. Raises `Invalid` when the recipe is broken.
    """
    from aquilamed.pipeline import states
    from aquilamed.recipe import load_recipe

    recipe = load_recipe(workspace.root / "recipe.yaml")
    known = {state.name: state for state in states(recipe, workspace)}
    found = {}
    for name in (n for n in NEWEST if n in known):
        now = known[name].artifact
        made = [now] if now else workspace.artifacts(name)
        artifact = next((a for a in made if (a.path / "model").is_dir()), None)
        if artifact is not None:
            about = f"finished {artifact.manifest['finished']}"
            about += (
                ""
                if now
                else f", before the recipe or its data changed (a run would make it anew: {known[name].state})"
            )
            config = ModelConfig(path=str(artifact.path / "model"), dtype=recipe.base_model.dtype)
            found[name] = StageModel(config, about)
    return {**found, BASE: StageModel(recipe.base_model, "which the recipe starts from")}


def is_workspace(folder: Path) -> bool:
    """Whether a folder is one that `aquilamed run` made."""
    return (folder / "recipe.yaml").is_file()


def short_name(target: str) -> str:
    """What a target is called where others read it: its last part, with the stage, and no path of this machine."""
    folder, _, stage = target.rpartition(":")
    if folder and is_workspace(Path(folder)):
        return f"{Path(folder).resolve().name}:{stage}"
    return Path(target).resolve().name.removesuffix(".gguf")
