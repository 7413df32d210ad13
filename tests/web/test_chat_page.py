"""Talking to a tiny model in a real Chromium: streaming, stop, again, emergencies, what is kept and what is saved."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import served, set_longest

import release_workspace
import tiny_model
from aquilamed.sources.forms import messages
from aquilamed.web.chatting import kept
from aquilamed.workspace import Workspace
from browser import outside

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script> ${window.hacked = 1} **bold**'


KEPT = "localStorage.getItem('aquilamed-chat')"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("chat")
    return release_workspace.make(root, model=tiny_model.build(root / "tiny", context=2048))


@pytest.fixture(scope="module")
def talk(space: Workspace) -> Iterator[str]:
    with served(space) as site:
        yield site


def opened(context: Any, site: str, longest: int = 48, language: str = "en") -> Any:
    page = context.new_page()
    page.goto(f"{site}/{language}/chat")
    page.wait_for_function("document.querySelector('#model input')?.value === 'align'")
    set_longest(page, longest)
    return page


def say(page: Any, text: str) -> None:
    page.locator("#said textarea").fill(text)
    page.locator("#said textarea").press("Enter")


def finished(page: Any, rounds: int) -> str:
    page.wait_for_function(
        f"document.querySelectorAll('#log .assistant .said').length === {rounds} && !document.querySelector('#log .waiting')",
        timeout=120_000,
    )
    return str(page.locator("#log .assistant .said").last.inner_text())


def test_a_conversation(browser: Any, talk: str, tmp_path: Path) -> None:
    context = browser.new_context(accept_downloads=True)
    asked = outside(context)
    page = opened(context, talk)
    say(page, "What is a fever?")
    first = finished(page, 1)
    assert first
    page.locator("#again").click()
    page.wait_for_function("(old) => document.querySelector('#log .assistant .said').innerText !== old", arg=first)
    assert finished(page, 1) != first, "drawn anew"
    assert page.locator("#said textarea").input_value() == ""
    before = page.evaluate(KEPT)
    say(page, f"And a cough? {HOSTILE}")
    finished(page, 2)
    assert HOSTILE in page.locator("#log .user .said").last.inner_text()
    with page.expect_download() as found:
        page.locator("#jsonl").click()
    found.value.save_as(tmp_path / "c.jsonl")
    [line] = (tmp_path / "c.jsonl").read_text("utf-8").splitlines()
    turns = messages.parse(json.loads(line))
    assert [t["role"] for t in turns] == ["user", "assistant"] * 2
    with page.expect_download() as found:
        page.locator("#markdown").click()
    found.value.save_as(tmp_path / "c.md")
    text = (tmp_path / "c.md").read_text("utf-8")
    assert text.startswith("> Not a medical device")
    assert f"    And a cough? {HOSTILE}" in text
    page.wait_for_function(f"(before) => {KEPT} !== before", arg=before)
    page.reload()
    page.wait_for_function("document.querySelectorAll('#log .assistant').length === 2")
    page.locator("#new").click()
    page.wait_for_function("document.querySelectorAll('#log .turn').length === 0")
    assert page.evaluate("window.hacked") is None
    assert not asked
    assert page.get_by_text("Not a medical device").is_visible()
    context.close()


def test_stop_ends_the_answer_and_keeps_what_was_said(browser: Any, talk: str) -> None:
    context = browser.new_context()
    page = opened(context, talk, longest=2048)
    say(page, "Tell me everything about the heart.")
    page.wait_for_function(
        "(document.querySelector('#log .assistant .said')?.innerText.length || 0) > 5", timeout=120_000
    )
    page.locator("#stop").click()
    said = finished(page, 1)
    assert len(said) > 5
    page.wait_for_timeout(400)
    assert page.locator("#log .assistant .said").inner_text() == said
    say(page, "And now?")  # the session is free again
    page.wait_for_function("document.querySelectorAll('#log .user').length === 2")
    page.locator("#stop").click()
    finished(page, 2)
    context.close()


def test_an_emergency_is_answered_with_what_to_do(browser: Any, talk: str) -> None:
    context = browser.new_context()
    page = opened(context, talk, longest=16)
    say(page, "我爸突然嘴歪了，说话不清楚，右手抬不起来")
    finished(page, 1)
    box = page.locator("#log .emergency")
    assert "120" in box.inner_text()
    order = page.evaluate("[...document.querySelectorAll('#log section')].map(s => s.className.split(' ').pop())")
    assert order == ["user", "emergency", "assistant"], "above the answer"
    say(page, "Thank you, that was all.")
    finished(page, 2)
    assert box.count() == 1
    context.close()


def test_a_message_that_is_too_long_is_said_and_not_lost(browser: Any, talk: str) -> None:
    context = browser.new_context()
    page = opened(context, talk)
    say(page, "very long " * 1900)
    page.get_by_text("the model's context holds").wait_for()
    assert page.locator("#said textarea").input_value().startswith("very long")
    assert page.locator("#log .turn").count() == 0
    context.close()


def test_what_a_browser_kept_is_a_conversation_or_nothing() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "model": "align", "x": 1}]
    assert kept(turns) == [turns[0], {"role": "assistant", "content": "b", "model": "align"}]
    for bad in (None, "x", [1], [{"role": "user"}], turns[:1], turns[::-1], [{"role": "user", "content": 3}, turns[1]]):
        assert kept(bad) == []
