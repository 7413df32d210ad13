"""Talking to a model in the terminal, its answer shown while it is written: `aquilamed chat WORKSPACE`.

What a model writes is untrusted text: control characters (a terminal obeys some) never reach the terminal. The
conversation goes through the one chat template of training; its oldest turns leave when the model's context is full.
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TextIO

from aquilamed.config import Invalid, StageFailed
from aquilamed.records import Message
from aquilamed.serve.answerer import Answerer
from aquilamed.serve.engine import Engine
from aquilamed.serve.sampling import Sampling
from aquilamed.serve.target import find

NOTICE = (
    "Not a medical device, and no substitute for a doctor: a research model that makes things up. "
    "In an emergency call your local emergency number.\n/reset forgets the conversation, /exit leaves."
)
LEAST_ROOM = 16  # tokens that must be left for an answer


def chat(
    target: str,
    *,
    system: str | None = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    source: TextIO | None = None,
    sink: TextIO | None = None,
) -> None:
    """Read questions, a line each, and answer them until /exit, end of input or Ctrl-C at the prompt.

    Args:
        target: a workspace (its newest model, else its base model), WORKSPACE:stage, a model's folder or name.
        system: a system prompt; it never leaves the context.
        max_new_tokens: longest answer; shorter where the context has less room.
        temperature: 0 is greedy.
        source, sink: where questions come from and answers go; None is stdin and stdout.

    Raises `Invalid` when the target is no model.
    """
    sampling = Sampling(max_tokens=max_new_tokens, temperature=temperature, seed=seed)
    out = sink or sys.stdout
    with Engine(find(target, lambda line: _say(out, line)), max_concurrency=1) as engine:
        converse(Talk(engine, system, sampling), source or sys.stdin, out)


def converse(talk: "Talk", source: TextIO, out: TextIO) -> None:
    """Answer the questions of `source` until /exit or its end."""
    _say(out, NOTICE)
    for question in questions(source, out):
        if question == "/exit":
            break
        if question == "/reset":
            talk.reset()
            _say(out, "(forgotten)")
        else:
            _answer(talk, question, out)


def _answer(talk: "Talk", question: str, out: TextIO) -> None:
    """Print one answer as it comes; Ctrl-C ends the answer, not the conversation."""
    try:
        for note in talk.ask(question):
            _say(out, f"({note})")
        with closing(talk.stream()) as pieces:
            for piece in pieces:
                out.write(harmless(piece))
                out.flush()
    except KeyboardInterrupt:
        _say(out, " (stopped)")
        return
    except Invalid as error:
        _say(out, f"({error})")
        return
    _say(out, "")


def questions(source: TextIO, out: TextIO) -> Iterator[str]:
    """The lines that are not blank, with a prompt on a terminal; Ctrl-C at the prompt ends them."""
    terminal = source.isatty()
    while True:
        if terminal:
            out.write("\n> ")
            out.flush()
        try:
            line = source.readline()
        except KeyboardInterrupt:
            line = ""
        if not line:
            if terminal:
                _say(out, "")
            return
        if line.strip():
            yield line.strip()


def harmless(text: str) -> str:
    """Text without control, direction and other invisible characters, line feeds and tabs aside."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def _say(out: TextIO, text: str) -> None:
    out.write(text + "\n")
    out.flush()


class Talk:
    """A conversation with one model."""

    def __init__(self, engine: Answerer, system: str | None = None, sampling: Sampling | None = None) -> None:
        self.engine = engine
        self.system: list[Message] = [{"role": "system", "content": system}] if system else []
        self.turns: list[Message] = []
        self.sampling = sampling or Sampling(max_tokens=256)

    def reset(self) -> None:
        """Forget all turns."""
        self.turns = []

    def ask(self, question: str) -> list[str]:
        """Take a question; return what is to be told about turns that no longer fit.

        Raises `Invalid` when the question alone does not fit; it is then forgotten.
        """
        context = self.engine.context
        room = max(LEAST_ROOM, min(self.sampling.max_tokens or context, context // 2))
        turns: list[Message] = [*self.turns, {"role": "user", "content": question}]
        gone = 0
        while len(turns) > 1 and self._length(turns) + room > context:
            turns, gone = turns[2:], gone + 1
        length = self._length(turns)
        if length + LEAST_ROOM > context:
            raise Invalid(f"the question is {length:,} tokens long; the model's context holds {context:,}")
        self.turns = turns
        if not gone:
            return []
        return [f"the model's context of {context:,} tokens is full: the oldest {gone} rounds were forgotten"]

    def _length(self, turns: list[Message]) -> int:
        return len(self.engine.prompt([*self.system, *turns]))

    def stream(self) -> Generator[str, None, None]:
        """The answer, piece by piece; it joins the conversation when it ends, also when the reader stops it.

        Raises `StageFailed` when generation fails; the question is then forgotten.
        """
        pieces: list[str] = []
        seed, failed = self.sampling.seed, False
        sampling = self.sampling if seed is None else replace(self.sampling, seed=seed + len(self.turns))
        try:
            with closing(self.engine.stream([*self.system, *self.turns], sampling)) as answer:
                for piece in answer:
                    pieces.append(piece)
                    yield piece
        except StageFailed:
            failed = True
            raise
        finally:
            answered: Message = {"role": "assistant", "content": "".join(pieces).strip()}
            self.turns = self.turns[:-1] if failed else [*self.turns, answered]
