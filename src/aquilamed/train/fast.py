"""What makes a training fast, put onto a model: the head, attention by document, compiled layers, oneDNN, kept memory.

None of it changes what is computed: losses and gradients are those of the plain model up to the last bits of float32
(tests/train/test_fast.py), on a GPU of bfloat16 (tests/train/test_gpu.py).
"""

from typing import Any

from aquilamed.allocator import keep_memory
from aquilamed.losses import can_pack
from aquilamed.train.attention import NAME, use_documents
from aquilamed.train.head import add_head, plain
from aquilamed.train.matmul import fast_linear
from aquilamed.train.shard import layers


def make_fast(model: Any, one_weight: bool = True, compiled: bool = False) -> Any:
    """Prepare a model for training on this machine and return it.

    Args:
        one_weight: see `add_head`.
        compiled: whether layers are compiled on a GPU; what differs with every batch (the documents) is not.
    """
    import torch

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    gpu = torch.cuda.is_available()
    usual = plain(base)
    packs = usual and _can_pack(base)
    add_head(model, one_weight, compiled)
    if usual and not gpu:
        keep_memory()
        fast_linear(model)
    if packs:
        use_documents(base)
    if packs and gpu and compiled:
        for layer in layers(base):
            layer.compile()
    return model


def _can_pack(model: Any) -> bool:
    training = model.training
    try:
        return can_pack(model.eval())
    finally:
        model.train(training)


def takes_documents(model: Any) -> bool:
    """Whether `make_fast` taught a model to take `documents`: packed rows then become one row, without padding."""
    return bool(getattr(model.config, "_attn_implementation", None) == NAME)
