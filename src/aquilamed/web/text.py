"""What people read, in two languages: `strings.yaml`, one table for every visible word."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = {"en": "English", "zh": "中文"}
TAGS = {"en": "en", "zh": "zh-CN"}
_FILE = Path(__file__).parent / "strings.yaml"


@cache
def table() -> dict[str, dict[str, str]]:
    """Key ("page.what") → language → text."""
    import yaml

    sections = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {f"{section}.{key}": texts for section, keys in sections.items() for key, texts in keys.items()}


class Text:
    """The texts of one language: `text("overview.done", done=1, total=2)`."""

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key, with its {placeholders} filled in. Raises `KeyError` for an unknown key."""
        return table()[key][self.language].format(**values)

    def known(self, key: str, default: str) -> str:
        """The text of a key that the table may lack (a role, a column), else the default."""
        return table()[key][self.language] if key in table() else default

    def reason(self, name: str) -> str:
        """Why a record was dropped ("rules.advert") in words, its name behind them; of an unknown one the name alone."""
        words = self.known("reason." + name.replace(".", "_"), "")
        return f"{words} · {name}" if words else name


def preferred(accept_language: str, cookies: Mapping[str, str]) -> str:
    """The language for somebody: the switch's cookie, else the first of ours that the browser asks for, else English."""
    if (chosen := cookies.get("language")) in LANGUAGES:
        return str(chosen)
    ranked = []
    for place, entry in enumerate(accept_language.split(",")):
        name, _, weight = entry.strip().partition(";q=")
        try:
            ranked.append((-float(weight or 1), place, name.split("-")[0].lower()))
        except ValueError:
            continue
    return next((name for _, _, name in sorted(ranked) if name in LANGUAGES), "en")
