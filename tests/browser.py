"""A real, headless Chromium that reaches nothing but loopback; what a page asked of the network is kept."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
LOCAL = ("127.0.0.1", "localhost", "::1")


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, else the one that `playwright install chromium` fetched; a test without either is skipped."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        if not found and not shutil.which(playwright.chromium.executable_path):
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


def outside(context: Any) -> list[str]:
    """A list that fills with every address off this machine that pages of a browser context ask for; they get nothing."""
    asked: list[str] = []

    def route(route: Any) -> None:
        url = urlsplit(route.request.url)
        if url.scheme in ("file", "data", "blob", "about") or url.hostname in LOCAL:
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    context.route("**/*", route)
    return asked
