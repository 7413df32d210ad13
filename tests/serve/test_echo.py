"""A text's own log-probabilities over the protocol: those of the model, and what lm-evaluation-harness makes of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from endpoint import idle, post, serving

from aquilamed.evaluate.harness import open_model
from aquilamed.models import ModelConfig, load_model, load_tokenizer
from aquilamed.serve import echo
from aquilamed.serve.app import Front
from aquilamed.serve.engine import Engine
from aquilamed.serve.remote import Remote

TEXT = "A fever is a body temperature above 发热 normal.\n"


def plain(engine: Engine, folder: Path, text: str) -> tuple[list[str], list[float], list[float]]:
    """From one pass of transformers: tokens, their log-probabilities from the second on, and the likeliest ones'."""
    import torch

    ids = engine.text_ids(text)
    with torch.inference_mode():
        logs = load_model(ModelConfig(path=str(folder)))(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    told = [float(logs[n, token]) for n, token in enumerate(ids[1:])]
    return [engine.word(i) for i in ids], told, logs.max(-1).values.tolist()


def test_an_echo_is_the_text_with_the_models_own_log_probabilities(
    served: tuple[str, Front], engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = openai.OpenAI(base_url=served[0] + "/v1", api_key="unused", max_retries=0)
    tokens, told, best = plain(engine, folder, TEXT)
    asked: dict[str, Any] = {"model": "tiny", "prompt": TEXT, "temperature": 0, "echo": True, "logprobs": 2}
    for chunk in (256, 5):  # a long text comes in several passes
        monkeypatch.setattr(echo, "CHUNK", chunk)
        alone = client.completions.create(**asked, max_tokens=0)
        [choice] = alone.choices
        assert (choice.text, choice.finish_reason) == (TEXT, "length")
        found: Any = choice.logprobs
        assert found.tokens == tokens
        assert found.token_logprobs[0] is None
        assert found.top_logprobs[0] is None
        assert found.token_logprobs[1:] == pytest.approx(told, abs=1e-4)
        assert [max(t.values()) for t in found.top_logprobs[1:]] == pytest.approx(best[:-1], abs=1e-4)
        assert alone.usage is not None
        assert (alone.usage.prompt_tokens, alone.usage.completion_tokens) == (len(tokens), 0)
    without = client.completions.create(**asked | {"echo": False}, max_tokens=4).choices[0]
    whole = client.completions.create(**asked, max_tokens=4).choices[0]
    assert whole.text == TEXT + without.text
    more: Any = whole.logprobs
    assert without.logprobs is not None
    assert more.tokens == tokens + (without.logprobs.tokens or [])
    parts = list(client.completions.create(**asked, max_tokens=4, stream=True))
    assert "".join(p.choices[0].text for p in parts) == whole.text
    assert client.completions.create(**asked | {"logprobs": None}, max_tokens=4).choices[0].text == whole.text
    with ThreadPoolExecutor(6) as users:
        for other in users.map(lambda _: client.completions.create(**asked, max_tokens=40).choices[0], range(12)):
            beside: Any = other.logprobs
            assert other.text.startswith(whole.text)
            assert beside.token_logprobs[1 : len(tokens)] == found.token_logprobs[1:], "answers run beside"
    assert idle(served[1])


def test_what_cannot_be_echoed_is_said(served: tuple[str, Front], engine: Engine) -> None:
    status, got, _ = post(served[0], {"prompt": "a", "max_tokens": 0}, "/v1/completions")
    assert (status, got["error"]["param"]) == (400, "max_tokens")
    with (
        serving(engine, key="key") as (address, _),
        Remote(engine.tokenizer, engine.context, address, "key", name="tiny") as remote,
        serving(remote) as (front, _),
    ):
        status, got, _ = post(front, {"prompt": "a", "echo": True}, "/v1/completions")
        assert (status, got["error"]["param"]) == (400, "echo")
        assert "--engine transformers" in got["error"]["message"]


def test_the_harness_scores_the_server_as_it_scores_the_model(served: tuple[str, Front], folder: Path) -> None:
    pytest.importorskip("tenacity", reason="pip install 'lm-eval[api]'")
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    config = ModelConfig(path=str(folder))
    ours = open_model(load_model(config), load_tokenizer(config), 4)
    theirs = LocalCompletionsAPI(
        base_url=served[0] + "/v1/completions",
        model="tiny",
        tokenizer=str(folder),
        tokenizer_backend="huggingface",
        batch_size=3,
        max_length=512,
    )
    pairs = [("A fever is", " a body"), ("Question: 发热？\nAnswer:", " B"), ("Drink water,", " rest, and see a doctor"), ("x", " y")]  # fmt: skip
    pairs += [(context * 3, ending) for context, ending in pairs]
    asked = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]
    want, got = ours.loglikelihood(asked), theirs.loglikelihood(asked)
    assert [value for value, _ in got] == pytest.approx([value for value, _ in want], abs=1e-4)
    assert [greedy for _, greedy in got] == [greedy for _, greedy in want]
