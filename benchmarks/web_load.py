"""50 people at once in the web app for a minute, on loopback: half of them chat, half review. No error, no lost verdict.

    python benchmarks/web_load.py [--users 50] [--seconds 60] [--out FILE]

The server is `aquilamed web` in a process of its own, the model a random two-layer one, the people speak Gradio's protocol over HTTP
as a browser does (the pages' own events). A verdict counts as acknowledged when the page shows the next item; afterwards all are
looked for in the store. Prints one JSON object: users, rounds, errors, latencies (seconds), verdicts acknowledged and found.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "web", "review")]

from server_process import free_port, server  # noqa: E402

import release_workspace  # noqa: E402
import tiny_model  # noqa: E402
from aquilamed.records import write_json  # noqa: E402
from aquilamed.review.store import ReviewStore  # noqa: E402


class Person:
    """A session of one page: its state lives in the server, its components' values here."""

    def __init__(self, client: httpx.AsyncClient, page: str, number: int) -> None:
        self.client, self.page, self.session = client, page, f"load{number:04d}"
        self.values: dict[int, Any] = {}
        self.errors: list[str] = []

    async def open(self) -> None:
        """Load the page and its events."""
        told = (await self.client.get(f"/en/config?deep_link=&session_hash={self.session}")).json()
        page = told.get("page", {}).get(self.page)
        ids = set(page["dependencies"]) if page else {d["id"] for d in told["dependencies"]}
        self.events = [d for d in told["dependencies"] if d["id"] in ids]
        self.parts = {c["props"].get("elem_id"): c["id"] for c in told["components"] if c["props"].get("elem_id")}
        self.values = {c["id"]: c["props"].get("value") for c in told["components"]}
        if page:
            here = set(page["components"])
            for c in told["components"]:
                if c["id"] in here and c["props"].get("elem_id"):
                    self.parts[c["props"]["elem_id"]] = c["id"]
        for event in self.events:
            if any(t[1] == "load" for t in event["targets"]) and event["backend_fn"]:
                await self.fire(event)

    async def press(self, name: str) -> float:
        """Press a button; returns the seconds until all that follows it is done."""
        start, target = time.perf_counter(), self.parts[name]
        event = next(e for e in self.events if [target, "click"] in [list(t) for t in e["targets"]])
        await self.fire(event)
        for then in self.events:
            if then.get("trigger_after") == event["id"] and then["backend_fn"]:
                await self.fire(then)
        return time.perf_counter() - start

    async def fire(self, event: dict[str, Any]) -> None:
        """Send an event and take in what comes back."""
        body = {
            "data": [self.values.get(i) for i in event["inputs"]],
            "fn_index": event["id"],
            "session_hash": self.session,
        }
        answer = await self.client.post(
            "/en/gradio_api/queue/join", json=body | {"event_data": None, "trigger_id": None}
        )
        if answer.status_code != 200:
            self.errors.append(f"join: {answer.status_code}")
            return
        wanted = answer.json()["event_id"]
        async with self.client.stream("GET", f"/en/gradio_api/queue/data?session_hash={self.session}") as stream:
            async for line in lines(stream):
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                if message.get("event_id") not in (None, wanted):
                    continue
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        self.errors.append(f"event {event['id']}: {message['output']}")
                    self._take(event, message["output"].get("data", []))
                    return
                if message["msg"] in ("unexpected_error", "queue_full"):
                    self.errors.append(f"{message['msg']}: {message.get('message')}")
                    return

    def _take(self, event: dict[str, Any], data: list[Any]) -> None:
        for part, value in zip(event["outputs"], data, strict=False):
            if isinstance(value, dict) and value.get("__type__") == "update":
                if "value" in value:
                    self.values[part] = value["value"]
            else:
                self.values[part] = value

    def shows(self, name: str) -> str:
        """A component's value."""
        return str(self.values.get(self.parts[name]) or "")


async def lines(stream: httpx.Response) -> AsyncIterator[str]:
    """The lines of a stream. (httpx also ends one at characters such as U+2028, which a model may write.)"""
    rest = b""
    async for part in stream.aiter_bytes():
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode()


