"""Who allows what: which records may be passed on, by the licence that their source states."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from aquilamed.sources.licenses import License, find_license
from aquilamed.workspace import Artifact


@dataclass
class Rights:
    """The licences that records name, and a count of what was let through and what was not.

    `released` and `left_out` count records per (source, licence).
    """

    table: dict[str, License]
    include_restricted: bool = False
    released: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)

    def license(self, name: str) -> License:
        """A record's licence; one that nobody described says nothing, and what is not said is not allowed."""
        return self.table.get(name) or find_license(name)

    def allowed(self, name: str) -> bool:
        """Whether records under this licence go into the release."""
        return self.include_restricted or self.license(name).redistribute is True

    def sift(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The records that may go out, with a public `source` and `origin` (file names without folders); counts all."""
        frame = frame.with_columns(
            pl.col("license").fill_null(""),
            pl.col("source", "origin").str.strip_chars_end("/").str.split("/").list.last(),  # as facts.public_name
        )
        names = frame["license"].unique().to_list()
        passes = pl.col("license").is_in([n for n in names if self.allowed(n)])
        for rows, count in ((frame.filter(passes), self.released), (frame.filter(~passes), self.left_out)):
            pairs = rows.group_by("source", "license").len()
            count.update({(s, n): k for s, n, k in pairs.iter_rows()})
        return frame.filter(passes)

    def restricted(self) -> dict[tuple[str, str], int]:
        """Released records whose licence does not allow it: only ever there because somebody said so."""
        return {k: n for k, n in sorted(self.released.items()) if self.license(k[1]).redistribute is not True}

    def sources(self) -> list[dict[str, Any]]:
        """Per source and licence: name, url, redistribute, note, records released and left out."""
        keys = sorted({*self.released, *self.left_out})
        return [
            {
                "source": source,
                "license": self.license(name),
                "released": self.released[source, name],
                "left_out": self.left_out[source, name],
            }
            for source, name in keys
        ]

    def report(self) -> dict[str, Any]:
        """What left_out.json says."""

        def told(counts: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
            found = [(source, self.license(name), n) for (source, name), n in sorted(counts.items())]
            return [{"source": s, "license": one.model_dump(), "records": n} for s, one, n in found]

        return {
            "include_restricted": self.include_restricted,
            "left_out": self.left_out.total(),
            "left_out_by": told(self.left_out),
            "restricted_included": sum(self.restricted().values()),
            "restricted_included_by": told(self.restricted()),
        }


def licenses_of(artifacts: Sequence[Artifact]) -> dict[str, License]:
    """The licences as the source stages among these stated them in their manifests."""
    found: dict[str, License] = {}
    for artifact in artifacts:
        for name, told in (artifact.metrics.get("licenses") or {}).items():
            found[name] = License(name=name, **told)
    return found
