"""CMDD's form: {"dialogue": {"dialogue-content": [{"speaker": "医生" | "患者", "sentence": "…"}, …]}}: real chats,
where people send several short messages in a row."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, Role, items, join_turns, text
from aquilamed.sources.raw import Misfit

PUBLISHED = Published("https://github.com/alibaba-research/ChineseBLUE", license="Apache-2.0")

ROLES: dict[str, Role] = {"患者": "user", "医生": "assistant"}


def parse(value: Any) -> list[Message]:
    """The turns, joined per speaker."""
    inner = value.get("dialogue", value) if isinstance(value, dict) else value
    said: list[tuple[Role, str]] = []
    for number, item in enumerate(items(inner, "dialogue-content"), 1):
        speaker = text(item, "speaker")
        if speaker not in ROLES:
            raise Misfit("roles", f"utterance {number} is by {speaker[:40]!r}")
        said.append((ROLES[speaker], text(item, "sentence", "")))
    return join_turns(said)
