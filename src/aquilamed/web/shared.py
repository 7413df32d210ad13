"""What all pages and both languages share: one review desk and one set of loaded models per workspace."""

import atexit
from functools import cache
from pathlib import Path

from aquilamed.review.desk import Desk
from aquilamed.review.hand_over import HandOver
from aquilamed.review.store import ReviewStore
from aquilamed.web.models import Models
from aquilamed.workspace import Workspace


def desk(workspace: Workspace) -> Desk:
    """The workspace's review desk."""
    return _desk(workspace.root)


def hand_over(workspace: Workspace) -> HandOver:
    """What brings verdicts into the file that the next run reads."""
    return _hand_over(workspace.root)


def models(workspace: Workspace) -> Models:
    """The workspace's models, each loaded once."""
    return _models(workspace.root)


@cache
def _desk(root: Path) -> Desk:
    return Desk(Workspace(root), ReviewStore(root))


@cache
def _hand_over(root: Path) -> HandOver:
    found = HandOver(root, _desk(root).store)
    atexit.register(found.now)
    return found


@cache
def _models(root: Path) -> Models:
    found = Models(Workspace(root))
    atexit.register(found.close)
    return found
