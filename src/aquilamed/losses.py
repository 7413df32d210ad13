"""Token losses: cross-entropy of given tokens by a causal language model.

Passes are packed where that is proven equal: rows stand one behind the other in one long row without padding, every row
attends to itself alone (one causal attention call per row), what all rows begin with runs once, and the language-model head
runs only where a loss is wanted, in blocks of the vocabulary that stay in the cache. Other architectures take padded passes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

from aquilamed.allocator import keep_memory
from aquilamed.scoring import BATCH_TOKENS, batches, shared_start
from aquilamed.train.attention import use_documents
from aquilamed.train.flash import Documents
from aquilamed.train.matmul import packed_products, product

PACK_TOKENS = {"cpu": 1024}
"""Tokens per packed pass: a layer's activations stay in a CPU's cache; other devices take BATCH_TOKENS."""
SHORT = 256
"""Longest row that looks back at a shared beginning of a few tokens: attention under a mask costs more than they save."""
HEAD_BLOCK = 2048
"""Vocabulary entries per block of the head: 512 rows × 2048 × 4 bytes = 4 MB."""

_packable: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def packs(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Row indices in packs, in order, whose lengths sum to at most `tokens` (one long row may exceed it).

    Room left in a pack costs nothing, since nothing is padded: rows need no sorting.
    """
    pack: list[int] = []
    size = 0
    for index, length in enumerate(lengths):
        if pack and size + length > tokens:
            yield pack
            pack, size = [], 0
        pack.append(index)
        size += length
    if pack:
        yield pack


def token_losses(
    model: Any,
    rows: Sequence[Sequence[int]],
    on_batch: Callable[[int], None] | None = None,
    tokens: int | None = None,
    places: Sequence[Sequence[int]] | None = None,
) -> list[Any]:
    """Cross-entropy in nats of tokens, given those before them in their row.

    Args:
        model: a causal LM in eval mode.
        rows: token ids; each row is on its own.
        on_batch: told how many rows a pass finished.
        tokens: tokens per forward pass; null takes what suits the device.
        places: per row the positions (rising, from 1) whose losses are wanted; null takes every token but the first.

    Returns:
        Per row a float32 tensor on the CPU, a loss for each place.
    """
    import torch

    wanted = [range(1, len(row)) for row in rows] if places is None else places
    result: list[Any] = [torch.empty(0)] * len(rows)
    work = [i for i, w in enumerate(wanted) if len(w)]
    # A token's loss needs the tokens before it: nothing runs behind the last place but one.
    inputs = [rows[i][: wanted[i][-1]] for i in work]
    if on_batch and len(work) < len(rows):
        on_batch(len(rows) - len(work))
    if model.device.type == "cpu":
        keep_memory()
    with torch.inference_mode():
        if packed := can_pack(model):
            plan = packs([len(i) for i in inputs], tokens or PACK_TOKENS.get(model.device.type, BATCH_TOKENS))
        else:
            plan = batches(inputs, tokens or BATCH_TOKENS)
        run = _packed_losses if packed else _padded_losses
        with packed_attention(model) if packed else nullcontext(), packed_products(model):
            for batch in plan:
                targets = [[rows[work[b]][p] for p in wanted[work[b]]] for b in batch]
                before = [[p - 1 for p in wanted[work[b]]] for b in batch]
                losses = run(model, [inputs[b] for b in batch], before, targets)
                for b, part in zip(batch, losses.cpu().split([len(t) for t in targets]), strict=True):
                    result[work[b]] = part.clone()
                if on_batch:
                    on_batch(len(batch))
    return result


