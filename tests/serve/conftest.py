"""A tiny random model, its engine, and a real server before it, shared by the tests of serving."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoint import serving

import tiny_model as tiny
from aquilamed.models import ModelConfig
from aquilamed.serve.app import Front
from aquilamed.serve.engine import Engine


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("served") / "tiny", tied=False)


@pytest.fixture(scope="session")
def engine(folder: Path) -> Iterator[Engine]:
    with Engine(ModelConfig(path=str(folder)), max_concurrency=4) as engine:
        yield engine


@pytest.fixture(scope="session")
def served(engine: Engine) -> Iterator[tuple[str, Front]]:
    """Its address and its front: four answers at once, eight wait."""
    with serving(engine, max_concurrency=4, queue=8, max_body=20_000) as found:
        yield found
