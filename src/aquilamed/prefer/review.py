"""Doctors review preference pairs: what they are shown, and where their verdicts go (`aquilamed review`).

Verdicts live in WORKSPACE/review/verdicts.jsonl, one line per rater and pair; stage prefer/select applies them in the next
run, because the file's content is part of its fingerprint. The web page and the three file formats (`exchange.py`) use the
same functions: `candidates` to show, `merge` to keep.
"""

import fcntl
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.config import Invalid
from aquilamed.pipeline import states
from aquilamed.prefer.agreement import agreement as measure
from aquilamed.prefer.agreement import chosen_is_b
from aquilamed.prefer.audit import OBJECTIVE
from aquilamed.prefer.exchange import Format, Item, read_items, write_items
from aquilamed.prefer.judgements import Judgement, Placed, Vote, no_second, read_judgements, shown_hash, text
from aquilamed.prefer.select import HUMAN_REASONS, VERDICTS, PreferSelectConfig, votes_of
from aquilamed.recipe import Recipe
from aquilamed.records import canonical, read_parts, write_atomic
from aquilamed.stage import WORKSPACE, find_files
from aquilamed.workspace import Workspace

FILE = VERDICTS.removeprefix(WORKSPACE)
_COLUMNS = ["id", "kind", "lang", "prompt", "chosen", "rejected"]


def pairs(recipe: Recipe, workspace: Workspace) -> dict[str, dict[str, Any]]:
    """The pairs that verdicts are about, by id: what stage prefer/decontaminate kept. Raises `Invalid` when it is not done."""
    found = {s.name: s for s in states(recipe, workspace)}
    stage = found.get("prefer/decontaminate")
    if stage is None or stage.artifact is None:
        state = f"is {stage.state}" if stage else "is switched off"
        raise Invalid(f"{workspace.root}: prefer/decontaminate {state}; run the recipe first (--until prefer)")
    return {row["id"]: row for row in read_parts(stage.artifact.kept, _COLUMNS).sort("id").to_dicts()}


def items(
    recipe: Recipe, workspace: Workspace, limit: int | None = None, kinds: Sequence[str] | None = None
) -> list[Item]:
    """`candidates` as a rater sees them, the answers as A and B by a seeded coin."""
    return [item(recipe.seed, pair) for pair in candidates(recipe, workspace, kinds)[:limit]]


