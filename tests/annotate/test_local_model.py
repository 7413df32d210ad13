"""The local annotator with a tiny random model: labels come from log-probabilities, answers from generation."""

import json
from pathlib import Path
from typing import Any

import pytest

from aquilamed.annotate import ANSWER, COMPARE, DOMAIN, QUALITY, TURN, AnnotatorConfig, CallError, open_annotator
from aquilamed.annotate.local import distinguish, pick
from aquilamed.config import StageFailed
from aquilamed.progress import Progress


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level Llama of two layers with random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("model")
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(
        tokenizer_object=core, additional_special_tokens=["<|im_start|>"], **special
    ).save_pretrained(folder)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=4096, initializer_range=0.3, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def opened(model: Path, **changes: Any) -> Any:
    return open_annotator(AnnotatorConfig(kind="local", model=str(model), **changes), model, Progress(quiet=True))


def test_labels_are_the_likeliest_continuation_whatever_the_batch(model: Path) -> None:
    import torch

    items = [{"text": f"{'咳嗽' * n} text {n}"} for n in range(5)]
    annotator = opened(model, batch_size=3)
    answers = annotator.annotate(QUALITY, items)
    assert answers == opened(model, batch_size=1).annotate(QUALITY, items)
    loaded, tokenizer = annotator._model()
    for item, answer in zip(items, answers, strict=True):  # the same by a direct computation, without padding
        messages = [{"role": "user", "content": QUALITY.render(item)}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + '{"score": '
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            logits = loaded(ids).logits[0, -1]
        digits = [tokenizer.convert_tokens_to_ids(str(n)) for n in range(7)]
        assert answer.score == int(logits[digits].argmax())
    assert annotator.statistics()["tokens_in"] > 1000


def test_rounds_use_two_wordings_and_every_closed_rubric_works(model: Path) -> None:
    annotator = opened(model)
    item = {"text": "x", "dialogue": "d", "answer": "a", "answer_a": "a", "answer_b": "b"}
    for rubric in (DOMAIN, QUALITY, COMPARE, TURN):
        for round in (1, 2):
            [answer] = annotator.annotate(rubric, [item], round)
            assert isinstance(answer, rubric.schema)
    assert json.loads(annotator.annotate(TURN, [item])[0].model_dump_json()).keys() == TURN.schema.model_fields.keys()


def test_what_was_read_for_one_field_is_not_read_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{"dialogue": "咳嗽" * n, "answer": f"rest {n}", "answer_a": "a" * n, "answer_b": "b"} for n in range(1, 6)]
    once = opened(model, batch_size=3)
    answers = [once.annotate(rubric, items) for rubric in (TURN, COMPARE)]
    monkeypatch.setattr("aquilamed.annotate.local._Read.begins", lambda self, others: False)
    again = opened(model, batch_size=3)
    assert [again.annotate(rubric, items) for rubric in (TURN, COMPARE)] == answers
    assert len({a.model_dump_json() for a in answers[0]}) > 1
    assert again.statistics()["tokens_in"] > 3.5 * once.statistics()["tokens_in"]


def test_answers_are_generated_or_an_error(model: Path) -> None:
    [answer] = opened(model, max_tokens=8).annotate(ANSWER, [{"dialogue": "咳嗽怎么办？"}])
    assert isinstance(answer, ANSWER.schema | CallError)
    if isinstance(answer, CallError):
        assert answer.kind in ("truncated", "bad_schema")
    [long] = opened(model).annotate(DOMAIN, [{"text": "长" * 3000}])
    assert isinstance(long, CallError)
    assert long.kind == "too_long"


def test_labels_that_cannot_be_told_apart_are_an_error() -> None:
    assert distinguish([[1, 2, 3], [1, 4, 3]], ["a", "b"]) == ([1], [2, 4])
    with pytest.raises(StageFailed, match="cannot tell the labels a, b apart"):
        distinguish([[1, 2], [1, 2]], ["a", "b"])
    with pytest.raises(StageFailed, match="cannot tell"):
        distinguish([[1, 2, 9], [1, 2, 8], [1, 3, 9]], ["a", "b", "c"])
    assert pick([-1.0, -0.5]) == 1
    for undecided in ([-1.0, -1.0], [float("nan"), -1.0]):
        assert isinstance(pick(undecided), CallError)
