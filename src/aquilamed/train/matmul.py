"""Matrix products of float32 layers through oneDNN, PyTorch's second library for them.

On the AMD machine of docs/benchmarks.md oneDNN is 5 to 20 % faster than MKL at y = x Wᵀ and x' = y' W of a layer's
size; MKL is the faster one at the weights' gradient. The rounding differs in the last bit, as between two machines.
"""

import functools
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_PACKED = 2 << 30
"""Bytes of weights that are copied into oneDNN's own layout; larger models keep theirs."""


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
    if not _available():
        return 0
    layers = _layers(model)
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)
    return len(layers)


@contextmanager
def packed_products(model: Any) -> Iterator[None]:
    """Within it the float32 linear layers of a model on the CPU, but for its head, run through oneDNN without gradients.

    Their weights are copied into oneDNN's own layout once, up to `MOST_PACKED` bytes of them: with it SmolLM2's losses
    take 16 % less time than with MKL. The copies are gone afterwards, so weights may change between two uses.
    """
    import torch

    layers = [layer for layer in _layers(model) if layer is not model.get_output_embeddings()] if _available() else []
    pack = sum(layer.weight.nbytes for layer in layers) <= MOST_PACKED
    before = [layer.__dict__.get("forward") for layer in layers]
    try:
        for layer in layers:
            weight = layer.weight.detach()
            ready = torch.ops.mkldnn._reorder_linear_weight(weight) if pack else weight
            layer.forward = functools.partial(_packed, ready, layer.bias)
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            if forward is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = forward


def _packed(weight: Any, bias: Any, x: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _layers(model: Any) -> list[Any]:
    """The float32 linear layers on the CPU."""
    import torch

    return [
        layer
        for layer in model.modules()
        if type(layer) is torch.nn.Linear and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32
    ]


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