def _packed_losses(
    model: Any, rows: Sequence[Sequence[int]], before: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> Any:
    import torch

    aims = torch.tensor([t for target in targets for t in target], device=model.device)
    return _head_losses(model.get_output_embeddings(), packed_states(model, rows, before), aims)


def packed_states(model: Any, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> Any:
    """The last hidden states at places of rows, by one pass: (places of all rows, hidden size), row by row.

    Within `packed_attention`. What all rows begin with runs once, in the first row.
    """
    import torch

    first = shared_start(rows)
    skipped = [0] + [first if len(row) <= SHORT or 8 * first >= len(row) else 0 for row in rows[1:]]
    ends = torch.tensor([len(row) - skip for row, skip in zip(rows, skipped, strict=True)]).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    ids = [t for row, skip in zip(rows, skipped, strict=True) for t in row[skip:]]
    positions = [p for row, skip in zip(rows, skipped, strict=True) for p in range(skip, len(row))]
    documents = Documents((s, e, 0, skip) for s, e, skip in zip(starts, ends, skipped, strict=True))
    hidden = model.base_model(
        input_ids=torch.tensor([ids], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        **documents.inputs(),
    ).last_hidden_state[0]
    at = [
        s + p - skip if p >= skip else p
        for s, skip, wanted in zip(starts, skipped, places, strict=True)
        for p in wanted
    ]
    return hidden[torch.tensor(at, device=model.device)]


def _head_losses(head: Any, hidden: Any, targets: Any) -> Any:
    """log Σ exp(logits) - logit of the target; a block's largest logit and its sum of exponentials are all that is kept."""
    import torch

    most, sums = [], []
    for start in range(0, head.weight.shape[0], HEAD_BLOCK):
        block = slice(start, start + HEAD_BLOCK)
        bias = None if head.bias is None else head.bias[block]
        if bias is None and hidden.device.type == "cpu" and hidden.dtype == torch.float32:
            logits = product(hidden, head.weight[block])
        else:
            logits = torch.nn.functional.linear(hidden, head.weight[block], bias).float()
        peak = logits.amax(1, keepdim=True)
        most.append(peak)
        sums.append(logits.sub_(peak).exp_().sum(1, keepdim=True))
    logs = torch.logsumexp(torch.cat(most, 1).double() + torch.cat(sums, 1).double().log(), 1)
    aimed = (hidden.double() * head.weight[targets].double()).sum(1)
    if head.bias is not None:
        aimed += head.bias[targets]
    return (logs - aimed).float()


def _padded_losses(
    model: Any, rows: Sequence[Sequence[int]], before: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> Any:
    import torch

    ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    for line, row in enumerate(rows):
        ids[line, : len(row)] = torch.tensor(row)
    logits = model(input_ids=ids.to(model.device), use_cache=False).logits
    found = [
        torch.nn.functional.cross_entropy(
            logits[line, list(p)].float(), torch.tensor(t, device=logits.device), reduction="none"
        )
        for line, (p, t) in enumerate(zip(before, targets, strict=True))
    ]
    return torch.cat(found)


def can_pack(model: Any) -> bool:
    """Whether packed passes of this model give the losses of plain ones: tried once per model on two short rows.

    False without a try for models whose attention cannot be replaced, for heads that are not one plain matrix and for
    attention in fixed chunks (short rows would not show it).
    """
    import torch

    if model in _packable:
        return _packable[model]
    _packable[model] = False
    config = model.config.get_text_config()
    if (
        getattr(model, "_supports_attention_backend", False)
        and type(model.get_output_embeddings()) is torch.nn.Linear
        and getattr(config, "attention_chunk_size", None) is None
    ):
        ids = [(7 * i + 3) % config.vocab_size for i in range(40)]
        rows = [ids[:23], ids[:4] + ids[23:]]
        before, targets = [range(len(r) - 1) for r in rows], [r[1:] for r in rows]
        with torch.inference_mode():
            plain = torch.cat(
                [_padded_losses(model, [r], [b], [t]) for r, b, t in zip(rows, before, targets, strict=True)]
            )
            try:
                with packed_attention(model):
                    packed = _packed_losses(model, rows, before, targets)
            except NotImplementedError:
                return False
        # Half precision rounds differently with every shape; a leak between rows changes losses by tenths on average.
        limit = 1e-4 if model.dtype == torch.float32 else 0.1
        _packable[model] = bool((plain - packed).abs().mean() <= limit)
    return _packable[model]


@contextmanager
def packed_attention(model: Any) -> Iterator[None]:
    """Within it the model's attention takes `documents`, the rows of a packed batch (see train/attention.py)."""
    usual = model.config._attn_implementation
    use_documents(model)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
