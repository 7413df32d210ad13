"""The pictures of this folder, from a finished workspace; of the README's it is the demo's:

    make demo && .venv/bin/python docs/images/make.py workspaces/demo

Writes overview.png (the report's figure), report.png (its first screen), report-phone.png, and web-*.png: every page of
the web app, and its overview in Chinese, dark, on a phone. Needs playwright and Chromium.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "tests"))
sys.path.append(str(Path(__file__).parents[2] / "tests" / "web"))

from serving import served

from aquilamed import report
from aquilamed.places import opened
from aquilamed.web.pages import PAGES
from browser import chromium

HERE = Path(__file__).parent
WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
REPORT: dict[str, dict[str, Any]] = {
    "report": {"viewport": {"width": 1280, "height": 1500}, "color_scheme": "light"},
    "report-phone": {"viewport": {"width": 390, "height": 1300}, "color_scheme": "dark"},
}
WAIT = 3000  # milliseconds for a page of the app to fill


def open_record(shown: Any) -> None:
    """Explore: a duplicate beside the copy that stayed."""
    shown.wait_for_selector(".beside", state="attached")
    shown.locator(".record:has(.beside) summary").first.click()


def ask(shown: Any) -> None:
    """Chat: a message that tells of an emergency, and what the model says."""
    shown.wait_for_function("document.querySelector('#model input')?.value")
    shown.locator("#said textarea").fill("My father has crushing chest pain and is sweating. What should we do?")
    shown.locator("#said textarea").press("Enter")
    shown.wait_for_function(
        "document.querySelector('#log .assistant .said') && !document.querySelector('#log .waiting')", timeout=120_000
    )


SHOTS: dict[str, tuple[str, Any]] = {
    "explore": ("explore?stage=corpus/dedup", open_record),
    "chat": ("chat", ask),
}
"""Page → its address and what is done before the picture, where that is not the page as it opens."""


def main(place: str) -> None:
    """Bring the report up to date, serve the app, and take all pictures."""
    space, _ = opened(place)
    page = report.write(space).resolve()
    shutil.copy(page.parent / report.FIGURES / "overview.png", HERE / "overview.png")
    with served(space) as site, chromium() as browser:
        for name, screen in REPORT.items():
            shoot(browser, page.as_uri(), name, screen)
        for one in PAGES:
            address, prepare = SHOTS.get(one.path, (one.path, None))
            shoot(browser, f"{site}/en/{address}", f"web-{one.path or 'overview'}", WIDE, prepare)
        shoot(browser, f"{site}/zh/", "web-phone", PHONE)


def shoot(browser: Any, address: str, name: str, screen: dict[str, Any], prepare: Any = None) -> None:
    """One picture of one page; `prepare` does something to it before."""
    context = browser.new_context(**screen)
    shown = context.new_page()
    shown.goto(address)
    if address.startswith("http"):
        shown.wait_for_selector("nav a[aria-current]")
        shown.wait_for_timeout(WAIT)
    if prepare:
        prepare(shown)
    shown.screenshot(path=HERE / f"{name}.png")
    context.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/images/make.py WORKSPACE")
    main(sys.argv[1])
