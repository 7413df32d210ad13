"""What a recipe says of a source, whatever kind of records it holds: files, how they are read, licence."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from aquilamed.config import Config
from aquilamed.sources.files import Encoding, Format
from aquilamed.sources.forms.contract import Published
from aquilamed.sources.licenses import UNKNOWN, License, Licensed, find_license


class Source(Config):
    """Files that hold records of one form under one licence."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The source's name: stands in every record and decides its id."""
    path: str = Field(min_length=1)
    """File, folder or glob below `data_root`; below the built-in sample with sample:// in front; hf://datasets/owner/name/files
    of the hub once fetched; or a URL."""
    format: Format = "auto"
    """jsonl, json, csv, tsv, txt or parquet; auto goes by the suffix. All may be .gz or .zst."""
    encoding: Encoding = "auto"
    """utf-8 or gb18030; auto decides per file."""
    columns: list[str] | None = None
    """Names of a CSV file's columns when it has no header line."""
    license: Licensed | None = None
    """The licence as the source states it, by name or as {name, url, redistribute}; its name stands in every record. null:
    what is known of the form's published set, else unknown."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first so many records; null reads all."""

    def terms(self) -> License:
        """The licence of the source's records."""
        return self.license_or(None)

    def block(self) -> re.Pattern[str] | None:
        """What the first line of every record in a text file matches; None where files are no such blocks."""
        return None

    def license_or(self, published: Published | None) -> License:
        """The licence that the recipe gives, else the one that a published set states."""
        return self.license or (find_license(published.license) if published else UNKNOWN)


class IngestConfig(Config):
    """What the source stages can be told beside their sources."""

    max_bad_share: float = Field(default=0.05, ge=0, le=1)
    """The largest share of a source's records that may be unusable; above it the stage stops and lists them."""
    rows_per_part: int = Field(default=2000, ge=1)
    """Records per written part: the unit of parallel work in the stages that follow."""
    max_bytes: int = Field(default=16 << 20, ge=1024)
    """A longer line, paragraph or JSON item is dropped unread (bytes)."""


def distinct_names(sources: Sequence[Source]) -> None:
    """Raise ValueError when two sources have one name: their records could share ids."""
    twice = [name for name, n in Counter(s.name for s in sources).items() if n > 1]
    if twice:
        raise ValueError(f"two sources are named {twice[0]!r}; names decide ids and must differ")


def renamed(value: Any, fields: Mapping[str, str]) -> Any:
    """A raw value in which fields have our names too (our name → the file's)."""
    if not fields or not isinstance(value, dict):
        return value
    return value | {ours: value[theirs] for ours, theirs in fields.items() if theirs in value}
