"""An exported model loads where it is meant to and says the same first tokens; what was not exported leaves nothing."""

import json
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from aquilamed.cli import main
from aquilamed.config import Invalid, StageFailed
from aquilamed.models import ModelConfig, load_model, load_tokenizer, prompt_ids, save_model
from aquilamed.release import folder
from aquilamed.release.export import export
from aquilamed.release.gguf import find_converter
from aquilamed.release.ollama import TEMPLATE
from release_workspace import make

ASKED: Any = [
    {"role": "system", "content": "You are a doctor."},
    {"role": "user", "content": "What is a fever? 发热"},
    {"role": "assistant", "content": "A sign of infection."},
    {"role": "user", "content": "多喝水？"},
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with tied embeddings and SmolLM2's tokenizer: the converter knows only published ones."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    try:
        tokenizer = load_tokenizer(ModelConfig(path="smollm2-135m"))
    except Invalid as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("small") / "model"
    save_model(LlamaForCausalLM(config), tokenizer, path)
    (path / "modeling_evil.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    return path


@pytest.fixture
def converter() -> None:
    """The converter to GGUF; `make test` fetches it, elsewhere what needs it is skipped."""
    try:
        find_converter()
    except Invalid as error:
        pytest.skip(str(error))


def first_tokens(model: Any, ids: list[int], count: int = 12) -> tuple[list[int], Any]:
    """What a model says greedily, and its logits after the prompt."""
    import torch

    prompt = torch.tensor([ids])
    with torch.no_grad():
        said = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count)
        return said[0, len(ids) :].tolist(), model(prompt).logits[0, -1].float()


def trained(path: Path) -> tuple[list[int], list[int], Any]:
    """A prompt's ids as training has them, and what the trained model makes of them."""
    config = ModelConfig(path=str(path))
    ids = prompt_ids(load_tokenizer(config), ASKED)
    return ids, *first_tokens(load_model(config), ids)


def loaded(path: Path, **how: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, **how)


def tokenizer_of(path: Path, **how: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, **how)


def template_ids(tokenizer: Any) -> list[int]:
    return list(tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, return_dict=True)["input_ids"])


