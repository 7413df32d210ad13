"""DPO: it starts at ln 2, learns the preference, and a wrong reference stops it."""

import math
from pathlib import Path

import pytest
from scipy.stats import binomtest

import tiny_model as tiny
from aquilamed.config import StageFailed
from aquilamed.train import align
from aquilamed.train.align import AlignConfig
from aquilamed.workspace import Artifact

CONFIG = AlignConfig(length=256, batch=4, micro_batch=2, lr=1e-3, warmup=0.0, epochs=3, validation=0.25, save_steps=3)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def pairs(tmp_path: Path) -> dict[str, Artifact]:
    return {"prefer/select": tiny.table(tmp_path, "prefer/select", tiny.preferences())}


@pytest.mark.parametrize("method", ["full", "lora"])
def test_starts_at_ln_2_and_learns_the_preference(
    base: Path, pairs: dict[str, Artifact], tmp_path: Path, method: str
) -> None:
    ctx = tiny.context(tmp_path, base, pairs)
    metrics = align.run(ctx, CONFIG.model_copy(update={"method": method, "lr": 3e-3})).metrics
    assert metrics["step0_loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert metrics["before"]["margin"] == 0
    assert metrics["before"]["accuracy"] == 0.5
    assert metrics["after"]["margin"] > 0
    assert metrics["after"]["train"]["margin"] > 0
    assert metrics["after"]["accuracy"] > 0.5
    assert metrics["pairs"]["train"] + metrics["pairs"]["validation"] == 12
    assert metrics["kinds"] == {"subjective": 12}
    assert metrics["loss"][-1][1] < metrics["step0_loss"]
    assert tiny.weights(base).keys() == tiny.weights(ctx.out / "model").keys()


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        ({"loss": "ipo", "beta": 0.1}, 25.0),
        ({"loss": "robust", "label_smoothing": 0.1}, math.log(2)),
        ({"loss": "sigmoid_norm"}, math.log(2)),
        ({"loss": "hinge"}, 1.0),
        ({"sft_weight": 0.5}, None),
    ],
)
def test_variants_start_where_their_formula_says(
    base: Path, pairs: dict[str, Artifact], tmp_path: Path, changed: dict[str, object], first: float | None
) -> None:
    config = CONFIG.model_copy(update={**changed, "max_steps": 3, "save_steps": None, "measured_pairs": 2})
    metrics = align.run(tiny.context(tmp_path, base, pairs), config).metrics
    if first is not None:
        assert metrics["step0_loss"] == pytest.approx(first, abs=1e-4 * max(1, first))
    else:
        assert metrics["step0_loss"] > math.log(2) + 1, "the next-token loss of a random model is large"
    assert metrics["loss"][-1][1] < metrics["step0_loss"]


def test_a_wrong_reference_stops_it(
    base: Path, pairs: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = align.pair_scores

    def other_model(*args: object, **kwargs: object) -> align.Scores:
        return {name: [v - 9.0 * (name == "chosen") for v in values] for name, values in right(*args, **kwargs).items()}

    monkeypatch.setattr(align, "pair_scores", other_model)
    with pytest.raises(StageFailed, match="not ln 2"):
        align.run(tiny.context(tmp_path, base, pairs), CONFIG)


def test_a_killed_run_keeps_its_reference_and_ends_bit_equal(
    base: Path, pairs: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    whole = tiny.context(tmp_path, base, pairs, "whole")
    unbroken = align.run(whole, CONFIG).metrics
    ctx = tiny.context(tmp_path, base, pairs, "broken")
    real = align.train

    def killed(*args: object) -> object:
        def at_step_5(step: int, logs: dict[str, float]) -> None:
            if step == 5:
                raise KeyboardInterrupt

        return real(*args[:4], at_step_5)  # type: ignore[arg-type]

    monkeypatch.setattr(align, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        align.run(ctx, CONFIG)
    monkeypatch.undo()
    continued = align.run(ctx, CONFIG).metrics
    assert continued["loss"] == unbroken["loss"]
    assert continued["after"] == unbroken["after"]
    one, two = tiny.weights(whole.out / "model"), tiny.weights(ctx.out / "model")
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_long_pairs_are_counted_not_cut(base: Path, pairs: dict[str, Artifact], tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"raise align\.length"):
        align.run(tiny.context(tmp_path, base, pairs), CONFIG.model_copy(update={"length": 8}))


def test_summary_counts_a_tie_as_half() -> None:
    reference = {"chosen": [-1.0, -2.0], "rejected": [-3.0, -1.0]}
    assert align.summary(reference, reference, 0.1) == {"accuracy": 0.5, "margin": 0.0, "likelihood_accuracy": 0.5}
    better = {"chosen": [0.0, -2.0], "rejected": [-3.0, -1.0]}
    assert align.summary(better, reference, 0.1)["margin"] == pytest.approx(0.05)
    assert align.summary(better, reference, 0.1)["accuracy"] == 0.75


def test_moved_pairs_are_a_sign_test() -> None:
    reference = {"chosen": [-2.0] * 10, "rejected": [-3.0] * 10}
    scores = {"chosen": [-1.0] * 8 + [-2.0, -4.0], "rejected": [-3.0] * 10}
    found = align.against_reference(scores, reference)
    assert (found["n"], found["gained"], found["lost"]) == (10, 8, 1)
    assert found["p"] == pytest.approx(binomtest(8, 9).pvalue)
    assert not found["noise"]
    assert align.against_reference(reference, reference) == {"n": 10, "gained": 0, "lost": 0, "p": 1.0, "noise": True}


def test_defaults_are_the_papers() -> None:
    c = AlignConfig()
    assert (c.epochs, c.lr, c.batch, c.beta, c.schedule) == (2, 2e-7, 64, 0.03, "cosine")
    assert c.warmup > 0
