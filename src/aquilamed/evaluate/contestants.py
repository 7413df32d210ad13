"""Which models of a workspace are evaluated, and their answers, kept so that a crash never generates one twice."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from aquilamed.models import ModelConfig, generate, load_model, load_tokenizer
from aquilamed.records import Message, digest, write_json
from aquilamed.stage import Context

ModelName = Literal["base", "pretrain", "finetune", "align"]
STAGE_OF: dict[str, tuple[str, ...]] = {
    "base": (),
    "pretrain": ("pretrain/stage2", "pretrain/stage1"),
    "finetune": ("finetune",),
    "align": ("align",),
}


def contestants(ctx: Context, names: Sequence[str]) -> dict[str, tuple[ModelConfig, str]]:
    """Name → (model, fingerprint) for those of `names` that this run has; the newest stage counts for "pretrain"."""
    found: dict[str, tuple[ModelConfig, str]] = {}
    for name in names:
        if name == "base":
            found[name] = (ctx.recipe.base_model, f"base:{ctx.recipe.base_model.path}")
        for stage in STAGE_OF[name]:
            if stage in ctx.inputs and name not in found:
                artifact = ctx.inputs[stage]
                base = ctx.recipe.base_model
                model = ModelConfig(path=str(artifact.path / "model"), dtype=base.dtype)
                found[name] = (model, str(artifact.manifest["fingerprint"]))
    return found


class Answers:
    """A model's greedy answers, loaded on first need and kept in `ctx.work/answers/<name>.json`."""

    def __init__(self, ctx: Context, name: str, model: ModelConfig, *, max_new_tokens: int, batch_size: int) -> None:
        self.ctx, self.name, self.model = ctx, name, model
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size
        self.path: Path = ctx.work / "answers" / f"{name}.json"
        self.known: dict[str, str] = json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}
        self.loaded: tuple[Any, Any] | None = None

    def get(self, conversations: Sequence[list[Message]], label: str) -> list[str]:
        """Answers to conversations that end with a user's turn, in their order."""
        keys = [digest(c) for c in conversations]
        missing = {k: c for k, c in zip(keys, conversations, strict=True) if k not in self.known}
        if missing:
            if self.loaded is None:
                self.loaded = load_model(self.model), load_tokenizer(self.model)
            entries = list(missing.items())
            with self.ctx.progress.track(f"{label}: {self.name} answers", total=len(entries), unit="answer") as bar:
                for start in range(0, len(entries), self.batch_size):
                    batch = entries[start : start + self.batch_size]
                    texts = generate(
                        *self.loaded,
                        [conversation for _, conversation in batch],
                        max_new_tokens=self.max_new_tokens,
                        batch_size=self.batch_size,
                    )
                    self.known |= {k: t for (k, _), t in zip(batch, texts, strict=True)}
                    write_json(self.path, self.known)
                    bar.advance(len(batch))
        return [self.known[k] for k in keys]


def dialogue_text(messages: Sequence[Message]) -> str:
    """A dialogue as the judge reads it."""
    who = {"user": "Patient", "assistant": "Doctor", "system": "System"}
    return "\n".join(f"{who[m['role']]}: {m['content']}" for m in messages)
