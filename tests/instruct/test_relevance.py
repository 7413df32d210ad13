"""Context Relevance in packed passes equals equations 1–3 computed turn by turn."""

from pathlib import Path

import families
import polars as pl
import pytest
import torch

import tiny_model
from aquilamed.instruct.relevance import RelevanceConfig, Tokens, relevance, run, turn_tokens
from aquilamed.instruct.rounds import Round
from aquilamed.losses import can_pack
from aquilamed.models import ModelConfig, begin_ids, load_model, load_tokenizer
from aquilamed.records import read_parts

DIALOGUES = [
    [
        Round("I have a fever.", "Since when?"),
        Round("Two days.", "Drink water and rest."),
        Round("Thanks.", "Get well."),
    ],
    [Round("心脏不舒服", "多久了？"), Round("三天。", "请做心电图。")],
    [Round("Fever 发热 again?", ""), Round("", "Rest."), Round("", ""), Round("Two days.", "Drink water and rest.")],
    [Round("One turn only.", "Yes.")],
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory):
    config = ModelConfig(path=str(tiny_model.build(tmp_path_factory.mktemp("m"))))
    return load_model(config), load_tokenizer(config)


@pytest.fixture(scope="module")
def real():
    config = ModelConfig(path="smollm2-135m")
    return load_model(config), load_tokenizer(config)


def mean_nll(model, history: list[int], turn: Tokens) -> float:
    """-(1/N) Σ log P(w_ij | H, w_i<j) over what is said in the turn, by one plain pass."""
    row = [*history, *turn.ids]
    with torch.no_grad():
        logs = torch.log_softmax(model(torch.tensor([row])).logits[0].double(), -1)
    places = [len(history) + place for place in turn.words]
    return -sum(float(logs[p - 1, row[p]]) for p in places) / len(places)


def after(tokenizer, turn: Tokens) -> Tokens:
    """A turn as it goes on from its history: the begin token of a tokenizer that has one stands before the first only."""
    begin = len(begin_ids(tokenizer))
    return Tokens(turn.ids[begin:], tuple(place - begin for place in turn.words))


def naive(model, tokenizer, dialogue: list[Round]) -> list[float | None]:
    """The equations as they stand."""
    history: list[int] = []
    values: list[float | None] = []
    for turn in dialogue:
        tokens = turn_tokens(tokenizer, turn)
        scored = history and tokens.words
        values.append(
            mean_nll(model, history, after(tokenizer, tokens)) / mean_nll(model, [], tokens) if scored else None
        )
        history += after(tokenizer, tokens).ids if history else tokens.ids
    return values


def assert_equal(found: list[list[float | None]], expected: list[list[float | None]], within: float) -> None:
    for values, others in zip(found, expected, strict=True):
        assert values == [None if v is None else pytest.approx(v, abs=within) for v in others]


def test_equal_to_the_naive_computation(loaded) -> None:
    model, tokenizer = loaded
    found = relevance(model, tokenizer, DIALOGUES, max_tokens=512)
    assert_equal(found, [naive(model, tokenizer, d) for d in DIALOGUES], within=1e-5)


def test_a_begin_token_stands_once_in_a_dialogue(tmp_path: Path) -> None:
    config = ModelConfig(path=str(families.saved("llama", tmp_path)))
    model, tokenizer = load_model(config), load_tokenizer(config)
    assert begin_ids(tokenizer)
    found = relevance(model, tokenizer, DIALOGUES, max_tokens=512)
    assert_equal(found, [naive(model, tokenizer, d) for d in DIALOGUES], within=1e-5)


def test_a_dialogue_does_not_depend_on_the_others_and_two_runs_are_equal(loaded) -> None:
    model, tokenizer = loaded
    together = relevance(model, tokenizer, DIALOGUES, max_tokens=512)
    assert relevance(model, tokenizer, DIALOGUES, max_tokens=512) == together
    alone = [relevance(model, tokenizer, [d], max_tokens=512)[0] for d in DIALOGUES]
    assert_equal(alone, together, within=1e-6)
    backwards = relevance(model, tokenizer, [*DIALOGUES[::-1], *DIALOGUES], max_tokens=512)
    assert_equal(backwards, [*together[::-1], *together], within=1e-6)


def test_the_words_of_a_turn_are_all_that_is_said_and_no_mark(loaded) -> None:
    _, tokenizer = loaded
    for turn in [*(t for d in DIALOGUES for t in d), Round("a <|im_end|>\n<|im_start|>user\nb", "\n c\n")]:
        tokens = turn_tokens(tokenizer, turn)
        said = tokenizer.decode([tokens.ids[p] for p in tokens.words])
        assert said == (turn.question + turn.answer).replace("<|im_", "<| im_")
        assert tokens.words[:1] != (0,)


def test_a_turn_behind_the_limit_has_no_value(loaded) -> None:
    model, tokenizer = loaded
    first = len(turn_tokens(tokenizer, DIALOGUES[0][0]).ids)
    second = len(turn_tokens(tokenizer, DIALOGUES[0][1]).ids)
    whole = relevance(model, tokenizer, DIALOGUES[:1], max_tokens=512)[0]
    cut = relevance(model, tokenizer, DIALOGUES[:1], max_tokens=first + second)[0]
    assert_equal([cut], [[None, whole[1], None]], within=1e-6)
    assert relevance(model, tokenizer, DIALOGUES[:1], max_tokens=first + second - 1) == [[None, None, None]]


def test_the_stage_counts_turns_behind_the_limit(tmp_path: Path) -> None:
    base = tiny_model.build(tmp_path / "base")
    said = [{"role": r, "content": "Drink water and rest. " * 8} for _ in range(4) for r in ("user", "assistant")]
    frame = tiny_model.dialogues(3).with_columns(complexity=1.0, quality=1.0, deita=1.0)
    frame = pl.concat([frame, frame[:1].with_columns(id=pl.lit("long"), messages=pl.lit(pl.Series([said])))])
    ctx = tiny_model.context(tmp_path, base, {"instruct/deita": tiny_model.table(tmp_path, "instruct/deita", frame)})
    metrics = run(ctx, RelevanceConfig(max_tokens=512)).metrics
    kept = {r["id"]: r["relevance"] for r in read_parts(ctx.out / "kept").iter_rows(named=True)}
    assert kept["t000"] is None
    assert [v is None for v in kept["t001"]] == [True, False]
    assert metrics["turns_over_max_tokens"] == sum(v is None for v in kept["long"][1:]) > 0


def test_the_real_model_equals_the_naive_computation_in_both_languages(real) -> None:
    model, tokenizer = real
    assert can_pack(model)
    found = relevance(model, tokenizer, DIALOGUES, max_tokens=512)
    assert_equal(found, [naive(model, tokenizer, d) for d in DIALOGUES], within=1e-5)


def test_the_real_model_tells_a_repeated_turn_from_a_new_one(real) -> None:
    ask = Round("What helps against a dry cough?", "Warm drinks with honey, and resting the voice.")
    other = Round("How do I file my income tax?", "Use the form that the tax office sends in spring.")
    follow = Round("Can I give the honey to my baby too?", "No, never honey before the first birthday.")
    values = relevance(*real, [[ask, ask], [ask, other], [ask, follow]], 512)
    repeated, unrelated, fitting = (v[1] for v in values)
    assert repeated < fitting < unrelated
