"""Weights, gradients and optimizer in shards over all processes: sharding a model, and its state in whole tensors.

PyTorch's `fully_shard` (FSDP2) is called directly, on GPUs and on CPUs alike: accelerate's FSDP silently is plain DDP on a CPU.
Checkpoints hold whole tensors under the names and in the order of one process, so any number of processes, sharded or
not, can go on from them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aquilamed.config import StageFailed
from aquilamed.train import ranks


def shard(model: Any, free: bool = True, offload: bool = False) -> Any:
    """Shard a model in place, layer by layer, over all processes, and return it.

    Its parameters are `DTensor`s from then on: a forward pass is a matter of all processes together.

    Args:
        free: gather a layer's weights for its passes only (ZeRO-3). Off, they stay from the forward to the backward pass
            (ZeRO-2: gradients and optimizer in shards, faster, and the whole weights in memory).
        offload: keep the shards in the host's memory, and on a GPU only the layer that is being computed.

    Raises `StageFailed` for an architecture that does not name its layers, and when a parameter was left whole.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

    gpu = torch.cuda.is_available()
    mesh = init_device_mesh("cuda" if gpu else "cpu", (ranks.count(),))
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if gpu else MixedPrecisionPolicy()
    place = CPUOffloadPolicy() if offload and gpu else OffloadPolicy()
    blocks = layers(model)
    if not blocks:
        raise StageFailed(
            f"{type(model).__name__} does not name its layers, so it cannot be sharded; hardware.layouts: [ddp] can"
        )
    for module in [*blocks, model]:
        fully_shard(module, mesh=mesh, mp_policy=policy, offload_policy=place, reshard_after_forward=free)
    if whole := [name for name, p in model.named_parameters() if not _is_shard(p)]:
        raise StageFailed(f"{len(whole)} parameters were not sharded: {', '.join(whole[:5])}")
    return model


def layers(model: Any) -> list[Any]:
    """The model's transformer layers, by the class that its architecture names; none where it names none."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [m for m in model.modules() if type(m).__name__ in names]


def is_sharded(model: Any) -> bool:
    """Whether `shard` was called on a model."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


def let_go(model: Any) -> None:
    """Free the weights that a forward pass without a backward pass gathered; a model that is not sharded has none."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole_state(model: Any) -> dict[str, Any]:
    """A sharded model's state in whole tensors, on the CPU of the first process; nothing elsewhere.

    All processes must call it. Tensors that are one (a tied head) stay one.
    """
    found: dict[str, Any] = {}
    known: dict[int, Any] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in known:
            known[id(tensor)] = _whole(tensor)
        found[name] = known[id(tensor)]
    return found if ranks.index() == 0 else {}


def load_whole(model: Any, tensors: Iterator[tuple[str, Any]]) -> None:
    """Copy whole tensors into a sharded model; each process keeps its part of each."""
    import torch

    own = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in tensors:
            own[name].copy_(_like(tensor, own[name]))


def weights_of(folder: Path) -> Iterator[tuple[str, Any]]:
    """The tensors of a folder's safetensors files, one at a time, under a training's names."""
    from safetensors import safe_open

    for part in sorted(folder.glob("*model*.safetensors")):
        adapters = part.name.startswith("adapter")
        with safe_open(part, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                # PEFT leaves the adapter's name out of its files.
                yield name.replace(".weight", ".default.weight") if adapters else name, tensors.get_tensor(name)


def merge_adapters(model: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a base model with its LoRA adapters added to its weights; that of a model without any as it is."""
    merged: dict[str, Any] = {}
    for name, tensor in state.items():
        if ".lora_" in name:
            continue
        layer, base, _ = name.partition(".base_layer.weight")
        if base:
            down, up = (state[f"{layer}.{part}.default.weight"] for part in ("lora_A", "lora_B"))
            tensor = tensor + model.get_submodule(layer).scaling["default"] * (up @ down)
        merged[name.removeprefix("base_model.model.").replace(".base_layer.", ".")] = tensor
    return merged


def whole_optimizer(optimizer: Any) -> dict[str, Any]:
    """An optimizer's state as one process would have it, on the CPU of the first process; all must call this."""
    state: dict[str, Any] = optimizer.state_dict()
    moments = {i: {k: _whole(v) for k, v in values.items()} for i, values in state["state"].items()}
    return {**state, "state": moments} if ranks.index() == 0 else {}


def load_optimizer(optimizer: Any, state: Mapping[str, Any]) -> None:
    """Give an optimizer of sharded parameters the state of `whole_optimizer` or of a training in one process."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        i: {k: _like(v, parameters[i]) if getattr(v, "shape", None) == parameters[i].shape else v for k, v in s.items()}
        for i, s in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _is_shard(tensor: Any) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def _whole(tensor: Any) -> Any:
    """A tensor as the first process keeps it; the others take part in gathering it and let it go."""
    if not hasattr(tensor, "detach"):
        return tensor
    whole = tensor.detach().full_tensor() if _is_shard(tensor) else tensor.detach()
    return whole.cpu() if ranks.index() == 0 else None


def _like(tensor: Any, target: Any) -> Any:
    """This process' part of a whole tensor, spread as the target is."""
    from torch.distributed.tensor import distribute_tensor

    if not _is_shard(target):
        return tensor
    placed = tensor.to(device=target.device, dtype=target.dtype)
    return distribute_tensor(placed, target.device_mesh, target.placements, src_data_rank=None)
