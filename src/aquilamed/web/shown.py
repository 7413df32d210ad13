"""A record as people see it: its words with private information masked, whatever stage it is from."""

from dataclasses import dataclass
from typing import Any

from aquilamed.corpus.pii import mask_text

_LONGEST = 20_000  # characters of a text that a page shows
_MESSAGES = ("messages", "prompt", "chosen", "rejected")
_HEAD = ("id", "source", "license", "origin", "lang", "kind", "reason", "detail")


@dataclass(frozen=True)
class Words:
    """A piece of a record's text: who says it (a role or a column's name) and what."""

    role: str
    text: str


@dataclass(frozen=True)
class Shown:
    """A record for a template: strings only."""

    id: str
    head: dict[str, str]
    words: list[Words]
    values: dict[str, str]

    @property
    def excerpt(self) -> str:
        """The beginning of its words, on one line."""
        said = " ".join(w.text for w in self.words)
        return " ".join(said[:400].split())[:160]

    def holds(self, words: str) -> bool:
        """Whether what is shown has every word: a search must not find what is masked."""
        said = "\n".join(w.text for w in self.words).lower()
        return all(word.lower() in said for word in words.split())


def shown(row: dict[str, Any]) -> Shown:
    """A record of any stage. Stages before the masking hold private information; here it is always a placeholder."""
    words = [
        *(Words("text", _masked(row[name])) for name in ("text", "raw") if row.get(name)),
        *(
            Words(m["role"] if name in ("messages", "prompt") else name, _masked(m["content"]))
            for name in _MESSAGES
            for m in row.get(name) or ()
        ),
    ]
    rest = {k: v for k, v in row.items() if k not in (*_HEAD, *_MESSAGES, "text", "raw") and v is not None}
    head = {k: _masked(str(row[k])) for k in _HEAD if row.get(k)}
    return Shown(
        str(row.get("id", "")),
        head | {"id": str(row.get("id", ""))},
        words,
        {k: _masked(_value(v)) for k, v in rest.items()},
    )


def _masked(text: str) -> str:
    if len(text) <= _LONGEST:
        return mask_text(text)[0]
    # Masked before it is cut: half a telephone number is none that a pattern finds.
    return mask_text(text[: _LONGEST + 200])[0][:_LONGEST] + f" … ({len(text):,})"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_value(v) for v in value if v is not None)
    return str(value)
