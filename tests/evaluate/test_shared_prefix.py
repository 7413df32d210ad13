"""The shared-beginning model class gives the harness' own log-likelihoods."""

import itertools
from typing import Any

import pytest

import tiny_model
from aquilamed.evaluate import shared_prefix
from aquilamed.evaluate.shared_prefix import SharedPrefixLM, groups
from aquilamed.models import ModelConfig, load_model, load_tokenizer

SHOTS = "Question: what is a fever? Answer: a high body temperature, often a sign of infection.\n\n" * 3


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    config = ModelConfig(path=str(tiny_model.build(tmp_path_factory.mktemp("m"))))
    return load_model(config), load_tokenizer(config)


def requests(pairs: list[tuple[str, str]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=n, metadata=("t", n, 1))
        for n, pair in enumerate(pairs)
    ]


def both(loaded: tuple[Any, Any], pairs: list[tuple[str, str]], **settings: Any) -> list[list[tuple[float, bool]]]:
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = loaded
    return [
        kind(pretrained=model, tokenizer=tokenizer, batch_size=4, **settings).loglikelihood(requests(pairs))
        for kind in (SharedPrefixLM, HFLM)
    ]


@pytest.fixture(params=["packed", "cached"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the shared beginning is used: models that do not pack, and GPUs, keep its keys and values."""
    if request.param == "cached":
        monkeypatch.setattr(shared_prefix, "can_pack", lambda model: False)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "conts",
    [[" A", " B", " C"], [" a fever of the heart", " 发热", " B"]],
    ids=["letters", "texts"],
)
def test_equal_to_the_harness(loaded: tuple[Any, Any], conts: list[str]) -> None:
    contexts = [SHOTS + f"Question: {'heart ' * n}{n}? Answer:" for n in range(9)]
    contexts += [f"另一个科目：心脏把血液泵向全身，肺负责吸入氧气。{'发热' * n}？答案：" for n in range(5)]
    contexts += ["alone", SHOTS]
    ours, theirs = both(loaded, list(itertools.product(contexts, conts)), max_length=512)
    assert [v for v, _ in ours] == pytest.approx([v for v, _ in theirs], abs=1e-4)
    assert [g for _, g in ours] == [g for _, g in theirs]


@pytest.mark.usefixtures("way")
def test_a_prompt_over_the_context_is_cut_as_the_harness_cuts_it(loaded: tuple[Any, Any]) -> None:
    pairs = [(SHOTS * 2 + "heart " * n, " B") for n in (3, 8)]
    ours, theirs = both(loaded, pairs, max_length=64)
    assert [v for v, _ in ours] == pytest.approx([v for v, _ in theirs], abs=1e-4)


def test_groups_are_cut_where_little_is_shared() -> None:
    first = [(*range(100), 7, n) for n in range(4)]
    second = [(*range(20), *range(200, 280), n) for n in range(3)]
    alone = [(500, 1, 2)]
    found = groups(sorted([*first, *second, *alone]))
    assert [(shared, len(rows)) for shared, rows in found] == [(101, 4), (100, 3), (0, 1)]
    assert groups([]) == []
