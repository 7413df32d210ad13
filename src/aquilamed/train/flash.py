"""Attention inside documents on a GPU: one FlashAttention kernel for all documents of a pass.

PyTorch's operator for documents of any lengths is called directly: its public function (`torch.nn.attention.varlen`) has
no dropout, and until 2.12 no fewer key heads than query heads.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

Span = tuple[int, int, int, int]
"""A document: (start, end, prefix start, prefix end); no prefix is (0, 0)."""


@dataclass(frozen=True)
class Cuts:
    """Where documents begin and end, on the device: `queries` and `keys` are running sums of lengths, from 0."""

    queries: Any
    keys: Any
    most_queries: int
    most_keys: int
    seen: Any
    """Which keys each document sees, one document's behind the other's; None where every key is seen once, in order."""


class Documents:
    """Where the documents of a pass lie. An object of its own, so that compiled layers hand it on without a look inside:
    they would be compiled anew for every batch."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans = tuple(spans)
        self._cuts: Cuts | None = None

    def inputs(self) -> dict[str, Any]:
        """What a model is called with beside the tokens and their positions.

        transformers hands a mask of four dimensions on as it is, and would else build one of tokens × tokens for every
        pass; attention inside documents does not look at it.
        """
        import torch

        return {"documents": self, "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool), "use_cache": False}

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def __len__(self) -> int:
        return len(self.spans)

    def cuts(self, device: Any) -> Cuts:
        """The documents' limits as the kernel wants them; made once, for all layers of a pass."""
        import torch

        if self._cuts is not None:
            return self._cuts

        def put(values: Any, kind: Any) -> Any:  # through pinned memory the processor need not wait for the GPU
            return torch.as_tensor(values, dtype=kind).pin_memory().to(device, non_blocking=True)

        queries = [end - start for start, end, _, _ in self.spans]
        keys = [size + high - low for size, (_, _, low, high) in zip(queries, self.spans, strict=True)]
        query_ends, key_ends = (put([0, *accumulate(sizes)], torch.int32) for sizes in (queries, keys))
        seen = None
        if keys != queries:
            parts = [torch.arange(a, b) for start, end, low, high in self.spans for a, b in ((low, high), (start, end))]
            seen = put(torch.cat(parts), torch.int64)
        self._cuts = Cuts(query_ends, key_ends, max(queries), max(keys), seen)
        return self._cuts


def fits(query: Any, key: Any, dropout: float) -> bool:
    """Whether PyTorch's FlashAttention takes these: on a GPU, in half precision, of a head size it knows."""
    import torch

    if query.device.type != "cuda" or query.shape[-1] % 8:
        return False
    grad = torch.is_grad_enabled()
    return _known(query.shape[1], key.shape[1], query.shape[3], precision(query), query.device, dropout, grad)


@functools.cache
def _known(heads: int, kv_heads: int, size: int, kind: Any, device: Any, dropout: float, grad: bool) -> bool:
    import torch
    from torch.backends.cuda import SDPAParams, can_use_flash_attention

    query, key, value = (
        torch.empty(1, count, 16, size, dtype=kind, device=device, requires_grad=grad)
        for count in (heads, kv_heads, kv_heads)
    )
    return bool(can_use_flash_attention(SDPAParams(query, key, value, None, dropout, True, heads != kv_heads)))


def precision(x: Any) -> Any:
    """The type in which products of this tensor are computed: autocast's where it is on, else its own."""
    import torch

    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def flash(
    query: Any,
    key: Any,
    value: Any,
    documents: Documents,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Any:
    """Causal attention inside documents: (1, heads, tokens, size) to (1, tokens, heads, size).

    Where a document sees more keys than it has queries, its last query sees them all.
    """
    import torch

    limits = documents.cuts(query.device)
    q, k, v = (x[0].transpose(0, 1).to(precision(query)) for x in (query, key, value))
    if limits.seen is not None:
        k, v = k[limits.seen], v[limits.seen]
    out = torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        limits.queries,
        limits.keys,
        limits.most_queries,
        limits.most_keys,
        dropout,
        True,
        False,
        scale=scaling,
        window_size_left=None if window is None else window - 1,
    )[0]
    return out[None].to(query.dtype)
