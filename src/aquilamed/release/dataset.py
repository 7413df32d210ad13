"""Releases of data: the SFT set, the preference set, and the mixes of the corpus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from aquilamed.config import Invalid
from aquilamed.instruct.compose import PAPER_SHARE
from aquilamed.records import read_parts, write_atomic, write_json
from aquilamed.release import croissant, facts, figures, folder, forms
from aquilamed.release.page import COUNTED, COUNTED_TEXT, Page
from aquilamed.release.public_recipe import public_recipe
from aquilamed.release.rights import Rights, licenses_of
from aquilamed.release.tables import TRAIN, VALIDATION, SplitOf, Written, columns_of, write_set
from aquilamed.release.wording import COLUMNS
from aquilamed.stages import enabled
from aquilamed.train.align import AlignConfig
from aquilamed.train.common import is_heldout
from aquilamed.train.finetune import FinetuneConfig
from aquilamed.workspace import Artifact

What = Literal["instruct", "preference", "corpus"]
# `raw` is a dropped record's text, and where a record stood is told by source and origin.
_HIDDEN = ("reason", "detail", "raw", "split")


@dataclass(frozen=True)
class Set:
    """One table of a release: the stage that made it, its columns and forms, and which record is in which split."""

    artifact: Artifact
    columns: pl.Schema
    forms: list[forms.Form]
    split_of: SplitOf


def sets(found: facts.Facts, what: What) -> list[Set]:
    """The tables of a release. Raises `Invalid` when the recipe does not make them or they are not done."""
    if what == "corpus":
        names = [n for n in ("corpus/mix1", "corpus/mix2") if n in enabled(found.recipe)]
        if not names:
            raise Invalid("this workspace's recipe makes no corpus: it has no `sources.documents`")
        return [_mix(found.done(name)) for name in names]
    if what == "instruct":
        artifact = facts.last_of(found, "instruct", "SFT set")
        share = (found.recipe.finetune or FinetuneConfig()).validation
        make: Callable[[pl.Schema], list[forms.Form]] = forms.instruct_forms
    else:
        artifact = facts.last_of(found, "prefer", "preference set")
        share = (found.recipe.align or AlignConfig()).validation
        make = forms.preference_forms
    columns = columns_of(artifact, _HIDDEN)
    return [Set(artifact, columns, make(columns), _heldout(artifact, found.recipe.seed, share))]


def _mix(artifact: Artifact) -> Set:
    columns = columns_of(artifact, _HIDDEN)

    def split_of(frame: pl.DataFrame) -> pl.Series:
        return frame["split"].replace_strict({"train": TRAIN, "heldout": VALIDATION})

    return Set(artifact, columns, forms.corpus_forms(artifact.stage.partition("/")[2], columns), split_of)


def _heldout(artifact: Artifact, seed: int, share: float) -> SplitOf:
    """The split that our trainings make: by a seeded hash of the id (`train/common.py`)."""
    ids = sorted(read_parts(artifact.kept, ["id"])["id"].to_list()) if artifact.kept_parts() else []
    held = {i for i, chosen in zip(ids, is_heldout(seed, share, ids), strict=True) if chosen}

    def split_of(frame: pl.DataFrame) -> pl.Series:
        return pl.Series([VALIDATION if i in held else TRAIN for i in frame["id"].to_list()], dtype=pl.String)

    return split_of


def build(out: Path, found: facts.Facts, what: What, include_restricted: bool, repository: str) -> dict[str, Any]:
    """Write everything of a data release but its checksums into `out`; returns what release.json says.

    Raises:
        Invalid: the set is not there, or no record of it may be passed on.
        StageFailed: a file of the workspace was changed since its stage wrote it.
    """
    tables = sets(found, what)
    finals = [t.artifact for t in tables]
    chain, everything = found.lineage(finals, records=True), found.lineage(finals)
    rights = Rights(licenses_of(chain), include_restricted)
    parts = [write_set(out, t.artifact, t.columns, t.forms, t.split_of, rights) for t in tables]
    if not any(p.records for p in parts):
        raise Invalid(_nothing(finals, rights))
    written = Written([f for p in parts for f in p.files], {n: s for p in parts for n, s in p.schemas.items()})
    write_json(out / "left_out.json", rights.report())
    write_atomic(out / "recipe.yaml", public_recipe(found.recipe).encode())
    _figures(out, what, finals, parts, chain)
    page = Page(out, found, what, finals, chain, everything, rights, parts, written, repository)
    write_atomic(out / "README.md", page.readme().encode())
    write_atomic(out / "LICENSE.md", page.licenses().encode())
    sums = {f.path: folder.sha256(out / f.path) for f in written.files}
    write_json(out / "croissant.json", croissant.metadata(page.about(), written, sums, out, COLUMNS))
    return {
        "what": what,
        "recipe": found.recipe.name,
        "finished": facts.finished(finals),
        "records": {
            f"{config}/{split}": sum(f.rows for f in files) for (config, split), files in written.tables().items()
        },
        "left_out": rights.left_out.total(),
        "restricted_included": sum(rights.restricted().values()),
        "stages": facts.provenance(everything),
        "versions": facts.versions(everything),
        "sha256": sums,
    }


def _nothing(finals: Sequence[Artifact], rights: Rights) -> str:
    stages = " and ".join(a.stage for a in finals)
    if not rights.left_out:
        return f"{stages} kept no record: there is nothing to release (aquilamed status and aquilamed dropped say why)"
    why = ", ".join(f"{n:,} of {s} ({rights.license(name).name})" for (s, name), n in sorted(rights.left_out.items()))
    return (
        f"no record of {stages} may be passed on: their licences forbid it or do not say that it is allowed: {why}. "
        "State the sources' licences in the recipe (`license:`), or give --include-restricted if you have the right"
    )


def _figures(
    out: Path, what: What, finals: Sequence[Artifact], parts: Sequence[Written], chain: Sequence[Artifact]
) -> None:
    (out / "figures").mkdir()
    picture = out / "figures" / "composition.png"
    if what == "instruct":
        paper = finals[-1].metrics.get("paper_share") or PAPER_SHARE
        figures.composition(picture, parts[0].counts["kind"], paper)
    elif what == "preference":
        figures.bars(picture, {f"By {n}": parts[0].counts[k] for k, n in COUNTED}, "pairs", 3)
    else:
        names = [a.stage.partition("/")[2] for a in finals]
        told = [(n, p, k, title) for n, p in zip(names, parts, strict=True) for k, title in COUNTED_TEXT[:2]]
        groups = {f"{n}, by {title}": p.counts[f"tokens by {k}"] for n, p, k, title in told}
        figures.bars(picture, groups, "tokens (script-aware count)", 2)
    figures.scores(out / "figures" / "scores.png", facts.histograms(chain))
