"""Licences as data: what a source's licence is called, where its text stands, and whether its records may be passed on.

A recipe names a licence (`license: CC-BY-4.0`) or describes it (`license: {name: ward, url: "https://…", redistribute: false}`).
A name that the table does not know says nothing about passing on, and what is not said is not allowed.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from aquilamed.config import Config, Invalid

if TYPE_CHECKING:
    from aquilamed.recipe import Recipe
    from aquilamed.sources.source import Source


class License(Config):
    """A licence, and whether records under it may be passed on."""

    name: str = Field(min_length=1)
    """What it is called: an SPDX identifier where there is one. Stands in every record."""
    url: str = ""
    """Where its text, or the source's statement, can be read."""
    redistribute: bool | None = None
    """Whether records, changed ones too, may be passed on; null is unknown and counts as no."""
    note: str = ""
    """What has to be kept to when they are."""


_CC = "https://creativecommons.org/licenses"
_NAMED = "the source must be named"
_ALIKE = "the source must be named and the same licence kept"
_NC = "for non-commercial use only"

KNOWN = (
    License(name="CC0-1.0", url="https://creativecommons.org/publicdomain/zero/1.0/", redistribute=True),
    *(License(name=f"CC-BY-{v}", url=f"{_CC}/by/{v}/", redistribute=True, note=_NAMED) for v in ("3.0", "4.0")),
    License(name="CC-BY", url=f"{_CC}/", redistribute=True, note=_NAMED),
    *(License(name=f"CC-BY-SA-{v}", url=f"{_CC}/by-sa/{v}/", redistribute=True, note=_ALIKE) for v in ("3.0", "4.0")),
    License(name="CC-BY-SA", url=f"{_CC}/", redistribute=True, note=_ALIKE),
    License(name="CC-BY-NC-4.0", url=f"{_CC}/by-nc/4.0/", redistribute=True, note=f"{_NC}; {_NAMED}"),
    License(name="CC-BY-NC-SA-4.0", url=f"{_CC}/by-nc-sa/4.0/", redistribute=True, note=f"{_NC}; {_ALIKE}"),
    # A cleaned or masked record is an adaptation, and adaptations may not be shared.
    License(name="CC-BY-ND-4.0", url=f"{_CC}/by-nd/4.0/", redistribute=False, note="only unchanged"),
    License(name="CC-BY-NC-ND-4.0", url=f"{_CC}/by-nc-nd/4.0/", redistribute=False, note=f"{_NC}; only unchanged"),
    License(name="MIT", url="https://opensource.org/license/mit", redistribute=True, note="the notice must be kept"),
    License(
        name="Apache-2.0",
        url="https://www.apache.org/licenses/LICENSE-2.0",
        redistribute=True,
        note="the notice must be kept and changes named",
    ),
    License(name="BSD-3-Clause", url="https://opensource.org/license/bsd-3-clause", redistribute=True),
    License(name="ODC-By-1.0", url="https://opendatacommons.org/licenses/by/1-0/", redistribute=True, note=_NAMED),
    License(name="ODbL-1.0", url="https://opendatacommons.org/licenses/odbl/1-0/", redistribute=True, note=_ALIKE),
    License(name="public domain", redistribute=True),
    # Statements, not licences: they name a use and grant no passing on.
    License(name="NC", redistribute=False, note="stated as non-commercial; no licence text grants passing on"),
    License(name="research", redistribute=False, note="stated as for research only; no licence text grants passing on"),
    License(name="internal", redistribute=False, note="not for anybody outside"),
    License(name="proprietary", redistribute=False),
    License(name="unknown", note="the source states no licence"),
)
_ALIASES = {
    "cc0": "CC0-1.0",
    "apache": "Apache-2.0",
    "apache2": "Apache-2.0",
    "noncommercial": "NC",
    "researchonly": "research",
    "academic": "research",
    "allrightsreserved": "proprietary",
}


def _key(name: str) -> str:
    """Names as people write them: "CC BY 4.0" is "cc-by-4.0"."""
    return re.sub(r"[^a-z0-9.]", "", name.lower())


_BY_KEY = {_key(known.name): known for known in KNOWN}
UNKNOWN = _BY_KEY["unknown"]


def find_license(name: str) -> License:
    """The licence of a name, under that name as it was written ("" is unknown); unknown ones may not be passed on."""
    if not name:
        return UNKNOWN
    key = _key(name)
    known = _BY_KEY.get(key) or _BY_KEY.get(_key(_ALIASES.get(key, "")))
    return known.model_copy(update={"name": name}) if known else License(name=name)


def _read(value: Any) -> Any:
    """A name becomes its licence; a mapping with a known name gets from the table what it leaves out."""
    if isinstance(value, str):
        return find_license(value.strip()) if value.strip() else value
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return find_license(value["name"]).model_dump() | value
    return value


Licensed = Annotated[License, BeforeValidator(_read, json_schema_input_type=str | License)]
"""A config field that takes a licence's name or its description."""


def combined(licenses: Iterable[tuple[str, License]]) -> dict[str, License]:
    """Licences by name, sorted, from (who states it, licence).

    Raises `Invalid` when one name means two things: a record carries the name alone.
    """
    found: dict[str, tuple[str, License]] = {}
    for where, one in licenses:
        first, other = found.setdefault(one.name, (where, one))
        if other != one:
            raise Invalid(
                f"licence {one.name!r} means two things: {_said(other)} in source {first}, {_said(one)} in source {where}; "
                "give one of them another name"
            )
    return {name: one for name, (_, one) in sorted(found.items())}


def of_sources(sources: "Iterable[Source]") -> dict[str, License]:
    """The licences of sources by name; raises as `combined` does."""
    return combined((source.name, source.terms()) for source in sources)


def license_table(recipe: "Recipe") -> dict[str, License]:
    """Every licence that the recipe's sources state, by the name that stands in their records.

    Raises `Invalid` when one name means two things.
    """
    sections = [recipe.sources.documents, recipe.sources.dialogues, recipe.sources.preferences]
    sources: list[Source] = [source for section in sections if section for source in section.sources]
    return of_sources([*sources, *(recipe.prefer.objective.questions if recipe.prefer.objective else [])])


def stated(table: Mapping[str, License]) -> dict[str, dict[str, Any]]:
    """The table for a manifest: name → url, redistribute and note."""
    return {name: one.model_dump(exclude={"name"}) for name, one in table.items()}


def _said(one: License) -> str:
    return f"{one.url or 'no url'}, redistribute {one.redistribute}, note {one.note!r}"
