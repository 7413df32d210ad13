"""ShareGPT's form: {"conversations": [{"from": "human" | "gpt" | "system", "value": "…"}, …]}."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Role, items, text
from aquilamed.sources.raw import Misfit

ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


def parse(value: Any) -> list[Message]:
    """The turns as they stand."""
    found: list[Message] = []
    for number, item in enumerate(items(value, "conversations"), 1):
        role = text(item, "from")
        if role not in ROLES:
            raise Misfit("roles", f"turn {number} is from {role[:40]!r}")
        found.append({"role": ROLES[role], "content": text(item, "value", "")})
    return found
