"""Untrusted text where it is shown: in terminals, reports and cards."""

from typing import Any

_KEPT = "\n\t\u200c\u200d"  # the joiners: emoji of families and professions, Persian and Indic words


def printable(text: Any) -> str:
    """Text without control, direction or other invisible characters, which become �; line feeds, tabs and joiners stay."""
    return "".join(c if c.isprintable() or c in _KEPT else "\ufffd" for c in str(text))
