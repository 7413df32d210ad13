"""A real HTTP server on loopback that speaks what of the Hugging Face hub's protocol fetching needs."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

COMMIT = "c0ffee" * 6 + "1234"


@dataclass
class Hub:
    """Repositories ("datasets/owner/name" or "owner/name") and how the server behaves."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commit: str = COMMIT
    large: set[str] = field(default_factory=set)
    """Files stored by Git LFS: their SHA-256 is stated instead of git's hash, and they come from another host."""
    sent: dict[str, bytes] = field(default_factory=dict)
    """What is sent instead of a file's content."""
    break_at: dict[str, int] = field(default_factory=dict)
    """The connection is cut once after so many bytes of a file; as long as it stands here, later requests get a 503."""
    requests: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    """Method, path, Range and authorization of every request."""
    url: str = ""

    def described(self, name: str, content: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        found: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
        if name in self.large:
            found["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return found


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    broken: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = unquote(urlparse(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Range"), self.headers.get("Authorization")))
            if match := re.fullmatch(r"/api/(?:models/|(datasets/))([^/]+/[^/]+)(?:/revision/(.+))?", path):
                return self._info((match[1] or "") + match[2], match[3])
            if match := re.fullmatch(r"/cdn/(datasets/[^/]+/[^/]+|[^/]+/[^/]+)/-/(.+)", path):
                return self._file(match[1], match[2], body)
            if match := re.fullmatch(r"/(datasets/[^/]+/[^/]+|[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                if match[3] in hub.large and match[3] in hub.repos.get(match[1], {}):
                    return self._elsewhere(match[1], match[3])
                return self._file(match[1], match[3], body)
            return self._error(404, "EntryNotFound")

        def _error(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _elsewhere(self, repo: str, name: str) -> None:
            stated = hub.described(name, hub.repos[repo][name])
            self.send_response(302)
            self.send_header("Location", f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{repo}/-/{name}")
            self.send_header("X-Linked-Etag", f'"{stated["lfs"]["sha256"]}"')
            self.send_header("X-Linked-Size", str(stated["size"]))
            self.send_header("X-Repo-Commit", hub.commit)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _info(self, repo: str, revision: str | None) -> None:
            if repo not in hub.repos:
                return self._error(404, "RepoNotFound")
            if revision not in (None, "main", hub.commit):
                return self._error(404, "RevisionNotFound")
            files = [hub.described(name, content) for name, content in hub.repos[repo].items()]
            text = json.dumps({"id": repo.removeprefix("datasets/"), "sha": hub.commit, "siblings": files}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return None

        def _file(self, repo: str, name: str, body: bool) -> None:
            content = hub.repos.get(repo, {}).get(name)
            if content is None:
                return self._error(404, "EntryNotFound")
            if body and name in hub.break_at and name in broken:
                return self._error(503, "Unavailable")
            etag = hub.described(name, content)
            content = hub.sent.get(name, content)
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(wanted[1]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", f'"{etag.get("lfs", {}).get("sha256", etag["blobId"])}"')
            self.send_header("X-Repo-Commit", hub.commit)
            self.send_header("Content-Length", str(len(content) - start))
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if not body:
                return None
            stop = hub.break_at.get(name)
            self.wfile.write(content[start : len(content) if stop is None else max(stop, start)])
            if stop is not None:
                broken.add(name)
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
