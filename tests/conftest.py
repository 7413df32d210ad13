"""Shared by all tests: no network, one torch thread, and where the real public data lies."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import chromium

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "2")

PUBLIC_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def public_data() -> Path:
    """The folder of real public data beside the checkout; the test is skipped where it is absent."""
    if not PUBLIC_DATA.is_dir():
        pytest.skip(f"real public data is not there: {PUBLIC_DATA}")
    return PUBLIC_DATA


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium (tests/browser.py). While it lives Playwright's loop runs in this thread, so not for longer."""
    with chromium() as found:
        yield found
