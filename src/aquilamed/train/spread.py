"""A Trainer over many processes: rows split without repetition, and checkpoints that any number of processes reads.

Plain DDP is Trainer's own. For sharded models (shard.py) this takes over what Trainer would leave to accelerate.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aquilamed.train import ranks
from aquilamed.train.shard import is_sharded, load_optimizer, load_whole, weights_of, whole_optimizer, whole_state

NOTHING: dict[str, Any] = {"input_ids": [0, 0], "position_ids": [0, 1], "labels": [-100, -100], "records": []}
"""A row without anything to learn."""


class Rows:
    """Training rows; one index behind the last is the row of nothing."""

    def __init__(self, rows: ranks.Indexed) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return NOTHING if index == len(self.rows) else self.rows[index]


class Filled:
    """A sampler's indices, filled up to a multiple of what all processes take at once.

    accelerate would repeat rows instead, and the last step of an epoch would not be that of one process.
    """

    def __init__(self, sampler: Any, multiple: int) -> None:
        self.sampler, self.multiple = sampler, multiple

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.multiple) * self.multiple

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler
        for _ in range(len(self) - len(self.sampler)):
            yield len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """The epoch decides the order."""
        self.sampler.set_epoch(epoch)


def spreading(trainer: type[Any]) -> type[Any]:
    """A trainer class for any number of processes."""

    class Spread(trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            loader = super().get_train_dataloader()
            if ranks.count() > 1 and isinstance(self.train_dataset, Rows):
                batches = loader.batch_sampler.batch_sampler  # below accelerate's, which gives each process its own
                batches.sampler = Filled(batches.sampler, batches.batch_size * ranks.count())
            return loader

        def _move_model_to_device(self, model: Any, device: Any) -> None:
            if not is_sharded(model):  # shards are where they belong, perhaps in the host's memory
                super()._move_model_to_device(model, device)

        def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
            if is_sharded(self.model):  # accelerate would put DDP around it
                self.accelerator.prepare_model = functools.partial(self.accelerator.prepare_model, evaluation_mode=True)
            return super()._prepare_for_training(*args, **kwargs)

        def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
            if not is_sharded(self.model):
                super().save_model(output_dir, _internal_call)
            else:
                state = whole_state(self.model)
                self._save(output_dir, state_dict=state)

        def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
            if not is_sharded(self.model):
                super()._save_optimizer_and_scheduler(output_dir)
                return
            import torch

            state = whole_optimizer(self.optimizer)
            if ranks.index() == 0:
                torch.save(state, Path(output_dir) / "optimizer.pt")
                torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            if is_sharded(self.model):
                load_whole(self.model, weights_of(Path(resume_from_checkpoint)))
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            if checkpoint is None or not is_sharded(self.model):
                super()._load_optimizer_and_scheduler(checkpoint)
                return
            import torch

            folder = Path(checkpoint)
            load_optimizer(
                self.optimizer, torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True, mmap=True)
            )
            self.lr_scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=True))

        def _load_best_model(self) -> None:
            if is_sharded(self.model):
                self._load_from_checkpoint(self.state.best_model_checkpoint)
            else:
                super()._load_best_model()

    return Spread
