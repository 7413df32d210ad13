"""A model class for lm-evaluation-harness that computes what prompts share only once.

Few-shot prompts of a subject begin with the same tokens. On a CPU that beginning runs once per packed pass, and prompts stand behind it
without padding, where the model packs (losses.py). Elsewhere its key-value cache is computed once per group of prompts and
the rest is batched by length. The head runs on the scored positions alone. Log-likelihoods equal those of the harness' own
`hf` class up to rounding (`make bench-eval`).

The shared beginning is found by comparing token ids: tokenising the beginning as a text of its own can give other ids.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from lm_eval.models.huggingface import HFLM

from aquilamed.allocator import keep_memory
from aquilamed.evaluate.kept import Resumable
from aquilamed.losses import can_pack, packed_attention, packed_states, packs
from aquilamed.records import digest
from aquilamed.scoring import repeated, shared_start
from aquilamed.train.matmul import packed_products

Request = tuple[tuple[str, str], list[int], list[int]]
Row = tuple[int, ...]
Scored = list[tuple[Row, Any, int]]
_LEAST = 32
"""A shorter shared beginning is not worth a pass of its own (tokens)."""
_PASS_TOKENS = 2048
"""Tokens of one pass behind the shared beginning, padding included."""
_PACK_TOKENS = 8192
"""The same in packed passes: the larger, the fewer times the beginning runs."""


class SharedPrefixLM(Resumable, HFLM):  # type: ignore[misc]
    """`hf` with shared beginnings; causal models only."""

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """(log-likelihood of the continuation, whether it is the greedy one) per request, in order."""
        rows = [tuple((context + wanted)[-(self.max_length + 1) :][:-1]) for _, context, wanted in requests]
        unique = sorted(set(rows))
        askers: dict[tuple[int, ...], list[int]] = {row: [] for row in unique}
        for index, row in enumerate(rows):
            askers[row].append(index)
        keys = [digest(["loglikelihood", *name]) for name, _, _ in requests]
        results: dict[str, tuple[float, bool]] = {}
        if self.kept is not None:
            results = {k: (v[0], v[1]) for k in keys if (v := self.kept.values.get(k)) is not None}
        with ExitStack() as stack:
            scores = self._scores
            if self.device.type == "cpu" and can_pack(self.model):
                keep_memory()
                stack.enter_context(packed_attention(self.model))
                stack.enter_context(packed_products(self.model))
                scores = self._packed_scores
            for prefix, group in groups(unique):
                # At least one position of every row must be behind the shared beginning: it is scored there.
                needed = {row: max(len(requests[i][2]) for i in askers[row]) for row in group}
                prefix = min([prefix, *(len(row) - needed[row] for row in group)])
                prefix = prefix if prefix >= _LEAST else 0
                for batch in scores(prefix, needed, lambda row: all(keys[i] in results for i in askers[row])):
                    found: dict[str, tuple[float, bool]] = {}
                    for row, values, first in batch:
                        for index in askers[row]:
                            name, _, wanted = requests[index]
                            lines = values[len(row) - len(wanted) - first :]
                            found[keys[index]] = _judge(lines[: len(wanted)], wanted)
                            self.cache_hook.add_partial("loglikelihood", name, found[keys[index]])
                    results.update(found)
                    if self.kept is not None:
                        self.kept.add(found)
        return [results[key] for key in keys]

    def _packed_scores(self, prefix: int, needed: Mapping[Row, int], known: Callable[[Row], bool]) -> Iterator[Scored]:
        """As `_scores`, in packed passes."""
        import torch

        rows = list(needed)
        for pack in packs([len(row) - prefix for row in rows], _PACK_TOKENS):
            batch = [rows[i] for i in pack]
            if all(map(known, batch)):
                continue
            with torch.inference_mode():
                states = packed_states(self.model, batch, [range(len(row) - needed[row], len(row)) for row in batch])
                lines = (
                    self.model.get_output_embeddings()(states).float().log_softmax(-1).split([needed[r] for r in batch])
                )
            yield [(row, values, len(row) - needed[row]) for row, values in zip(batch, lines, strict=True)]

    def _scores(self, prefix: int, needed: Mapping[Row, int], known: Callable[[Row], bool]) -> Iterator[Scored]:
        """Per batch of a group's rows: the row, log-probabilities behind its last positions, and the first of those.

        Batches whose rows are all known are left out.

        Args:
            prefix: how many tokens all rows begin with.
            needed: row → at how many of its last positions it is scored.
        """
        import torch

        with torch.inference_mode():
            shared: Any = None
            for batch in self._batches(list(needed), prefix):
                if all(map(known, batch)):
                    continue
                if prefix and shared is None:
                    shared = self._cache(batch[0][:prefix])
                width = max(len(row) for row in batch) - prefix
                ids = torch.zeros((len(batch), width), dtype=torch.long)
                for line, row in enumerate(batch):
                    ids[line, : len(row) - prefix] = torch.tensor(row[prefix:])
                # Padding stands behind a row's end, where no scored position looks.
                positions = sorted({p for row in batch for p in range(len(row) - needed[row], len(row))})
                cache = None if shared is None else repeated(shared, len(batch))
                found = self.model(
                    input_ids=ids.to(self.device),
                    past_key_values=cache,
                    use_cache=cache is not None,
                    logits_to_keep=torch.tensor(positions, device=self.device) - prefix,
                ).logits
                places = {position: place for place, position in enumerate(positions)}
                scored = []
                for line, row in enumerate(batch):
                    first = len(row) - needed[row]
                    mine = [places[p] for p in range(first, len(row))]
                    scored.append((row, found[line, mine].float().log_softmax(-1).cpu(), first))
                yield scored

    def _cache(self, prefix: Sequence[int]) -> Any:
        """The key-value cache of the shared beginning."""
        import torch

        ids = torch.tensor([list(prefix)], device=self.device)
        return self.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values

    def _batches(self, group: Sequence[tuple[int, ...]], prefix: int) -> Iterator[list[tuple[int, ...]]]:
        """Rows of similar length; `batch_size` bounds their number, `_PASS_TOKENS` their padded size."""
        most = self.batch_size if isinstance(self.batch_size, int) else len(group)
        batch: list[tuple[int, ...]] = []
        for row in sorted(group, key=lambda r: (-len(r), r)):
            width = len(batch[0] if batch else row) - prefix
            if batch and (len(batch) >= most or (len(batch) + 1) * width > _PASS_TOKENS):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch


def groups(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, list[tuple[int, ...]]]]:
    """Sorted rows cut where the shared beginning falls below half: (its length, rows). Rows alone in their group are put
    together under length 0, so that they still share batches."""
    found: list[tuple[int, list[tuple[int, ...]]]] = []
    alone: list[tuple[int, ...]] = []
    start = 0
    while start < len(rows):
        shared = end = 0
        for end in range(start + 1, len(rows)):
            common = shared_start(rows[end - 1 : end + 1])
            common = min(common, shared) if end > start + 1 else common
            if common < _LEAST or 2 * common < shared:
                break
            shared = common
        else:
            end = len(rows)
        if end - start == 1:
            alone.append(rows[start])
        else:
            found.append((shared, list(rows[start:end])))
        start = end
    return [*found, (0, alone)] if alone else found


def _judge(values: Any, wanted: list[int]) -> tuple[float, bool]:
    import torch

    target = torch.tensor(wanted)
    total = float(values.gather(-1, target[:, None]).sum())
    return total, bool((values.argmax(-1) == target).all())
