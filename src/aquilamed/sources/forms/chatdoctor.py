"""ChatDoctor's form: {"instruction", "input", "output"}. The instruction is one sentence repeated in all records: where
there is an input, that alone is what the patient says."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, pair, text

PUBLISHED = Published("https://github.com/Kent0n-Li/ChatDoctor", license="research")


def parse(value: Any) -> list[Message]:
    """The patient's words and the doctor's answer."""
    question = text(value, "input", "").strip() or text(value, "instruction", "")
    return pair(question, text(value, "output"))
