"""OpenAI's form: {"messages": [{"role": "system" | "user" | "assistant", "content": "…"}, …]}."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Role, items, text
from aquilamed.sources.raw import Misfit

ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def parse(value: Any) -> list[Message]:
    """The messages as they stand."""
    found: list[Message] = []
    for number, item in enumerate(items(value, "messages"), 1):
        role = text(item, "role")
        if role not in ROLES:
            raise Misfit("roles", f"turn {number} has the role {role[:40]!r}")
        found.append({"role": ROLES[role], "content": text(item, "content", "")})
    return found
