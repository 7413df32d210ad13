"""The plan of trainings: formulae against hand counts, against real peak memory, and what is refused."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from transformers import GPT2Config, LlamaConfig, MixtralConfig

import tiny_model as tiny
from aquilamed.config import Invalid
from aquilamed.models import ModelConfig
from aquilamed.pipeline import states
from aquilamed.planned_trainings import check_hardware, planned_choice, planned_trainings, settled, trainings
from aquilamed.recipe import Recipe, load_recipe
from aquilamed.train.budget import Setup, disk, flops, memory
from aquilamed.train.layouts import ROOM, Choice
from aquilamed.train.shape import Shape, base_shape, shape_of
from aquilamed.workspace import Workspace

REPO = Path(__file__).parents[2]
PAPER = REPO / "recipes" / "aquila-med-7b.yaml"


@pytest.fixture(scope="module")
def seven() -> Shape:
    """The paper's base: 32 layers, 4096 wide, 14336 inside, 32 heads of which 8 with keys, 151 k entries."""
    return shape_of(
        LlamaConfig(
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=151_000,
        )
    )


def test_parameters_are_those_of_the_weights(seven: Shape, tmp_path: Path) -> None:
    layer = 2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
    assert seven.blocks == 32 * layer
    assert seven.parameters == 32 * layer + 2 * 151_000 * 4096 + 4096
    assert seven.looked_up == 151_000 * 4096
    assert (seven.queries, seven.keys) == (4096, 1024)
    small = base_shape(ModelConfig(path=str(tiny.build(tmp_path / "model"))))
    stored = tiny.weights(tmp_path / "model")
    assert small.parameters == sum(t.numel() for t in stored.values())
    assert small.looked_up == 0, "its head is the table"


def test_other_architectures() -> None:
    assert shape_of(GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=100)).ffn == 256
    with pytest.raises(Invalid, match="mixture of experts"):
        shape_of(MixtralConfig(num_hidden_layers=1, hidden_size=64, intermediate_size=64))


def test_adapters_count_as_peft_counts_them(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tiny.build(tmp_path / "model")
    shape = base_shape(ModelConfig(path=str(folder)))
    for targets in ("all-linear", ["q_proj", "v_proj"]):
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(folder),
            LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"),
        )
        assert shape.lora_parameters(4, targets) == model.get_nb_trainable_parameters()[0]
    with pytest.raises(Invalid, match="no linear layer named"):
        shape.lora_parameters(4, ["c_attn"])


def test_layouts_divide_what_they_should(seven: Shape) -> None:
    every = seven.parameters

    def of(layout: str, devices: int, **more: bool) -> object:
        return memory(seven, every, 0, Setup(4096, layout, devices, **more))  # type: ignore[arg-type]

    one, ddp, zero2, fsdp = of("ddp", 1), of("ddp", 8), of("zero2", 8), of("fsdp", 8)
    assert one.optimizer == ddp.optimizer == 8 * every  # type: ignore[attr-defined]
    assert ddp.gradients == 2 * one.gradients == 8 * every  # type: ignore[attr-defined]
    assert zero2.optimizer == fsdp.optimizer == every  # type: ignore[attr-defined]
    assert ddp.total > zero2.total > fsdp.total  # type: ignore[attr-defined]
    again, away = of("fsdp", 8, checkpointing=True), of("fsdp", 8, offload=True)
    assert again.activations < fsdp.activations / 8  # type: ignore[attr-defined]
    assert away.optimizer == 0  # type: ignore[attr-defined]
    assert away.host == 2 * every  # type: ignore[attr-defined]


def test_arithmetic_and_disk(seven: Shape) -> None:
    products = seven.parameters - seven.table
    assert flops(seven, 1000, 4096) == 1000 * (6 * products + 6 * 32 * 4096 * 4096)
    assert flops(seven, 1000, 0, trains_all=False) == 4000 * products
    assert disk(seven, seven.parameters, 0, 4, 2) == 3 * 12 * seven.parameters + 4 * seven.parameters
    assert disk(seven, seven.parameters, 0, 4, 0) == 4 * seven.parameters


def paper(*overrides: str) -> Recipe:
    return load_recipe(PAPER, list(overrides))