def candidates(
    recipe: Recipe,
    workspace: Workspace,
    kinds: Sequence[str] | None = None,
    current: Mapping[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Pairs to review, in an order by seeded hash.

    Args:
        current: the pairs, where they are at hand (`pairs`).
        kinds: kinds of pairs; None shows all but the objective ones, whose truth is known.

    Pairs that prefer/select dropped by its rules are left out once it was done, also when newer verdicts made it stale.
    """
    current = pairs(recipe, workspace) if current is None else current
    ruled_out = _ruled_out(recipe, workspace)
    found = [p for p in current.values() if p["id"] not in ruled_out]
    found = [p for p in found if (p["kind"] in kinds if kinds else p["kind"] != OBJECTIVE)]
    return sorted(found, key=lambda p: queue_place(recipe.seed, p["id"]))


def queue_place(seed: int, name: str) -> bytes:
    """What items to review are ordered by: a seeded hash of their ids."""
    return hashlib.blake2b(f"{seed}\0review\0{name}".encode(), digest_size=8).digest()


def _ruled_out(recipe: Recipe, workspace: Workspace) -> set[str]:
    """The pairs that the last prefer/select of the current pairs and settings dropped, its human reasons aside."""
    now = {s.name: s for s in states(recipe, workspace)}
    settings = recipe.prefer.select.identity()
    done = (workspace.artifact("prefer/select", folder.name) for folder in (workspace.root / "prefer/select").glob("*"))
    same = [
        a
        for a in done
        if a is not None
        and a.manifest["inputs"] == {"prefer/decontaminate": now["prefer/decontaminate"].fingerprint}
        and a.manifest["params"].get("config") == settings
    ]
    if not same:
        return set()
    dropped = read_parts(max(same, key=lambda a: a.manifest["finished"]).dropped, ["id", "reason"])
    return set(dropped.filter(~pl.col("reason").is_in(HUMAN_REASONS))["id"])


def item(seed: int, pair: dict[str, Any]) -> Item:
    """A pair as a rater sees it."""
    sides = [pair["chosen"], pair["rejected"]]
    a, b = reversed(sides) if chosen_is_b(seed, pair["id"]) else sides
    return {
        "pair": pair["id"],
        "shown": shown_hash(pair["prompt"], a, b),
        **{key: pair[key] for key in ("kind", "lang", "prompt")},
        "answer_a": text(a),
        "answer_b": text(b),
    }


def export(
    recipe: Recipe,
    workspace: Workspace,
    out: Path,
    format: Format,
    limit: int | None = None,
    kinds: Sequence[str] | None = None,
) -> tuple[int, list[Path]]:
    """Write pairs to review; returns how many, and the files. Raises `Invalid` when there is none."""
    found = items(recipe, workspace, limit, kinds)
    if not found:
        raise Invalid(f"{workspace.root}: no pair to review of kind {', '.join(kinds or ['subjective and alike'])}")
    return len(found), write_items(found, out, format)


def import_files(
    recipe: Recipe, workspace: Workspace, files: Sequence[Path], format: Format | None = None, replace: bool = False
) -> dict[str, int]:
    """Read filled-in files and keep their judgements, all or none; returns new, replaced, unchanged, unjudged.

    Raises `Invalid` with file and line for an unknown pair or rater, changed texts, or a second judgement.
    """
    said: list[Placed] = []
    unjudged = 0
    for path in files:
        found, left = read_items(path, format)
        said += found
        unjudged += left
    return add(recipe, workspace, said, replace) | {"unjudged": unjudged}


def add(recipe: Recipe, workspace: Workspace, said: Sequence[Placed], replace: bool = False) -> dict[str, int]:
    """Merge judgements into the workspace's file, atomically; adding the same ones again changes nothing.

    Args:
        replace: a rater's other judgement of the pair is replaced; without, it is an error unless its texts have changed.

    Returns new, replaced, unchanged. Raises `Invalid` as `import_files` does.
    """
    no_second(said)
    current = pairs(recipe, workspace)
    config = recipe.prefer.select.model_copy(update={"stale_verdicts": "error"})
    votes_of(list(said), current, config)
    with verdict_file(workspace.root) as kept:
        counts = {"new": 0, "replaced": 0, "unchanged": 0}
        for placed in said:
            key = placed.said.pair, placed.said.rater
            old = kept.get(key)
            if old is not None and old.said == placed.said:
                counts["unchanged"] += 1
                continue
            if old is not None and not replace and _holds(old, current, config):
                raise Invalid(
                    f"{placed.origin}: {placed.said.rater!r} judged pair {placed.said.pair} before and otherwise, at "
                    f"{old.origin}; use --replace if the new verdict holds"
                )
            counts["replaced" if old else "new"] += 1
            kept[key] = placed
    return counts


@contextmanager
def verdict_file(root: Path) -> Iterator[dict[tuple[str, str], Placed]]:
    """The workspace's verdicts by (pair, rater), to be changed: written atomically when the block ends without an error and
    they differ. One process at a time holds them."""
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two exports at a time lose nothing
        before = path.read_bytes() if path.is_file() else b""
        kept = {(p.said.pair, p.said.rater): p for p in read_judgements([(FILE, path)] if before else [])}
        yield kept
        after = "".join(canonical(_short(kept[key].said)) + "\n" for key in sorted(kept)).encode()
        if after != before:
            write_atomic(path, after)


def _holds(old: Placed, current: dict[str, dict[str, Any]], config: PreferSelectConfig) -> bool:
    """Whether a kept judgement is still of a pair and its texts."""
    _, stale = votes_of([old], current, config.model_copy(update={"stale_verdicts": "skip", "raters": []}))
    return not stale


def _short(said: Judgement) -> dict[str, Any]:
    return said.model_dump(mode="json", exclude_defaults=True)


def agreement(recipe: Recipe, workspace: Workspace) -> dict[str, Any]:
    """How far the raters agree with each other and with the model's judge (`prefer.agreement.agreement`).

    Raises `Invalid` when there is no judgement, or for one that does not fit.
    """
    votes, stale = all_votes(recipe, workspace)
    if not votes and not stale:
        raise Invalid(f"{workspace.root}: no verdicts yet; `aquilamed review import` brings them to {FILE}")
    return {
        "pairs_judged": len(votes),
        "stale_verdicts": stale,
        **measure(votes, recipe.prefer.select.adjudicators, recipe.seed, names=True),
    }


def all_votes(
    recipe: Recipe, workspace: Workspace, current: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[dict[str, list[Vote]], int]:
    """The votes by pair that the next run would read, and how many are left out as stale.

    Args:
        current: the pairs, where they are at hand (`pairs`).
    """
    config = recipe.prefer.select
    files = [
        named
        for pattern in (*config.verdicts, VERDICTS)
        for named in find_files(pattern, recipe.data_folder(), workspace=workspace.root)
    ]
    return votes_of(read_judgements(files), pairs(recipe, workspace) if current is None else current, config)
