"""What an annotator is: its config, the rubrics it judges by, and the error that stands where an answer is missing."""

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, Field, model_validator

from aquilamed.config import Config, Invalid
from aquilamed.records import digest

T = TypeVar("T", bound=BaseModel)
_FOLDER = Path(__file__).parent


class Price(Config):
    """What a model costs per million tokens."""

    input: float = Field(ge=0)
    """Of a million prompt tokens."""
    output: float = Field(ge=0)
    """Of a million answer tokens."""
    batch_discount: float = Field(default=0.5, ge=0, le=1)
    """The share of the price that a batch saves."""


class ServiceConfig(Config):
    """An OpenAI-compatible service and how patiently it is called."""

    model: str = ""
    """The service's model name, or the local model's path or hub name; unused offline."""
    base_url: str = "https://api.openai.com/v1"
    """Where the service listens; another address with the same model finds the same stored answers."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; the key itself is never written anywhere."""
    concurrency: int = Field(default=8, ge=1)
    """Calls in flight at a time."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds to wait for one answer."""
    retries: int = Field(default=5, ge=0)
    """How often a call is sent again after 429, 5xx, a time-out or a broken connection."""
    backoff: float = Field(default=1.0, ge=0)
    """Seconds before the first of those retries; doubled for each further one, with jitter, at most a minute."""
    give_up_after: int = Field(default=50, ge=1)
    """Items in a row that may fail after all retries before the stage stops, because the service is down."""
    prices: dict[str, Price] = {}
    """Prices by model name; a model that is not named here has no known cost."""

    volatile: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "api_key_env", "concurrency", "timeout", "retries", "backoff", "give_up_after", "prices"}
    )

    @property
    def price(self) -> Price | None:
        """The model's row of `prices`."""
        return self.prices.get(self.model)

    def cost(self, tokens_in: float, tokens_out: float, batch: bool = False) -> float | None:
        """What so many tokens cost; None for a model without a price."""
        if self.price is None:
            return None
        full = (tokens_in * self.price.input + tokens_out * self.price.output) / 1e6
        return full * (1 - self.price.batch_discount) if batch else full


