"""One model on this machine that answers many people at once: chat, server and web app talk through it.

    with Engine(find("workspaces/demo")) as engine:
        for piece in engine.stream([{"role": "user", "content": "What is a fever?"}], Sampling(max_tokens=256)):
            print(piece, end="")

The inference is transformers' continuous batching: a request joins the running batch at the next token and leaves it
when it ends, so that users do not wait for each other. What is here is what that leaves open: the chat template, text
that is whole characters, stop texts, who gets which token, cancelling, and the memory for keys and values.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aquilamed.config import Invalid, StageFailed
from aquilamed.models import ModelConfig, fit_embeddings, load_model, load_tokenizer, stop_ids
from aquilamed.serve.answerer import Answerer, Piece, TokenLogprob
from aquilamed.serve.echo import Entry, beside, prompt_logprobs
from aquilamed.serve.pieces import Decoder, Stops
from aquilamed.serve.sampling import Draw, Sampling, per_request_draws

PAGE = 64  # tokens per block of the key-value cache
CHUNK = 256  # most tokens in one pass: a long prompt is read in such parts, between which the others get their tokens
MEMORY_SHARE = 0.5  # of the available memory that keys and values may take
UNKNOWN_CONTEXT = 4096  # for a model that does not say how long its context is


@dataclass(slots=True)
class _Answer:
    """A request under way."""

    deliver: Callable[[Piece], None]
    decoder: Decoder
    stops: Stops
    draw: Draw | None
    seen: int = 0
    told: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False


class Engine(Answerer):
    """A loaded model with its tokenizer; thread-safe. Close it, or use it as a context manager."""

    echoes = True

    def __init__(self, config: ModelConfig, *, max_concurrency: int = 16, max_context: int | None = None) -> None:
        """Load the model, onto the GPU where there is one.

        Args:
            max_concurrency: most answers in one batch; further ones wait their turn.
            max_context: a shorter context than the model's.

        Raises `Invalid` when the model cannot be found or loaded, or its context does not fit into memory.
        """
        import torch

        tokenizer = load_tokenizer(config)
        self.model = load_model(config)
        fit_embeddings(self.model, tokenizer)
        if torch.cuda.is_available():
            self.model = self.model.to("cuda")
        own = own_context(self.model.config)
        wanted = min(own, max_context or own)
        blocks = self._blocks(max_concurrency, wanted)
        super().__init__(tokenizer, min(wanted, blocks * PAGE))
        self.stop_ids = frozenset(stop_ids(tokenizer))
        # Never more at once than memory holds in full: transformers could set answers aside and take them up again, but
        # many long ones in little memory then push each other out for ever.
        self.users = max(1, min(max_concurrency, blocks // -(-self.context // PAGE)))
        """Answers in one batch."""
        self._beside = beside(self.model)
        self.manager = self._manager(self.users, blocks)
        self._answers: dict[str, _Answer] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._closing = False
        self._echoing = ThreadPoolExecutor(1, "echoes")  # one at a time: beside the batch, within its memory
        started = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(started,), daemon=True, name="answers")
        self._thread.start()
        started.wait()

    def close(self) -> None:
        """End all answers and free the memory. Idempotent."""
        with self._lock:
            self._closing, running = True, list(self._answers)
        for name in running:
            self.cancel(name)
        self._thread.join()
        self._echoing.shutdown()

    @property
    def alive(self) -> bool:
        """Whether it can still answer: a failed pass (out of memory, say) ends it."""
        return not self._closing and self.manager.background_thread_status.can_accept_new_requests() is None

    def submit(self, prompt: Sequence[int], sampling: Sampling, deliver: Callable[[Piece], None]) -> str:
        """See `Answerer.submit`."""
        room = self.room(prompt)
        plain = sampling.temperature <= 0 and sampling.logprobs is None
        draw = None if plain and not (sampling.frequency_penalty or sampling.presence_penalty) else Draw(sampling)
        answer = _Answer(deliver, Decoder(self.tokenizer), Stops(sampling.stop), draw)
        with self._lock:
            if not self.alive:
                raise StageFailed("the engine has ended")
            self._count += 1
            name = f"answer-{self._count}"
            self._answers[name] = answer
        if sampling.echo:
            self._echoing.submit(self._echo, name, answer, list(prompt), sampling, room)
        elif not self._begin(name, answer, list(prompt), min(sampling.max_tokens or room, room)):
            with self._lock:
                self._answers.pop(name, None)
            raise StageFailed("the engine has ended")
        return name

    def _begin(self, name: str, answer: _Answer, prompt: list[int], longest: int) -> bool:
        """Put an answer into the batch; False when the engine has failed, or is being closed."""
        taken = self.manager.add_request(
            prompt,
            request_id=name,
            max_new_tokens=longest,
            streaming=True,
            eos_token_id=sorted(self.stop_ids),
            **({"draw": answer.draw} if answer.draw else {}),
        )
        return taken is not None

    def _echo(self, name: str, answer: _Answer, prompt: list[int], sampling: Sampling, room: int) -> None:
        """Deliver the prompt, then begin the answer, if there shall be one."""
        try:
            top = sampling.logprobs
            entries = [] if top is None else prompt_logprobs(self._beside, prompt, top, lambda: answer.done)
        except RuntimeError as error:  # out of memory, say
            self._finish(name, Piece(reason="error", error=_said(error)))
            return
        self._tell(answer, Piece(self.text(prompt), logprobs=tuple(self._named(entry) for entry in entries)))
        if sampling.max_tokens == 0:
            self._finish(name, Piece(reason="length"))
        elif not answer.done:
            if not self._begin(name, answer, prompt, min(sampling.max_tokens or room, room)):
                self._finish(name, Piece(reason="error", error="the engine has ended"))
            elif name not in self._answers:  # cancelled meanwhile
                self.manager.cancel_request(name)

    def cancel(self, name: str) -> None:
        """See `Answerer.cancel`."""
        with self._lock:
            answer = self._answers.pop(name, None)
        if answer is not None:
            self.manager.cancel_request(name)
            self._end(answer, Piece(reason="cancelled"))

    def _blocks(self, concurrency: int, context: int) -> int:
        """How many blocks of keys and values to hold: for all users at full context, or what memory allows."""
        block = PAGE * cache_bytes(self.model.config, self.model.dtype.itemsize)
        most = int(free_memory(self.model.device.type) * MEMORY_SHARE // block)
        whole = -(-context // PAGE) + 1
        if most < 2:
            raise Invalid("there is no memory left for the model's keys and values")
        return min(concurrency * whole, most)

    def _manager(self, concurrency: int, blocks: int) -> Any:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)  # its lines hold prompts' tokens
        settings = GenerationConfig(do_sample=False, eos_token_id=sorted(self.stop_ids), max_new_tokens=None)
        batching = ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=blocks,
            max_batch_tokens=CHUNK,
            max_requests_per_batch=concurrency,
            use_cuda_graph=False,  # each request's own draws are Python
            use_async_batching=False,
        )
        try:
            manager = self.model.init_continuous_batching(settings, batching)
        except (ValueError, AttributeError) as error:
            raise Invalid(f"transformers cannot batch answers of this model: {error}") from error
        manager.logit_processor = per_request_draws()
        return manager

    def _work(self, started: threading.Event) -> None:
        """Hand every token to its answer. The manager's own thread is a daemon because this one is."""
        import torch

        with torch.inference_mode():
            self.manager.start()
        started.set()
        while self.manager.is_running() and not self._closing:
            result = self.manager.get_result(timeout=0.05)
            if result is not None:
                self._take(result)
        if not self._closing:
            while (result := self.manager.get_result(timeout=0)) is not None:
                self._take(result)
        self.manager.stop(block=True, timeout=30, hard_stop=True)
        error = self.manager.background_thread_status.fatal_error
        with self._lock:
            self._closing, left = True, list(self._answers.values())
            self._answers.clear()
        for answer in left:
            self._end(answer, Piece(reason="error", error=_said(error) if error else "the engine has ended"))

    def _take(self, result: Any) -> None:
        answer = self._answers.get(result.request_id)
        if answer is None:  # cancelled
            return
        error = result.error or (answer.draw.error if answer.draw else None)
        if error is not None:
            self.manager.cancel_request(result.request_id)
            self._finish(result.request_id, Piece(reason="error", error=error))
            return
        new = result.generated_tokens[answer.seen :]
        answer.seen += len(new)
        finished = bool(result.is_finished())
        text = answer.stops.push(answer.decoder.push(new, finished), finished)
        drawn = answer.draw.logprobs[answer.told : answer.seen] if answer.draw else []
        answer.told += len(drawn)
        logprobs = tuple(self._named(entry) for entry in drawn)
        if answer.stops.found:
            self.manager.cancel_request(result.request_id)
            self._finish(result.request_id, Piece(text, len(new), logprobs, "stop"))
        elif finished:
            ended = bool(result.generated_tokens) and result.generated_tokens[-1] in self.stop_ids
            self._finish(result.request_id, Piece(text, len(new), logprobs, "stop" if ended else "length"))
        else:
            self._tell(answer, Piece(text, len(new), logprobs))

    def _named(self, entry: Entry) -> TokenLogprob:
        token, logprob, top = entry
        return TokenLogprob(self.word(token), logprob, tuple((self.word(t), value) for t, value in top))

    def _finish(self, name: str, piece: Piece) -> None:
        with self._lock:
            answer = self._answers.pop(name, None)
        if answer is not None:
            self._end(answer, piece)

    def _end(self, answer: _Answer, piece: Piece) -> None:
        with answer.lock:
            if not answer.done:
                answer.done = True
                answer.deliver(piece)

    def _tell(self, answer: _Answer, piece: Piece) -> None:
        with answer.lock:
            if not answer.done:
                answer.deliver(piece)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def own_context(config: Any) -> int:
    """How many tokens a model's config says that it was made for."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", 0)) or UNKNOWN_CONTEXT


def cache_bytes(config: Any, number: int) -> int:
    """Bytes of one token's keys and values, given the bytes of a number."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * width * number)


def free_memory(device: str) -> int:
    """Bytes available on "cuda" or "cpu": what files have in memory only because nothing else needs it counts too."""
    import psutil
    import torch

    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)
