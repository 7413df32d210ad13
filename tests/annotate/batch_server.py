"""The chat server with a Batch API: files, batches and their results are real, when and how they end is the test's."""

import json
import re
import threading
import time
from collections.abc import Callable
from email import message_from_bytes
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chat_server import CUT, Reply, Server

Plan = Callable[[int, dict[str, Any]], Reply]


class BatchServer(Server):
    """`plan` answers the n-th request of all batches. A batch ends at its `looks`-th look, as `ends` says.

    Args:
        ends: number of the batch → (status, how many of its requests were answered).
        before: called with "METHOD /path" first; a reply of its own stands in for the server's.
    """

    def __init__(
        self,
        plan: Plan,
        looks: int = 2,
        ends: Callable[[int], tuple[str, int]] = lambda n: ("completed", 10**9),
        before: Callable[[str], Reply | None] = lambda call: None,
        after: Callable[[str], Reply | None] = lambda call: None,
    ) -> None:
        self.looks, self.ends, self.before, self.after = looks, ends, before, after
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.seen: dict[str, int] = {}
        self.calls: list[str] = []
        self.batch_lock = threading.Lock()
        super().__init__(plan)

    def get(self, path: str) -> Reply:
        return self._serve("GET", path, {}, b"")

    def post(self, path: str, headers: dict[str, str], data: bytes) -> Reply:
        if path.endswith("/chat/completions"):
            return super().post(path, headers, data)
        self.headers.append(headers)
        return self._serve("POST", path, headers, data)

    def sent(self) -> list[list[dict[str, Any]]]:
        """Every batch's requests."""
        files = [self.files[b["input_file_id"]] for b in self.batches.values()]
        return [[json.loads(line) for line in text.splitlines()] for text in files]

    def _serve(self, method: str, path: str, headers: dict[str, str], data: bytes) -> Reply:
        where = urlsplit(path)
        call = f"{method} {where.path.removeprefix('/v1')}"
        with self.batch_lock:
            self.calls.append(call)
            if reply := self.before(call):
                return reply
            reply = self._reply(call, parse_qs(where.query), headers, data)
            return self.after(call) or reply

    def _reply(self, call: str, query: dict[str, list[str]], headers: dict[str, str], data: bytes) -> Reply:
        if call == "POST /files":
            return 200, {}, {"id": self._keep(_uploaded(headers, data)), "object": "file"}
        if call == "POST /batches":
            return 200, {}, self._create(json.loads(data))
        if call == "GET /batches":
            known = list(reversed(self.batches.values()))
            start = 1 + [b["id"] for b in known].index(query["after"][0]) if "after" in query else 0
            page = known[start : start + 2]  # pages of two, so that clients must turn them
            return 200, {}, {"object": "list", "data": page, "has_more": start + 2 < len(known)}
        if found := re.fullmatch(r"GET /batches/(\w+)", call):
            return 200, {}, self._look(found[1])
        if found := re.fullmatch(r"GET /files/(\w+)/content", call):
            return 200, {"content-type": "application/octet-stream"}, self.files[found[1]]
        return 404, {}, {"error": {"message": call}}

    def _keep(self, text: str) -> str:
        self.files[name := f"file_{len(self.files)}"] = text
        return name

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        lines = self.files[request["input_file_id"]].splitlines()
        name = f"batch_{len(self.batches)}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "created_at": int(time.time()),
            "status": "in_progress",
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            **request,
        }
        return self.batches[name]

    def _look(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        self.seen[name] = self.seen.get(name, 0) + 1
        if self.seen[name] < self.looks or batch["status"] != "in_progress":
            return batch
        status, answered = self.ends(list(self.batches).index(name))
        good, bad = [], []
        for n, line in enumerate(self.files[batch["input_file_id"]].splitlines()):
            request = json.loads(line)
            self.requests.append(request["body"])
            form = {"id": f"r{n}", "custom_id": request["custom_id"], "response": None, "error": None}
            if n >= answered:
                if status == "expired":
                    bad.append({**form, "error": {"code": "batch_expired", "message": "too late"}})
                continue
            code, _, body = self.plan(len(self.requests) - 1, request["body"])
            row = {**form, "response": {"status_code": code, "request_id": "q", "body": body}}
            (good if code == 200 else bad).append(row)
        # Lines come back in any order.
        for key, rows in (("output_file_id", good[::-1]), ("error_file_id", bad)):
            batch[key] = self._keep("\n".join(json.dumps(r) for r in rows)) if rows else None
        if status == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "prompt: …"}]}
        batch["status"] = status
        batch["request_counts"]["completed"] = len(good)
        return batch


def _uploaded(headers: dict[str, str], data: bytes) -> str:
    """The file's text in a multipart form."""
    kind = {k.lower(): v for k, v in headers.items()}["content-type"]
    parts = message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + data).get_payload()
    assert isinstance(parts, list)
    content = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in parts}  # type: ignore[union-attr]
    assert content["purpose"] == b"batch"
    return content["file"].decode()  # type: ignore[union-attr,no-any-return]


__all__ = ["CUT", "BatchServer"]
