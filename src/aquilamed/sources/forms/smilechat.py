"""SmileChat's form: {"dialog": [{"role": "client" | "counselor", "content": "…"}, …]}; clients often
have the last word."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, Role, items, join_turns, text
from aquilamed.sources.raw import Misfit

PUBLISHED = Published("https://github.com/qiuhuachuan/smile", license="CC0-1.0")

ROLES: dict[str, Role] = {"client": "user", "counselor": "assistant"}


def parse(value: Any) -> list[Message]:
    """The turns, joined per speaker."""
    said: list[tuple[Role, str]] = []
    for number, item in enumerate(items(value, "dialog"), 1):
        role = text(item, "role")
        if role not in ROLES:
            raise Misfit("roles", f"turn {number} has the role {role[:40]!r}")
        said.append((ROLES[role], text(item, "content", "")))
    return join_turns(said)
