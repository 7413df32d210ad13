"""The shape of a language model, from its config alone: built on the meta device, where weights take no memory."""

from dataclasses import dataclass
from typing import Any

from aquilamed.config import Invalid
from aquilamed.models import ModelConfig, find_model

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class Linear:
    """A linear layer below the head."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Shape:
    """What memory and arithmetic depend on.

    `parameters` counts tied weights once; `blocks` are those of all layers; `table` those of the input embeddings, and
    `looked_up` those that take part in no product (the table, unless the head uses it).
    """

    parameters: int
    blocks: int
    table: int
    looked_up: int
    layers: int
    hidden: int
    ffn: int
    queries: int
    keys: int
    vocabulary: int
    linears: tuple[Linear, ...]

    def lora_parameters(self, rank: int, targets: str | list[str]) -> int:
        """Parameters of adapters of this rank. Raises `Invalid` when no layer has one of these names."""
        names = [targets] if isinstance(targets, str) else targets
        chosen = [
            x for x in self.linears if targets == "all-linear" or x.name in names or x.name.split(".")[-1] in names
        ]
        if not chosen:
            raise Invalid(f"lora.targets: the model has no linear layer named {', '.join(names)}")
        return rank * sum(x.inputs + x.outputs for x in chosen)


def shape_of(config: Any, trust_remote_code: bool = False) -> Shape:
    """The shape of a transformers config.

    Raises `Invalid` for a mixture of experts: which of its weights a token meets is not in these formulae.
    """
    import torch
    from transformers import AutoModelForCausalLM

    inner = config.get_text_config()
    if any((getattr(inner, name, None) or 0) > 1 for name in _EXPERTS):
        raise Invalid("a mixture of experts has no plan yet")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    head = model.get_output_embeddings()
    table = model.get_input_embeddings().weight
    linears = tuple(
        Linear(name, m.in_features, m.out_features)
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and m is not head
    )
    layers = int(inner.num_hidden_layers)
    stacks = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == layers]
    heads = int(inner.num_attention_heads)
    width = int(getattr(inner, "head_dim", None) or inner.hidden_size // heads)
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        blocks=sum(p.numel() for p in stacks[0].parameters()) if stacks else 0,
        table=table.numel(),
        looked_up=0 if head is not None and head.weight is table else table.numel(),
        layers=layers,
        hidden=int(inner.hidden_size),
        ffn=int(getattr(inner, "intermediate_size", None) or 4 * inner.hidden_size),
        queries=heads * width,
        keys=int(getattr(inner, "num_key_value_heads", None) or heads) * width,
        vocabulary=table.shape[0],
        linears=linears,
    )


def base_shape(model: ModelConfig) -> Shape:
    """The shape of a recipe's base model, from its folder or what was fetched.

    Raises `Invalid` when it was not fetched, is not readable, or has no plan.
    """
    from transformers import AutoConfig

    folder = find_model(model.path, model.revision)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
        return shape_of(config, model.trust_remote_code)
    except (OSError, ValueError, AttributeError, KeyError) as error:
        if isinstance(error, Invalid):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise Invalid(f"base_model {model.path!r}: no plan can be made from its config: {first}") from error
