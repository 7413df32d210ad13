"""Attention inside the documents of a packed row, one document at a time, instead of under one mask for the whole row.

The work falls with the square of the documents' lengths and not of the row's, and each is the plain causal case that
PyTorch's kernels are made for. A document may also look back at a shared prefix: that is how a rejected answer sees its
prompt and not the chosen answer in between.
"""

from typing import Any

from aquilamed.train.flash import Documents, fits, flash

NAME = "documents"


def use_documents(model: Any) -> None:
    """Let a model's attention take `documents`; its batch is then one row.

    Whether that gives what the model gives otherwise depends on its architecture: `losses.can_pack` tries it.
    """
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    # Compiled layers call it as it is: documents differ with every batch, and each would be compiled anew.
    AttentionInterface.register(NAME, torch.compiler.disable(attend))
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    documents: Documents | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Any, None]:
    """Attention as transformers calls it: (1, heads, tokens, size) to (1, tokens, heads, size).

    Without `documents` it is transformers' own, mask and all.

    Raises `NotImplementedError` for an architecture with more to its attention than is built here.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if documents is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if any(kwargs.get(k) is not None for k in ("softcap", "s_aux", "position_bias", "is_causal")):
        raise NotImplementedError("packed attention: this architecture's attention has a part that is not built here")
    if fits(query, key, dropout):
        return flash(query, key, value, documents, dropout, scaling, sliding_window), None
    pieces = []
    for start, end, low, high in documents:
        k, v = key[:, :, start:end], value[:, :, start:end]
        if high > low:
            k = torch.cat([key[:, :, low:high], k], dim=2)
            v = torch.cat([value[:, :, low:high], v], dim=2)
        size, seen = end - start, k.shape[2]
        narrow = sliding_window is not None and seen > sliding_window
        mask = _mask(size, seen, sliding_window if narrow else None, query.device) if high > low or narrow else None
        pieces.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, start:end],
                k,
                v,
                attn_mask=mask,
                dropout_p=dropout,
                scale=scaling,
                is_causal=mask is None,
                enable_gqa=query.shape[1] != key.shape[1],
            ).transpose(1, 2)
        )
    return torch.cat(pieces, dim=1), None


def _mask(size: int, seen: int, window: int | None, device: Any) -> Any:
    """What the last `size` of `seen` positions may look at: what is not behind them, and within the window."""
    import torch

    ahead = torch.arange(seen, device=device)[None] - torch.arange(seen - size, seen, device=device)[:, None]
    return ahead <= 0 if window is None else (ahead <= 0) & (ahead > -window)
