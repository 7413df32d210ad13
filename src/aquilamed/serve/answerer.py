"""What chat, server and web app ask of whatever generates: `Answerer`, and the pieces an answer comes in."""

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar, Self

from aquilamed.config import Invalid, StageFailed
from aquilamed.models import begin_ids, document_end, prompt_ids
from aquilamed.records import Message
from aquilamed.serve.sampling import Sampling


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's natural log-probability under the model itself, before temperature and top-p."""

    token: str
    logprob: float | None
    """None for a text's first token, which nothing stands before."""
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens in its place, with theirs."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer. The last one has a `reason`: stop, length, cancelled or error."""

    text: str = ""
    tokens: int = 0
    """How many tokens this piece took."""
    logprobs: tuple[TokenLogprob, ...] = ()
    reason: str | None = None
    error: str | None = None


class Answerer(ABC):
    """A model that answers many at once.

    Attributes:
        echoes: whether it can say what it thinks of the prompt itself (`Sampling.echo`).
        tokenizer: with the house's chat template.
        context: longest prompt and answer together, in tokens.
    """

    echoes: ClassVar[bool] = False

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.tokenizer, self.context = tokenizer, context
        self._tokenizing = Lock()  # a tokenizer's settings are not safe to be touched by two threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def submit(self, prompt: Sequence[int], sampling: Sampling, deliver: Callable[[Piece], None]) -> str:
        """Ask for an answer to a prompt's token ids; returns its name, for `cancel`.

        Args:
            deliver: called, perhaps in another thread, with every piece; must return at once. The last has a reason.

        Raises `Invalid` when the prompt leaves no room in the context, `StageFailed` when the model is gone.
        """

    @abstractmethod
    def cancel(self, name: str) -> None:
        """Stop an answer, which then gets a last piece with reason `cancelled`. One that has ended is left alone."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it can still answer."""

    @abstractmethod
    def close(self) -> None:
        """End all answers and free what is held. Idempotent."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of a conversation up to where the answer begins."""
        with self._tokenizing:
            return prompt_ids(self.tokenizer, list(messages))

    def text_ids(self, text: str) -> list[int]:
        """The token ids of a plain text to be continued; an empty one begins a document."""
        with self._tokenizing:
            ids: list[int] = begin_ids(self.tokenizer) + self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids or [document_end(self.tokenizer)]

    def text(self, prompt: Sequence[int]) -> str:
        """A prompt as text, without the begin token, which whoever reads the text puts in front himself."""
        begin = begin_ids(self.tokenizer)
        ids = list(prompt)
        return str(self.tokenizer.decode(ids[len(begin) :] if ids[: len(begin)] == begin else ids))

    def word(self, token: int) -> str:
        """A token as text."""
        return str(self.tokenizer.decode([token]))

    def room(self, prompt: Sequence[int]) -> int:
        """How many tokens an answer may have. Raises `Invalid` when there is no room for one."""
        room = self.context - len(prompt)
        if not prompt or room < 1:
            raise Invalid(f"the prompt has {len(prompt):,} tokens; the model's context holds {self.context:,}")
        return room

    def stream(self, messages: Sequence[Message], sampling: Sampling | None = None) -> Generator[str, None, None]:
        """The next answer of a conversation, piece by piece. Closing the generator stops the model.

        Raises `Invalid` when the conversation leaves no room in the context, `StageFailed` when the model fails.
        """
        pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        name = self.submit(self.prompt(messages), sampling or Sampling(), pieces.put)
        try:
            while True:
                piece = pieces.get()
                if piece.text:
                    yield piece.text
                if piece.reason == "error":
                    raise StageFailed(f"the model could not answer: {piece.error}")
                if piece.reason:
                    return
        finally:
            self.cancel(name)
