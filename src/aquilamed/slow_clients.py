"""Connections that do not say what they want: closed after a while, so that they hold no place for ever."""

from typing import Any

HEAD_SECONDS = 30.0


def protocol(seconds: float = HEAD_SECONDS) -> Any:
    """uvicorn's HTTP protocol (`Config(http=…)`) that closes a connection on which no request's head came whole in time.

    The time runs from the connection's beginning, and again from the end of each answer. Bodies are the application's concern.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class Prompt(base):  # type: ignore[misc]  # h11's or httptools', whichever is installed
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def _wait(self) -> None:
            self.loop.call_later(seconds, self._late, self.cycle)

        def _late(self, cycle: Any) -> None:
            idle = cycle is None or cycle.response_complete  # and not a request that came behind another one
            if self.cycle is cycle and idle and not self.transport.is_closing():
                self.transport.close()

    return Prompt
