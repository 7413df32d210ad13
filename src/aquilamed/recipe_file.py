"""Recipes as files: YAML, and what a recipe takes over from another one (`extends: FILE`, relative to its folder).

Sections are merged key by key; lists, values and null replace what was there. What a run keeps in its workspace is the
whole recipe, so that it needs no other file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aquilamed.config import Invalid


@dataclass(frozen=True)
class Layer:
    """A file of a recipe: its values, and its YAML nodes, which know their lines."""

    path: Path
    values: dict[str, Any]
    node: Any


def read_layers(path: Path) -> list[Layer]:
    """A recipe's file, then the one that it extends, and so on.

    Raises `Invalid` for a file that cannot be read or is no mapping, and for files that extend each other.
    """
    layers: list[Layer] = []
    while True:
        if path.resolve() in [layer.path.resolve() for layer in layers]:
            raise Invalid(f"{layers[-1].path}: extends: {path.name} extends it in turn; one of them must stand alone")
        layer = _read(path)
        layers.append(layer)
        parent = layer.values.pop("extends", None)
        if parent is None:
            return layers
        if not isinstance(parent, str) or not parent:
            raise Invalid(f"{place([layer], ('extends',))}: extends: give another recipe's file, got {parent!r}")
        path = path.parent / parent


def _read(path: Path) -> Layer:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{path}: cannot read the recipe ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: not UTF-8 text ({error})") from error
    try:
        values = yaml.safe_load(text)
        node = yaml.compose(text)
    except yaml.YAMLError as error:
        raise Invalid(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise Invalid(f"{path}: a recipe is a mapping of keys, this is {type(values).__name__}")
    return Layer(path, values, node)


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The values of all layers, those of the first above all. A `data_root` stays where its own file says."""
    *above, last = layers
    values = dict(last.values)
    folder = last.path.parent
    for layer in reversed(above):
        if folder.resolve() != layer.path.parent.resolve():
            values["data_root"] = str((folder / str(values.get("data_root") or ".")).resolve())
        values, folder = _merged(values, layer.values), layer.path.parent
    return values


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        known = found.get(key)
        found[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return found


def place(layers: Sequence[Layer], location: Sequence[Any]) -> str:
    """`file:line` of a key: in the first file that has it, else where the nearest section above it begins."""
    best, found = -1, str(layers[0].path)
    for layer in layers:
        depth, line = _line(layer.node, location)
        if depth > best:
            best, found = depth, f"{layer.path}:{line}" if line else str(layer.path)
    return found


def _line(node: Any, location: Sequence[Any]) -> tuple[int, int | None]:
    """How many parts of a key a file has, and the line (from 1) of the last of them."""
    line, depth = None, 0
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(part)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
        depth += 1
    return depth, line
