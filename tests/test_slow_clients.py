"""A connection that never says what it wants is closed; one that waits for its answer is not."""

import asyncio
import socket
import threading
import time

import uvicorn

from aquilamed.listening import listen
from aquilamed.slow_clients import protocol


def test_a_head_that_does_not_come_ends_the_connection() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        await asyncio.sleep(1.5)  # longer than a head may take
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"ok"})  # type: ignore[operator]

    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        config = uvicorn.Config(app, http=protocol(0.5), log_level="error", lifespan="off", timeout_keep_alive=60)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=30) as slow:
                slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
                assert slow.recv(100) == b"", "closed without an answer"
            with socket.create_connection(listener.getsockname(), timeout=30) as patient:
                patient.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while not answer.endswith(b"ok"):
                    part = patient.recv(1000)
                    assert part, "closed while it waited"
                    answer += part
                patient.sendall(b"GET / HTTP/1.1\r\n")
                began = time.monotonic()
                assert patient.recv(100) == b"", "the next request's head did not come"
                assert time.monotonic() - began < 25
        finally:
            server.should_exit = True
            thread.join(20)
