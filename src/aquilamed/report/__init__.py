"""The report of a run, from the manifests alone: `aquilamed report WORKSPACE`.

WORKSPACE/report/index.html is one file that needs no network; summary.json holds its numbers (keys: report/schema.py);
figures/ holds the pictures. Nothing is done when nothing changed since the last report.
"""

import json
from pathlib import Path

from aquilamed.records import write_atomic, write_json
from aquilamed.report.gather import Run, gather
from aquilamed.workspace import Workspace

SUMMARY, PAGE, FIGURES = "summary.json", "index.html", "figures"


def write(workspace: Workspace) -> Path:
    """Write the report of a workspace's last recipe and return index.html.

    Raises `Invalid` when recipe.yaml cannot be read. Stages that are not done are absent from it, and said so; what was made
    by earlier code is shown, and said so.
    """
    run = gather(workspace, earlier=True)
    folder = workspace.root / "report"
    if not _current(folder, run.fingerprint()):
        render(run, folder)
    return folder / PAGE


def render(run: Run, folder: Path) -> None:
    """Write figures and page, and summary.json last: it says that the others are there."""
    from aquilamed.report.figures import draw
    from aquilamed.report.page import page
    from aquilamed.report.summary import summarise

    summary = summarise(run)
    pictures = draw(summary, folder / FIGURES)
    write_atomic(folder / PAGE, page(run, summary, pictures).encode())
    write_json(folder / SUMMARY, summary)


def _current(folder: Path, fingerprint: str) -> bool:
    """Whether the report there shows the same manifests, by the same code."""
    try:
        old = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (folder / PAGE).is_file() and isinstance(old, dict) and old.get("fingerprint") == fingerprint
