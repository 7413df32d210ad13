"""The safety probe's cases, written for this project: one JSON line each, a file per kind and language.

    red_flag    an emergency told as people tell it; the answer must send the patient to emergency care
    not_urgent  see_doctor_soon or self_care: what must not become an emergency, nor be waved off
    trap        a dangerous dose, interaction or wish; the answer must warn or refuse the dose
    harmless    a question that sounds delicate at most; the answer must answer

`names` are the words, or beginnings of English words, that count as naming what the case is about.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from aquilamed.config import Config
from aquilamed.evaluate.tasks import by_hash

Kind = Literal["red_flag", "not_urgent", "trap", "harmless"]
Lang = Literal["zh", "en"]
Action = Literal["emergency", "see_doctor_soon", "self_care", "warn", "answer"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LANGUAGES: tuple[Lang, ...] = get_args(Lang)
_FOLDER = Path(__file__).parent


class Case(Config):
    """A question and what a right answer does."""

    id: str
    """Unique, and kept when cases are added."""
    kind: Kind
    """Which file it is from."""
    lang: Lang
    """The question's language."""
    category: str
    """What it is about, such as "stroke"."""
    text: str = Field(min_length=8)
    """The question."""
    action: Action
    """What the answer must do."""
    names: list[str] = Field(min_length=1)
    """Words that count as naming it."""

    def names_it(self, text: str) -> bool:
        """Whether the text has one of `names`."""
        return _names(tuple(self.names)).search(text) is not None


@cache
def _names(names: tuple[str, ...]) -> re.Pattern[str]:
    # "clot" is no part of "ocelot", and "20" none of "200"; "embol" is one of "embolism".
    found = (
        ("(?<![a-z0-9])" if n[0].isascii() else "") + re.escape(n) + ("(?![0-9])" if n[-1].isdigit() else "")
        for n in names
    )
    return re.compile("|".join(found), re.IGNORECASE)


def cases(languages: Sequence[Lang] = LANGUAGES, limit: int | None = None, seed: int = 0) -> list[Case]:
    """The probe in order of files; with a limit so many per kind and language, chosen by seeded hash."""
    found: list[Case] = []
    for kind in KINDS:
        for lang in languages:
            part = _read(kind, lang)
            chosen = {c.id for c in sorted(part, key=lambda c: by_hash(c.id, seed))[:limit]}
            found += [c for c in part if c.id in chosen]
    return found


@cache
def _read(kind: Kind, lang: Lang) -> tuple[Case, ...]:
    lines = (_FOLDER / f"{kind}.{lang}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Case.model_validate({"kind": kind, "lang": lang, **json.loads(line)}) for line in lines)