async def chatting(person: Person, until: float, times: list[float]) -> int:
    """Ask again and again; returns the rounds."""
    rounds = 0
    while time.monotonic() < until and not person.errors:
        person.values[person.parts["said"]] = f"What is a fever, question {rounds}?"
        if rounds % 4 == 0:
            await person.press("new")
            person.values[person.parts["said"]] = "What is a fever?"
        times.append(await person.press("send"))
        if "assistant" not in person.shows("log") or "warn" in person.shows("log"):
            person.errors.append(f"no answer: {person.shows('log')[-300:]}")
        rounds += 1
    return rounds


async def reviewing(person: Person, until: float, times: list[float]) -> int:
    """Judge pairs; returns how many were acknowledged."""
    told = 0
    while time.monotonic() < until and not person.errors and "answers" in person.shows("item"):
        before = person.shows("progress")
        times.append(await person.press(f"say-{told % 3}"))
        if person.shows("progress") == before or "warn" in person.shows("progress"):
            person.errors.append(f"not acknowledged: {person.shows('progress')[-200:]}")
        else:
            told += 1
        await asyncio.sleep(0.5)  # nobody reads a pair faster
    return told


async def load(site: str, users: int, seconds: float, tokens: dict[str, str]) -> dict[str, Any]:
    """All of them at once."""
    limits = httpx.Limits(max_connections=None)
    talk: list[float] = []
    judge: list[float] = []
    people, tasks = [], []
    async with asyncio.TaskGroup() as opening:
        for number, (name, token) in enumerate(tokens.items()):
            client = httpx.AsyncClient(base_url=site, timeout=120, limits=limits, headers={"Origin": site})
            await client.post("/login", data={"name": name, "token": token})
            person = Person(client, ("chat", "review")[number % 2], number)
            people.append(person)
            opening.create_task(person.open())
    until = time.monotonic() + seconds
    for number, person in enumerate(people):
        work, times = ((chatting, talk), (reviewing, judge))[number % 2]
        if number % 2 == 0:
            person.values[person.parts["longest"]] = 32
        tasks.append(work(person, until, times))
    done = await asyncio.gather(*tasks)
    return {
        "users": users,
        "seconds": seconds,
        "answers": sum(done[::2]),
        "verdicts_acknowledged": sum(done[1::2]),
        "errors": [e for p in people for e in p.errors],
        "answer_seconds": summary(talk),
        "verdict_seconds": summary(judge),
    }


def summary(times: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the longest, in seconds."""
    ordered = sorted(times) or [float("nan")]
    at = {"median": 0.5, "p95": 0.95, "longest": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) for name, share in at.items()}


def main() -> None:
    """Run it and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    tokens = {f"user{n}": f"token-of-user-number-{n}" for n in range(asked.users)}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        space = release_workspace.make(root / "made", model=tiny_model.build(root / "tiny"), records=many)
        port = free_port()
        with server(space.root, port, ",".join(f"{name}:{token}" for name, token in tokens.items())):
            found = asyncio.run(load(f"http://127.0.0.1:{port}", asked.users, asked.seconds, tokens))
        store = ReviewStore(space.root)
        found["verdicts_found"] = len(store.verdicts("pair"))
        found["lost"] = found["verdicts_acknowledged"] - found["verdicts_found"]
        store.close()
    found["machine"] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps(found, indent=2))
    if asked.out:
        write_json(asked.out, found)
    sys.exit(1 if found["errors"] or found["lost"] > 0 else 0)


def many(stage: str) -> Any:
    """Four hundred pairs, so that nobody runs out of them."""
    import polars as pl

    frame = release_workspace.usual(stage)
    if not stage.startswith("prefer/"):
        return frame
    copies = [frame.with_columns(pl.format("{}-{}", "id", pl.lit(n)).alias("id")) for n in range(10)]
    return pl.concat(copies)


if __name__ == "__main__":
    main()
