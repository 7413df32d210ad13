"""What a recipe's trainings run on: for the plan, and for starting their processes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from aquilamed.config import Config

Layout = Literal["ddp", "zero2", "fsdp"]
StageName = Literal["pretrain/stage1", "pretrain/stage2", "finetune", "align"]


class ArchitectureConfig(Config):
    """A Llama-style model by its numbers."""

    layers: int = Field(ge=1)
    """Transformer layers."""
    hidden: int = Field(ge=1)
    """Width of the residual stream."""
    ffn: int = Field(ge=1)
    """Width inside the feed-forward part."""
    heads: int = Field(ge=1)
    """Attention heads."""
    kv_heads: int = Field(ge=1)
    """Key and value heads."""
    vocabulary: int = Field(ge=1)
    """Entries of the tokenizer."""
    head_size: int | None = Field(default=None, ge=1)
    """Width of an attention head; none is hidden divided by heads."""
    tied: bool = False
    """Whether the head is the embedding table."""


class HardwareConfig(Config):
    """The devices of the trainings: one process each. What does not fit is refused before anything is read."""

    device: Literal["gpu", "cpu"] = "gpu"
    """Whether the processes compute on a GPU each, or share the processors (gloo; for trying things out)."""
    gpus: int = Field(ge=1)
    """GPUs of a training, on all machines together; with `device: cpu` processes."""
    gpus_of: dict[StageName, int] = {}
    """A training → its GPUs, where they are others."""
    gpus_per_node: int | None = Field(default=None, ge=1)
    """GPUs of one machine; a training with more runs on several (`aquilamed join`). None: all are on one."""
    memory_gb: float = Field(gt=0)
    """Memory of one GPU (10⁹ bytes), or a process' share of the host's."""
    tflops: float | None = Field(default=None, gt=0)
    """Peak bf16 rate of one GPU without sparsity, in 10¹² operations a second; none leaves hours out."""
    utilisation: float = Field(default=0.4, gt=0, le=1)
    """Share of the peak that the model's own arithmetic reaches; checkpointing's second forward pass does not count."""
    layouts: list[Layout] = Field(default=["ddp", "zero2", "fsdp"], min_length=1)
    """How weights, gradients and optimizer may be spread: ddp (everything everywhere), zero2 (gradients and optimizer
    in shards), fsdp (weights too: FSDP2, ZeRO-3). The first that fits is taken; both shard with PyTorch's fully_shard."""
    offload: bool = False
    """Whether shards may lie in the host's memory when nothing else fits."""
    architecture: ArchitectureConfig | None = None
    """The numbers to plan with until the base model is fetched."""

    @model_validator(mode="after")
    def _whole_nodes(self) -> Self:
        if self.gpus_per_node is not None:
            for count in (self.gpus, *self.gpus_of.values()):
                if count > self.gpus_per_node and count % self.gpus_per_node:
                    raise ValueError(
                        f"{count} GPUs are no whole number of nodes with gpus_per_node {self.gpus_per_node}"
                    )
        return self

    def nodes(self, gpus: int) -> tuple[int, int]:
        """(machines, processes on each) of a training with this many GPUs."""
        per_node = min(gpus, self.gpus_per_node or gpus)
        return gpus // per_node, per_node
