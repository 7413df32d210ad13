"""MTS-Dialog's form: CSV with section_header,section_text,dialogue; a dialogue's lines are "Doctor: …", "Patient: …".

Relatives speak for the patient and colleagues for the doctor ("Guest_family", "Guest_clinician", "Doctor_2").
"""

import re
from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, Role, join_turns, text
from aquilamed.sources.raw import Misfit

PUBLISHED = Published("https://github.com/abachaa/MTS-Dialog", license="CC-BY-4.0")

_SPEAKER = re.compile(r"\s*([A-Za-z][A-Za-z_]{2,20}(?:[_ ]?\d)?)\s*:\s*(.*)", re.DOTALL)
_PREFIXES: tuple[tuple[str, Role], ...] = (
    ("doctor", "assistant"),
    ("guest_clin", "assistant"),
    ("patient", "user"),
    ("guest_family", "user"),
)


def parse(value: Any) -> list[Message]:
    """The turns, joined per speaker; a line without a speaker goes on with the one before."""
    said: list[tuple[Role, str]] = []
    for number, line in enumerate(text(value, "dialogue").splitlines(), 1):
        match = _SPEAKER.match(line)
        if match:
            said.append((_role(match[1], number), match[2]))
        elif said:
            said[-1] = (said[-1][0], f"{said[-1][1]}\n{line}")
        elif line.strip():
            raise Misfit("roles", f"line {number} of the dialogue names no speaker")
    return join_turns(said)


def _role(speaker: str, number: int) -> Role:
    for prefix, role in _PREFIXES:
        if speaker.lower().startswith(prefix):
            return role
    raise Misfit("roles", f"line {number} of the dialogue is by {speaker!r}")
