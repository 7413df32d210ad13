"""Jinja templates that escape everything, and show control and direction characters as �."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquilamed.printable import printable
from aquilamed.progress import duration
from aquilamed.report.cells import count, percent

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent


def fill(template: str, **values: Any) -> str:
    """A template of this folder with its values; a name that it lacks is an error."""
    return environment(HERE).get_template(template).render(**values)


@cache
def environment(folder: Path) -> "Environment":
    """The templates of a folder, with our filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    found.filters |= {"count": count, "duration": duration, "percent": percent, "printable": printable}
    return found


def _clean(value: Any) -> Any:
    """Plain text without invisible characters; markup of ours as it is."""
    return printable(value) if type(value) is str else value