class AnnotatorConfig(ServiceConfig):
    """Who judges: rules ("offline"), an OpenAI-compatible service ("openai") or a local model ("local")."""

    kind: Literal["offline", "openai", "local"] = "offline"
    """Which annotator: two rule-based raters, a service that speaks /v1/chat/completions, or a transformers model."""
    mode: Literal["chat", "batch"] = "chat"
    """How a service is asked: call by call, or by its Batch API (slower, usually at half the price; same stored answers)."""
    temperature: float = Field(default=0.7, ge=0, le=2)
    """Sampling temperature of the service; above 0, so that the paper's two rounds can differ."""
    max_tokens: int = Field(default=1024, ge=1)
    """Most tokens of one answer."""
    max_chars: int = Field(default=8000, ge=200)
    """Longest judged text in characters; of a longer one the first two thirds and the last third of that are shown."""
    response_format: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How the service is asked for JSON; the answer is validated in every case."""
    repair: bool = True
    """Whether an answer that does not fit its schema is asked for once more."""
    batch_requests: int = Field(default=50_000, ge=1, le=50_000)
    """Most requests of one batch; lower it where a service limits the tokens that may wait."""
    poll: float = Field(default=30.0, gt=0)
    """Seconds between two looks at a running batch."""
    currency: str = "USD"
    """The prices' and the budget's currency, for display."""
    budget: float | None = Field(default=None, gt=0)
    """The most this workspace may spend on calls; none means no limit."""
    batch_size: int = Field(default=8, ge=1)
    """Items that a local model judges at a time."""

    volatile: ClassVar[frozenset[str]] = ServiceConfig.volatile | {
        "mode",
        "batch_requests",
        "poll",
        "currency",
        "budget",
        "batch_size",
    }

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind != "offline" and not self.model:
            raise ValueError(f"annotator.model is needed for kind {self.kind!r}")
        if self.mode == "batch" and self.kind != "openai":
            raise ValueError(f"annotator.mode: batch is for kind 'openai', not {self.kind!r}")
        if (
            self.budget is not None
            and self.kind == "openai"
            and not (self.price and self.price.input + self.price.output)
        ):
            raise ValueError(
                f"annotator.budget needs a price of {self.model!r} in annotator.prices, or it is never reached"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """The values that decide the answers; a rubric's or a term list's text is one of them."""
        return super().identity() | {"texts": texts_hash()}


@cache
def _form_text() -> str:
    return (_FOLDER / "rubrics" / "form.txt").read_text(encoding="utf-8")


@cache
def texts_hash() -> str:
    """The hash of every prompt and term list shipped with this package."""
    files = sorted(_FOLDER.glob("*/*.txt"))
    return digest({f"{f.parent.name}/{f.name}": f.read_text(encoding="utf-8") for f in files})


@dataclass(frozen=True, slots=True)
class CallError:
    """What stands where an answer is missing; never replaced by a score.

    `kind`: http_<status>, timeout, connection, bad_json, bad_schema, refused, truncated, too_long, undecided,
    unsupported, budget, batch_expired, batch_cancelled, batch_failed, batch_missing.
    """

    kind: str
    detail: str


@dataclass(frozen=True)
class Rubric(Generic[T]):
    """A question put to an annotator: prompt texts with `$field` places, and the schema of the answer.

    `template` is asked in odd rounds; `second`, another wording of the same question, in even rounds (where there is
    one), so that two rounds are two opinions.
    """

    name: str
    template: str
    schema: type[T]
    second: str = ""

    @property
    def hash(self) -> str:
        """Changes with every word of the prompts and with the schema; part of every stored call's key."""
        return digest([self.name, self.template, self.second, _form_text(), self.schema.model_json_schema()])

    @property
    def fields(self) -> list[str]:
        """The item's fields that the prompt shows."""
        return [f for f in string.Template(self.template).get_identifiers() if f != "mark"]

    def render(self, item: Mapping[str, str], round: int = 1, max_chars: int = 8000, json_form: bool = True) -> str:
        """The prompt for one item. Judged text stands between marked lines that it cannot contain itself.

        Args:
            json_form: end with the request for a JSON object of the schema's form.

        Raises `Invalid` when the item lacks a field of the prompt.
        """
        missing = [f for f in self.fields if f not in item]
        if missing:
            raise Invalid(f"rubric {self.name}: the item lacks {', '.join(missing)}; it has {', '.join(item)}")
        # The mark is a hash of the whole content: a text cannot hold its own hash, so it cannot fake its own end.
        mark = digest([self.name, *(item[f] for f in self.fields)])[:8]
        shown = {f: f"[BEGIN {f} {mark}]\n{clip(item[f], max_chars)}\n[END {f} {mark}]" for f in self.fields}
        template = self.second if round % 2 == 0 and self.second else self.template
        prompt = string.Template(template).substitute(shown, mark=mark)
        return prompt + (string.Template(_form_text()).substitute(schema=self.form()) if json_form else "")

    def form(self) -> str:
        """The answer's form for the prompt: JSON with the allowed values of each field."""
        return json.dumps({name: describe(p) for name, p in _properties(self.schema).items()}, ensure_ascii=False)


def describe(spec: Mapping[str, Any]) -> str:
    """A field's allowed values in words: 'medical | general', 'an integer from 0 to 6', 'text'."""
    if "enum" in spec:
        return " | ".join(map(str, spec["enum"]))
    if spec.get("type") == "integer":
        return f"an integer from {spec['minimum']} to {spec['maximum']}"
    return "text"


def _properties(schema: type[BaseModel]) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = schema.model_json_schema()["properties"]
    return properties


def choices(schema: type[BaseModel]) -> dict[str, list[Any]] | None:
    """The allowed values of each closed field, in order; None when a required field is free text."""
    found: dict[str, list[Any]] = {}
    for name, spec in _properties(schema).items():
        if "enum" in spec:
            found[name] = list(spec["enum"])
        elif spec.get("type") == "integer" and "minimum" in spec and "maximum" in spec:
            found[name] = list(range(spec["minimum"], spec["maximum"] + 1))
        elif schema.model_fields[name].is_required():
            return None
    return found


def clip(text: str, limit: int) -> str:
    """The text, or the first two thirds and the last third of `limit` characters with a note between them."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n[… {len(text) - head - tail} characters left out …]\n{text[len(text) - tail :]}"


class Annotator(Protocol):
    """Something that answers rubrics."""

    name: str
    """The model's name, or "offline"."""
    kind: str

    def annotate(self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int = 1) -> list[T | CallError]:
        """Answers in the items' order; `CallError` where there is none.

        Raises `StageFailed` when going on is pointless (budget spent, wrong key, service down).
        """
        ...

    def statistics(self) -> dict[str, Any]:
        """calls, cached, errors (by kind), tokens_in, tokens_out, cost, rubrics (name → hash) since it was opened.

        `cost` is None for a service's model without a price in `annotator.prices`.
        """
        ...
