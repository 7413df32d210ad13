"""The recipe as it may be published: every value that decides a result, no place on a machine and no secret.

Folders are reduced to their last name, `data_root` to ".", addresses lose user, password and query; what cannot change a
result (service addresses, keys' variables, prices, budgets, concurrency) is left out and falls back to its default.
"""

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import BaseModel

from aquilamed.config import Config
from aquilamed.recipe import Recipe

HEAD = """\
# The recipe of this release: aquilamed run recipe.yaml
# Put the sources below data_root (see the card) and give local models their folder. What cannot change a result is not here.
"""


def public_recipe(recipe: Recipe) -> str:
    """The recipe as YAML that `aquilamed run` accepts."""
    values = public_values(recipe) | {"data_root": "."}
    return HEAD + yaml.safe_dump(values, allow_unicode=True, sort_keys=False)


def public_values(value: Any) -> Any:
    """A config (or what stands in one) as plain values without volatile fields, folders and secrets."""
    if isinstance(value, BaseModel):
        hidden = value.volatile if isinstance(value, Config) else frozenset[str]()
        return {n: public_values(getattr(value, n)) for n in type(value).model_fields if n not in hidden}
    if isinstance(value, dict):
        return {k: public_values(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [public_values(v) for v in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return public_path(str(value))


def public_path(text: str) -> str:
    """A text as it is, unless it is a place: then without the folders or credentials in it."""
    if "://" in text and not any(c.isspace() for c in text):
        if text.startswith("file://"):
            return PurePosixPath(text).name
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    if text.startswith(("/", "~")):
        return PurePosixPath(text).name or "."
    if PureWindowsPath(text).drive and "\n" not in text:
        return PureWindowsPath(text).name
    if text.startswith(".."):
        return "/".join(p for p in PurePosixPath(text).parts if p != "..") or "."
    return text
