"""A real HTTP server for tests: it speaks /v1/chat/completions and misbehaves as its plan says."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], Any]
CUT = 0
"""As a reply's status: the connection breaks."""


def completion(content: str | None, finish: str = "stop", usage: bool = True, refusal: str | None = None) -> Reply:
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, "refusal": refusal},
            }
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return 200, {}, body


class Server:
    """Answers the n-th request (from 0) with `plan(n, request)`."""

    def __init__(self, plan: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.plan = plan
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(server.get(self.path))

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                self.answer(server.post(self.path, dict(self.headers), data))

            def answer(self, reply: Reply) -> None:
                status, headers, body = reply
                if status == CUT:  # the connection breaks before an answer
                    self.close_connection = True
                    return
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                try:
                    self.send_response(status)
                    for name, value in {"content-type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client gave up, as some tests want

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def get(self, path: str) -> Reply:
        """The answer to a GET: this server has none."""
        return 404, {}, {"error": {"message": f"no {path}"}}

    def post(self, path: str, headers: dict[str, str], data: bytes) -> Reply:
        """The answer to a POST: the plan's."""
        request = json.loads(data)
        with self.lock:
            number = len(self.requests)
            self.requests.append(request)
            self.headers.append(headers)
        return self.plan(number, request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"
