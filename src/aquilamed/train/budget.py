"""Memory, arithmetic and disk of a training, by formula.

All are upper bounds for rows that are full; bytes are counted per device. T is the tokens of a forward pass on one device.
The formulae follow what PyTorch keeps for the backward pass of a Llama-style layer (bench: benchmarks/memory.py).
"""

from dataclasses import asdict, dataclass

from aquilamed.train.hardware import Layout
from aquilamed.train.head import GPU_SLICE_BYTES, SLICE_BYTES
from aquilamed.train.shape import Shape

RUNTIME = 10**9
"""Bytes of a GPU that are nobody's: CUDA's context, kernels' workspaces, NCCL's buffers."""
FLOAT32 = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Setup:
    """How a step is run. `weights` are the bytes of a weight (its gradient and both moments have the same type; adapters are
    float32 whatever the model is, as PEFT makes them)."""

    tokens: int
    layout: Layout
    devices: int
    gpu: bool = True
    weights: int = 4
    accumulates: bool = True
    checkpointing: bool = False
    compiled: bool = False
    """Whether layers are compiled on a GPU; not together with checkpointing."""
    offload: bool = False
    answers: int = 1
    """Rows per record: 2 in DPO."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device; `host` are those of its shards in the host's memory."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    runtime: int
    total: int
    host: int

    def gigabytes(self) -> dict[str, float]:
        """In 10⁹ bytes."""
        return {name: round(value / 1e9, 2) for name, value in asdict(self).items()}


def memory(shape: Shape, trained: int, adapters: int, setup: Setup) -> Memory:
    """Peak memory of a step.

    - single device or DDP: weights, gradients (in DDP a second time, as buckets), two moments; on a GPU with float32
      weights a bf16 copy that autocast keeps.
    - ZeRO-2: of everything a shard; and the whole weights in bf16 until the backward pass is done.
    - FSDP2 (ZeRO-3): shards, and in bf16 the embeddings and two layers at a time.
    - offload: shards lie in the host's memory.

    Args:
        trained: parameters with a gradient.
        adapters: parameters that LoRA adds, part of `trained`.
    """
    devices = setup.devices
    learns = FLOAT32 if adapters else setup.weights  # bytes of what has a gradient
    layer = shape.blocks // max(1, shape.layers)
    outside = shape.parameters - shape.blocks
    half = 2 if setup.gpu else setup.weights
    if setup.layout == "ddp" or devices == 1:
        copies = 2 if devices > 1 else 1
        cast = 2 * (shape.parameters - shape.looked_up) if setup.gpu and setup.weights > 2 else 0
        gathered, reduced, share = cast, 0, 1
    else:
        copies, share = 1, devices
        gathered = half * (shape.parameters if setup.layout == "zero2" else outside + 2 * layer)
        reduced = half * (outside + layer) if not adapters else 0
    weights = (setup.weights * shape.parameters + FLOAT32 * adapters) // share
    gradients = learns * trained * copies // share
    optimizer = 2 * learns * trained // share
    host = weights + gradients + optimizer if setup.offload else 0
    activations, logits = _activations(shape, setup, adapters), _logits(shape, setup, trained)
    runtime = RUNTIME if setup.gpu else 0
    held = (0 if setup.offload else weights) + gathered
    grads = (0 if setup.offload else gradients) + reduced
    moments = 0 if setup.offload else optimizer
    # Without accumulation gradients grow while activations go: both are never there in full.
    both = grads + activations + logits if setup.accumulates else max(grads, activations + logits)
    return Memory(held, grads, moments, activations, logits, runtime, held + moments + both + runtime, host)


def _activations(shape: Shape, setup: Setup, adapters: int) -> int:
    """What a layer keeps, in elements of a token: two norms keep input, normalised and output (6 h); attention its
    queries, keys, values and result; the gated feed-forward part four times its width. In float32 all have four bytes;
    under autocast norms stay float32 and their outputs are there in bf16 too, the rest is bf16.

    Compiled layers keep the residual stream twice and the rest in bf16; norms are computed again.
    With checkpointing each layer keeps its input, and one layer at a time all of this. With adapters on a CPU the heap has
    holes from the second step on, about as large as what their layers put out (measured, not derived; see docs/log.md);
    where all weights learn, the moments fill them.
    """
    inside = 2 * shape.queries + 2 * shape.keys + 4 * shape.ffn
    if not setup.gpu:
        holes = 2 * shape.hidden + shape.queries + 2 * shape.keys + 2 * shape.ffn if adapters else 0
        layer, row = 4 * (6 * shape.hidden + inside + holes), 4 * shape.hidden
    elif setup.compiled:
        layer, row = 8 * shape.hidden + 2 * inside, setup.weights * shape.hidden
    elif setup.weights > 2:
        layer, row = 28 * shape.hidden + 2 * inside, 4 * shape.hidden
    else:
        layer, row = 20 * shape.hidden + 2 * inside, 2 * shape.hidden
    # The backward pass of a layer holds the gradients of its widest parts for a moment.
    moment = (4 if not setup.gpu else 2) * (3 * shape.ffn + 2 * shape.hidden)
    kept = shape.layers * row + layer if setup.checkpointing else shape.layers * layer
    return setup.tokens * setup.answers * (kept + moment + 4 * row)


def _logits(shape: Shape, setup: Setup, trained: int) -> int:
    """A slice of the logits with its exponentials and their gradient, and the head's gradient in float32 where it learns."""
    tokens = setup.tokens * setup.answers
    chunk = min(4 * tokens * shape.vocabulary, GPU_SLICE_BYTES if setup.gpu else SLICE_BYTES)
    early = 4 * shape.vocabulary * shape.hidden if trained >= shape.blocks else 0
    return 3 * chunk + early


def flops(shape: Shape, tokens: float, length: int, trains_all: bool = True) -> float:
    """The model's arithmetic of a training on so many tokens: 6 per weight in a product and token (4 where frozen
    weights need no gradient), and 6 · layers · width · length per token for causal attention in full rows."""
    per_weight = 6 if trains_all else 4
    attention = 6 * shape.layers * shape.queries * length
    return tokens * (per_weight * (shape.parameters - shape.looked_up) + attention)


def disk(shape: Shape, trained: int, adapters: int, weights: int, checkpoints: int) -> int:
    """Bytes of all checkpoints (weights or adapters, and both moments), one more while it is written, and the model."""
    one = 3 * FLOAT32 * adapters if adapters else weights * (shape.parameters + 2 * trained)
    return (checkpoints + 1) * one * bool(checkpoints) + weights * shape.parameters
