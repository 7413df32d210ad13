"""From token ids to text that may be shown at once: whole characters only, and nothing behind a stop text."""

from collections.abc import Sequence
from typing import Any

HALF = "\ufffd"  # what half a character decodes to


class Decoder:
    """Decodes an answer token by token; the pieces together are the decoded whole."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.start = self.shown = 0  # ids[start:shown] is the context that decides a piece's leading space

    def push(self, ids: Sequence[int], last: bool = False) -> str:
        """The text that these ids add; "" while a character is incomplete, unless it is the last push."""
        self.ids += ids
        text = self._decode(self.start, len(self.ids))
        if text.endswith(HALF) and not last:
            return ""
        piece = text[len(self._decode(self.start, self.shown)) :]
        self.start, self.shown = self.shown, len(self.ids)
        return piece

    def _decode(self, start: int, end: int) -> str:
        return str(self.tokenizer.decode(self.ids[start:end], skip_special_tokens=True))


class Stops:
    """Ends a text before the first of some stop texts; holds back what may turn out to be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.held = ""
        self.found = False

    def push(self, piece: str, last: bool = False) -> str:
        """What of the text so far may be shown now."""
        if not self.stops:
            return piece
        text = self.held + piece
        places = [at for at in (text.find(s) for s in self.stops) if at >= 0]
        if places:
            self.found, self.held = True, ""
            return text[: min(places)]
        keep = 0 if last else max(_overlap(text, s) for s in self.stops)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many of a text's last characters are a stop text's first."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
