"""The whole app as one ASGI application: a Gradio app per language, the login, the pages' own routes, the guard around all."""

import os
import warnings

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import, which would look for a newer version
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from aquilamed.web.access import Settings, user
from aquilamed.web.guard import Guard
from aquilamed.web.login import login_routes
from aquilamed.web.pages import PAGES
from aquilamed.web.site import Page, Site
from aquilamed.web.text import LANGUAGES, TAGS, Text, preferred
from aquilamed.workspace import Workspace

_STYLE = Path(__file__).parent / "style.css"
_ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M8 1 15 15H1z" fill="#0072b2"/></svg>'
_SYSTEM = ["system-ui", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "sans-serif"]


def build_app(workspace: Workspace, settings: Settings) -> ASGIApp:
    """The app of a workspace, ready for a server."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.router.routes += [
        Route("/", _first),
        Route("/favicon.ico", lambda request: Response(_ICON, media_type="image/svg+xml")),
        Route("/health", lambda request: PlainTextResponse("ok")),
        *login_routes(settings),
        *(route for page in PAGES for route in page.routes(workspace, settings)),
    ]
    for language in LANGUAGES:
        _mount(
            app,
            _blocks(Site(workspace, settings, Text(language))),
            f"/{language}",
            auth_dependency=user,
            theme=gr.themes.Base(primary_hue="blue", font=_SYSTEM, font_mono=["ui-monospace", "monospace"]),
            css_paths=[_STYLE],
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            show_error=False,
            enable_monitoring=False,
            mcp_server=False,
        )
    return Guard(app, settings, {f"/{code}": tag for code, tag in TAGS.items()}, [page.path for page in PAGES])


def _mount(*args: Any, **settings: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that server-side rendering is off, which it shall be
        gr.mount_gradio_app(*args, **settings)


def _first(request: Request) -> Response:
    language = preferred(request.headers.get("accept-language", ""), request.cookies)
    return RedirectResponse(f"/{language}/", 303)


def _blocks(site: Site) -> gr.Blocks:
    """The Gradio app of one language: one route per page."""
    first, *others = PAGES
    with gr.Blocks(title="Aquila-Med", analytics_enabled=False, fill_width=True) as blocks:
        _fill(site, first)
    for page in others:
        with blocks.route(site.text(page.title), page.path):
            _fill(site, page)
    return blocks


def _fill(site: Site, page: Page) -> None:
    header = gr.HTML(_header(site, page, ""), elem_classes="site-header", padding=False)
    page.build(site)

    def named(request: gr.Request) -> str:
        return _header(site, page, user(request))

    if site.settings.login:
        gr.on(None, named, None, header, show_progress="hidden")


def _header(site: Site, page: Page, name: str) -> str:
    others = {code: f"/{code}/{page.path}" for code in LANGUAGES if code != site.text.language}
    return site.html("header.html.j2", pages=PAGES, current=page, others=others, names=LANGUAGES, name=name)
