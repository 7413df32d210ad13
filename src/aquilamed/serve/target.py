"""Which model a command's argument means: a workspace's newest, one of its stages', a folder's, or a fetched one's."""

from pathlib import Path

from aquilamed.config import Invalid
from aquilamed.models import ModelConfig
from aquilamed.workspace import Workspace

NEWEST = ("align", "finetune", "pretrain/stage2", "pretrain/stage1")


def find(target: str) -> ModelConfig:
    """The model of WORKSPACE (its newest, else its base model), WORKSPACE:stage, a model's folder or name.

    Raises `Invalid` for a workspace's stage that has no model.
    """
    folder, _, stage = target.rpartition(":")
    if folder and is_workspace(Path(folder)):
        return _of_workspace(Path(folder), (stage,), stage)
    if is_workspace(Path(target)):
        return _of_workspace(Path(target), NEWEST, "")
    return ModelConfig(path=target, dtype="auto")


def is_workspace(folder: Path) -> bool:
    """Whether a folder is one that `aquilamed run` made."""
    return (folder / "recipe.yaml").is_file()


def short_name(target: str) -> str:
    """What a target is called where others read it: its last part, with the stage, and no path of this machine."""
    folder, _, stage = target.rpartition(":")
    if folder and is_workspace(Path(folder)):
        return f"{Path(folder).resolve().name}:{stage}"
    return Path(target).resolve().name.removesuffix(".gguf")


def _of_workspace(folder: Path, names: tuple[str, ...], asked: str) -> ModelConfig:
    from aquilamed.pipeline import states
    from aquilamed.recipe import load_recipe

    recipe = load_recipe(folder / "recipe.yaml")
    done = {s.name: s.artifact for s in states(recipe, Workspace(folder)) if s.artifact}
    for name in names:
        artifact = done.get(name)
        if artifact is not None and (artifact.path / "model").is_dir():
            return ModelConfig(path=str(artifact.path / "model"), dtype=recipe.base_model.dtype)
    if asked and asked != "base":
        have = ", ".join(n for n in reversed(NEWEST) if n in done) or "none yet"
        raise Invalid(f"{folder}: stage {asked!r} has no model; stages with one: {have}, and base")
    return recipe.base_model
