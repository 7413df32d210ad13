"""Jinja templates that escape everything, and show control and direction characters as �."""

from pathlib import Path
from typing import Any

from aquilamed.progress import duration
from aquilamed.report.cells import count
from aquilamed.report.gather import printable

HERE = Path(__file__).parent


def fill(template: str, **values: Any) -> str:
    """A template of this folder with its values; a name that it lacks is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.filters |= {"count": count, "duration": duration}
    return environment.get_template(template).render(**values)


def _clean(value: Any) -> Any:
    """Plain text without invisible characters; markup of ours as it is."""
    return printable(value) if type(value) is str else value