def test_safetensors_are_the_model_and_nothing_else(small: Path, tmp_path: Path) -> None:
    out = export(str(small), tmp_path / "out", "safetensors")
    assert {
        "LICENSE.md",
        "README.md",
        "SHA256SUMS",
        "model.safetensors",
        "tokenizer.json",
        "generation_config.json",
    } <= {p.name for p in out.iterdir()}
    assert not list(out.glob("*.py"))
    folder.check_sums(out)
    tokenizer, model = tokenizer_of(out), loaded(out)
    ids, said, logits = trained(small)
    assert template_ids(tokenizer) == ids
    again, same = first_tokens(model, ids)
    assert again == said
    assert (same == logits).all()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_vllms_folder_is_in_bfloat16_also_in_shards(small: Path, tmp_path: Path) -> None:
    import torch
    import yaml

    whole = load_model(ModelConfig(path=str(small)))
    source = tmp_path / "sharded"
    shutil.copytree(small, source, ignore=shutil.ignore_patterns("model.safetensors"))
    whole.save_pretrained(source, max_shard_size="4MB")
    assert len(list(source.glob("*.safetensors"))) > 1
    out = export(str(source), tmp_path / "out", "vllm")
    model = loaded(out, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert all(
        torch.equal(p, q.to(torch.bfloat16)) for p, q in zip(model.parameters(), whole.parameters(), strict=True)
    )
    index = json.loads((out / "model.safetensors.index.json").read_text("utf-8"))
    assert index["metadata"]["total_size"] == 2 * sum(p.numel() for p in whole.parameters())
    settings = yaml.safe_load((out / "vllm.yaml").read_text("utf-8"))
    assert settings == {"model": ".", "served-model-name": "sharded", "dtype": "bfloat16", "max-model-len": 512}


@pytest.mark.usefixtures("converter")
def test_gguf_says_the_same(small: Path, tmp_path: Path) -> None:
    out = export(str(small), tmp_path / "out", "gguf", "f32")
    folder.check_sums(out)
    assert stat.S_IMODE((out / "model-F32.gguf").stat().st_mode) & 0o444 == 0o444
    tokenizer, model = (read(out, gguf_file="model-F32.gguf") for read in (tokenizer_of, loaded))
    ids, said, logits = trained(small)
    assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids
    again, same = first_tokens(model, ids)
    assert again == said
    assert (same - logits).abs().max() < 1e-4


@pytest.mark.usefixtures("converter")
def test_ollama_gets_a_quantised_file_and_a_modelfile(small: Path, tmp_path: Path) -> None:
    out = export(str(small), tmp_path / "out", "ollama", "q8_0", "You are a doctor.")
    model = loaded(out, gguf_file="model-Q8_0.gguf")
    ids, _, logits = trained(small)
    found = first_tokens(model, ids, 1)[1]
    assert 0 < (found - logits).abs().mean() < 0.05 * logits.abs().mean()
    page = (out / "Modelfile").read_text("utf-8")
    assert page.splitlines()[1] == "FROM ./model-Q8_0.gguf"
    assert f'TEMPLATE """{TEMPLATE}"""\n' in page
    assert 'PARAMETER stop "<|im_end|>"\n' in page
    assert "PARAMETER num_ctx 512\n" in page
    assert 'SYSTEM """You are a doctor."""\n' in page
    assert page.endswith('see where the model came from.\n"""\n')


def rendered(template: str, messages: Any) -> str:
    """Go's text/template, as much of it as ours uses: one range over .Messages with .Role and .Content."""
    before, body, after = re.fullmatch(
        r"(.*?)\{\{ range \.Messages \}\}(.*?)\{\{ end \}\}(.*)", template, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    assert "{{" not in before + after
    assert set(re.findall(r"\{\{.*?\}\}", body)) == {"{{ .Role }}", "{{ .Content }}"}
    pieces = [body.replace("{{ .Role }}", m["role"]).replace("{{ .Content }}", m["content"]) for m in messages]
    return before + "".join(pieces) + after


def test_ollamas_template_renders_what_ours_does(small: Path) -> None:
    tokenizer = load_tokenizer(ModelConfig(path=str(small)))
    for messages in (ASKED, ASKED[1:], ASKED[1:2]):
        ours = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert rendered(TEMPLATE, messages) == ours


def test_a_workspaces_model_carries_its_origin_and_licences(tmp_path: Path) -> None:
    space = make(tmp_path / "made", model=tiny_model.build(tmp_path / "base"))
    out = export(f"{space.root}:finetune", tmp_path / "out", "safetensors")
    page, licenses = ((out / name).read_text("utf-8") for name in ("README.md", "LICENSE.md"))
    assert page.startswith("# ward-finetune\n")
    assert "stage `finetune` of the recipe `ward`" in page
    assert "under `apache-2.0`" in licenses
    assert "CC-BY-SA-4.0" in licenses
    weights = next((space.root / "finetune").glob("*/model/model.safetensors"))
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(StageFailed, match="not the file that finetune wrote"):
        export(f"{space.root}:finetune", tmp_path / "again", "safetensors")
    assert not (tmp_path / "again").exists()
    with pytest.raises(Invalid, match="--stage pretrain/stage1: no training of this recipe"):
        export(f"{space.root}:pretrain/stage1", tmp_path / "again", "safetensors")


@pytest.mark.usefixtures("converter")
def test_a_tokenizer_that_the_converter_does_not_know_is_explained(tmp_path: Path) -> None:
    base = tiny_model.build(tmp_path / "base")
    with pytest.raises(StageFailed, match=r"pre-tokenizer was not recognized.*use safetensors or vllm"):
        export(str(base), tmp_path / "out", "gguf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]


def test_mistakes_are_told_before_anything_is_written(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine", encoding="utf-8")
    for message, target, out, form, rest in [
        ("exists: an export replaces nothing", str(small), taken, "vllm", ()),
        ("--to onnx: choose one of safetensors", str(small), tmp_path / "out", "onnx", ()),
        ("--type q8_0: vllm takes f32, f16, bf16", str(small), tmp_path / "out", "vllm", ("q8_0",)),
        ("--system goes with --to ollama", str(small), tmp_path / "out", "gguf", ("f16", "x")),
        ("three double quotes", str(small), tmp_path / "out", "ollama", ("f16", 'a """ b')),
        ("neither a workspace", str(taken), tmp_path / "out", "vllm", ()),
    ]:
        with pytest.raises(Invalid, match=message):
            export(target, out, form, *rest)
    (taken / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(Invalid, match="an adapter, not a model"):
        export(str(taken), tmp_path / "out", "vllm")
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Invalid, match="aquilamed fetch gguf-converter"):
        export(str(small), tmp_path / "out", "gguf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken"]


def test_another_chat_template_has_no_modelfile(small: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(small, foreign)
    (foreign / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")
    with pytest.raises(Invalid, match="not the one of our trainings"):
        export(str(foreign), tmp_path / "out", "ollama")
    assert not (tmp_path / "out").exists()


def test_from_the_shell(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.argv", ["aquilamed", "export", str(small), str(tmp_path / "out"), "--to", "vllm"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["aquilamed", "export", str(small), str(tmp_path / "out"), "--to", "vllm"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
