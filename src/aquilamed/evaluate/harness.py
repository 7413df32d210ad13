"""lm-evaluation-harness on questions in memory: nothing is downloaded, nothing is drawn on the terminal."""

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any

from aquilamed.evaluate.prompts import Sheet

ANSWER_TOKENS = 16
"""A base model's letters and the line feed behind them."""


def open_model(model: Any, tokenizer: Any, batch_size: int) -> Any:
    """A loaded model as the harness sees it."""
    from aquilamed.evaluate.shared_prefix import SharedPrefixLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    length = model.config.max_position_embeddings
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    length = model.config.max_position_embeddings
    lm = SharedPrefixLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=length)
    lm.together = batch_size
    return lm


def likelihoods(lm: Any, task: str, sheets: Sequence[Sheet], chat: bool = False) -> list[list[float]]:
    """Log-likelihood of every option letter of every question. A letter is one token, so a question is one forward pass.

    Args:
        lm: a model of the harness.
        chat: put the prompt into the chat template, as a user's message.
    """
    # Behind "Answer:" comes " B"; behind the template's opening of the assistant's turn comes "B".
    space = "" if chat else " "
    docs = [
        {"number": n, "prompt": s.prompt, "choices": [f"{space}{letter}" for letter in s.letters], "gold": 0}
        for n, s in enumerate(sheets)
    ]
    settings = {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",  # right or wrong is decided by us
        "target_delimiter": "",
    }
    return [[float(r[0]) for r in responses] for responses in _evaluate(lm, task, docs, settings, chat)]


def generations(
    lm: Any, task: str, sheets: Sequence[Sheet], chat: bool = False, max_tokens: int = ANSWER_TOKENS
) -> list[str]:
    """The greedy answer to every question: one line without a chat template, up to `max_tokens` with it."""
    docs = [{"number": n, "prompt": s.prompt, "gold": ""} for n, s in enumerate(sheets)]
    until = [] if chat else ["\n"]
    settings = {
        "output_type": "generate_until",
        "doc_to_target": "gold",
        "generation_kwargs": {"until": until, "do_sample": False, "max_gen_toks": max_tokens},
        "metric_list": [{"metric": "bypass"}],
    }
    return [str(responses[0]) for responses in _evaluate(lm, task, docs, settings, chat)]


def _evaluate(lm: Any, task: str, docs: list[dict[str, Any]], settings: dict[str, Any], chat: bool) -> list[list[Any]]:
    """The harness' responses per document, in order."""
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate

    if not docs:
        return []

    class LocalTask(ConfigurableTask):  # type: ignore[misc]
        """A harness task on documents in memory."""

        def download(self, dataset_kwargs: Any = None, **kwargs: Any) -> None:
            self.dataset = datasets.DatasetDict({"test": datasets.Dataset.from_list(docs)})

    local = LocalTask(
        config={
            "task": f"aquilamed_{task}",
            "test_split": "test",
            "doc_to_text": "prompt",
            "num_fewshot": 0,  # the examples are in the prompt: fixed, and named in the result
            "metadata": {"version": 1},
            **settings,
        }
    )
    local.set_fewshot_seed(seed=0)
    with contextlib.redirect_stderr(io.StringIO()):  # the harness draws bars that cannot be switched off
        # Not `simple_evaluate`: it reads the harness' own 13,000 task files first (7 CPU-seconds a call) for one of ours.
        output = evaluate(lm, {local.config.task: local}, bootstrap_iters=0, log_samples=True, apply_chat_template=chat)
    (samples,) = output["samples"].values()
    found: list[list[Any]] = [[] for _ in docs]
    for sample in samples:
        found[sample["doc"]["number"]] = list(sample["filtered_resps"])
    return found
