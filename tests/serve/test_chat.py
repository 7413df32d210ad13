"""The terminal chat on a tiny random Llama: piped questions, history, its limits, and what reaches the terminal."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import serving

import reciting_model
import release_workspace
from aquilamed.config import Invalid, StageFailed
from aquilamed.models import ModelConfig, load_tokenizer, prepare_tokenizer, prompt_ids, save_model
from aquilamed.serve.answerer import Answerer
from aquilamed.serve.chat import NOTICE, Talk, chat, converse, harmless
from aquilamed.serve.engine import Engine
from aquilamed.serve.remote import Remote
from aquilamed.serve.sampling import Sampling
from aquilamed.serve.target import find, short_name, workspace_models

CONTEXT = 160


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random one-layer Llama with byte-level tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    torch.manual_seed(0)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        ["user assistant"] * 9, trainers.BpeTrainer(vocab_size=280, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", unk_token="<|endoftext|>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
    )
    path = tmp_path_factory.mktemp("model") / "tiny"
    save_model(LlamaForCausalLM(config), prepare_tokenizer(tokenizer), path)
    return path


def said(engine: Answerer, text: str, **settings: Any) -> str:
    out = io.StringIO()
    sampling = Sampling(**{"max_tokens": 8, "seed": 0, **settings})
    converse(Talk(engine, None, sampling), io.StringIO(text), out)
    return out.getvalue()


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    with Engine(find(str(folder))) as engine:
        yield engine


def talk(engine: Engine, system: str | None = None, max_tokens: int = 8) -> Talk:
    return Talk(engine, system, Sampling(max_tokens=max_tokens))


def test_piped_questions_are_answered_after_the_notice(folder: Path, engine: Engine) -> None:
    text = said(engine, "hello\n\nwhat is a fever\n")
    assert text.startswith(NOTICE)
    assert "Not a medical device" in text
    assert "no substitute for a doctor" in text
    answers = text.removeprefix(NOTICE + "\n")
    assert answers.count("\n") >= 2
    assert answers.strip()
    out = io.StringIO()
    chat(str(folder), source=io.StringIO("hello\n\nwhat is a fever\n"), sink=out, max_new_tokens=8)
    assert out.getvalue() == text, "the command loads the same model"


def test_exit_ends_and_reset_forgets(engine: Engine) -> None:
    assert said(engine, "/exit\nhello\n") == NOTICE + "\n"
    once = said(engine, "hello\n").removeprefix(NOTICE + "\n")
    twice = said(engine, "hello\n/reset\nhello\n").removeprefix(NOTICE + "\n")
    assert twice == f"{once}(forgotten)\n{once}"


def test_the_stream_is_what_the_model_generates(folder: Path, engine: Engine) -> None:
    from aquilamed.models import generate, load_model

    t = talk(engine)
    t.ask("hello")
    streamed = "".join(t.stream()).strip()
    config = find(str(folder))
    question: list[Any] = [{"role": "user", "content": "hello"}]
    assert generate(load_model(config), load_tokenizer(config), [question], max_new_tokens=8) == [streamed]
    assert t.turns == [*question, {"role": "assistant", "content": streamed}]


def test_sampling_depends_on_the_seed_alone(engine: Engine) -> None:
    hot = [said(engine, "hello\n", temperature=1.5, seed=s) for s in (1, 1, 2)]
    assert hot[0] == hot[1]
    assert hot[0] != hot[2]


def test_the_oldest_turns_go_when_the_context_is_full_and_it_says_so(engine: Engine) -> None:
    t = talk(engine, system="brief")
    notes = []
    for number in range(12):
        notes += t.ask(f"question {number}")
        list(t.stream())
        assert len(prompt_ids(engine.tokenizer, [*t.system, *t.turns])) <= CONTEXT
    assert notes
    assert "forgotten" in notes[0]
    assert t.turns[0]["role"] == "user"
    assert t.turns[0]["content"] != "question 0"
    assert "forgotten" in said(engine, "".join(f"question {n}\n" for n in range(12)))


def test_a_question_longer_than_the_context_is_refused_and_the_talk_goes_on(engine: Engine) -> None:
    text = said(engine, "x " * 400 + "\nhello\n")
    assert f"the model's context holds {CONTEXT}" in text
    assert text.endswith(said(engine, "hello\n").removeprefix(NOTICE + "\n"))


def test_control_characters_of_an_answer_never_reach_the_terminal(tmp_path: Path) -> None:
    assert harmless("a\x1b[31mred\x07\r\n\tb\u202e\u0000发热") == "a[31mred\n\tb发热"
    answer = ["a\x1b]0;ti", "tle\x07b", " \u202ec\x00", "\r\n\tb"]
    with (
        Engine(ModelConfig(path=str(reciting_model.build(tmp_path, answer)))) as engine,
        serving(engine, key="key") as (address, _),
        Remote(engine.tokenizer, engine.context, address, "key", name="tiny") as endpoint,
    ):
        for model in (engine, endpoint):
            assert "".join(model.stream([{"role": "user", "content": "hello"}])) == "".join(answer)
            assert "a]0;titleb c\n\tb" in said(model, "hello\n")


def test_ctrl_c_stops_the_answer_and_at_the_prompt_the_chat(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.StringIO):
        def readline(self, size: int | None = -1, /) -> str:
            line = super().readline()
            if not line:
                raise KeyboardInterrupt
            return line

    def stream(self: Talk) -> Any:
        yield "half"
        raise KeyboardInterrupt

    monkeypatch.setattr(Talk, "stream", stream)
    out = io.StringIO()
    converse(Talk(engine), Interrupted("hello\n"), out)
    assert out.getvalue().endswith("half (stopped)\n")


def test_stopping_early_ends_the_generation(engine: Engine) -> None:
    t = talk(engine, max_tokens=100)
    t.ask("hello")
    pieces = t.stream()
    first = next(pieces)
    pieces.close()
    assert t.turns[-1]["role"] == "assistant"
    assert len(t.turns[-1]["content"]) <= len(first)
    assert not engine._answers


def test_a_failed_generation_is_told_and_does_not_hang(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    with Engine(find(str(folder))) as engine:
        t = talk(engine)
        t.ask("hello")
        monkeypatch.setattr(engine.model, "forward", broken)
        with pytest.raises(StageFailed, match="out of memory"):
            list(t.stream())
        assert t.turns == []
        t.ask("hello")
        with pytest.raises(StageFailed, match="ended"):
            list(t.stream())
        assert not engine.alive


def test_targets(folder: Path, tmp_path: Path) -> None:
    space = release_workspace.make(tmp_path, model=folder)
    root, lines = str(space.root), list[str]()
    aligned = str(next(space.root.glob("align/*/model")))
    assert find(root, lines.append).path == find(f"{root}:align").path == aligned
    assert lines == [f"Model: align, finished {release_workspace.FINISHED}."]
    assert find(f"{root}:finetune").path == str(next(space.root.glob("finetune/*/model")))
    assert find(f"{root}:base").path.endswith("base-model")
    recipe = (space.root / "recipe.yaml").read_text("utf-8")
    (space.root / "recipe.yaml").write_text(recipe + "seed: 7\n", encoding="utf-8")
    assert find(root, lines.append).path == aligned, "the last one that was finished"
    assert "before the recipe or its data changed" in lines[-1]
    assert list(workspace_models(space)) == ["align", "finetune", "base"]
    with pytest.raises(Invalid, match="'pretrain/stage1' has no model; those with one: align, finetune, base"):
        find(f"{root}:pretrain/stage1")
    (space.root / "recipe.yaml").write_text(recipe + "align: null\n", encoding="utf-8")
    assert find(root).path != aligned, "the recipe has no such stage any more"
    shutil.rmtree(space.root / "finetune")
    assert find(root).path.endswith("base-model")
    assert short_name(root) == "space"
    assert short_name(f"{root}:finetune") == "space:finetune"
    assert short_name("smollm2-135m") == "smollm2-135m"
    with pytest.raises(Invalid, match="no such folder"):
        chat(str(tmp_path / "nowhere"))
