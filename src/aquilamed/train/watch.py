"""The callback of every training: progress, the marks of complete checkpoints, and a look at each loss before its step."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aquilamed.config import StageFailed
from aquilamed.records import write_json
from aquilamed.stage import Context
from aquilamed.train import ranks
from aquilamed.train.checkpoints import COMPLETE
from aquilamed.train.guard import shown, trouble


def watching(
    ctx: Context,
    config: Any,
    trainer: Any,
    label: str,
    stack: ExitStack,
    on_log: Callable[[int, dict[str, float]], None] | None,
) -> Any:
    """The callback that shows progress, marks checkpoints as complete, and looks at every loss before its step."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc]
        started = 0.0
        seen = 0
        note = ""
        skipped: float | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.started, self.seen = time.perf_counter(), int(state.num_input_tokens_seen)
            self.bar = stack.enter_context(
                ctx.progress.track(label, total=state.max_steps, unit="step", done=state.global_step)
            )

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            loss, records = trainer.taken()
            before = [h["loss"] for h in state.log_history if "loss" in h and not h.get("skipped")]
            wrong = trouble(loss, before, config.spike)
            self.skipped = None if wrong is None else loss
            if wrong is None:
                return
            records = [name for names in ranks.gathered(records) for name in names]
            said = f"step {state.global_step + 1}: {wrong}; its records: {shown(records)}"
            if config.on_spike == "stop":
                raise StageFailed(f"{said}. Look at them, lower the learning rate, or set on_spike: skip")
            ctx.progress.say(f"  {said}. The step was left out.")
            for parameter in trainer.model.parameters():
                parameter.grad = None  # an optimiser leaves such a parameter, its moments and its decay alone

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            speed = (state.num_input_tokens_seen - self.seen) / (time.perf_counter() - self.started)
            self.bar.advance(note=f"{self.note}  {speed:,.0f} tokens/s")

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is None:
                return
            if self.skipped is not None:
                state.log_history[-1] |= {"skipped": True, "loss": self.skipped}
            self.note = f"loss {loss:.4f}"
            if on_log is not None:
                on_log(int(state.global_step), logs)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ranks.wait()  # every process has a file of its own in it
            if ranks.index() == 0:
                write_json(
                    Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE, {"step": state.global_step}
                )

    return Watch()
