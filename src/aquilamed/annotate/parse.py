"""From a model's words to a validated answer: strict, so that text quoted from the judged data is never a verdict."""

import json
import re
from typing import Any

from pydantic import ValidationError

from aquilamed.annotate.contract import CallError, T

_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL)
_THINK = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


def parse(content: str, schema: type[T]) -> T | CallError:
    """The one JSON object of an answer, validated.

    The whole answer, its only fenced block or its only JSON object counts. Several objects, or one that names a key
    twice, are ambiguous (one may be quoted from the judged text): `bad_json`. A wrong type or value: `bad_schema`.
    """
    content = _THINK.sub("", content).strip()
    if not content:
        return CallError("bad_json", "the answer is empty")
    found = _objects(content)
    if len(found) != 1:
        return CallError("bad_json", f"the answer holds {len(found)} JSON objects instead of one")
    if found[0] is None:
        return CallError("bad_json", "the answer's JSON object names a key twice")
    try:
        return schema.model_validate(found[0])
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'object'}: {e['msg']}" for e in error.errors()]
        return CallError("bad_schema", "; ".join(problems))


def _objects(content: str) -> list[dict[str, Any] | None]:
    """All outermost JSON objects of a text; None stands for one with a repeated key."""
    fenced = _FENCE.findall(content)
    text = fenced[0] if len(fenced) == 1 and "{" not in _FENCE.sub("", content) else content
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    found: list[dict[str, Any] | None] = []
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (_RepeatedKeyError, RecursionError):
            return [None]
        except json.JSONDecodeError:
            return []  # going on inside a broken object would find its parts
        found.append(value)
        at = text.find("{", end)
    return found


class _RepeatedKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RepeatedKeyError
    return value
