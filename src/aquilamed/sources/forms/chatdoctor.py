"""ChatDoctor's sets: HealthCareMagic and GenMedGPT {"instruction", "input", "output"}, iCliniq {"input", "answer_icliniq",
"answer_chatgpt", "answer_chatdoctor"}.

The instruction is one sentence repeated in all records: where there is an input, that alone is what the patient says.
Of iCliniq's three answers the doctor's is taken; `fields: {output: answer_chatgpt}` takes another.
"""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, pair, text

PUBLISHED = Published("https://github.com/Kent0n-Li/ChatDoctor", "lavita/ChatDoctor-HealthCareMagic-100k", "research")


def parse(value: Any) -> list[Message]:
    """The patient's words and the doctor's answer."""
    question = text(value, "input", "").strip() or text(value, "instruction", "")
    icliniq = isinstance(value, dict) and "output" not in value and "answer_icliniq" in value
    return pair(question, text(value, "answer_icliniq" if icliniq else "output"))
