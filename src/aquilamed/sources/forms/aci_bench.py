"""ACI-Bench: CSV with dataset,encounter_id,dialogue,note, or JSON {"data": [{"src", "tgt", "file"}, …]}; a visit's lines are
"[doctor] …", "[patient] …", sometimes "[patient_guest] …". The note is not said and left out."""

import re
from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, Role, join_turns, text
from aquilamed.sources.raw import Misfit

PUBLISHED = Published("https://github.com/wyim/aci-bench", license="CC-BY-4.0")

_SPEAKER = re.compile(r"\s*\[([A-Za-z_ ]{3,30})\]\s*(.*)", re.DOTALL)


def parse(value: Any) -> list[Message]:
    """The turns, joined per speaker; a line without a speaker goes on with the one before."""
    said: list[tuple[Role, str]] = []
    name = "src" if isinstance(value, dict) and "dialogue" not in value and "src" in value else "dialogue"
    for number, line in enumerate(text(value, name).splitlines(), 1):
        match = _SPEAKER.match(line)
        if match:
            said.append((_role(match[1], number), match[2]))
        elif said:
            said[-1] = (said[-1][0], f"{said[-1][1]}\n{line}")
        elif line.strip():
            raise Misfit("roles", f"line {number} of the dialogue names no speaker")
    return join_turns(said)


def _role(speaker: str, number: int) -> Role:
    if speaker.lower().startswith("doctor"):
        return "assistant"
    if speaker.lower().startswith("patient"):
        return "user"
    raise Misfit("roles", f"line {number} of the dialogue is by {speaker!r}")
