"""What the parts of summary.json's schema have in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict

Measured = dict[str, Any] | None
Interval = tuple[float, float] | None
ByLanguage = dict[str, float] | None


class Part(BaseModel):
    """A part of summary.json; keys may be added."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)
