"""Complexity × quality from score tokens: the expectation, the averages over rounds, and no default score."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch

import tiny_model
from aquilamed.config import StageFailed
from aquilamed.instruct.deita import DeitaConfig, run, score_frame
from aquilamed.instruct.scorers import ScorePrompts, expectation, fill, score_tokens
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
    scored = score_frame(frame, lambda items: [scores[r.question] for r in items], "model")
    assert scored["deita"].to_list() == [6.0, 11.0, None, None]
    assert scored["complexity"].to_list() == [2.0, 2.0, None, None]
    assert scored["reason"].to_list() == [None, None, "deita.unscored", "deita.unscored"]
    assert scored["detail"][2] == "no answer came"
    assert scored["scored_by"].to_list() == ["model", "model", None, None]


def test_a_tokenizer_without_single_score_tokens_is_refused() -> None:
    class Letters:
        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [ord(c) if c not in "56" else 0 for c in text]}

    with pytest.raises(StageFailed, match="no single token"):
        score_tokens(Letters())


def test_the_model_scorer_is_one_softmax_over_score_tokens(tmp_path: Path) -> None:
    from aquilamed.models import load_model

    base = tiny_model.build(tmp_path / "base")
    frame = pl.DataFrame(
        {"id": ["a", "b"], "messages": [messages("发热怎么办？", "多喝水。"), messages("Fever?", "Rest.")]}
    )
    before = tiny_model.table(tmp_path, "instruct/topics", frame)
    ctx = tiny_model.context(tmp_path, base, {"instruct/topics": before})
    metrics = run(ctx, DeitaConfig()).metrics
    kept = read_parts(ctx.out / "kept")
    config = ModelConfig(path=str(base))
    model, tokenizer = load_model(config), load_tokenizer(config)
    separator, tokens = score_tokens(tokenizer)
    ids = tokenizer(ScorePrompts().complexity.replace("{question}", "Fever?") + separator + "1")["input_ids"][:-1]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1, tokens]
    by_hand = float(torch.softmax(logits, -1) @ torch.arange(1.0, 7.0))
    assert kept["complexity"][1] == pytest.approx(by_hand, abs=1e-4)
    assert math.isclose(metrics["deita"]["mean"], kept["deita"].mean(), rel_tol=1e-9)
    assert metrics["truncated_texts"] == 0
    assert 0 < metrics["score_token_mass"] < 1
    assert metrics["scored_by"] == {"model": 2}
    assert sum(map(sum, metrics["grid"])) == 2


def test_two_models_and_pasted_prompts(tmp_path: Path) -> None:
    """Two models, prompts of one's own: each score comes from its own model; a space at a prompt's end is not doubled."""
    one, two = tiny_model.build(tmp_path / "one"), tiny_model.build(tmp_path / "two", seed=1)
    frame = pl.DataFrame({"id": ["a"], "messages": [messages("Fever? {answer}", "Rest.")]})
    before = tiny_model.table(tmp_path, "instruct/topics", frame)
    ctx = tiny_model.context(tmp_path, tmp_path / "unused", {"instruct/topics": before})
    prompts = {"complexity": "Ask: {question}\nScore: ", "quality": "{answer} to {question}:"}
    config = DeitaConfig(model={"path": str(one)}, quality_model={"path": str(two)}, prompts=prompts)
    run(ctx, config)
    kept = read_parts(ctx.out / "kept")
    assert kept["complexity"][0] == pytest.approx(by_hand(one, "Ask: Fever? {answer}\nScore: "), abs=1e-4)
    assert kept["quality"][0] == pytest.approx(by_hand(two, "Rest. to Fever? {answer}: "), abs=1e-4)


def by_hand(folder: Path, prompt: str) -> float:
    from aquilamed.models import load_model

    config = ModelConfig(path=str(folder))
    model, tokenizer = load_model(config), load_tokenizer(config)
    rows = [tokenizer(prompt + str(n))["input_ids"] for n in range(1, 7)]
    with torch.no_grad():
        logits = model(torch.tensor([rows[0][:-1]])).logits[0, -1, [r[-1] for r in rows]]
    return float(torch.softmax(logits, -1) @ torch.arange(1.0, 7.0))


def test_a_prompt_that_the_model_cannot_read_is_an_error_record(tmp_path: Path) -> None:
    base = tiny_model.build(tmp_path / "base")  # reads 512 tokens
    long = "fever " * 400
    frame = pl.DataFrame({"id": ["a", "b"], "messages": [messages("Fever?", "Rest."), messages(long, long)]})
    before = tiny_model.table(tmp_path, "instruct/topics", frame)
    ctx = tiny_model.context(tmp_path, base, {"instruct/topics": before})
    run(ctx, DeitaConfig(max_tokens=4000))
    dropped = read_parts(ctx.out / "dropped")
    assert dropped["id"].to_list() == ["b"]
    assert dropped["reason"].to_list() == ["deita.unscored"]
    assert "the model reads 512" in dropped["detail"][0]


@pytest.mark.parametrize("prompt", ["no place", "{question} and {answer}:", "Score {question}"])
def test_prompts_without_their_places_are_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match="place"):
        ScorePrompts(complexity=prompt)


def test_a_question_that_holds_a_place_is_not_filled_again() -> None:
    assert fill("{question}|{answer}", "say {answer}", "x{question}") == "say {answer}|x{question}"
