"""What stands before every request: host, origin, login, sizes, an allow-list of paths; and the headers behind every answer.

Scripts run only from our own files or with the answer's nonce, so markup that slipped through escaping could not run one.
`unsafe-eval` is there because Gradio's HTML component compiles its template that way; no text of a corpus is in a template.
"""

import asyncio
import re
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aquilamed.listening import is_loopback
from aquilamed.web.access import COOKIE, LOCAL_USER, Settings, cookie_user

POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; frame-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",  # no-referrer would blank the Origin of our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
OPEN = ("/login", "/health", "/favicon.ico")
"""Paths that need no login."""
# What Gradio's page asks for. Everything else that it could serve (any file, a proxy, uploads, its API's docs) is not there.
_GRADIO = re.compile(
    r"/(?:assets/|static/|theme\.css|favicon\.ico|manifest\.json|config|"
    r"gradio_api/(?:queue/(?:join|data)|heartbeat/[\w-]+|cancel|reset|startup-events|info)$)"
)


_SPEAKS = b'<script>Object.defineProperty(navigator, "language", {get: () => "LANGUAGE"})</script>'
_HEARS = b"<script>" + (Path(__file__).parent / "events.js").read_bytes() + b"</script>"


class Guard:
    """ASGI middleware around the whole app.

    Args:
        mounts: where a Gradio app is mounted ("/en" → "en"), with its language.
        pages: the pages that each has ("", "explore", …).
    """

    def __init__(self, app: ASGIApp, settings: Settings, mounts: dict[str, str], pages: list[str]) -> None:
        self.app, self.settings, self.mounts, self.pages = app, settings, mounts, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, refuse it, or (for a web socket, which nothing here needs) close it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        language = self.mounts.get("/" + str(scope["path"]).split("/")[1])
        answer = _Answer(send, language, secure=scope.get("scheme") == "https")
        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, answer)
        else:
            if "/assets/" not in str(scope["path"]):  # only those come compressed: pages get their nonce written in
                scope["headers"] = [h for h in scope["headers"] if h[0] != b"accept-encoding"]
            with suppress(asyncio.CancelledError):  # the server stops, and this was a stream without an end
                await self.app(scope, _Limited(receive, self.settings.max_body), answer)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, path = headers.get("host", ""), str(scope["path"])
        # Another site's name that resolves to this machine (DNS rebinding) is not ours.
        if is_loopback(self.settings.host) and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return PlainTextResponse("Unknown host.", 421)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("Method not allowed.", 405)
        if scope["method"] == "POST" and not _same_origin(headers, host):
            return PlainTextResponse("Requests from other sites are refused.", 403)
        if int(headers.get("content-length") or 0) > self.settings.max_body:
            return PlainTextResponse("Too large.", 413)
        scope["aquilamed.user"] = LOCAL_USER
        if self.settings.login and path not in OPEN:
            cookies = cookie_parser(headers.get("cookie", ""))
            scope["aquilamed.user"] = cookie_user(self.settings, cookies.get(COOKIE, ""))
            if scope["aquilamed.user"] is None:
                page = "text/html" in headers.get("accept", "")
                return RedirectResponse("/login", 303) if page else PlainTextResponse("Log in first.", 401)
        return None if self._known(path) else PlainTextResponse("Not found.", 404)

    def _known(self, path: str) -> bool:
        for mount in self.mounts:
            if path == mount or path.startswith(f"{mount}/"):
                rest = path.removeprefix(mount)
                # `..` and doubled slashes have no business in any address of ours.
                plain = ".." not in rest and "//" not in rest and "\\" not in rest
                return plain and (rest.strip("/") in self.pages or _GRADIO.match(rest) is not None)
        return True


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether a browser says that the page that sent this is ours. The scheme is left out: TLS may end before us."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return bool(host) and urlsplit(origin).netloc == host


class _Limited:
    """Receives a body and stops the request when it is longer than it said or than is allowed."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.receive, self.left = receive, most

    async def __call__(self) -> Message:
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        # A client that lies about its length gets no answer.
        return message if self.left >= 0 else {"type": "http.disconnect"}


class _Answer:
    """Sends an answer with our headers. A page's scripts get the nonce that the policy names, Gradio's own words, which
    follow the browser, the page's language, and its client `events.js`."""

    def __init__(self, send: Send, language: str | None, secure: bool) -> None:
        self.send, self.language, self.secure = send, language, secure
        self.nonce = secrets.token_urlsafe(16)
        self.start: Message | None = None
        self.page = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            for name, value in _HEADERS.items():
                headers[name] = value
            ours = "content-security-policy" not in headers  # a document of `files.py` has its own, and no script
            headers.setdefault("Content-Security-Policy", POLICY.format(nonce=self.nonce))
            if self.secure:
                headers["Strict-Transport-Security"] = "max-age=31536000"
            if headers.get("content-type", "").startswith("text/html"):
                headers["Cache-Control"] = "no-store"  # a page may show records
                if ours:
                    self.start = message
                    return
        elif self.start is not None and message["type"] == "http.response.body":
            self.page += message.get("body", b"")
            if message.get("more_body"):
                return
            start, body = self.start, self._finished()
            self.start = None
            if "content-length" in (headers := MutableHeaders(raw=start["headers"])):
                headers["content-length"] = str(len(body))
            await self.send(start)
            message = {"type": "http.response.body", "body": body}
        await self.send(message)

    def _finished(self) -> bytes:
        page = self.page
        if self.language:
            page = page.replace(b'lang="en"', f'lang="{self.language}"'.encode(), 1)
            speaks = _SPEAKS.replace(b"LANGUAGE", self.language.encode())
            page = page.replace(b"<head>", b"<head>" + speaks + _HEARS, 1)
        return page.replace(b"<script", f'<script nonce="{self.nonce}"'.encode())
