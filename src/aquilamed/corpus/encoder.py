"""The transformers student: an encoder with a classification or regression head, fine-tuned as in the paper.

A tenth of the training part chooses the best epoch (accuracy, or mean absolute error), so that the held-out records
stay untouched until the report.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aquilamed.config import Invalid
from aquilamed.corpus.student import CARD, Floats, StudentConfig, Task
from aquilamed.models import find_model
from aquilamed.records import write_json

_PREDICT_BATCH = 32


class Encoder:
    """A fine-tuned encoder."""

    def __init__(self, card: dict[str, Any], model: Any, tokenizer: Any) -> None:
        self.card, self.model, self.tokenizer = card, model.eval(), tokenizer

    @classmethod
    def load(cls, folder: Path, card: dict[str, Any]) -> "Encoder":
        """Load what `save` wrote."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        if multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # one of many workers: the engine has a process for every core
        model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        return cls(card, model, AutoTokenizer.from_pretrained(folder))

    def save(self, folder: Path) -> None:
        """See `Student.save`."""
        self.model.config._name_or_path = ""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_json(folder / CARD, self.card)

    def predict(self, texts: Sequence[str]) -> Floats:
        """See `Student.predict`. Texts of similar length share a batch."""
        import torch

        cut = [t[: self.card["max_chars"]] for t in texts]
        order = sorted(range(len(cut)), key=lambda i: (len(cut[i]), i))
        values = np.zeros(len(cut))
        with torch.inference_mode():
            for start in range(0, len(order), _PREDICT_BATCH):
                rows = order[start : start + _PREDICT_BATCH]
                logits = self.model(**self.encode([cut[i] for i in rows])).logits.float()
                values[rows] = self._values(logits).cpu().numpy()
        return values

    def _values(self, logits: Any) -> Any:
        if self.card["task"] == "classify":
            return logits.softmax(-1)[:, 1]
        return logits[:, 0] * self.card["scale"] + self.card["mean"]

    def encode(self, texts: list[str]) -> dict[str, Any]:
        """Model inputs for a batch, on the model's device."""
        length = min(self.card["max_length"], self.model.config.max_position_embeddings)
        batch = self.tokenizer(texts, truncation=True, max_length=length, padding=True, return_tensors="pt")
        return {k: v.to(self.model.device) for k, v in batch.items()}


def train_encoder(
    task: Task, texts: list[str], targets: Floats, weights: Floats, config: StudentConfig, seed: int
) -> Encoder:
    """Fine-tune the encoder; returns its best epoch. Raises `Invalid` when the encoder cannot be loaded."""
    import torch

    torch.manual_seed(seed)
    mean, scale = (float(targets.mean()), float(targets.std()) or 1.0) if task == "regress" else (0.0, 1.0)
    card = {"backend": "transformers", "task": task, "max_length": config.max_length, "max_chars": config.max_chars}
    encoder = Encoder({**card, "mean": mean, "scale": scale}, *_start(task, config))
    shuffled = np.random.default_rng(seed).permutation(len(texts))
    checked, trained = np.split(shuffled, [max(1, len(texts) // 10)])
    batches = -(-len(trained) // config.batch_size)
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    steps = batches * config.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    best, best_state = -float("inf"), None
    for epoch in range(config.epochs):
        encoder.model.train()
        for rows in _batches(trained, config.batch_size, seed + epoch):
            inputs = encoder.encode([texts[i] for i in rows])
            loss = _loss(task, encoder.model(**inputs).logits, (targets[rows] - mean) / scale, weights[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(encoder.model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        encoder.model.eval()
        figure = _figure(task, encoder.predict([texts[i] for i in checked]), targets[checked])
        if figure > best:
            best, best_state = figure, {k: v.detach().clone() for k, v in encoder.model.state_dict().items()}
    if best_state is not None:
        encoder.model.load_state_dict(best_state)
    return encoder


def _start(task: Task, config: StudentConfig) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    labels = 2 if task == "classify" else 1
    where = find_model(config.model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where)
        model = AutoModelForSequenceClassification.from_pretrained(
            where,
            num_labels=labels,
            ignore_mismatched_sizes=True,  # the head is new: one for other labels may be there
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise Invalid(
            f"cannot load the encoder {config.model!r} ({first}); give a folder or a hub id, or set backend: sklearn"
        ) from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def _rate(step: int, steps: int) -> float:
    """Share of the peak rate: up over the first tenth, then down to nothing."""
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))


def _batches(rows: Any, size: int, seed: int) -> Iterator[Any]:
    shuffled = np.random.default_rng(seed).permutation(rows)
    for start in range(0, len(shuffled), size):
        yield shuffled[start : start + size]


def _loss(task: Task, logits: Any, targets: Floats, weights: Floats) -> Any:
    import torch

    weight = torch.tensor(weights, dtype=torch.float32, device=logits.device)
    if task == "classify":
        wanted = torch.tensor(targets, dtype=torch.long, device=logits.device)
        each = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    else:
        each = (logits[:, 0].float() - torch.tensor(targets, dtype=torch.float32, device=logits.device)) ** 2
    return (each * weight).sum() / weight.sum()


def _figure(task: Task, predicted: Floats, targets: Floats) -> float:
    """What the best epoch is chosen by; more is better."""
    if task == "classify":
        return float(((predicted >= 0.5) == (targets >= 0.5)).mean())
    return -float(np.abs(predicted - targets).mean())
