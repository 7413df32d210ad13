"""From a model's words to a validated answer: strict, so that text quoted from the judged data is never a verdict."""

import json
import re
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from aquilamed.annotate.contract import CallError, T

_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL)
_THINK = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


def parse(content: str, schema: type[T], judged: str = "") -> T | CallError:
    """The one JSON object of an answer, validated.

    The whole answer, its only fenced block or its only JSON object counts. Several objects, or one that names a key
    twice, are ambiguous (one may be quoted from the judged text): `bad_json`. So is one among other words that says the
    same as an object in the judged text. A wrong type or value: `bad_schema`.

    Args:
        judged: the prompt with the judged text.
    """
    content = _THINK.sub("", content).strip()
    if not content:
        return CallError("bad_json", "the answer is empty")
    text, words = _unfenced(content)
    found, whole = _objects(text)
    if len(found) != 1:
        return CallError("bad_json", f"the answer holds {len(found)} JSON objects instead of one")
    if found[0] is None:
        return CallError("bad_json", "the answer's JSON object names a key twice")
    try:
        answer = schema.model_validate(found[0])
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'object'}: {e['msg']}" for e in error.errors()]
        return CallError("bad_schema", "; ".join(problems))
    if (words or not whole) and answer in _verdicts(judged, schema):
        return CallError("bad_json", "the answer's JSON object stands among other words and in the judged text as well")
    return answer


def _unfenced(content: str) -> tuple[str, bool]:
    """The only fenced block, where no object stands outside of it, else everything; whether words stand outside."""
    blocks = _FENCE.findall(content)
    around = _FENCE.sub("", content)
    return (blocks[0], bool(around.strip())) if len(blocks) == 1 and "{" not in around else (content, False)


def _objects(text: str) -> tuple[list[dict[str, Any] | None], bool]:
    """All outermost JSON objects of a text, and whether it is nothing else; None stands for one with a repeated key."""
    found: list[dict[str, Any] | None] = []
    at = text.find("{")
    words = bool(text[:at].strip())
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (_RepeatedKeyError, RecursionError):
            return [None], False
        except json.JSONDecodeError:
            return [], False  # going on inside a broken object would find its parts
        found.append(value)
        at = text.find("{", end)
        words = words or bool(text[end : at if at >= 0 else None].strip())
    return found, not words


def _verdicts(judged: str, schema: type[T]) -> list[T]:
    """The valid answers that stand in a judged text, at whatever depth."""
    found: list[T] = []
    at = judged.find("{")
    while at >= 0:
        with suppress(_RepeatedKeyError, RecursionError, ValueError):  # a ValidationError is one
            found.append(schema.model_validate(_DECODER.raw_decode(judged, at)[0]))
        at = judged.find("{", at + 1)
    return found


class _RepeatedKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RepeatedKeyError
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
