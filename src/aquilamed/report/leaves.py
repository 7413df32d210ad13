"""A nested value as flat keys: `sources.documents.sources[web].path`."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

_NAMES = (
    "name",
    "stage",
    "model",
    "against",
    "benchmark",
    "task",
    "kind",
    "lang",
    "category",
    "round",
    "judge",
    "judges",
)


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(key, value) of everything in it that holds no mapping. A list of mappings is keyed by what names its items, not by place."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        seen: Counter[str] = Counter()
        for number, item in enumerate(value):
            name = _name(item) or str(number)
            seen[name] += 1
            again = f" #{seen[name]}" if seen[name] > 1 else ""
            yield from leaves(item, f"{key}[{name}{again}]")
    else:
        yield key, value


def _name(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    told = (item.get(n) for n in _NAMES)
    return ", ".join(str(v) for v in told if isinstance(v, str | int) and not isinstance(v, bool) and v != "")
