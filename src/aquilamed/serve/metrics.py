"""What a server counts, for Prometheus: numbers only, never a word of a request or an answer."""

from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
LONGEST_WAIT = 60


class Metrics:
    """Counters of one server. `most` is how many answers it runs at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.registry = here = CollectorRegistry()
        self.requests = Counter("aquilamed_requests", "Requests by path and status.", ("path", "status"), registry=here)
        self.prompt_tokens = Counter("aquilamed_prompt_tokens", "Tokens of prompts.", registry=here)
        self.answer_tokens = Counter("aquilamed_answer_tokens", "Tokens of answers.", registry=here)
        self.running = Gauge("aquilamed_answers_running", "Answers being generated.", registry=here)
        self.waiting = Gauge("aquilamed_answers_waiting", "Answers waiting for their turn.", registry=here)
        self.first = Histogram(
            "aquilamed_first_token_seconds", "From a request to its first token.", buckets=SECONDS, registry=here
        )
        self.whole = Histogram(
            "aquilamed_request_seconds", "From a request to its end.", buckets=SECONDS, registry=here
        )
        self.open = 0
        self._recent: deque[float] = deque(maxlen=32)

    def change(self, answers: int) -> None:
        """So many answers more, or fewer, are under way."""
        self.open += answers
        self.running.set(min(self.open, self.most))
        self.waiting.set(max(0, self.open - self.most))

    def ended(self, seconds: float) -> None:
        """A request was answered, in so many seconds."""
        self.whole.observe(seconds)
        self._recent.append(seconds)

    def wait(self) -> int:
        """Seconds after which a place is likely: the recent requests' mean, times how many rounds are waiting."""
        mean = sum(self._recent) / len(self._recent) if self._recent else 1.0
        return min(LONGEST_WAIT, max(1, round(mean * self.open / self.most)))

    def text(self) -> bytes:
        """Everything in Prometheus' format."""
        return generate_latest(self.registry)
