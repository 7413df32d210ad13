"""Who may use the web app: names and tokens, and the signed cookie that a login leaves.

Tokens come from $AQUILAMED_WEB_TOKENS (`name:token,name:token`) or from WORKSPACE/web-tokens (`name token` a line, readable by
its owner alone). Where there are tokens everybody logs in, on loopback too; where there are none only loopback is served.
A cookie is signed with its user's token: it outlives a restart of the server, and dies with the token.
"""

import hashlib
import hmac
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aquilamed.config import Invalid

FILE, VARIABLE = "web-tokens", "AQUILAMED_WEB_TOKENS"
COOKIE = "aquilamed"
LOCAL_USER = "local"
_NAME = re.compile(r"[\w.@-]{1,64}")
_SHORTEST = 16
_LIFETIME = 12 * 3600  # seconds: a working day


@dataclass(frozen=True)
class Settings:
    """How the app is served."""

    host: str = "127.0.0.1"
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Name → token; empty: nobody logs in, and only loopback is served."""
    max_body: int = 1 << 20
    """Most bytes of one request's body."""
    lifetime: int = _LIFETIME
    """Seconds until a login ends."""

    @property
    def login(self) -> bool:
        """Whether people must log in."""
        return bool(self.tokens)


def read_tokens(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Name → token from the environment, else from WORKSPACE/web-tokens; {} when there is neither.

    Raises `Invalid` for a file that others may read, a line that is no `name token`, a name twice, a short token. No message
    holds a token.
    """
    if text := environment.get(VARIABLE, "").strip():
        return _parse([entry.strip().partition(":") for entry in text.split(",")], f"${VARIABLE}: entry")
    path = root / FILE
    if not path.exists():
        return {}
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Invalid(f"{path} can be read by others; run chmod 600 {path}")
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [
        ("", "", "") if not line.strip() or line.startswith("#") else line.strip().partition(" ") for line in lines
    ]
    return _parse(pairs, f"{path}: line")


def _parse(entries: list[tuple[str, str, str]], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, (name, _, token) in enumerate(entries, 1):
        token = token.strip()
        if not name and not token:
            continue
        if not _NAME.fullmatch(name) or name in found or name == LOCAL_USER:
            raise Invalid(f"{where} {number}: a name is letters, digits or . _ - @, and stands once")
        if len(token) < _SHORTEST or not token.isascii() or token.split() != [token]:
            raise Invalid(f"{where} {number}: the token of {name} needs at least {_SHORTEST} letters and digits")
        found[name] = token
    return found


def matches(settings: Settings, name: str, token: str) -> bool:
    """Whether that is the name's token; takes as long for a name that is unknown."""
    known = settings.tokens.get(name, "")
    return hmac.compare_digest(known.encode(), token.encode()) and bool(known)


def issue(settings: Settings, name: str) -> str:
    """A cookie's value for somebody who has logged in."""
    end = int(time.time()) + settings.lifetime
    return f"{name}:{end}:{_signature(settings.tokens[name], name, end)}"


def cookie_user(settings: Settings, value: str) -> str | None:
    """The name in a cookie; None when it is not ours, too old, or its token was changed."""
    name, _, rest = value.partition(":")
    end, _, signature = rest.partition(":")
    if name not in settings.tokens or not end.isdecimal() or int(end) < time.time():
        return None
    expected = _signature(settings.tokens[name], name, int(end))
    return name if hmac.compare_digest(expected.encode(), signature.encode()) else None


def user(request: Any) -> str:
    """The name of whoever sent a request (Gradio's or Starlette's); "local" where nobody logs in."""
    raw = getattr(request, "request", request)
    return str(raw.scope.get("aquilamed.user") or LOCAL_USER)


def _signature(token: str, name: str, end: int) -> str:
    return hmac.new(token.encode(), f"aquilamed-web\0{name}\0{end}".encode(), hashlib.sha256).hexdigest()
