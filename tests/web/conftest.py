"""One finished workspace and its app for the tests that only look."""

from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from serving import served

from aquilamed.workspace import Workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished workspace whose every text is an attack; a failed stage's error is one too."""
    root: Path = tmp_path_factory.mktemp("web")
    return hostile.workspace(root)


@pytest.fixture(scope="session")
def site(workspace: Workspace) -> Iterator[str]:
    """The address of that workspace's app."""
    with served(workspace) as address:
        yield address
