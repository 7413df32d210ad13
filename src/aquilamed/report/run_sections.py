"""The report's sections about the run as a whole: annotator, time, provenance, limitations."""

from typing import Any

from aquilamed.printable import printable
from aquilamed.progress import duration
from aquilamed.report.cells import ABSENT, Table, count, number
from aquilamed.report.gather import Run

OFFLINE = "Labels and judgements come from two rule-based raters, not from an LLM."
PROVENANCE = "A fingerprint hashes a stage's code, its settings, the seed, its inputs and the files that it read."


def annotator_text(s: dict[str, Any]) -> list[str]:
    """Who labelled, in plain words."""
    return [OFFLINE] if s["annotator"] == "offline" else []


def annotator(s: dict[str, Any]) -> list[Table]:
    """Calls, errors, tokens and cost per stage; the rubrics asked."""
    rows = []
    for a in s["annotations"]:
        errors = a["errors"]
        failed = (
            ", ".join(f"{k} {n}" for k, n in errors.items()) or "none" if isinstance(errors, dict) else count(errors)
        )
        numbers = (count(a[k]) for k in ("calls", "cached", "tokens_in", "tokens_out"))
        rows.append([a["stage"], f"{a['kind']}: {printable(a['name'])}", failed, *numbers, number(a["cost"])])
    headers = ["Stage", "Annotator", "Errors", "Calls", "From the store", "Tokens in", "Tokens out", "Cost"]
    asked = [
        [a["stage"], printable(name), str(mark)]
        for a in s["annotations"]
        for name, mark in (a["rubrics"] or {}).items()
    ]
    tables = [Table(headers, rows or [[ABSENT, *[""] * 7]], 3)]
    if asked:
        about = "Rubrics: hashes of their prompts and answer forms"
        tables.append(Table(["Stage", "Rubric", "BLAKE2b"], asked, 3, about, folded=True))
    return tables


def times(s: dict[str, Any]) -> list[Table]:
    """How long each stage took."""
    rows = [
        [
            name,
            v["state"],
            duration(v["seconds"]) if v["seconds"] is not None else ABSENT,
            number(v["seconds"]),
            count(v["attempts"]),
        ]
        for name, v in s["stages"].items()
    ]
    return [Table(["Stage", "State", "Time", "Seconds", "Attempts"], rows, 2, "Stages", folded=True)]


def provenance(run: Run, s: dict[str, Any]) -> list[Table]:
    """Versions, fingerprints, and the hashes of the files that were read."""
    marks = [
        [v.name, str(v.manifest.get("fingerprint", ABSENT)), str(v.manifest.get("code", ABSENT))]
        for v in run.stages
        if v.artifact
    ]
    files = {(name, h) for v in run.stages for name, h in v.manifest.get("files", {}).items()}
    about = [["Recipe", run.recipe], ["Seed", str(run.seed)], *([k, v] for k, v in s["versions"].items())]
    return [
        Table(["Of this run", ""], about, 2),
        Table(["Stage", "Fingerprint", "Code"], marks, 3, "Fingerprints", folded=True),
        Table(
            ["File", "BLAKE2b"], [[printable(n), h] for n, h in sorted(files)], 2, "Files that were read", folded=True
        ),
    ]


def limitations(s: dict[str, Any]) -> list[str]:
    """What the numbers do not say."""
    found = [
        "This is not a medical device. The models are for research; they make things up, and nothing here shows that "
        "their answers are safe for patients. They are no substitute for a doctor."
    ]
    if s["annotator"] == "offline":
        found.append(
            OFFLINE + " Rules count words and signs; what they call quality or a win is not a doctor's judgement."
        )
    if s["stages"].get("sample"):
        found.append(
            "The built-in sample is small and its dirt was made by a program: precision and recall on it say that the "
            "filters work as meant, not how they do on the web."
        )
    small = [r for r in s["knowledge"] if r["accuracy"] is not None and r["n"] < 200]
    if small:
        found.append(
            f"Some accuracies rest on few questions (least: {min(r['n'] for r in small)}); differences within about "
            "two standard errors are noise."
        )
    found.append("Decontamination finds what overlaps in wording; a benchmark's content in other words passes.")
    return found
