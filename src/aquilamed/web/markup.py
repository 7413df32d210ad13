"""HTML of ours: Jinja templates that escape everything, and text whose invisible characters show."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent / "templates"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from aquilamed.progress import duration
    from aquilamed.report.cells import count, percent
    from aquilamed.report.gather import printable

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"printable": printable, "count": count, "percent": percent, "duration": duration}
    return environment


def render(template: str, **values: Any) -> str:
    """A template of `templates/` as HTML. Values are text, whatever they hold."""
    return _environment().get_template(template).render(**values)
