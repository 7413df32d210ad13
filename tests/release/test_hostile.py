"""Text of recipes, licences, sources and judges cannot become links, markup, tables or YAML of a card."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from markdown_it import MarkdownIt

from aquilamed.release import release, text
from release_workspace import HOSTILE, make, usual

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
NAMES = [
    HOSTILE,
    "`` ` `` [a](javascript:alert(1))",
    "| a | b |\n| --- | --- |",
    "![x](https://evil.example/pixel.png)",
    "www.evil.example http://evil.example a@evil.example",
    "*bold* _it_ ~~gone~~ <b>b</b> &lt;",
    "\\`x\\` \\| back\\",
    "# head\n- item\n> quote\n---",
    "plain words, 5 %",
]


def tokens(markdown: str) -> list[Any]:
    found: list[Any] = []
    for token in MARKDOWN.parse(markdown):
        found += [token, *(token.children or [])]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_stays_one_cell_of_words(name: str) -> None:
    page = text.rows(["A", "B"], [[text.cell(name), text.code(name)]], 2)
    found = tokens(page)
    assert {t.type for t in found} <= {
        *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close"),
        *("th_open", "th_close", "td_open", "td_close", "inline", "text", "code_inline"),
    }
    assert sum(t.type == "td_open" for t in found) == 2
    for token in found:
        if token.type == "text":
            assert "evil" not in token.content, "an address outside a code span may be made a link"


@pytest.mark.parametrize("address", ["https://a.example/x", "https://a.example/l?x=1&y=2"])
def test_an_ordinary_address_is_linked(address: str) -> None:
    assert text.link("CC", address) == f"[`CC`]({address})"


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "https://a.example/) [x](y", "https://a.example/ x", "ftp://x", "", "https://ü.example"],
)
def test_any_other_address_is_not(address: str) -> None:
    assert text.link("CC", address) == "`CC`"


def test_a_whole_card(tmp_path: Path) -> None:
    """A hostile licence (in the recipe), source and origin (in records) and judge (in the manifest)."""

    def records(stage: str) -> pl.DataFrame:
        frame = usual(stage).with_columns(license=pl.lit(HOSTILE))
        return frame.with_columns(source=pl.lit(HOSTILE)) if stage.startswith("prefer") else frame

    licence = {"name": HOSTILE, "url": "javascript:alert(1)", "redistribute": True, "note": HOSTILE}
    source = {"name": "open", "form": "messages", "path": "data.jsonl", "license": licence}
    space = make(tmp_path, records=records, sources={"dialogues": {"sources": [source]}})
    for what in ("instruct", "preference"):
        released = release(space, what)
        for name in ("README.md", "LICENSE.md"):
            page = (released / name).read_text("utf-8")
            head, _, body = page.removeprefix("---\n").partition("\n---\n") if name == "README.md" else ("", "", page)
            if head:
                told = yaml.safe_load(head)
                assert told["license"] == "other"
                assert set(told) >= {"configs", "dataset_info", "tags"}
            found = tokens(body)
            assert not [t for t in found if t.type in ("html_inline", "html_block")]
            links = [t.attrGet("href") for t in found if t.type == "link_open"]
            assert [u for u in links if "evil" in str(u) or "javascript" in str(u)] == []
            images = [t.attrGet("src") for t in found if t.type == "image"]
            assert all(str(src).startswith("figures/") for src in images)
            headings = [t.content for t in found if t.type == "inline" and "7*7" in t.content and "`" not in t.content]
            assert headings == []
            assert "\u202e" not in page
            assert "49" not in [t.content.strip() for t in found if t.type == "text"]
