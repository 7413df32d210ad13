"""The pictures of this folder, from a finished workspace; of the README's it is the demo's:

    make demo && .venv/bin/python docs/images/make.py workspaces/demo

Writes overview.png (the report's figure), report.png (its first screen) and report-phone.png. Needs playwright and Chromium.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from aquilamed import report
from aquilamed.places import opened

HERE = Path(__file__).parent
SCREENS: dict[str, dict[str, Any]] = {
    "report": {"viewport": {"width": 1280, "height": 1500}, "color_scheme": "light"},
    "report-phone": {"viewport": {"width": 390, "height": 1300}, "color_scheme": "dark"},
}


def main(place: str) -> None:
    """Bring the report up to date and take its pictures."""
    page = report.write(opened(place)[0]).resolve()
    shutil.copy(page.parent / report.FIGURES / "overview.png", HERE / "overview.png")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, screen in SCREENS.items():
            view = browser.new_page(**screen)
            view.goto(page.as_uri())
            view.screenshot(path=HERE / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/images/make.py WORKSPACE")
    main(sys.argv[1])
