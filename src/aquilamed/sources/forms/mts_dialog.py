"""MTS-Dialog's form: CSV with section_header,section_text,dialogue; a dialogue's lines are "Doctor: …", "Patient: …".

Relatives speak for the patient and colleagues for the doctor ("Guest_family", "Guest_clinician", "Doctor_2").
"""

import re
from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, Role, spoken_turns, text

PUBLISHED = Published("https://github.com/abachaa/MTS-Dialog", license="CC-BY-4.0")

_SPEAKER = re.compile(r"\s*([A-Za-z][A-Za-z_]{2,20}(?:[_ ]?\d)?)\s*:\s*(.*)", re.DOTALL)
_PREFIXES: tuple[tuple[str, Role], ...] = (
    ("doctor", "assistant"),
    ("guest_clin", "assistant"),
    ("patient", "user"),
    ("guest_family", "user"),
)


def parse(value: Any) -> list[Message]:
    """The transcript's turns."""
    return spoken_turns(text(value, "dialogue"), _SPEAKER, _PREFIXES)
