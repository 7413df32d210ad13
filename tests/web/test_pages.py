"""Every page in a real Chromium: both languages, three widths, light and dark, the keyboard, nothing asked of the network."""

from typing import Any

import pytest
from serving import served

from aquilamed.web.access import Settings
from aquilamed.web.pages import PAGES
from aquilamed.web.text import LANGUAGES, Text
from aquilamed.workspace import Workspace
from browser import outside

WIDTHS = (360, 768, 1280)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path or "first")
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_in_every_width(browser: Any, site: str, page: Any, language: str) -> None:
    context = browser.new_context(color_scheme="dark" if language == "zh" else "light")
    asked, wrong = outside(context), []
    shown = context.new_page()
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    shown.goto(f"{site}/{language}/{page.path}")
    text = Text(language)
    shown.wait_for_selector(f"nav a[aria-current]:has-text('{text(page.title)}')")
    shown.wait_for_timeout(500)
    for width in WIDTHS:
        shown.set_viewport_size({"width": width, "height": 800})
        assert shown.get_by_text(text("site.not_a_device")).is_visible()
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate("document.documentElement.lang").startswith(language)
    assert shown.evaluate("document.body.classList.contains('dark')") == (language == "zh")
    assert not asked
    assert not wrong
    context.close()


def test_the_browsers_language_and_the_switch(browser: Any, site: str) -> None:
    context = browser.new_context(locale="zh-CN")
    shown = context.new_page()
    shown.goto(site)
    shown.wait_for_selector("nav a:has-text('概览')")
    shown.keyboard.press("Tab")  # the keyboard reaches the menu first
    assert shown.evaluate("document.activeElement.textContent") == "概览"
    shown.get_by_role("link", name="English").click()
    shown.wait_for_selector("nav a:has-text('Overview')")
    shown.goto(site)  # remembered
    shown.wait_for_selector("nav a:has-text('Overview')")
    context.close()


def test_login_in_a_browser(browser: Any, workspace: Workspace) -> None:
    with served(workspace, Settings(tokens={"wang": "a-token-of-doctor-wang"})) as site:
        context = browser.new_context(locale="en-US")
        shown = context.new_page()
        shown.goto(f"{site}/en/")
        shown.get_by_label("Name").fill("wang")
        shown.get_by_label("Token").fill("wrong")
        shown.get_by_role("button", name="Log in").click()
        shown.get_by_role("alert").wait_for()
        shown.get_by_label("Name").fill("wang")
        shown.get_by_label("Token").fill("a-token-of-doctor-wang")
        shown.keyboard.press("Enter")
        shown.wait_for_selector("nav a[aria-current]")
        shown.get_by_text("wang").wait_for()
        shown.get_by_role("button", name="Log out").click()
        shown.get_by_label("Token").wait_for()
        context.close()
