"""A transformers model on this machine as annotator: labels by their probability, answers by generation.

A label or score is never generated and parsed: after the prompt and the beginning of the JSON answer the allowed values
are compared by the log-probability of the first token in which they differ. So every answer is one of the allowed
values, and a model that has no opinion at all is an error.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from aquilamed.annotate.contract import AnnotatorConfig, CallError, Rubric, T, choices
from aquilamed.annotate.counted import Counted
from aquilamed.config import StageFailed
from aquilamed.progress import Bar, Progress
from aquilamed.scoring import repeated, shared_start


class LocalAnnotator(Counted):
    """A local model; it is loaded at the first question. Even rounds ask in the rubric's second wording."""

    kind = "local"

    def __init__(self, config: AnnotatorConfig, progress: Progress) -> None:
        super().__init__()
        self.name, self.config, self.progress = config.model, config, progress
        self._loaded: tuple[Any, Any] | None = None

    def annotate(self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int = 1) -> list[T | CallError]:
        """See `Annotator.annotate`. Raises `StageFailed` when the tokenizer cannot tell the labels apart."""
        self.rubrics[rubric.name] = rubric.hash
        options = choices(rubric.schema)
        with self.progress.track(f"{rubric.name}, round {round}", total=len(items), unit="answer") as bar:
            if options is None:
                answers = self._generate(rubric, items, round, bar)
            else:
                answers = self._choose(rubric, options, items, round, bar)
        self.calls += len(items)
        self.errors.update(a.kind for a in answers if isinstance(a, CallError))
        return answers

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from aquilamed.models import ModelConfig, fit_embeddings, load_model, load_tokenizer

            where = ModelConfig(path=self.config.model)
            tokenizer = load_tokenizer(where, own_template=True)
            model = load_model(where)
            fit_embeddings(model, tokenizer)
            self._loaded = model, tokenizer
        return self._loaded

    def _prompts(
        self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int, form: bool
    ) -> list[list[int]]:
        from aquilamed.models import prompt_ids

        _, tokenizer = self._model()
        texts = [rubric.render(item, round, self.config.max_chars, json_form=form) for item in items]
        return [prompt_ids(tokenizer, [{"role": "user", "content": text}]) for text in texts]

    def _limit(self) -> int:
        model, _ = self._model()
        return int(getattr(model.config, "max_position_embeddings", 0) or 1 << 30)

    def _choose(
        self,
        rubric: Rubric[T],
        options: dict[str, list[Any]],
        items: Sequence[Mapping[str, str]],
        round: int,
        bar: Bar,
    ) -> list[T | CallError]:
        prompts = self._prompts(rubric, items, round, form=True)
        answers: list[T | CallError] = [CallError("undecided", "not asked")] * len(items)
        order = sorted(range(len(items)), key=lambda i: (-len(prompts[i]), i))
        common = self._common(prompts)
        for start in range(0, len(order), self.config.batch_size):
            batch = order[start : start + self.config.batch_size]
            chosen = self._choose_batch(options, [prompts[i] for i in batch], common)
            for i, values in zip(batch, chosen, strict=True):
                answers[i] = values if isinstance(values, CallError) else rubric.schema.model_validate(values)
            bar.advance(len(batch))
        return answers

    def _common(self, prompts: list[list[int]]) -> "_Read | None":
        """The rubric's words, with which all prompts begin, read once."""
        shared = shared_start(prompts) if len(prompts) > 1 else 0
        if not 0 < shared < self._limit():
            return None
        return self._next_token([prompts[0][:shared]], None, keep=True)[1]

    def _choose_batch(
        self, options: dict[str, list[Any]], prompts: list[list[int]], common: "_Read | None"
    ) -> list[dict[str, Any] | CallError]:
        """Field after field, each after the values chosen before it; what was read before is not read again."""
        chosen: list[dict[str, Any] | CallError] = [{} for _ in prompts]
        before = common.repeated(len(prompts)) if common else None
        for number, (field, values) in enumerate(options.items(), start=1):
            asked: list[tuple[int, list[int], list[int]]] = []
            for row, so_far in enumerate(chosen):
                if isinstance(so_far, CallError):
                    continue
                shared, firsts = self._endings(so_far, field, values)
                ids = prompts[row] + shared
                if len(ids) > self._limit():
                    chosen[row] = CallError("too_long", f"{len(ids)} tokens; the model takes {self._limit()}")
                    continue
                asked.append((row, ids, firsts))
            if not asked:
                break
            scores, before = self._next_token([ids for _, ids, _ in asked], before, keep=number < len(options))
            for (row, _, firsts), logits in zip(asked, scores, strict=True):
                so_far = chosen[row]
                assert not isinstance(so_far, CallError)
                best = pick([float(logits[token]) for token in firsts])
                chosen[row] = best if isinstance(best, CallError) else {**so_far, field: values[best]}
        return chosen

    def _endings(self, so_far: Mapping[str, Any], field: str, values: list[Any]) -> tuple[list[int], list[int]]:
        """The tokens that all possible answers begin with, and the token that follows for each value."""
        _, tokenizer = self._model()
        texts = [json.dumps({**so_far, field: value}, ensure_ascii=False) for value in values]
        encoded = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        return distinguish(encoded, values)

    def _next_token(self, sequences: list[list[int]], before: "_Read | None", keep: bool) -> tuple[Any, "_Read | None"]:
        """The log-probabilities of the token after each sequence, (n, vocabulary), and what was read for it.

        Args:
            before: an earlier reading; where the sequences go on from it, only what is new is read.
            keep: whether more will be read after this.
        """
        import torch

        model, tokenizer = self._model()
        if before and not before.begins(sequences):
            before = None
        news = [s[len(b) :] for s, b in zip(sequences, before.sequences, strict=True)] if before else sequences
        width = max(map(len, news))
        ids = torch.full((len(news), width), tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, new in enumerate(news):
            ids[row, width - len(new) :] = torch.tensor(new)
            mask[row, width - len(new) :] = 1
        self.tokens_in += int(mask.sum())
        mask = torch.cat([before.mask, mask], 1) if before else mask
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        with torch.inference_mode():
            # Only the last position's logits: all of them would be batch × length × vocabulary floats.
            inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
            out = model(
                **{k: v.to(model.device) for k, v in inputs.items()},
                **(before.cache if before else {}),
                use_cache=keep or before is not None,
                logits_to_keep=1,
            )
        key = "cache" if hasattr(out, "cache") else "past_key_values"  # transformers renamed it in 5.2x
        read = _Read(sequences, mask, {key: out[key]}) if keep else None
        return out.logits[:, -1].float().log_softmax(-1).cpu(), read

    def _generate(
        self, rubric: Rubric[T], items: Sequence[Mapping[str, str]], round: int, bar: Bar
    ) -> list[T | CallError]:
        """Free text for a schema of one text field; the model's words are the field's value as they are."""
        from aquilamed.models import generate

        fields = list(rubric.schema.model_fields)
        if len(fields) != 1:
            detail = f"a local model answers rubrics of choices or of one text, not {', '.join(fields)}"
            return [CallError("unsupported", detail) for _ in items]
        model, tokenizer = self._model()
        lengths = [len(p) for p in self._prompts(rubric, items, round, form=False)]
        room = self._limit() - self.config.max_tokens
        fitting = [i for i, length in enumerate(lengths) if length <= room]
        texts = generate(
            model,
            tokenizer,
            [[{"role": "user", "content": self._plain(rubric, items[i], round)}] for i in fitting],
            max_new_tokens=self.config.max_tokens,
            batch_size=self.config.batch_size,
            on_batch=bar.advance,
        )
        answers: list[T | CallError] = [
            CallError("too_long", f"{n} tokens and {self.config.max_tokens} to answer; the model takes {self._limit()}")
            for n in lengths
        ]
        for i, text in zip(fitting, texts, strict=True):
            self.tokens_in += lengths[i]
            answers[i] = self._text_answer(rubric, fields[0], text)
        return answers

    def _plain(self, rubric: Rubric[T], item: Mapping[str, str], round: int) -> str:
        return rubric.render(item, round, self.config.max_chars, json_form=False)

    def _text_answer(self, rubric: Rubric[T], field: str, text: str) -> T | CallError:
        _, tokenizer = self._model()
        written = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        self.tokens_out += written
        if written >= self.config.max_tokens - 1:  # an end token would have come after the text
            return CallError("truncated", f"the answer was cut at max_tokens = {self.config.max_tokens}")
        try:
            return rubric.schema.model_validate({field: text})
        except ValidationError:
            return CallError("bad_schema", "the model answered nothing")


@dataclass(frozen=True)
class _Read:
    """What a model has read: sequences, the mask of their padded batch, its keys and values as the model takes them."""

    sequences: list[list[int]]
    mask: Any
    cache: dict[str, Any]

    def repeated(self, times: int) -> "_Read":
        """One sequence's reading as that of so many equal ones."""
        copied = {name: repeated(cache, times) for name, cache in self.cache.items()}
        return _Read(self.sequences * times, self.mask.repeat(times, 1), copied)

    def begins(self, others: list[list[int]]) -> bool:
        """Whether each of these sequences goes on from one of ours."""
        return len(others) == len(self.sequences) and all(
            len(o) > len(s) and o[: len(s)] == s for o, s in zip(others, self.sequences, strict=True)
        )


def distinguish(encoded: list[list[int]], values: Sequence[Any]) -> tuple[list[int], list[int]]:
    """What token sequences share at their beginning, and the first token after it for each.

    Raises `StageFailed` when two sequences have the same token there: their probabilities could not be compared.
    """
    shared = 0
    while all(len(ids) > shared and ids[shared] == encoded[0][shared] for ids in encoded):
        shared += 1
    firsts = [ids[shared] if len(ids) > shared else -1 for ids in encoded]
    if -1 in firsts or len(set(firsts)) < len(firsts):
        raise StageFailed(
            f"the model's tokenizer cannot tell the labels {', '.join(map(str, values))} apart by one token; "
            "use another annotator.model"
        )
    return encoded[0][:shared], firsts


def pick(scores: Sequence[float]) -> int | CallError:
    """The index of the highest log-probability; no answer when it is not a number or not the only one."""
    best = max(range(len(scores)), key=lambda i: scores[i])
    if any(math.isnan(s) for s in scores) or scores.count(scores[best]) > 1:
        return CallError("undecided", "the model prefers none of the labels")
    return best
