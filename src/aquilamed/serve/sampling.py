"""How an answer is drawn, request by request: temperature, top-p, penalties, seed, log-probabilities.

Every request draws from a random generator of its own, so that a seeded answer does not depend on who else is served.
"""

from dataclasses import dataclass
from secrets import randbits
from typing import Any


@dataclass(frozen=True, slots=True)
class Sampling:
    """What one request asks of the generation; names and meanings are OpenAI's."""

    max_tokens: int | None = None
    """Longest answer in tokens; None is what the context leaves; 0, for an echo alone, none."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability."""
    seed: int | None = None
    """Same seed, same answer (as far as arithmetic in batches of other sizes rounds alike); None is a new one."""
    stop: tuple[str, ...] = ()
    """Texts before which the answer ends."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int | None = None
    """None: none; else the chosen token's log-probability and this many of the likeliest."""
    echo: bool = False
    """Whether the answer begins with the prompt, its log-probabilities included where some are asked for."""


class Draw:
    """Draws one request's tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.seed = (randbits(63) if sampling.seed is None else sampling.seed) % 2**63
        self.random: Any = None
        self.chosen: list[int] = []
        self.error: str | None = None
        """Why no token could be drawn (logits that are no numbers): the request's failure, not the batch's."""
        self.logprobs: list[tuple[int, float, list[tuple[int, float]]]] = []
        """Of every token: its id, its natural log-probability under the model itself, the likeliest with theirs."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Draw":
        return self  # a request that is set aside and taken up again goes on drawing where it was

    def choose(self, logits: Any) -> int:
        """The next token, from logits (float tensor, [vocabulary]); 0, and an `error`, when none can be drawn."""
        try:
            token = self._token(logits)
        except RuntimeError as error:
            self.error = str(error)
            return 0
        if self.sampling.logprobs is not None:
            self.logprobs.append(_logprobs(logits, token, self.sampling.logprobs))
        self.chosen.append(token)
        return token

    def _token(self, logits: Any) -> int:
        import torch

        s = self.sampling
        if self.chosen and (s.frequency_penalty or s.presence_penalty):
            counts = torch.bincount(torch.tensor(self.chosen, device=logits.device), minlength=logits.shape[0])
            logits = logits - s.frequency_penalty * counts - s.presence_penalty * (counts > 0)
        if s.temperature <= 0:
            return int(logits.argmax())
        # The largest becomes 0 before the division: a tiny temperature then gives exp(-inf) = 0 and never inf - inf.
        probabilities = torch.softmax((logits - logits.max()) / s.temperature, dim=-1)
        if self.random is None:
            self.random = torch.Generator(device=logits.device).manual_seed(self.seed)
        if s.top_p >= 1:
            return int(torch.multinomial(probabilities, 1, generator=self.random))
        likeliest, tokens = probabilities.sort(descending=True)
        likeliest[likeliest.cumsum(-1) - likeliest >= s.top_p] = 0
        likeliest[0] = likeliest[0].clamp(min=1e-30)  # top_p = 0 keeps the likeliest one
        return int(tokens[torch.multinomial(likeliest, 1, generator=self.random)])


def _logprobs(logits: Any, token: int, top: int) -> tuple[int, float, list[tuple[int, float]]]:
    import torch

    logs = torch.log_softmax(logits, dim=-1)
    best = logs.topk(min(top, logs.shape[0]))
    return token, float(logs[token]), list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def per_request_draws() -> Any:
    """A logits processor for transformers' continuous batching by which every request's `draw` chooses its token.

    The batch itself then takes the largest logit: of a row that was drawn, only the chosen one is finite.
    """
    import torch
    from transformers import LogitsProcessorList
    from transformers.generation.continuous_batching import cb_logits_processors as cb

    class PerRequest(cb.ContinuousBatchingLogitsProcessor):  # type: ignore[misc]  # transformers has no types
        supported_kwargs = {"draw": Draw}
        ignored_kwargs = ()
        draws: list[Draw | None] = []

        def fill_defaults(self, int32_tensor: Any) -> None:
            int32_tensor.zero_()

        def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> Any:
            self.draws = [r.state.logit_processor_kwargs.get("draw") for r in requests_with_new_token]
            return torch.zeros(len(self.draws), dtype=torch.int32)

        def __call__(self, scores: Any, tensor_arg: Any) -> Any:
            for row, draw in enumerate(self.draws):
                if draw is not None:
                    token = draw.choose(scores[row])
                    scores[row] = float("-inf")
                    scores[row, token] = 0.0
            return scores

    processors = cb.ContinuousBatchingLogitsProcessorList(LogitsProcessorList([PerRequest()]))
    processors.tensors_required = 1
    return processors
