"""Complexity × quality from score tokens: the expectation, the averages over rounds, and no default score."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch

import tiny_model
from aquilamed.config import StageFailed
from aquilamed.instruct.deita import DeitaConfig, expectation, run, score_frame, score_tokens
from aquilamed.models import ModelConfig, load_tokenizer
from aquilamed.records import read_parts


def messages(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)]


def test_expectation_by_hand() -> None:
    assert expectation(torch.zeros(1, 6)) == [pytest.approx(3.5)]
    assert expectation(torch.tensor([[0.0, 0, 0, 0, 0, 50.0]])) == [pytest.approx(6.0)]
    assert expectation(torch.log(torch.tensor([[1.0, 1, 2, 1e-30, 1e-30, 1e-30]]))) == [pytest.approx(2.25)]


def test_scores_are_means_over_rounds_and_a_failure_drops_the_record() -> None:
    frame = pl.DataFrame({"id": ["one", "two", "bad", "none"], "messages": [
        messages("q1", "a1"), messages("q2", "a2", "q3", "a3"), messages("q?", "a"), messages("q"),
    ]})  # fmt: skip
    scores = {"q1": (2.0, 3.0), "q2": (1.0, 4.0), "q3": (3.0, 6.0), "q?": "no answer came"}
    scored = score_frame(frame, lambda items: [scores[r.question] for r in items])
    assert scored["deita"].to_list() == [6.0, 11.0, None, None]
    assert scored["complexity"].to_list() == [2.0, 2.0, None, None]
    assert scored["reason"].to_list() == [None, None, "deita.unscored", "deita.unscored"]
    assert scored["detail"][2] == "no answer came"


def test_a_tokenizer_without_single_score_tokens_is_refused() -> None:
    class Letters:
        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [ord(c) if c not in "56" else 0 for c in text]}

    with pytest.raises(StageFailed, match="no single token"):
        score_tokens(Letters())


def test_the_model_scorer_is_one_softmax_over_score_tokens(tmp_path: Path) -> None:
    from aquilamed.instruct.deita import COMPLEXITY_PROMPT
    from aquilamed.models import load_model

    base = tiny_model.build(tmp_path / "base")
    frame = pl.DataFrame(
        {"id": ["a", "b"], "messages": [messages("发热怎么办？", "多喝水。"), messages("Fever?", "Rest.")]}
    )
    before = tiny_model.table(tmp_path, "instruct/safety", frame)
    ctx = tiny_model.context(tmp_path, base, {"instruct/safety": before})
    metrics = run(ctx, DeitaConfig()).metrics
    kept = read_parts(ctx.out / "kept")
    config = ModelConfig(path=str(base))
    model, tokenizer = load_model(config), load_tokenizer(config)
    separator, tokens = score_tokens(tokenizer)
    ids = tokenizer(COMPLEXITY_PROMPT.format(question="Fever?") + separator + "1")["input_ids"][:-1]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1, tokens]
    by_hand = float(torch.softmax(logits, -1) @ torch.arange(1.0, 7.0))
    assert kept["complexity"][1] == pytest.approx(by_hand, abs=1e-4)
    assert math.isclose(metrics["deita"]["mean"], kept["deita"].mean(), rel_tol=1e-9)
    assert metrics["truncated_texts"] == 0
