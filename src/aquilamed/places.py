"""Workspaces by where they are: a folder, or a URL that is mirrored below AQUILAMED_HOME."""

from pathlib import Path
from typing import TYPE_CHECKING

from aquilamed.config import Invalid
from aquilamed.progress import Progress

if TYPE_CHECKING:  # the commands start without them
    from aquilamed.recipe import Recipe
    from aquilamed.remote import Remote
    from aquilamed.workspace import Workspace


def workspace_at(place: str) -> "tuple[Workspace, Remote | None]":
    """A workspace, and its remote side when the place is a URL."""
    from aquilamed.remote import Remote, is_url
    from aquilamed.workspace import Workspace

    remote = Remote(place) if is_url(place) else None
    return Workspace(remote.root if remote else Path(place)), remote


def mirrored(place: str) -> "Workspace":
    """A workspace to read; one behind a URL is mirrored first."""
    space, remote = workspace_at(place)
    if remote:
        remote.down(Progress())
    return space


def opened(place: str) -> "tuple[Workspace, Recipe]":
    """A workspace and its recipe. Raises `Invalid` when the place holds none."""
    from aquilamed.recipe import load_recipe

    space = mirrored(place)
    if not (space.root / "recipe.yaml").exists():
        raise Invalid(f"{place} is not a workspace: it has no recipe.yaml (aquilamed run makes one)")
    return space, load_recipe(space.root / "recipe.yaml")
