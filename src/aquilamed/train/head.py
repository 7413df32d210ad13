"""The language model's head, run only where there is a label and a slice at a time: logits are never all in memory.

At a vocabulary of 49k the head is a fifth of a small model's arithmetic, and TRL's own fused head scores every position
on a CPU. Here prompts cost nothing, and a slice's exponentials stay in the cache for all three products they enter.
"""

import functools
import types
from typing import Any

from aquilamed.train.flash import precision

SLICE_BYTES = 2**24
"""Logits of one slice: small enough to stay in a shared cache, large enough for full speed of the products."""
GPU_SLICE_BYTES = 2**29
"""The same on a GPU, where nothing stays in a cache: large products are what is fast."""
UNUSUAL = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def add_head(model: Any, one_weight: bool = True, compiled: bool = False) -> None:
    """Make `model(..., labels=...)` return `loss` and `log_probs` of the labels, without logits.

    The answer is TRL's `FusedCausalLMOutput`, so that Trainer and TRL's losses run on it unchanged. For heads that do
    more than one product, and on a CPU for weights that are not float32, TRL's fused head is used.

    A batch may hold `shared` (see pairs.py): the tokens that are run instead of `input_ids`, and which of their states
    predict the labels, in the labels' order.

    Args:
        one_weight: whether a batch's log-probabilities all count alike in the loss (as in next-token training, but not
            in DPO): the head's gradient is then made with the forward pass, and nothing is computed twice.
        compiled: whether to compile what is not a product (for a GPU).
    """
    from trl.trainer.utils import FusedCausalLMOutput, add_fused_lm_head

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not plain(base):
        add_fused_lm_head(base, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
        base.fused_head = True
        return
    own = type(base).forward

    @functools.wraps(own)
    def forward(
        self: Any,
        *args: Any,
        labels: Any = None,
        fused_lm_head: bool = True,
        num_items_in_batch: Any = None,
        shared: Any = None,
        **kwargs: Any,
    ) -> Any:
        if labels is None or not fused_lm_head:
            return own(self, *args, labels=labels, **kwargs)
        mask = labels[:, 1:] != -100
        if shared is None:
            states = self.base_model(*args, **{**kwargs, "use_cache": False}).last_hidden_state[:, :-1][mask]
        else:
            inner = {name: value for name, value in shared.items() if name != "heads"}
            states = self.base_model(**inner).last_hidden_state[0, shared["heads"]]
        weight = self.get_output_embeddings().weight
        kind = precision(weight)
        found = log_probs(states.to(kind), weight.to(kind), labels[:, 1:][mask], one_weight, compiled)
        spread = [x.new_zeros(mask.shape).masked_scatter(mask, x) for x in found]
        count = mask.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        return FusedCausalLMOutput(
            loss=-found[0].sum() / count,
            log_probs=spread[0],
            entropy=spread[1],
            mean_logits=spread[2],
            is_top1=spread[3],
            label_mask=mask,
        )

    base.forward = types.MethodType(forward, base)
    base.fused_head = True


def plain(model: Any) -> bool:
    """Whether a model's head is one product without bias, scale or cap, on a CPU of float32.

    With a GPU there, a model that is still on the CPU is about to be sharded onto it.
    """
    import torch

    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    unusual = [getattr(config, name, None) for name in UNUSUAL]
    kinds = (torch.float32, torch.bfloat16) if torch.cuda.is_available() else (torch.float32,)
    return (
        isinstance(head, torch.nn.Linear)
        and head.bias is None
        and head.weight.device.type in ("cpu", "cuda")
        and head.weight.dtype in kinds
        and all(value in (None, 1.0) for value in unusual)
    )


def log_probs(
    states: Any, weight: Any, labels: Any, one_weight: bool = False, compiled: bool = False
) -> tuple[Any, Any, Any, Any]:
    """Of every label given its hidden state: log-probability, entropy, mean logit, and whether it is the likeliest.

    Only the first carries a gradient. All but the first come almost free of charge: Σ p·logit = h·(p W), and p W is
    part of the gradient.
    """
    return _function().apply(states, weight, labels, one_weight, compiled)  # type: ignore[no-any-return]


@functools.cache
def _function() -> Any:
    import torch

    from aquilamed.train.matmul import product

    class LogProbs(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, states: Any, weight: Any, labels: Any, one_weight: bool, compiled: bool) -> Any:
            count = len(states)
            eager = one_weight and ctx.needs_input_grad[1]
            weight_grad = torch.zeros_like(weight) if eager else None
            probability, entropy, mean, norm = (states.new_empty(count, dtype=torch.float32) for _ in range(4))
            top = torch.empty(count, dtype=torch.bool, device=states.device)
            grad = torch.empty_like(states)
            average = weight.mean(0)
            exponentials = _compiled_exponentials() if compiled and states.device.type == "cuda" else _exponentials
            for part in slices(count, weight.shape[0], states.device.type):
                h, label = states[part], labels[part]
                logits = product(h, weight)
                chosen = logits.gather(1, label[:, None])[:, 0].float()
                mass, highest, total = exponentials(logits)
                norm[part] = highest + total.log()
                probability[part] = chosen - norm[part]
                top[part] = chosen >= highest
                mean[part] = h @ average
                expected = (mass @ weight).div_(total[:, None])
                entropy[part] = norm[part] - (h * expected).sum(1)
                grad[part] = weight[label] - expected
                if weight_grad is not None:
                    weight_grad.addmm_(mass.t(), (h / -total[:, None]).to(h.dtype))
            if weight_grad is not None:
                weight_grad.index_add_(0, labels, states)
            ctx.mark_non_differentiable(entropy, mean, top)
            if any(ctx.needs_input_grad):
                ctx.save_for_backward(states, weight, labels, norm, grad, weight_grad)
            return probability, entropy, mean, top

        @staticmethod
        def backward(ctx: Any, outer: Any, *_: Any) -> Any:
            states, weight, labels, norm, grad, weight_grad = ctx.saved_tensors
            inner = (grad * outer[:, None]).to(grad.dtype)
            if not ctx.needs_input_grad[1]:
                return inner, None, None, None, None
            if weight_grad is not None:
                if bool((outer != outer[:1]).any() & outer.isfinite().all()):
                    raise RuntimeError("log-probabilities with unequal weights need add_head(one_weight=False)")
                return inner, (weight_grad * outer[:1].sum()).to(weight.dtype), None, None, None  # of nothing: 0
            weight_grad = torch.zeros_like(weight)
            for part in slices(len(states), weight.shape[0], states.device.type):
                h = states[part]
                mass = product(h, weight).float().sub_(norm[part, None]).exp_().to(h.dtype)
                weight_grad.addmm_(mass.t(), (h * -outer[part, None]).to(h.dtype))
            weight_grad.index_add_(0, labels, (states * outer[:, None]).to(states.dtype))
            return inner, weight_grad, None, None, None

    return LogProbs


def _exponentials(logits: Any) -> tuple[Any, Any, Any]:
    """Of every row: exp(logit - highest) in the logits' type, the highest logit, and the sum in float32; logits are lost."""
    kind = logits.dtype
    logits = logits.float()
    highest = logits.amax(1)
    mass = logits.sub_(highest[:, None]).exp_()
    return mass.to(kind), highest, mass.sum(1)


@functools.cache
def _compiled_exponentials() -> Any:
    """The same in two passes over the logits instead of seven."""
    import torch

    def exponentials(logits: Any) -> tuple[Any, Any, Any]:
        highest = logits.amax(1)
        mass = (logits.float() - highest[:, None].float()).exp()
        return mass.to(logits.dtype), highest.float(), mass.sum(1)

    return torch.compile(exponentials, dynamic=True)


def slices(count: int, vocabulary: int, device: str = "cpu") -> list[slice]:
    """Row ranges whose logits take about `SLICE_BYTES` (on a GPU `GPU_SLICE_BYTES`) in float32."""
    size = max(16, (SLICE_BYTES if device == "cpu" else GPU_SLICE_BYTES) // (4 * vocabulary))
    return [slice(at, min(count, at + size)) for at in range(0, count, size)]
