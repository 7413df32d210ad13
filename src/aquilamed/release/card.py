"""The cards: a YAML header and a Markdown page, filled from manifests and from counts of the written files.

No number stands in a template. What comes from a recipe, a licence or a model goes through `text.py` before it gets here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from aquilamed.release import text
from aquilamed.release.rights import Rights
from aquilamed.report.cells import count, number, percent
from aquilamed.workspace import Artifact

HERE = Path(__file__).parent
# Identifiers that the hub knows; any other licence is "other" there, with LICENSE.md beside it.
HUB_LICENSES = frozenset(
    {"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"}
    | {"cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odc-by", "odbl"}
)
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)


def render(template: str, values: Mapping[str, Any]) -> str:
    """A template of this folder with finished values; a name that it misses is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=False,  # noqa: S701 - Markdown; every value was made harmless by text.py
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.get_template(template).render(values)
    return re.sub(r"\n{3,}", "\n\n", page)


def header(values: Mapping[str, Any]) -> str:
    """The YAML header of a card; what is empty is left out."""
    kept = {k: v for k, v in values.items() if v not in (None, "", [], {})}
    return f"---\n{yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, width=10_000)}---\n"


def license_header(names: Iterable[str]) -> dict[str, Any]:
    """`license` for the hub: its identifier, several, or "other" with a link to LICENSE.md."""
    ids = sorted({hub_license(n) for n in names})
    if ids and all(i in HUB_LICENSES for i in ids):
        return {"license": ids[0] if len(ids) == 1 else ids}
    return {"license": "other", "license_name": "see-license-md", "license_link": "LICENSE.md"}


def hub_license(name: str) -> str:
    """A licence's name in the hub's spelling."""
    return {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl"}.get(name.lower(), name.lower().replace(" ", "-"))


def languages(names: Iterable[str]) -> list[str]:
    """Language codes for the hub: zh-Hant is zh there."""
    return sorted({n.partition("-")[0] for n in names if re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?", n)})


def size_category(records: int) -> str:
    """The hub's name for a number of records."""
    return next(
        (name for limit, name in _SIZES if records < limit), "10M<n<100M" if records < 100_000_000 else "n>100M"
    )


def sources_table(rights: Rights, left_out: bool = True) -> str:
    """Sources, their licences with links, and how many records came from each (and, with `left_out`, did not)."""
    body = []
    for row in rights.sources():
        one = row["license"]
        allowed = {True: "yes", False: "no", None: "not stated"}[one.redistribute]
        name = text.link(one.name, one.url)
        numbers = [count(row["released"]), *([count(row["left_out"])] if left_out else [])]
        body.append([text.code(row["source"]), name, allowed, text.cell(one.note), *numbers])
    headers = [
        "Source",
        "Licence",
        "May be passed on",
        "Condition",
        *(["Records here", "Left out"] if left_out else ["Records read"]),
    ]
    return text.rows(headers, body, 4)


def licenses_table(rights: Rights) -> str:
    """For LICENSE.md: every licence of the release with its sources and conditions."""
    sources: dict[str, list[str]] = {}
    for source, name in sorted(rights.released):
        sources.setdefault(name, []).append(text.code(source))
    body = []
    for name, who in sorted(sources.items()):
        one = rights.license(name)
        body.append([text.link(one.name, one.url), text.cell(one.note), ", ".join(who)])
    return text.rows(["Licence", "Condition", "Sources"], body, 3)


def funnel_table(funnel: Sequence[Mapping[str, Any]]) -> str:
    """Records in and out of every stage, and why they went."""
    body = []
    for row in funnel:
        reasons = ", ".join(f"{text.code(r)} {count(n)}" for r, n in row["reasons"]) or "–"
        draws = " (draws a sample)" if row["draws"] else ""
        body.append([text.code(row["stage"]) + draws, reasons, *(count(row[k]) for k in ("in", "kept", "dropped"))])
    return text.rows(["Stage", "Why records were dropped", "In", "Kept", "Dropped"], body, 2)


def contamination_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Per benchmark what of it was found, and dropped."""
    keys = ("questions", "too_short", "leaked_questions")
    body = []
    for r in found:
        numbers = [*(count(r.get(k)) for k in keys), percent(r.get("leaked_share")), count(r.get("documents_dropped"))]
        body.append([text.code(r["stage"]), text.code(r["benchmark"]), *numbers])
    headers = ["Checked in", "Benchmark", "Questions", "Too short to look for", "Found", "Share", "Records dropped"]
    return text.rows(headers, body, 2) if body else ""


def labels_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Who labelled or judged, by which rubric, and how far rounds agreed."""
    body = []
    for r in found:
        rubrics = ", ".join(f"{text.cell(k)} {text.code(str(h)[:16])}" for k, h in r["rubrics"].items()) or "–"
        agreement = ", ".join(f"{text.cell(k.replace('_', ' '))} {number(v)}" for k, v in r["agreement"].items()) or "–"
        who = text.cell("rules (offline)" if r["kind"] == "offline" else f"{r['kind']}: {r['name']}")
        numbers = ["–" if r[k] is None else count(r[k]) for k in ("calls", "errors")]
        body.append([text.code(r["stage"]), who, rubrics, agreement, *numbers])
    return text.rows(["Stage", "Who", "Rubric (hash)", "Agreement", "Calls", "Failed"], body, 4) if body else ""


def stages_table(artifacts: Sequence[Artifact]) -> str:
    """Fingerprints: equal ones mean equal content."""
    body = [
        [text.code(a.stage), text.code(a.manifest["fingerprint"]), text.code(a.manifest["code"])] for a in artifacts
    ]
    return text.rows(["Stage", "Fingerprint", "Code"], body, 3)


def counts_table(
    title: str, counts: Mapping[str, int], unit: str, paper: Mapping[str, float] | None = None, total: int | None = None
) -> str:
    """Counts with their shares (of their sum, or of `total`), largest first; beside the paper's shares where there are some."""
    total = sum(counts.values()) if total is None else total
    order = sorted({*counts, *(paper or {})}, key=lambda k: (-counts.get(k, 0), k))
    body = []
    for key in order:
        n = counts.get(key, 0)
        line = [text.code(key or "unknown"), count(n), percent(n / total if total else None)]
        body.append(line + ([percent(paper[key]) if key in paper else "–"] if paper else []))
    return text.rows([title, unit, "Share", *(["Paper's share"] if paper else [])], body)
