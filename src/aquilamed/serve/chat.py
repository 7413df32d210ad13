"""Talking to a model in the terminal, its answer shown while it is written: `aquilamed chat WORKSPACE`.

What a model writes is untrusted text: control characters (a terminal obeys some) never reach the terminal. The
conversation goes through the one chat template of training; its oldest turns leave when the model's context is full.
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

from aquilamed.config import Invalid, StageFailed
from aquilamed.models import ModelConfig, fit_embeddings, load_model, load_tokenizer, prompt_ids, stop_ids
from aquilamed.records import Message
from aquilamed.workspace import Workspace

NOTICE = (
    "Not a medical device, and no substitute for a doctor: a research model that makes things up. "
    "In an emergency call your local emergency number.\n/reset forgets the conversation, /exit leaves."
)
NEWEST = ("align", "finetune", "pretrain/stage2", "pretrain/stage1")
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
    out = sink or sys.stdout
    talk = Talk(find(target), system, max_new_tokens, temperature, seed)
    _say(out, NOTICE)
    for question in questions(source or sys.stdin, out):
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


def find(target: str) -> ModelConfig:
    """The model that a target means. Raises `Invalid` for a workspace's stage that has no model."""
    folder, _, stage = target.rpartition(":")
    if folder and _is_workspace(Path(folder)):
        return _of_workspace(Path(folder), (stage,), stage)
    if _is_workspace(Path(target)):
        return _of_workspace(Path(target), NEWEST, "")
    return ModelConfig(path=target, dtype="auto")


def _is_workspace(folder: Path) -> bool:
    return (folder / "recipe.yaml").is_file()


def _of_workspace(folder: Path, names: tuple[str, ...], asked: str) -> ModelConfig:
    from aquilamed.pipeline import states
    from aquilamed.recipe import load_recipe

    recipe = load_recipe(folder / "recipe.yaml")
    done = {s.name: s.artifact for s in states(recipe, Workspace(folder)) if s.artifact}
    for name in names:
        artifact = done.get(name)
        if artifact is not None and (artifact.path / "model").is_dir():
            return ModelConfig(path=str(artifact.path / "model"), dtype=recipe.base_model.dtype)
    if asked and asked != "base":
        have = ", ".join(n for n in reversed(NEWEST) if n in done) or "none yet"
        raise Invalid(f"{folder}: stage {asked!r} has no model; stages with one: {have}, and base")
    return recipe.base_model


class Talk:
    """A conversation with one model."""

    def __init__(
        self, config: ModelConfig, system: str | None, max_new_tokens: int, temperature: float, seed: int
    ) -> None:
        self.tokenizer, self.model = load_tokenizer(config), load_model(config)
        fit_embeddings(self.model, self.tokenizer)
        self.system: list[Message] = [{"role": "system", "content": system}] if system else []
        self.turns: list[Message] = []
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self.context = int(getattr(self.model.config, "max_position_embeddings", 0)) or sys.maxsize

    def reset(self) -> None:
        """Forget all turns."""
        self.turns = []

    def ask(self, question: str) -> list[str]:
        """Take a question; return what is to be told about turns that no longer fit.

        Raises `Invalid` when the question alone does not fit; it is then forgotten.
        """
        room = max(LEAST_ROOM, min(self.max_new_tokens, self.context // 2))
        turns: list[Message] = [*self.turns, {"role": "user", "content": question}]
        gone = 0
        while len(turns) > 1 and self._length(turns) + room > self.context:
            turns, gone = turns[2:], gone + 1
        length = self._length(turns)
        if length + LEAST_ROOM > self.context:
            raise Invalid(f"the question is {length:,} tokens long; the model's context holds {self.context:,}")
        self.turns = turns
        if not gone:
            return []
        return [f"the model's context of {self.context:,} tokens is full: the oldest {gone} rounds were forgotten"]

    def _length(self, turns: list[Message]) -> int:
        return len(prompt_ids(self.tokenizer, [*self.system, *turns]))

    def stream(self) -> Generator[str, None, None]:
        """The answer, piece by piece; it joins the conversation when it ends, also when the reader stops it.

        Raises `StageFailed` when generation fails.
        """
        from transformers import TextIteratorStreamer

        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        stop, failed = [False], list[BaseException]()
        worker = Thread(target=self._generate, args=(streamer, stop, failed), daemon=True)
        worker.start()
        pieces: list[str] = []
        try:
            for piece in streamer:
                pieces.append(piece)
                yield piece
        finally:
            stop[0] = True
            worker.join()
            self.turns.append({"role": "assistant", "content": "".join(pieces).strip()})
        if failed:
            self.turns = self.turns[:-2]
            raise StageFailed(f"the model could not answer: {type(failed[0]).__name__}: {failed[0]}") from failed[0]

    def _generate(self, streamer: Any, stop: list[bool], failed: list[BaseException]) -> None:
        """Runs in its own thread; whatever goes wrong there is kept for the reader, which would wait forever else."""
        try:
            self._generate_into(streamer, stop)
        except BaseException as error:
            failed.append(error)
            streamer.end()

    def _generate_into(self, streamer: Any, stop: list[bool]) -> None:
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList

        ids = torch.tensor([prompt_ids(self.tokenizer, [*self.system, *self.turns])], device=self.model.device)
        hot = self.temperature > 0
        settings = GenerationConfig(
            do_sample=hot,
            temperature=self.temperature if hot else None,
            top_k=0 if hot else None,
            top_p=1.0 if hot else None,
            max_new_tokens=min(self.max_new_tokens, self.context - ids.shape[1]),
            eos_token_id=stop_ids(self.tokenizer),
            pad_token_id=self.tokenizer.pad_token_id,
        )

        def stopped(input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), stop[0], dtype=torch.bool, device=input_ids.device)

        torch.manual_seed(self.seed + len(self.turns))
        with torch.inference_mode():
            self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=settings,
                streamer=streamer,
                stopping_criteria=StoppingCriteriaList([stopped]),
            )
