"""A released model loads, says what it was trained on and measured by; TRL trains on released data as it is."""

import json
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from aquilamed.config import Invalid, StageFailed
from aquilamed.models import chat_template
from aquilamed.release import folder, release
from aquilamed.workspace import Workspace
from release_workspace import change, make


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def space(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make(tmp_path_factory.mktemp("made"), model=base)


@pytest.fixture(scope="module")
def released(space: Workspace) -> Path:
    return release(space, "model")


def test_transformers_loads_it(released: Path, base: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(released)
    tokenizer = AutoTokenizer.from_pretrained(released)
    assert tokenizer.chat_template == chat_template(tokenizer)
    want = tiny_model.weights(base)
    found = model.state_dict()
    assert all((found[k] == v).all() for k, v in want.items())
    page = (released / "README.md").read_text("utf-8")
    assert f"A language model of {sum(p.numel() for p in model.parameters()):,} parameters" in page


def test_the_card_is_one_for_the_hub(released: Path, space: Workspace) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(released / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.language == ["en", "zh"]
    results = {r.metric_type: r.metric_value for r in card.data.eval_results}
    assert results == {"accuracy": 0.4375, "accuracy_stderr": 0.0521}
    assert {r.dataset_name for r in card.data.eval_results} == {"mmlu"}
    assert card.data.base_model is None, "a local folder's name is no hub id"


def test_the_numbers_are_the_manifests(released: Path) -> None:
    page = (released / "README.md").read_text("utf-8")
    for shown in (
        *("43.8 ± 5.2 % (n = 613)", "56.40 % (Aquila-Med-Chat-DPO)", "3.25 → 2.125", "50.0 % → 81.2 %", "4,321", "777"),
        *("Not a medical device", "`base-model`", "`finetune` → `align`"),
    ):
        assert shown in page, shown
    assert (released / "figures" / "training.png").stat().st_size > 1000
    folder.check_sums(released)
    text = "".join(
        (released / n).read_text("utf-8") for n in folder.files(released) if n.endswith((".md", ".json", ".yaml"))
    )
    assert "secret-folder" not in text


def test_what_it_is_and_how_it_was_trained(base: Path, tmp_path: Path) -> None:
    space = make(tmp_path, model=base)
    told = {"method": "lora", "lora": {"rank": 16, "alpha": 32}, "schedule": "cosine", "warmup": 0.1, "lr": 2e-7}
    told |= {"batch": 64, "length": 2048, "epochs": 2, "weight_decay": 0, "beta": 0.03, "loss": "sigmoid"}
    change(space, "align", lambda m: m["params"].update({"config": told}))
    page = (release(space, "model") / "README.md").read_text("utf-8")
    assert "| `align` | LoRA, rank 16, α 32 | cosine, warm-up 0.1 | weight decay 0, β 0.03, loss sigmoid |" in page
    assert "| 2e-07 | 64 | 2,048 | 2 |" in page
    assert "| Architecture | `LlamaForCausalLM` |" in page
    assert "| Type of the weights | `float32` |" in page
    headings = [line for line in page.splitlines() if line.startswith("### ")]
    assert headings[:2] == ["### Fine-tuning", "### Preferences"]
    assert "### Multiple choice" in headings


def test_an_earlier_model_and_what_is_missing(space: Workspace, base: Path, tmp_path: Path) -> None:
    earlier = release(space, "model", tmp_path / "sft", stage="finetune")
    page = (earlier / "README.md").read_text("utf-8")
    assert "ward-finetune" in page
    assert "model-index" not in page, "only the aligned model was scored"
    with pytest.raises(Invalid, match="--stage pretrain/stage1: no training of this recipe; it has: align, finetune"):
        release(space, "model", stage="pretrain/stage1")
    other = make(tmp_path / "other", model=base)
    next((other.root / "align").glob("*/manifest.json")).unlink()
    with pytest.raises(Invalid, match=r"align is interrupted.*--stage finetune"):
        release(other, "model")


def test_changed_weights_are_not_released(base: Path, tmp_path: Path) -> None:
    space = make(tmp_path, model=base)
    weights = next((space.root / "align").glob("*/model/model.safetensors"))
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(StageFailed, match="not the file that align wrote"):
        release(space, "model")


def test_a_foreign_file_beside_the_weights_stays_behind(base: Path, tmp_path: Path) -> None:
    from aquilamed.workspace import file_hash

    space = make(tmp_path, model=base)
    pickle = next((space.root / "align").glob("*/model")) / "optimizer.pt"
    pickle.write_bytes(b"x")
    change(space, "align", lambda m: m["outputs"].update({"model/optimizer.pt": file_hash(pickle)}))
    assert "optimizer.pt" not in folder.files(release(space, "model"))


def test_two_releases_are_the_same_bytes(space: Workspace, released: Path, tmp_path: Path) -> None:
    again = release(space, "model", tmp_path / "again")
    assert [n for n in folder.files(released) if (released / n).read_bytes() != (again / n).read_bytes()] == []
    assert json.loads((again / "release.json").read_text("utf-8"))["stage"] == "align"


def trained(trainer: Any) -> float:
    trainer.train()
    return float(next(h["loss"] for h in trainer.state.log_history if "loss" in h))


def arguments(out: Path) -> dict[str, Any]:
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    return {
        "output_dir": str(out),
        "max_steps": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "max_length": 256,
        **quiet,
    }


def test_trl_trains_on_the_released_sets_as_they_are(
    space: Workspace, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(base)
    told: dict[str, Any] = {
        what: datasets.load_dataset(str(release(space, what)), cache_dir=str(tmp_path))
        for what in ("instruct", "preference")
    }
    common: dict[str, Any] = {"processing_class": tokenizer}
    sft = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=SFTConfig(**arguments(tmp_path / "sft"), assistant_only_loss=True),
        train_dataset=told["instruct"]["train"],
        eval_dataset=told["instruct"]["validation"],
        **common,
    )
    assert 4 < trained(sft) < 8  # ln 400 = 6.0: a random model over a vocabulary of 400
    dpo = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        ref_model=AutoModelForCausalLM.from_pretrained(base),
        args=DPOConfig(**arguments(tmp_path / "dpo")),
        train_dataset=told["preference"]["train"],
        **common,
    )
    assert trained(dpo) == pytest.approx(0.6931, abs=1e-3)
