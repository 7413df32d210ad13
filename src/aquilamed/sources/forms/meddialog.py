"""MedDialog, Chinese and English. Raw text: a block per consultation that begins with "id=12", then a URL and the sections
"Description", "Dialogue" (speakers on lines of their own: 病人：, 医生：, Patient:, Doctor:) and sometimes "Diagnosis and
suggestions". Processed JSON: a list of utterances "病人：…", "医生：…", or {"description", "utterances": ["patient: …"]}.

The description opens the conversation as the patient's words, unless the first utterance says it again. A diagnosis was
written behind the conversation and is left out.
"""

import re
from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, Role, join_turns, text
from aquilamed.sources.raw import Misfit

PUBLISHED = Published("https://github.com/UCSD-AI4H/Medical-Dialogue-System", "UCSD26/medical_dialog")
BLOCK = re.compile(r"id\s*=\s*\d+\s*")

_SECTIONS = {"Doctor faculty", "Description", "Dialogue", "Diagnosis and suggestions"}
_SPEAKER = re.compile(r"\s*(病人|患者|医生|patient|doctor)\s*[:：]\s*(.*)", re.DOTALL | re.IGNORECASE)
_ROLES: dict[str, Role] = {
    "病人": "user",
    "患者": "user",
    "patient": "user",
    "医生": "assistant",
    "doctor": "assistant",
}
_ASKED = re.compile(r"Q\.\s*")  # icliniq's descriptions are headings: "Q. Can a cough last …?"
_NOT_SAID = re.compile(r"[\W_]+")


def parse(value: Any) -> list[Message]:
    """The turns, joined per speaker."""
    if isinstance(value, str):
        sections = _sections(value)
        return _turns(sections["Description"], sections["Dialogue"])
    if isinstance(value, list):
        return _turns("", value)
    utterances = value.get("utterances") if isinstance(value, dict) else None
    if not isinstance(utterances, list):
        raise Misfit("wrong_type", "neither a block of text nor a list of utterances nor an object with `utterances`")
    return _turns(text(value, "description", ""), utterances)


def _sections(block: str) -> dict[str, Any]:
    first, *lines = block.strip().split("\n")
    if not BLOCK.fullmatch(first):
        raise Misfit("malformed", f"the block does not begin with id=NUMBER but with {first[:40]!r}")
    found: dict[str, list[str]] = {"": []}
    at = found[""]
    for line in lines:
        name = line.strip()
        if name in _SECTIONS and name not in found:
            at = found.setdefault(name, [])
        else:
            at.append(line)
    if not "".join(found.get("Dialogue", [])).strip():
        raise Misfit("no_answer", "the block has no dialogue")
    return {"Dialogue": found["Dialogue"], "Description": "\n".join(found.get("Description", [])).strip()}


def _turns(description: str, lines: list[Any]) -> list[Message]:
    said: list[tuple[Role, str]] = []
    for number, line in enumerate(lines, 1):
        if not isinstance(line, str):
            raise Misfit("wrong_type", f"utterance {number} is {type(line).__name__}, not text")
        match = _SPEAKER.match(line)
        if match:
            said.append((_ROLES[match[1].lower()], match[2]))
        elif said:
            said[-1] = (said[-1][0], f"{said[-1][1]}\n{line}")
        elif line.strip():
            raise Misfit("roles", f"line {number} of the dialogue names no speaker")
    description = _ASKED.sub("", description, count=1) if _ASKED.match(description) else description
    opening = next((words for role, words in said if role == "user"), "")
    if _NOT_SAID.sub("", description).lower() not in _NOT_SAID.sub("", opening).lower():
        said.insert(0, ("user", description))
    return join_turns(said)
