"""Doctors review in a real Chromium: by keyboard, through a killed server, two at once; whatever the texts hold."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pairs_workspace import RECIPE, make, run
from server_process import free_port, server
from serving import served

import release_workspace
from aquilamed.records import read_parts
from aquilamed.review.store import ReviewStore
from aquilamed.web.access import Settings
from browser import outside
from release_workspace import usual

HOSTILE = (
    '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script><svg onload="window.hacked = 1"> '
    "${window.hacked = 1} {{ 7 * 7 }} **bold** [link](javascript:window.hacked=1) \u202egnp.exe"
)
TOKENS = {"li": "token-of-doctor-li", "wang": "token-of-doctor-wang", "head": "token-of-the-head"}


def sign_in(context: Any, site: str, name: str) -> Any:
    page = context.new_page()
    page.goto(f"{site}/en/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Token").fill(TOKENS[name])
    page.keyboard.press("Enter")
    page.wait_for_selector("nav a[aria-current]")
    return page


def at_desk(page: Any, site: str, language: str = "en") -> Any:
    page.goto(f"{site}/{language}/review")
    page.wait_for_selector(".answers")
    return page


def progress(page: Any, done: int, total: int) -> None:
    page.get_by_text(f"{done} of {total} judged or skipped").wait_for()


def better(page: Any) -> str:
    """The key of the better answer."""
    return "1" if "see a doctor" in page.locator(".answer").first.inner_text() else "2"


@pytest.mark.slow
def test_ten_pairs_with_the_server_killed_in_the_middle(browser: Any, tmp_path: Path) -> None:
    space = make(tmp_path, pairs=10)
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    context = browser.new_context()
    page = context.new_page()
    with server(space.root, port) as process:
        at_desk(page, site)
        for done in range(4):
            progress(page, done, 10)
            page.keyboard.press(better(page))
        progress(page, 4, 10)
        fixed = page.locator(".said").first.inner_text()
        page.keyboard.press("e" if better(page) == "1" else "r")  # correct the better answer
        page.wait_for_function("document.querySelector('#edited textarea').value.includes('see a doctor')")
        page.keyboard.press("End")
        page.keyboard.type(" Drink warm water 12 times.")  # keys mean letters here
        page.keyboard.press("Escape")
        page.keyboard.press("c")
        page.keyboard.type("more precise")
        page.keyboard.press("Escape")
        page.keyboard.press(better(page))
        progress(page, 5, 10)
        process.kill()
        process.wait()
        assert len(ReviewStore(space.root).verdicts("pair")) == 5
    with server(space.root, port):
        at_desk(page, site)
        progress(page, 5, 10)
        page.keyboard.press("s")
        progress(page, 6, 10)
        page.keyboard.press("u")  # a skip is undone, and its pair judged
        progress(page, 5, 10)
        page.keyboard.press("f" if better(page) == "2" else "g")
        page.keyboard.press(better(page))
        for done in range(6, 10):
            progress(page, done, 10)
            page.keyboard.press(better(page))
        page.get_by_text("Nothing is left to judge here").wait_for()
        progress(page, 10, 10)
        page.get_by_role("tab", name="Agreement").click()
        page.get_by_text("all and the model's judge").wait_for()
    context.close()
    run(tmp_path)
    [kept] = [
        read_parts(f)
        for f in (space.root / "prefer/select").glob("*/kept")
        if "human" in read_parts(f).columns and read_parts(f)["human"].is_not_null().any()
    ]
    rows = kept.to_dicts()
    assert len(rows) == 10
    assert {json.loads(r["human"])["upheld"] for r in rows} == {1}
    [edited] = [r for r in rows if r["prompt"][0]["content"] == fixed]
    assert edited["chosen"][0]["content"].endswith(" Drink warm water 12 times.")
    said = {v.said["pair"]: v.said for v in ReviewStore(space.root).verdicts("pair")}
    assert said[edited["id"]]["comment"] == "more precise"
    assert sum(bool(s.get("dangerous")) for s in said.values()) == 1


def test_two_reviewers_at_once_and_an_adjudicator(browser: Any, tmp_path: Path) -> None:
    space = make(
        tmp_path, pairs=4, recipe=RECIPE.replace("objective: null", "objective: null, select: {adjudicators: [head]}")
    )
    with served(space, Settings(tokens=TOKENS)) as site:
        contexts = [browser.new_context() for _ in range(3)]
        li, wang, head = (sign_in(c, site, name) for c, name in zip(contexts, TOKENS, strict=True))
        for page in (li, wang):
            at_desk(page, site)
        for done in range(4):
            for page in (li, wang):
                progress(page, done, 4)
            wrong = {"1": "2", "2": "1"}[better(wang)]
            li.keyboard.press(better(li))
            wang.get_by_role("textbox", name="Reason or remark").fill(f"because {HOSTILE}")
            wang.locator(f"#say-{wrong if done == 0 else better(wang)}").click()
            for page in (li, wang):
                progress(page, done + 1, 4)
        assert "li" not in wang.locator("#item").inner_text()
        assert wang.get_by_text("adjudication").count() == 0
        at_desk_head(head, site)
        head.get_by_text("Disputed pairs (adjudication)").click()
        others = head.locator(".others")
        others.wait_for()
        assert "wang" in others.inner_text()
        assert '<img src=x onerror="window.hacked = 1">' in others.inner_text(), "as text"
        head.keyboard.press(better(head))
        head.get_by_text("Disputed pairs (adjudication)").wait_for(state="detached")
        head.get_by_role("tab", name="Agreement").click()
        head.get_by_text("li – wang").wait_for()
        assert not any(p.evaluate("window.hacked") for p in (li, wang, head))
        for context in contexts:
            context.close()
    assert {v.rater for v in ReviewStore(space.root).verdicts("pair")} == set(TOKENS)
    assert len(ReviewStore(space.root).verdicts("pair")) == 9


def at_desk_head(page: Any, site: str) -> None:
    page.goto(f"{site}/en/review")
    page.get_by_text("1 disputed pairs wait for you").wait_for()


def test_texts_are_shown_as_text(browser: Any, tmp_path: Path) -> None:
    def records(stage: str) -> Any:  # no source of ours lets this through; a workspace may come from anywhere
        row = usual("prefer/decontaminate").head(1).to_dicts()[0]
        texts = {"prompt": HOSTILE, "chosen": f"see a doctor {HOSTILE}", "rejected": f"{HOSTILE} wait"}
        asked = {key: [{**row[key][0], "content": text}] for key, text in texts.items()}
        return pl.DataFrame([row | asked]) if stage.startswith("prefer/") else usual(stage)

    space = release_workspace.make(tmp_path, records=records)
    with served(space) as site:
        context = browser.new_context()
        asked = outside(context)
        page = at_desk(context.new_page(), site, "zh")
        for text in page.locator("#item .said").all_inner_texts():
            for part in ("<script>window.hacked = 1</script>", "${window.hacked = 1}", "{{ 7 * 7 }}", "**bold**"):
                assert part in text
            assert "\u202e" not in text
        page.keyboard.press("e")
        page.wait_for_function("document.querySelector('#edited textarea').value.includes('<svg')")
        page.wait_for_timeout(200)
        assert page.locator("#item img, #item svg, #item script, #item a").count() == 0
        assert page.evaluate("window.hacked") is None
        assert not asked
        context.close()
