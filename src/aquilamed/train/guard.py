"""What stops a training before a bad step is taken: a loss that is no number, a spike, memory that is not there."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aquilamed.config import StageFailed
from aquilamed.train.spread import spreading

WINDOW, FIRST = 32, 8
"""A spike is measured against the median of this many steps' losses, once there are `FIRST`."""
SHOWN = 20


def guarded(trainer: type[Any]) -> type[Any]:
    """A trainer class that remembers which records and which losses an optimiser step consists of."""

    class Guarded(spreading(trainer)):  # type: ignore[misc]
        records: list[str]
        losses: list[Any]

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.records = [*getattr(self, "records", []), *inputs.pop("records", [])]
            loss = super().training_step(model, inputs, *args, **kwargs)
            self.losses = [*getattr(self, "losses", []), loss]
            return loss.nan_to_num(0.0, 0.0, 0.0)  # Trainer's running sum would be no number for ever after

        def taken(self) -> tuple[float, list[str]]:
            """The loss (of all processes) and the records (of this one) of the step that is about to be taken; forgets them."""
            import torch

            loss = torch.stack([x.detach().float() for x in self.losses]).sum()
            records, self.records, self.losses = self.records, [], []
            return float(self.accelerator.reduce(loss, "mean")), records

    return Guarded


def trouble(loss: float, before: list[float], spike: float | None) -> str | None:
    """What is wrong with a step's loss given those before it; None when nothing is."""
    import math

    if not math.isfinite(loss):
        return f"the loss is {loss}"
    recent = [x for x in before if math.isfinite(x)][-WINDOW:]
    if spike is not None and len(recent) >= FIRST:
        usual = statistics.median(recent)
        if loss > spike * usual:
            return f"the loss is {loss:.4f}, over {spike:g} times the usual {usual:.4f}"
    return None


def shown(records: list[str]) -> str:
    """A batch's records for a message."""
    more = len(records) - SHOWN
    return ", ".join(records[:SHOWN]) + (f" and {more} more" if more > 0 else "") or "unknown"


@contextmanager
def memory_explained(model: Any, config: Any, tokens: int) -> Iterator[None]:
    """Turn "out of memory" into `StageFailed` that names what to change and about what each change saves.

    Args:
        tokens: of one forward pass.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not (isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text):
            raise
        raise StageFailed(f"out of memory; {advice(model, config, tokens)} ({text.splitlines()[0][:200]})") from error


def advice(model: Any, config: Any, tokens: int) -> str:
    """What would save memory, in GB by arithmetic: 16 bytes a trained parameter, and the activations of a pass."""
    size = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept = activation_bytes(model.config.get_text_config(), tokens)
    hints = []
    if config.micro_batch > 1:
        hints.append(
            f"micro_batch 1 instead of {config.micro_batch} saves about {_gb(kept * (1 - 1 / config.micro_batch))}"
        )
    else:
        hints.append(f"half the length saves about {_gb(kept / 2)}")
    if config.method == "full":
        hints.append(f"method lora saves about {_gb(12 * trained)}")
    if model.device.type != "cpu" and config.gradient_checkpointing is False:
        hints.append(f"gradient_checkpointing saves about {_gb(kept * 0.8)}")
    return f"{size / 1e6:.0f} M parameters, {tokens} tokens a pass: " + "; ".join(hints)


def activation_bytes(config: Any, tokens: int, width: int = 4) -> float:
    """About what a forward pass keeps for its backward pass: a Llama layer's tensors, `width` bytes an element."""
    hidden = int(config.hidden_size)
    inner = int(getattr(config, "intermediate_size", 4 * hidden))
    return float(width * tokens * int(config.num_hidden_layers) * (14 * hidden + 4 * inner))


def _gb(size: float) -> str:
    return f"{size / 2**30:.1f} GB"
