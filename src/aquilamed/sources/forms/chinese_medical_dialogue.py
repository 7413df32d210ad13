"""Chinese-Medical-Dialogue-Data: CSV in GB18030 with department,title,ask,answer. The title often
opens the question."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, pair, text

PUBLISHED = Published("https://github.com/Toyhom/Chinese-medical-dialogue-data", license="MIT")

_NOTHING = {"", "无", "-", "无。"}


def parse(value: Any) -> list[Message]:
    """Title and description as the question; a title that the description repeats is left out."""
    title, ask = text(value, "title", "").strip(), text(value, "ask", "").strip()
    if ask in _NOTHING:
        question = "" if title in _NOTHING else title
    elif title in _NOTHING or title in ask:
        question = ask
    else:
        question = f"{title}\n{ask}"
    answer = text(value, "answer").strip()
    return pair(question, "" if answer in _NOTHING else answer)
