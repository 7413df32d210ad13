"""Matrix products of float32 layers through oneDNN, PyTorch's second library for them.

On the AMD machine of docs/benchmarks.md oneDNN is 5 to 20 % faster than MKL at y = x Wᵀ and x' = y' W of a layer's
size; MKL is the faster one at the weights' gradient. The rounding differs in the last bit, as between two machines.
"""

import functools
import types
from typing import Any


def product(x: Any, weight: Any) -> Any:
    """x Wᵀ of matrices, without gradient."""
    import torch

    if x.device.type == "cpu" and x.dtype == torch.float32 and _available():
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return x @ weight.t()


@functools.cache
def _available() -> bool:
    import torch

    return bool(torch.backends.mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def fast_linear(model: Any) -> int:
    """Send the float32 linear layers of a model on the CPU through oneDNN; returns how many there are."""
    import torch

    if not _available():
        return 0
    found = 0
    for layer in model.modules():
        if type(layer) is torch.nn.Linear and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32:
            layer.forward = types.MethodType(_forward, layer)
            found += 1
    return found


def _forward(layer: Any, x: Any) -> Any:
    y = _function().apply(x.reshape(-1, x.shape[-1]), layer.weight).view(*x.shape[:-1], layer.out_features)
    return y if layer.bias is None else y + layer.bias


@functools.cache
def _function() -> Any:
    import torch

    class Linear(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any) -> Any:
            ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
            return product(x, weight)

        @staticmethod
        def backward(ctx: Any, outer: Any) -> Any:
            x, weight = ctx.saved_tensors
            inner = product(outer, weight.t()) if ctx.needs_input_grad[0] else None
            return inner, outer.t() @ x if ctx.needs_input_grad[1] else None

    return Linear
