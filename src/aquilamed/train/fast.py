"""What makes a training on a CPU fast, put onto a model: the head, attention by document, oneDNN, memory that is kept.

None of it changes what is computed: losses and gradients are those of the plain model up to the last bits of float32
(tests/train/test_fast.py). On a GPU only the fused head is used.
"""

from typing import Any

from aquilamed.allocator import keep_memory
from aquilamed.losses import can_pack
from aquilamed.train.attention import NAME, use_documents
from aquilamed.train.head import add_head, plain
from aquilamed.train.matmul import fast_linear


def make_fast(model: Any, one_weight: bool = True) -> Any:
    """Prepare a model for training on this machine and return it; see `add_head` for `one_weight`."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    usual = plain(base)
    packs = usual and _can_pack(base)
    add_head(model, one_weight)
    if usual:
        keep_memory()
        fast_linear(model)
    if packs:
        use_documents(base)
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
