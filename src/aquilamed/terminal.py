"""What the commands print: tables and JSON, plain text whatever it holds."""

import json
import sys
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aquilamed.printable import printable


def excerpt(row: dict[str, Any]) -> str:
    """The beginning of a record's words, on one line."""
    text = row.get("text") or json.dumps(row.get("messages") or row.get("prompt"), ensure_ascii=False)
    return text[:120].replace("\n", " ")


def print_json(value: Any, indent: int | None = 2) -> None:
    """A value as JSON on stdout; no `indent` gives one line."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """A table of plain text: nothing in a cell is taken for markup or for a terminal's control sequence."""
    shown = Table(title=Text(title), title_justify="left")
    for column in rows[0] if rows else ("nothing",):
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(printable(_said(v))) for v in row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


def _said(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
