"""What a model itself answers is text, whatever it is: in Chat while it comes and when it is kept, in Compare, in what is exported.

The models are real ones, asked through the real engine, that recite an attack; its marks come in pieces, as tokens do.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from serving import served

import reciting_model
import release_workspace
from aquilamed.printable import printable
from aquilamed.sources.lines import safe
from aquilamed.workspace import Workspace
from browser import outside

ATTACK = [
    *("<img src=x one", 'rror="window.hacked = 1">', "<scr", "ipt>window.hacked = 2</scr", "ipt>"),
    *("</p></section></div></textarea></details>", "<svg onload=window.hacked=3>", "<a href='javascript:window.hacked=4'>a</a>"),
    *("<iframe srcdoc='<script>parent.hacked = 5</script>'>", "</iframe><style>@import url(//evil.example/a.css);", "</style>"),
    *("[click](javascript:window.hacked=6)", "![](https://evil.example/a.png)", "<https://evil.example> ", "# Title\n"),
    *("${window.hacked = 7}", "{{ 7*7 }}", "{% raw %}", "{@html '<b>'}", "&lt;b&gt;&#x3c;script&#x3e;", "$x^2$ **bold**\n"),
    *("\x1b[2J\x1b]0;owned\x07", "\x00\x08\x7f", " \u202egnp.exe\u202c\u2066\u200b\ufeff\u2028", "<|im_start|>system\n"),
    *(f"{number} <b>&amp;</b>\n" for number in range(60)),
    "tabs\tstay. ",
    "the end of it",
]  # fmt: skip
ANSWER = "".join(ATTACK)
OTHER = [*ATTACK[:-1], "another end"]
# Every element that ever came into being inside an answer, and every text that it showed on the way.
WATCH = """
window.seen = []; window.elements = [];
new MutationObserver(() => {
  for (const said of document.querySelectorAll("#log .assistant .said")) {
    if (window.seen.at(-1) !== said.textContent) window.seen.push(said.textContent);
    window.elements.push(...[...said.querySelectorAll(":not(.waiting)")].map((e) => e.outerHTML));
  }
}).observe(document, {childList: true, subtree: true, characterData: true});
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("hostile")
    space = release_workspace.make(root, model=reciting_model.build(root / "align", ATTACK))
    [folder] = (space.root / "finetune").glob("*/model")
    shutil.rmtree(folder)
    shutil.copytree(reciting_model.build(root / "finetune", OTHER), folder)
    return space


def said(page: Any, selector: str) -> list[str]:
    """The texts at a selector, which hold no element."""
    assert page.locator(f"{selector} *").count() == 0
    return [str(text) for text in page.locator(selector).all_text_contents()]


def test_in_chat(browser: Any, space: Workspace, tmp_path: Path) -> None:
    context = browser.new_context(accept_downloads=True)
    asked = outside(context)
    context.add_init_script(WATCH)
    page = context.new_page()
    with served(space) as site:
        page.goto(f"{site}/en/chat")
        page.wait_for_function("document.querySelector('#model input')?.value === 'align'")
        before = page.evaluate("localStorage.getItem('aquilamed-chat')")
        page.locator("#said textarea").fill("What is a fever?")
        page.locator("#said textarea").press("Enter")
        # A busy page may draw the whole answer at once, so that nothing is ever seen to wait.
        page.wait_for_function(
            "document.querySelector('#log .assistant .said') && !document.querySelector('#log .waiting')",
            timeout=120_000,
        )
        assert said(page, "#log .assistant .said") == [printable(ANSWER)]
        assert "tabs\tstay" in printable(ANSWER)
        seen = page.evaluate("window.seen.map((text) => text.replace('▍', ''))")
        assert any(0 < len(text) < len(ANSWER) for text in seen), "it was seen while it came"
        assert all(printable(ANSWER).startswith(text) for text in seen)
        for button, name in (("#jsonl", "c.jsonl"), ("#markdown", "c.md")):
            with page.expect_download() as found:
                page.locator(button).click()
            found.value.save_as(tmp_path / name)
        assert json.loads((tmp_path / "c.jsonl").read_text("utf-8"))["messages"][-1]["content"] == ANSWER
        markdown = (tmp_path / "c.md").read_text("utf-8")
        assert "".join(f"    {line}\n" for line in printable(ANSWER).split("\n")) in markdown
        page.wait_for_function("(before) => localStorage.getItem('aquilamed-chat') !== before", arg=before)
        page.reload()
        page.wait_for_selector("#log .assistant .said")
        assert said(page, "#log .assistant .said") == [printable(ANSWER)]
        assert page.evaluate("window.elements") == []
        assert page.evaluate("window.hacked") is None
    assert not asked
    context.close()


def test_in_compare(browser: Any, space: Workspace) -> None:
    context = browser.new_context()
    asked = outside(context)
    page = context.new_page()
    with served(space) as site:
        page.goto(f"{site}/en/compare")
        page.wait_for_function("document.querySelector('#second input')?.value === 'finetune'")
        page.locator("#prompt textarea").fill("What is a fever?")
        page.locator("#prompt textarea").press("Enter")
        page.wait_for_selector("#say-1:not([disabled])", timeout=120_000)
        both = {printable(ANSWER), printable("".join(OTHER))}
        assert set(said(page, "#item .answer .said")) == both
        page.locator("#say-1").click()
        page.get_by_text("The vote is kept.").wait_for()
        assert set(said(page, "#item .answer .said")) == both
        page.get_by_role("tab", name="Results").click()
        page.get_by_text("align – finetune").first.wait_for()
        page.locator("#export").click()
        page.get_by_text("1 pairs are in review/pairs.jsonl").wait_for()
        assert page.evaluate("window.hacked") is None
    with (space.root / "review/pairs.jsonl").open(encoding="utf-8") as lines:
        [pair] = map(json.loads, lines)
    assert {pair[side][0]["content"] for side in ("chosen", "rejected")} == {safe(ANSWER), safe("".join(OTHER))}
    assert not asked
    context.close()
