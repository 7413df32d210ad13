"""What makes a training on a CPU fast, put onto a model: the head, attention by document, oneDNN, memory that is kept.

None of it changes what is computed: losses and gradients are those of the plain model up to the last bits of float32
(tests/train/test_fast.py). On a GPU only the fused head is used.
"""

import ctypes
import sys
from typing import Any

from aquilamed.losses import can_pack
from aquilamed.train.attention import NAME, use_documents
from aquilamed.train.head import add_head, plain
from aquilamed.train.matmul import fast_linear

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


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


def keep_memory() -> None:
    """Let glibc keep freed memory for the next step instead of returning it to the system.

    Else every large tensor is fresh pages each time: with a vocabulary of 49k these page faults cost up to a quarter
    of a step. Elsewhere than on Linux with glibc nothing happens.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(M_TOP_PAD, 2**26)
