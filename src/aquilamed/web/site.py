"""What a page is, and what it is built from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from aquilamed.web.access import Settings
from aquilamed.web.text import Text
from aquilamed.workspace import Workspace

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from aquilamed.recipe import Recipe

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Site:
    """The app in one language, for a page's `build`."""

    workspace: Workspace
    settings: Settings
    text: Text

    def recipe(self) -> "Recipe":
        """The recipe of the last run, read anew: a run may start while people look. Raises `Invalid` when it is broken."""
        from aquilamed.recipe import load_recipe

        return load_recipe(self.workspace.root / "recipe.yaml")

    def href(self, page: str = "", **query: Any) -> str:
        """A page's address in this language."""
        return f"/{self.text.language}/{page}" + (f"?{urlencode(query)}" if query else "")

    def html(self, template: str, **values: Any) -> str:
        """A template of `templates/`, everything in it escaped; it has `text` and `href` too."""
        return render(template, text=self.text, href=self.href, **values)


def render(template: str, **values: Any) -> str:
    """A template of `templates/` as HTML. Values are text, whatever they hold; invisible characters show as �."""
    from aquilamed.report.html import environment

    return environment(TEMPLATES).get_template(template).render(**values)


@dataclass(frozen=True)
class Page:
    """A row of the page table.

    Args:
        path: its place in the address; "" is the first page.
        title: the key of its title in `strings.yaml`.
        build: makes its components and events, inside a Gradio Blocks; called once per language.
        routes: further addresses that it needs (downloads), served below "/": Starlette routes, behind the same guard.
    """

    path: str
    title: str
    build: Callable[[Site], None]
    routes: "Callable[[Workspace, Settings], list[BaseRoute]]" = field(default=lambda workspace, settings: [])
