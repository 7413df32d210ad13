"""A real HTTP server with the hub's endpoints that an upload needs: repositories, preupload, LFS batch, commit, tree.

It keeps what it is given in memory, checks LFS content by its hash, and can fail on purpose.
"""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_test-token-1234567890"
_OF_REPOSITORY = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(\w+)(?:/(.*))?)?")


@dataclass
class Repository:
    """What the server holds of one repository."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class Hub:
    """The server. `fail` maps an endpoint ("commit", "upload", …) to how often it answers 500 first."""

    def __init__(self, large: int = 20_000) -> None:
        self.large = large
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.fail: Counter[str] = Counter()
        self.tokens: set[str] = set()
        hub, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                with lock:
                    status, told = hub.handle(
                        method, urlsplit(self.path).path, body, self.headers.get("authorization", "")
                    )
                data = json.dumps(told).encode() if told is not None else b""
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self.answer("GET")

            def do_POST(self) -> None:
                self.answer("POST")

            def do_PUT(self) -> None:
                self.answer("PUT")

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def handle(self, method: str, path: str, body: bytes, authorization: str) -> tuple[int, Any]:
        if method == "PUT":
            return self.upload(path, body)
        self.tokens.add(authorization)
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            return self.batch(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if match := _OF_REPOSITORY.fullmatch(path):
            return self.of_repository(match[2], match[3] or "info", body)
        return 404, {"error": f"no such endpoint: {method} {path}"}

    def failing(self, endpoint: str) -> bool:
        self.calls[endpoint] += 1
        if self.fail[endpoint]:
            self.fail[endpoint] -= 1
            return True
        return False

    def create(self, told: dict[str, Any]) -> tuple[int, Any]:
        name = f"{told['organization']}/{told['name']}"
        kind = "datasets/" if told.get("type") == "dataset" else ""
        address = {"url": f"{self.url}/{kind}{name}"}
        if name in self.repositories:
            return 409, {"error": "You already created this repo", **address}
        self.repositories[name] = Repository(told.get("visibility") == "private" or told.get("private") is True)
        return 200, address

    def of_repository(self, name: str, what: str, body: bytes) -> tuple[int, Any]:
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        repository = self.repositories[name]
        if what in ("info", "revision"):
            siblings = [{"rfilename": f} for f in repository.files]
            return 200, {"id": name, "private": repository.private, "sha": "0" * 40, "siblings": siblings}
        if what == "tree":
            files = repository.files.items()
            return 200, [
                {"type": "file", "path": p, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for p, d in files
            ]
        if self.failing(what):
            return 500, {"error": "broken on purpose"}
        if what == "preupload":
            files = json.loads(body)["files"]
            modes = [(f["path"], "lfs" if f["size"] > self.large else "regular") for f in files]
            return 200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes]}
        if what == "commit":
            return self.commit(name, repository, body)
        return 404, {"error": f"no such endpoint: {what}"}

    def batch(self, told: dict[str, Any]) -> tuple[int, Any]:
        if self.failing("batch"):
            return 500, {"error": "broken on purpose"}
        objects = []
        for one in told["objects"]:
            entry: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.objects:
                entry["actions"] = {"upload": {"href": f"{self.url}/store/{one['oid']}", "header": {}}}
            objects.append(entry)
        return 200, {"transfer": "basic", "objects": objects}

    def upload(self, path: str, body: bytes) -> tuple[int, Any]:
        oid = path.rpartition("/")[2]
        if self.failing("upload"):
            return 400, None
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "hash mismatch"}
        self.objects[oid] = body
        return 200, None

    def commit(self, name: str, repository: Repository, body: bytes) -> tuple[int, Any]:
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del repository.files[value["path"]]
        oid = hashlib.sha1(body).hexdigest()
        return 200, {
            "commitUrl": f"{self.url}/{name}/commit/{oid}",
            "commitOid": oid,
            "pullRequestUrl": None,
            "hookOutput": "",
        }

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
