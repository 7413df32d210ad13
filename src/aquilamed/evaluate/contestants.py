"""Which models are evaluated, and their answers, kept so that a crash never generates or pays for one twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquilamed.annotate.contract import CallError
from aquilamed.config import Invalid
from aquilamed.evaluate.backends import Backend, open_backend
from aquilamed.evaluate.endpoint import Endpoint
from aquilamed.evaluate.endpoint_calls import EndpointConfig
from aquilamed.evaluate.kept import Kept
from aquilamed.hub import CHECKSUMS
from aquilamed.models import TURN_START, ModelConfig, find_model
from aquilamed.records import Message, digest
from aquilamed.stage import Context
from aquilamed.workspace import HashCache

STAGE_OF: dict[str, tuple[str, ...]] = {
    "base": (),
    "pretrain": ("pretrain/stage2", "pretrain/stage1"),
    "finetune": ("finetune",),
    "align": ("align",),
}


@dataclass(frozen=True)
class Contestant:
    """A model under evaluation."""

    name: str
    model: ModelConfig | EndpointConfig
    fingerprint: str
    """Changes with the weights; an endpoint's with what is asked of it."""


def contestants(ctx: Context, names: Sequence[str]) -> dict[str, Contestant]:
    """Those of `names` that this run has, by name: its own models, the newest stage for "pretrain", and endpoints."""
    found: dict[str, Contestant] = {}
    endpoints = {e.name: e for e in ctx.recipe.evaluate.endpoints}
    for name in names:
        if name == "base":
            found[name] = Contestant(name, ctx.recipe.base_model, _base_fingerprint(ctx))
        elif name in endpoints:
            found[name] = Contestant(name, endpoints[name], endpoints[name].fingerprint)
        for stage in STAGE_OF.get(name, ()):
            if stage in ctx.inputs and name not in found:
                artifact = ctx.inputs[stage]
                model = ModelConfig(path=str(artifact.path / "model"), dtype=ctx.recipe.base_model.dtype)
                found[name] = Contestant(name, model, str(artifact.manifest["fingerprint"]))
    return found


def check_names(wanted: Mapping[str, Sequence[str]], endpoints: Sequence[EndpointConfig]) -> None:
    """Raise `ValueError` for a name that is no model's, or for an endpoint's that is taken.

    Args:
        wanted: the recipe's key → the names there.
    """
    names = [e.name for e in endpoints]
    for name in names:
        if names.count(name) > 1 or name in (*STAGE_OF, "reference"):
            raise ValueError(f"evaluate.endpoints: the name {name!r} is taken; give each endpoint one of its own")
    known = (*STAGE_OF, *names)
    for key, given in wanted.items():
        if unknown := [n for n in given if n not in known]:
            raise ValueError(f"evaluate.{key}: {', '.join(unknown)} is no model; known: {', '.join(known)}")


def _base_fingerprint(ctx: Context) -> str:
    """A hash of the base model's weights, config and tokenizer."""
    base = ctx.recipe.base_model
    cache = HashCache(ctx.root / "inputs.json")
    files = sorted(Path(find_model(base.path, base.revision)).iterdir())
    chosen = [f for f in files if f.suffix in (".safetensors", ".json") and f.name != CHECKSUMS]
    return f"base:{digest({f.name: cache.get(f, True) for f in chosen})[:16]}"


def require_turns(config: ModelConfig, advice: str) -> None:
    """Raise `Invalid` for a model whose tokenizer has no turns (ours or its own chat template): it would answer noise."""
    folder = Path(find_model(config.path, config.revision))
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "added_tokens.json", "special_tokens_map.json")
    if not any(TURN_START in (folder / n).read_text("utf-8") for n in names if (folder / n).is_file()):
        raise Invalid(
            f"model {config.path!r} has no chat template that we could use: its tokenizer does not know {TURN_START}, so it "
            f"never saw a turn; {advice}"
        )


class Answers:
    """A model's answers: a local one's are kept in `ctx.work/answers/<name>.jsonl`, an endpoint's in the call store."""

    def __init__(self, ctx: Context, contestant: Contestant, *, max_new_tokens: int, batch_size: int) -> None:
        self.ctx, self.contestant = ctx, contestant
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size
        self._backend: Backend | None = None

    def get(self, conversations: Sequence[list[Message]], label: str) -> list[str | CallError]:
        """Answers to conversations that end with a user's turn, in their order."""
        if isinstance(self.contestant.model, EndpointConfig):
            return self._open().answers(conversations, self.max_new_tokens, label)
        kept = Kept(self.ctx.work / "answers" / f"{self.contestant.name}.jsonl")
        keys = [digest(c) for c in conversations]
        missing = {k: c for k, c in zip(keys, conversations, strict=True) if k not in kept.values}
        if missing:
            entries = list(missing.items())
            title = f"{label}: {self.contestant.name} answers"
            with self.ctx.progress.track(title, total=len(entries), unit="answer") as bar:
                for start in range(0, len(entries), self.batch_size):
                    batch = entries[start : start + self.batch_size]
                    said = self._open().answers([conversation for _, conversation in batch], self.max_new_tokens)
                    kept.add({key: _as_json(answer) for (key, _), answer in zip(batch, said, strict=True)})
                    bar.advance(len(batch))
        return [_from_json(kept.values[key]) for key in keys]

    def statistics(self) -> dict[str, Any] | None:
        """What an endpoint was asked and cost (`Endpoint.statistics`); None for a local model."""
        return self._backend.statistics() if isinstance(self._backend, Endpoint) else None

    def _open(self) -> Backend:
        if self._backend is None and isinstance(self.contestant.model, ModelConfig):
            require_turns(self.contestant.model, f"leave {self.contestant.name} out of this evaluation's models")
        self._backend = self._backend or open_backend(self.ctx, self.contestant.model, self.batch_size)
        return self._backend


def asked_endpoints(writers: Mapping[str, Answers]) -> dict[str, Any]:
    """What goes into a stage's metrics: {"endpoints": name → `Endpoint.statistics`}, where endpoints were asked."""
    told = {name: found for name, writer in writers.items() if (found := writer.statistics())}
    return {"endpoints": told} if told else {}


def _as_json(answer: str | CallError) -> Any:
    return {"kind": answer.kind, "detail": answer.detail} if isinstance(answer, CallError) else answer


def _from_json(value: Any) -> str | CallError:
    return CallError(**value) if isinstance(value, dict) else str(value)


def dialogue_text(messages: Sequence[Message]) -> str:
    """A dialogue as the judge reads it."""
    who = {"user": "Patient", "assistant": "Doctor", "system": "System"}
    return "\n".join(f"{who[m['role']]}: {m['content']}" for m in messages)
