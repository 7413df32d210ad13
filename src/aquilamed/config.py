"""What every configuration model shares: strict keys, immutability, a description per field, and `Invalid`."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of every stage's config. Unknown keys are errors; the text under a field is its description."""

    # Defaults are validated too: an int given for a float would otherwise change the fingerprint of a saved recipe.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    volatile: ClassVar[frozenset[str]] = frozenset()
    """Fields that cannot change a result (concurrency, time-outs, budgets): left out of fingerprints."""

    def identity(self) -> dict[str, Any]:
        """The values that decide the result, for the fingerprint."""
        values: dict[str, Any] = {}
        for name in type(self).model_fields:
            if name not in self.volatile:
                values[name] = _plain(getattr(self, name))
        return values


class Invalid(ValueError):
    """The recipe or an input is wrong. The message says where (file, line, field) and what to do; the CLI exits 2."""


class StageFailed(RuntimeError):
    """A stage could not do its work although its recipe was valid. The CLI prints the message and exits 1."""


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.identity()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