def test_the_papers_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / "home"))
    r = paper()
    one, two, sft, dpo = r.pretrain.stage1, r.pretrain.stage2, r.finetune, r.align
    assert one
    assert two
    assert sft
    assert dpo
    assert r.prefer.subjective
    assert r.prefer.objective
    assert r.evaluate.knowledge
    assert r.evaluate.pairwise
    assert (one.batch, one.lr, one.warmup, one.epochs, one.schedule) == (768, 1e-4, 0.05, 1, "cosine")
    assert (two.batch, two.lr, two.warmup, two.epochs, two.schedule) == (384, 1e-5, 0.01, 1, "cosine")
    assert [(p.length, p.max_tokens) for p in (r.corpus.pack1, r.corpus.pack2)] == [
        (4096, 60 * 10**9),
        (4096, 20 * 10**9),
    ]
    assert (sft.length, sft.batch, sft.lr, sft.epochs, sft.schedule) == (2048, 128, 2e-6, 2, "cosine")
    assert (sft.dropout, sft.weight_decay, sft.validation) == (0.1, 0.1, 0.1)
    assert (dpo.epochs, dpo.lr, dpo.batch, dpo.beta, dpo.schedule) == (2, 2e-7, 64, 0.03, "cosine")
    assert dpo.warmup > 0
    assert (r.prefer.subjective.prompts, r.prefer.objective.limit) == (9019, 3708)
    c = r.corpus
    assert (c.domain_labels.seeds, c.quality_labels.samples, c.quality_labels.max_difference) == (20_000, 20_000, 2)
    students = [(s.backend, s.batch_size, s.learning_rate, s.epochs) for s in (c.domain, c.quality)]
    assert students == [("transformers", 64, 2e-5, 10), ("transformers", 128, 3e-4, 10)]
    assert all("multilingual" in s.model for s in (c.domain, c.quality))
    assert r.instruct.select.target == 320_000
    assert list(r.instruct.select.shares.values()) == [0.272, 0.14, 0.248, 0.34]
    assert (r.evaluate.knowledge.shots, r.evaluate.pairwise.limit) == (3, 500)
    assert sorted(b.task for b in r.evaluate.benchmarks) == sorted(
        ["mmlu", "ceval", "cmb_exam", "medqa", "medmcqa", "pubmedqa", "huatuo", "cmtmedqa", "cmb_clin"]
    )
    assert r.sources.dialogues
    assert len(r.sources.dialogues.sources) == 6
    rows = {t.stage: t for t in planned_trainings(r, states(r, Workspace(tmp_path / "ws")))}
    assert [rows[s].steps for s in rows] == [19_074, 12_716, 4_500, 398]
    assert [rows[s].devices for s in rows] == [24, 24, 8, 8]
    assert all(t.choice and t.choice.layout == "fsdp" and t.hours for t in rows.values())
    assert rows["pretrain/stage1"].tokens == pytest.approx(60e9, rel=1e-6)
    check_hardware(r)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hardware.gpus_of={}"], "finetune: batch 128 is not a multiple of micro_batch 1 × 24 GPUs"),
        (["hardware.layouts=[ddp]"], r"pretrain.stage1: needs .* GB a GPU \(ddp\).*42.9; layouts with fsdp \("),
        (["hardware.memory_gb=8", "pretrain.stage1.micro_batch=32"], "lower micro_batch .it is 32"),
    ],
)
def test_what_cannot_run_is_refused(
    overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path))
    with pytest.raises(Invalid, match=said):
        check_hardware(paper(*overrides))


def test_an_unfetched_model_has_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / "home"))
    r = paper("hardware.architecture=null")
    row = planned_trainings(r, states(r, Workspace(tmp_path / "ws")))[0]
    assert (row.parameters, row.hours, row.choices) == (None, None, [])
    assert row.steps == 19_074, "steps need no model"
    assert "aquilamed fetch" in row.model


def test_activations_are_computed_again_where_they_must(tmp_path: Path) -> None:
    tiny.build(tmp_path / "model")

    def planned(memory_gb: float, again: str) -> Choice:
        (tmp_path / "recipe.yaml").write_text(
            f"name: tiny\nbase_model: {{path: {tmp_path / 'model'}}}\n"
            "sources: {dialogues: {sources: [{name: qa, path: qa.jsonl, form: messages, license: CC0-1.0}]}}\n"
            f"hardware: {{gpus: 2, memory_gb: {memory_gb}, layouts: [ddp]}}\n"
            f"finetune: {{batch: 2048, micro_batch: 1024, gradient_checkpointing: {again}}}\n"
        )
        recipe = load_recipe(tmp_path / "recipe.yaml")
        choice = planned_choice(recipe, "finetune")
        config = trainings(recipe)["finetune"]
        assert settled(recipe, "finetune", config).gradient_checkpointing is choice.checkpointing
        return choice

    kept, computed = (planned(1000, again).memory.total / 1e9 for again in ("false", "true"))
    assert computed < kept
    assert not planned(1.01 * kept / ROOM, "auto").checkpointing
    assert planned(1.01 * kept, "auto").checkpointing, "the plan is a formula: it leaves room"
    assert not planned(1.01 * kept, "false").checkpointing, "the recipe has the last word"
    assert planned(1000, "true").checkpointing


def test_the_command_plans_offline_and_refuses_before_reading(tmp_path: Path) -> None:
    def plan(*more: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "aquilamed.cli", "plan", str(PAPER), "--json", *more]
        env = os.environ | {"AQUILAMED_HOME": str(tmp_path / "home")}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    done = plan()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [t["steps"] for t in told["trainings"]] == [19_074, 12_716, 4_500, 398]
    layouts = {(c["layout"], c["checkpointing"], c["offload"], c["method"]) for c in told["trainings"][0]["choices"]}
    assert len(layouts) == 2 * (2 + 4 + 4)
    refused = plan("--set", "hardware.memory_gb=10")
    assert refused.returncode == 2
    assert "hardware.memory_gb is 10" in refused.stderr
    assert refused.stdout == ""
    assert not (tmp_path / "workspaces").exists()


def _benchmark() -> ModuleType:
    path = REPO / "benchmarks" / "memory.py"
    spec = importlib.util.spec_from_file_location("memory_benchmark", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux reports it")
def test_planned_memory_is_measured_memory() -> None:
    bench = _benchmark()
    case = bench.CASES["4 M, 4 × 1,024 tokens"]
    # The allocator adds up to a tenth by chance: the smaller of two runs is nearer to what is needed.
    measured, planned = min(bench.compare(case) for _ in range(2))
    assert abs(planned / measured - 1) <= 0.15
