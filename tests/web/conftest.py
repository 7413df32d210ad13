"""One finished workspace and its app for the tests that only look."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import served

from aquilamed.workspace import Workspace
from release_workspace import make


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of which every stage is done."""
    root: Path = tmp_path_factory.mktemp("web")
    return make(root)


@pytest.fixture(scope="session")
def site(workspace: Workspace) -> Iterator[str]:
    """The address of that workspace's app."""
    with served(workspace) as address:
        yield address
