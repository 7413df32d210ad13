"""What the forms share: typed access to a raw value's fields, and turns made of who said what."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from aquilamed.records import Message
from aquilamed.sources.raw import Misfit

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Published:
    """What is known of a form's published set: where it is described, its hub id ("" if none) and its licence as stated."""

    homepage: str
    hub: str = ""
    license: str = "unknown"


@dataclass(frozen=True)
class Pair:
    """A prompt and two answers, the better one first. `margin` is the difference of their scores, 0.0 where none are known."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    margin: float = 0.0


def text(value: Any, name: str, default: str | None = None) -> str:
    """A text field; the first of a list, and of lists in it (some sets give several wordings).

    Raises:
        Misfit: wrong_type when it is absent (and there is no default) or no text.
    """
    if not isinstance(value, dict):
        raise Misfit("wrong_type", f"an object with the field {name!r} was expected, not {type(value).__name__}")
    found = value.get(name, default)
    while isinstance(found, list) and found:
        found = found[0]
    if found is None and default is not None:
        return default
    if not isinstance(found, str):
        known = ", ".join(map(repr, list(value)[:8]))
        problem = f"is {type(found).__name__}, not text" if name in value else f"is missing; the fields: {known}"
        raise Misfit("wrong_type", f"field {name!r} {problem}")
    return found


def number(value: Any, name: str) -> float:
    """A numeric field. Raises `Misfit` when it is absent or no finite number."""
    found = value.get(name) if isinstance(value, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        raise Misfit("wrong_type", f"field {name!r} is no number: {found!r:.40}")
    return float(found)


def items(value: Any, name: str) -> list[Any]:
    """A list field. Raises `Misfit` when it is absent or empty or no list."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list) or not found:
        raise Misfit("wrong_type", f"field {name!r} is no list of turns")
    return found


def pair(question: str, answer: str, system: str = "") -> list[Message]:
    """One question and its answer."""
    start: list[Message] = [{"role": "system", "content": system}] if system else []
    return [*start, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def answered(prompt: list[Message], chosen: str, rejected: str) -> Pair:
    """A prompt with two texts as answers."""
    better, worse = ([Message(role="assistant", content=said)] for said in (chosen, rejected))
    return Pair(prompt, better, worse)


def history(value: Any) -> list[Message]:
    """The rounds before the last one: a list of [question, answer]. Raises `Misfit` when it holds anything else."""
    found = value.get("history") if isinstance(value, dict) else None
    rounds: list[Message] = []
    for number, said in enumerate(found or [], 1):
        if not isinstance(said, list) or len(said) != 2 or not all(isinstance(s, str) for s in said):
            raise Misfit("wrong_type", f"round {number} of the history is no [question, answer]")
        rounds += pair(*said)
    return rounds


def join_turns(said: Iterable[tuple[Role, str]]) -> list[Message]:
    """Turns of a recorded conversation, where people speak several times in a row.

    Utterances of one speaker in a row become one turn, line by line. What the doctor says before the first question
    and what the patient says behind the last answer (greetings, thanks) are left out: neither can be trained on.
    """
    turns: list[Message] = []
    for role, content in said:
        content = content.strip()
        if not content:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n" + content
        else:
            turns.append({"role": role, "content": content})
    if turns and turns[0]["role"] == "assistant":
        turns = turns[1:]
    if turns and turns[-1]["role"] == "user" and len(turns) > 1:
        turns = turns[:-1]
    return turns


def spoken_turns(dialogue: str, speaker: re.Pattern[str], prefixes: Sequence[tuple[str, Role]]) -> list[Message]:
    """A transcript's turns, joined per speaker; a line without a speaker goes on with the one before.

    Args:
        speaker: matches the speaker (group 1) and the words (group 2) of a line.
        prefixes: how speakers of a role begin, in lower case; the first that fits counts.

    Raises:
        Misfit: roles when a speaker has none, or the first line no speaker.
    """
    said: list[tuple[Role, str]] = []
    for number, line in enumerate(dialogue.splitlines(), 1):
        if match := speaker.match(line):
            role = next((role for prefix, role in prefixes if match[1].lower().startswith(prefix)), None)
            if role is None:
                raise Misfit("roles", f"line {number} of the dialogue is by {match[1]!r}")
            said.append((role, match[2]))
        elif said:
            said[-1] = (said[-1][0], f"{said[-1][1]}\n{line}")
        elif line.strip():
            raise Misfit("roles", f"line {number} of the dialogue names no speaker")
    return join_turns(said)
