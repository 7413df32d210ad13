"""Calls through a service's Batch API: /v1/files, /v1/batches, and the files that come back.

A batch is in the call store before it is sent, with a mark that it also carries as metadata. A run that was killed finds
its batches again (by id, or by the mark if it died before it heard the id) and goes on waiting. All that came back is
committed in one step. Requests are uploaded from memory: no file with prompts is left on this machine.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aquilamed.annotate.contract import AnnotatorConfig, CallError
from aquilamed.annotate.service import Service
from aquilamed.annotate.store import ANSWERED, BatchCall, CallStore, Came, OpenBatch, Usage
from aquilamed.config import StageFailed
from aquilamed.progress import Bar, Progress, duration
from aquilamed.records import digest

MAX_BYTES = 200_000_000
"""The API's limit for the file of one batch."""
_MARK = "aquilamed"  # the metadata's key
_FINAL = {"completed", "failed", "expired", "cancelled"}
_TRANSFER = 1800.0  # seconds for a file up or down
_CLOCKS = timedelta(days=1)  # how far this machine's clock may be from the service's


@dataclass(frozen=True)
class Request:
    """A call to be sent: what identifies it, and the body that /v1/chat/completions would get."""

    call: BatchCall
    body: dict[str, Any]
    estimate: float
    """Its expected cost."""

    def line(self) -> bytes:
        """Its line of the uploaded file."""
        form = {"custom_id": self.call.question.key, "method": "POST", "url": "/v1/chat/completions", "body": self.body}
        # A lone surrogate is legal in the judged text, but not in UTF-8.
        return json.dumps(form, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


@dataclass(frozen=True)
class Returned:
    """What a batch brought for one call: `outcome` is 'answered' or a `CallError`'s kind."""

    outcome: str
    content: str
    usage: Usage


class Batches:
    """The batches of one workspace at one service; used inside the service's context."""

    def __init__(self, service: Service, store: CallStore, config: AnnotatorConfig, progress: Progress) -> None:
        self.service, self.store, self.config, self.progress = service, store, config, progress
        self.address = digest([config.base_url.rstrip("/")])
        self.ended: dict[str, str] = {}
        """Batches that ended before all their requests were answered: id → how."""

    async def send(self, requests: Sequence[Request]) -> None:
        """Send requests, in as many batches as the API's limits ask for. Raises `StageFailed` when one is refused."""
        for chunk, data in _chunks(requests, self.config.batch_requests):
            mark = uuid.uuid4().hex  # no result depends on it
            estimate = sum(r.estimate for r in chunk)
            self.store.begin_batch(mark, self.address, self.config.model, estimate, [r.call for r in chunk])
            batch = await self._create(mark, data)
            if isinstance(batch, CallError):
                self.store.close_batch(mark, "not sent", [])
                raise StageFailed(
                    f"{self.config.base_url} does not take the batch ({batch.kind}: {batch.detail}); check that it has "
                    f"/v1/batches, annotator.model and the key in {self.config.api_key_env}, or set annotator.mode: chat"
                )
            self.store.name_batch(mark, batch.id)
            self.progress.say(f"  batch {batch.id}: {len(chunk):,} requests sent; it goes on when this run stops")

    async def collect(self, wanted: Collection[str], bar: Bar) -> dict[str, Returned]:
        """Wait for the open batches that hold a wanted key, and store what they and others that are ready brought.

        Returns what came, by key. Raises `StageFailed` when the service cannot be reached for too long.
        """
        came: dict[str, Returned] = {}
        waiting = [b for sent in self.store.open_batches(self.address) if (b := await self._found(sent))]
        needed = {b.mark for b in waiting if not self.store.batch_calls(b.mark).keys().isdisjoint(wanted)}
        started, counted, failed = time.monotonic(), bar.count, 0
        done: dict[str, int] = {}
        while waiting:
            total = 0
            for sent in list(waiting):
                batch = await self._look(sent)
                if isinstance(batch, CallError):
                    failed = self._unreachable(sent, batch, failed)
                    continue
                failed = 0
                total += getattr(batch.request_counts, "total", 0) or 0
                done[sent.mark] = getattr(batch.request_counts, "completed", 0) or 0
                if batch.status in _FINAL:
                    came |= await self._close(sent, batch)
                elif sent.mark in needed:
                    continue
                waiting.remove(sent)  # closed, or not needed now
            now = counted + sum(n for mark, n in done.items() if mark in needed)
            bar.advance(max(0, min(now, bar.total) - bar.count), f"{len(waiting)} batches")
            if waiting:
                await asyncio.sleep(self.config.poll)
        if needed:
            self.progress.say(f"  {len(needed)} batches back after {duration(time.monotonic() - started)}")
        return came

    async def _create(self, mark: str, data: bytes) -> Any:
        """Upload and create. An attempt whose answer was lost may have succeeded: it is looked for before the next."""
        file = (f"aquilamed-{mark}.jsonl", data)
        uploaded = await self.service.call(lambda client: client.files.create(file=file, purpose="batch"), _TRANSFER)
        if isinstance(uploaded, CallError):
            return uploaded
        since, tried = datetime.now(UTC), False

        async def create(client: Any) -> Any:
            nonlocal tried
            if tried and (found := await self._find(client, mark, since)):
                return found
            tried = True
            return await client.batches.create(
                input_file_id=uploaded.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={_MARK: mark},
            )

        return await self.service.call(create, _TRANSFER)

    async def _found(self, sent: OpenBatch) -> OpenBatch | None:
        """An open batch with its id; None, and closed, when the service never got it."""
        if sent.batch is not None:
            return sent
        since = datetime.fromisoformat(sent.at)
        batch = await self.service.call(lambda client: self._find(client, sent.mark, since), _TRANSFER)
        if isinstance(batch, CallError):
            raise StageFailed(
                f"{self.config.base_url} does not list its batches ({batch.kind}: {batch.detail}), and one of them may "
                "be ours: run again when it does"
            )
        if batch is None:
            self.store.close_batch(sent.mark, "not sent", [])
            return None
        self.store.name_batch(sent.mark, batch.id)
        return OpenBatch(sent.mark, batch.id, sent.at)

    async def _look(self, sent: OpenBatch) -> Any:
        return await self.service.call(lambda client: client.batches.retrieve(sent.batch))

    @staticmethod
    async def _find(client: Any, mark: str, since: datetime) -> Any:
        """The batch that carries a mark, among those created since then; newest come first."""
        earliest = (since - _CLOCKS).timestamp()
        async for batch in client.batches.list(limit=100):
            if (batch.metadata or {}).get(_MARK) == mark:
                return batch
            if batch.created_at < earliest:
                return None
        return None

    def _unreachable(self, sent: OpenBatch, error: CallError, failed: int) -> int:
        """Count a look that failed. Raises `StageFailed` when it was the last one, or when looking is pointless."""
        refused = error.kind in ("http_401", "http_403", "http_404")
        if refused or failed + 1 >= self.config.give_up_after:
            hint = (
                f"check annotator.base_url and the key in {self.config.api_key_env}" if refused else "is it reachable?"
            )
            raise StageFailed(
                f"{self.config.base_url} says nothing about batch {sent.batch} ({error.kind}: {error.detail}); {hint} "
                "The batch goes on: run again to wait for it"
            )
        return failed + 1

    async def _close(self, sent: OpenBatch, batch: Any) -> dict[str, Returned]:
        """Download what a batch brought and commit it. Requests without a line get the batch's end as their error."""
        calls = self.store.batch_calls(sent.mark)
        rows: dict[str, Came] = {}
        for file in (batch.output_file_id, batch.error_file_id):
            for line in await self._lines(file) if file else ():
                call = calls.get(line.get("custom_id", ""))
                if call and call.question.key not in rows:
                    rows[call.question.key] = self._row(call, line)
        kind = "batch_missing" if batch.status == "completed" else f"batch_{batch.status}"
        for key, call in calls.items():
            rows.setdefault(key, (call.question, kind, f"batch {sent.batch}: {batch.status}, no answer", Usage()))
        if batch.status in ("failed", "cancelled"):
            # An error's message may quote a request: only its code is passed on.
            codes = sorted({str(e.code) for e in (batch.errors and batch.errors.data) or []})
            self.ended[str(sent.batch)] = f"{batch.status}{': ' + ', '.join(codes) if codes else ''}"
        self.store.close_batch(sent.mark, batch.status, list(rows.values()))
        return {key: Returned(outcome, content, usage) for key, (_, outcome, content, usage) in rows.items()}

    async def _lines(self, file: str) -> list[dict[str, Any]]:
        """A downloaded file's lines; one that is not a JSON object counts as not there."""
        content = await self.service.call(lambda client: client.files.content(file), _TRANSFER)
        if isinstance(content, CallError):
            raise StageFailed(
                f"the batch's results ({file}) cannot be read ({content.kind}: {content.detail}); they stay at "
                f"{self.config.base_url}: run again"
            )
        return [v for line in content.content.split(b"\n") if isinstance(v := _json(line), dict)]

    def _row(self, call: BatchCall, line: dict[str, Any]) -> Came:
        from openai.types.chat import ChatCompletion

        response = line.get("response")
        error = line.get("error")
        if not isinstance(response, dict):
            code = error.get("code") if isinstance(error, dict) else None
            kind = str(code) if str(code) in ("batch_expired", "batch_cancelled") else "batch_missing"
            return call.question, kind, "the batch brought no response", Usage()
        status, body = response.get("status_code"), response.get("body")
        if status != 200 or not isinstance(body, dict):
            return call.question, f"http_{status}", f"the service answered with status {status}", Usage()
        reply = self.service.reply(ChatCompletion.construct(**body), call.most_in, batch=True)
        return call.question, reply.error.kind if reply.error else ANSWERED, reply.content, reply.usage


def _chunks(requests: Sequence[Request], most: int) -> Iterator[tuple[list[Request], bytes]]:
    """Requests in pieces within the limits, each with its file. One line above the limit alone is the service's to refuse."""
    chunk: list[Request] = []
    data = bytearray()
    for request in requests:
        line = request.line()
        if chunk and (len(chunk) >= most or len(data) + len(line) > MAX_BYTES):
            yield chunk, bytes(data)
            chunk, data = [], bytearray()
        chunk.append(request)
        data += line
    if chunk:
        yield chunk, bytes(data)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
