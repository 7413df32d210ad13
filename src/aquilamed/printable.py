"""Untrusted text where it is shown: in terminals, reports and cards."""

from typing import Any


def printable(text: Any) -> str:
    """Text without control, direction or other invisible characters, line feeds and tabs aside: each becomes �."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(text))
