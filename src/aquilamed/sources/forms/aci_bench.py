"""ACI-Bench: CSV with dataset,encounter_id,dialogue,note, or JSON {"data": [{"src", "tgt", "file"}, …]}; a visit's lines are
"[doctor] …", "[patient] …", sometimes "[patient_guest] …". The note is not said and left out."""

import re
from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, Role, spoken_turns, text

PUBLISHED = Published("https://github.com/wyim/aci-bench", license="CC-BY-4.0")

_SPEAKER = re.compile(r"\s*\[([A-Za-z_ ]{3,30})\]\s*(.*)", re.DOTALL)
_PREFIXES: tuple[tuple[str, Role], ...] = (("doctor", "assistant"), ("patient", "user"))


def parse(value: Any) -> list[Message]:
    """The transcript's turns."""
    name = "src" if isinstance(value, dict) and "dialogue" not in value and "src" in value else "dialogue"
    return spoken_turns(text(value, name), _SPEAKER, _PREFIXES)
