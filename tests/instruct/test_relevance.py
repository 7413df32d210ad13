"""Context Relevance in two batched passes equals equations 1–3 computed turn by turn."""

from pathlib import Path

import pytest
import torch

import tiny_model
from aquilamed.instruct.relevance import relevance, turn_tokens
from aquilamed.instruct.rounds import Round
from aquilamed.models import ModelConfig, load_model, load_tokenizer

DIALOGUES = [
    [
        Round("I have a fever.", "Since when?"),
        Round("Two days.", "Drink water and rest."),
        Round("Thanks.", "Get well."),
    ],
    [Round("心脏不舒服", "多久了？"), Round("三天。", "请做心电图。")],
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory):
    config = ModelConfig(path=str(tiny_model.build(tmp_path_factory.mktemp("m"))))
    return load_model(config), load_tokenizer(config)


def mean_nll(model, history: list[int], turn: list[int]) -> float:
    """-(1/N) Σ log P(w_ij | H, w_i<j) over the turn's tokens behind its opening mark, by one plain pass."""
    with torch.no_grad():
        logs = torch.log_softmax(model(torch.tensor([history + turn])).logits[0].double(), -1)
    places = range(len(history) + 1, len(history) + len(turn))
    return -sum(float(logs[p - 1, (history + turn)[p]]) for p in places) / len(places)


def test_equal_to_the_naive_computation(loaded) -> None:
    model, tokenizer = loaded
    found = relevance(model, tokenizer, DIALOGUES, max_tokens=512)
    for dialogue, values in zip(DIALOGUES, found, strict=True):
        history: list[int] = []
        assert values[0] is None
        for turn, value in zip(dialogue, values, strict=True):
            ids = turn_tokens(tokenizer, turn)
            if history:
                assert value == pytest.approx(mean_nll(model, history, ids) / mean_nll(model, [], ids), abs=1e-5)
            history += ids


def test_a_turn_behind_the_limit_has_no_value(loaded) -> None:
    model, tokenizer = loaded
    first = len(turn_tokens(tokenizer, DIALOGUES[0][0]))
    second = len(turn_tokens(tokenizer, DIALOGUES[0][1]))
    values = relevance(model, tokenizer, DIALOGUES[:1], max_tokens=first + second)[0]
    assert values[1] is not None
    assert values[2] is None


def test_the_real_model_tells_a_repeated_turn_from_a_new_one(tmp_path: Path) -> None:
    config = ModelConfig(path="smollm2-135m")
    ask = Round("What helps against a dry cough?", "Warm drinks with honey, and resting the voice.")
    other = Round("How do I file my income tax?", "Use the form that the tax office sends in spring.")
    follow = Round("Can I give the honey to my baby too?", "No, never honey before the first birthday.")
    values = relevance(load_model(config), load_tokenizer(config), [[ask, ask], [ask, other], [ask, follow]], 512)
    repeated, unrelated, fitting = (v[1] for v in values)
    assert repeated < fitting < unrelated
