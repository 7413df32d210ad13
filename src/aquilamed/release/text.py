"""Text of recipes, licences and models in Markdown: shown, never obeyed.

A card is rendered by sites that turn Markdown, HTML and bare addresses into page elements. Whatever is not plainly a number
or a word goes into a code span, where none of them means anything.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from aquilamed.printable import printable
from aquilamed.report.cells import Table

# Letters of any script, digits, and punctuation that cannot begin anything. Not: < & [ ] ` | \ _ * ~ : @ # !
_PLAIN = re.compile(r"(?:[\w .,%±=→–—…/()+'’?;-]|:(?= |$))*")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d+)?(?:/[A-Za-z0-9._~%/?=&+,-]*)?")
_LIMIT = 400


def one_line(value: Any) -> str:
    """Text without line breaks and invisible characters, at most 400 characters."""
    text = " ".join(printable(value).split())
    return text if len(text) <= _LIMIT else f"{text[:_LIMIT]} …"


def code(value: Any) -> str:
    """A code span. A backtick would end it and a bar its table cell: both are replaced by letters that look alike."""
    text = one_line(value).replace("`", "\u02cb").replace("|", "\u00a6")
    return f"`{text}`" if text else "–"


def cell(value: Any) -> str:
    """A table cell or a word in a sentence: as it is where it is harmless, else a code span."""
    text = one_line(value)
    harmless = _PLAIN.fullmatch(text) and "_" not in text and "www." not in text.lower()
    return (text or "–") if harmless else code(text)


def bare(value: Any) -> str:
    """Words only, for places where no code span may stand (a figure's alternative text)."""
    return "".join(c if c.isalnum() or c in " _-." else "\ufffd" for c in one_line(value)) or "unknown"


def link(name: Any, address: str) -> str:
    """A name that leads to a web address; the bare name where the address is not an ordinary one."""
    return f"[{code(name)}]({address})" if is_address(address) else code(name)


def is_address(text: str) -> bool:
    """Whether a text is an ordinary web address that needs no escaping."""
    return _ADDRESS.fullmatch(text) is not None


def rows(headers: Sequence[str], body: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table of finished cells; the first `words` columns are words, the rest numbers (aligned right)."""
    rule = ["---" if i < words else "--:" for i in range(len(headers))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [headers, rule, *body])


def table(value: Table) -> str:
    """One of the report's tables; its caption, where it has one, stands above."""
    head = f"{value.caption}:\n\n" if value.caption else ""
    return head + rows(
        [cell(h) for h in value.headers],
        [[cell(c) for c in row] for row in value.rows],
        min(value.text, len(value.headers)),
    )
