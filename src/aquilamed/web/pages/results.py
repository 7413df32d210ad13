"""Results: the report of the last run, and this workspace compared with one beside it."""

import re
from pathlib import Path

import gradio as gr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from aquilamed import report
from aquilamed.config import Invalid, StageFailed
from aquilamed.stages import BY_NAME
from aquilamed.web.access import Settings
from aquilamed.web.files import document, handed_out, inside
from aquilamed.web.site import Page, Site
from aquilamed.workspace import MANIFEST, Workspace

_REPORT, _SUMMARY = f"report/{report.PAGE}", f"report/{report.SUMMARY}"
_ADDRESS = f"/results/{_REPORT}"
"""As in the workspace, so that the report's links to its numbers and to manifests lead somewhere."""
_MARK = re.compile("[0-9a-f]{16}")


def neighbours(root: Path) -> list[str]:
    """The names of the workspaces in the folder that holds this one; links are left out."""
    here = root.resolve()
    found = (p for p in here.parent.iterdir() if p != here and not p.is_symlink() and (p / "recipe.yaml").is_file())
    return sorted(p.name for p in found)


def build(site: Site) -> None:
    """The report in a frame with a button that writes it anew; below it the comparison."""
    text = site.text
    shown = gr.HTML(elem_id="report")
    gr.on(None, lambda: _report(site), None, shown, show_progress="hidden")
    anew = gr.Button(text("results.write"), elem_id="write-report")
    gr.HTML(f"<h2>{text('results.compare')}</h2>", padding=False)
    with gr.Row():
        other = gr.Dropdown([], label=text("results.other"), elem_id="other")
        button = gr.Button(text("results.compare_button"), elem_id="compare", interactive=False)
    compared = gr.HTML(elem_id="comparison")

    def written() -> str:
        try:
            report.write(site.workspace)
        except (Invalid, StageFailed) as error:
            return site.html("problem.html.j2", message=str(error))
        return _report(site)

    def comparison(name: str | None) -> str:
        if name not in neighbours(site.workspace.root):
            return site.html("problem.html.j2", message=text("results.no_other"))
        return site.html(
            "frame.html.j2", path="/results/compare", query={"with": name}, title=text("results.compare"), links={}
        )

    def offered() -> tuple[gr.Dropdown, gr.Button]:
        names = neighbours(site.workspace.root)
        return gr.Dropdown(choices=names, value=names[0] if names else None), gr.Button(interactive=bool(names))

    gr.on(None, offered, None, [other, button], show_progress="hidden")
    anew.click(written, None, shown, concurrency_limit=1)
    button.click(comparison, other, compared)


def _report(site: Site) -> str:
    path = inside(site.workspace.root, _REPORT)
    if path is None:
        return site.html("problem.html.j2", message=site.text("results.no_report"))
    version = {"written": path.stat().st_mtime_ns}  # a report that was written anew is loaded anew
    links = {_ADDRESS: "results.own_page", f"/results/{_SUMMARY}": "results.numbers"}
    return site.html("frame.html.j2", path=_ADDRESS, query=version, title=site.text("results.title"), links=links)


def routes(workspace: Workspace, settings: Settings) -> list[BaseRoute]:
    """The report, its numbers, the manifests behind them, a comparison: documents for a frame or a page of their own."""
    root = workspace.root

    def shown(request: Request) -> Response:
        return handed_out(root, _REPORT, "text/html")

    def numbers(request: Request) -> Response:
        return handed_out(root, _SUMMARY, "application/json")

    def manifest(request: Request) -> Response:
        stage, mark = request.path_params["stage"], request.path_params["mark"]
        if stage not in BY_NAME or not _MARK.fullmatch(mark):
            return PlainTextResponse("Not found.", 404)
        return handed_out(root, f"{stage}/{mark}/{MANIFEST}", "application/json")

    def compared(request: Request) -> Response:
        from aquilamed.report.compare import compare
        from aquilamed.report.compare_tables import page

        name = request.query_params.get("with", "")
        if name not in neighbours(root):
            return PlainTextResponse("Not found.", 404)
        try:
            return document(page(compare(Workspace(root.resolve()), Workspace(root.resolve().parent / name))))
        except (Invalid, StageFailed) as error:
            return PlainTextResponse(str(error), 409)

    return [
        Route(_ADDRESS, shown),
        Route(f"/results/{_SUMMARY}", numbers),
        Route("/results/{stage:path}/{mark}/manifest.json", manifest),
        Route("/results/compare", compared),
    ]


PAGE = Page("results", "results.title", build, routes)
