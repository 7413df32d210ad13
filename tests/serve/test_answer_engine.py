"""Many users at one tiny random model: everybody gets his own answer, the same as alone, and stopping stops."""

import queue
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aquilamed.config import Invalid, StageFailed
from aquilamed.models import ModelConfig, generate, load_model, load_tokenizer
from aquilamed.serve.answerer import Piece
from aquilamed.serve.engine import MEMORY_SHARE, PAGE, Engine
from aquilamed.serve.engines import answerer
from aquilamed.serve.pieces import Decoder, Stops
from aquilamed.serve.sampling import Draw, Sampling


def asked(number: int) -> list[Any]:
    return [{"role": "user", "content": f"Question {number}: " + "fever 发热 " * number}]


def answer(engine: Engine, number: int, **settings: Any) -> str:
    return "".join(engine.stream(asked(number), Sampling(**{"max_tokens": 12, **settings})))


def pieces(engine: Engine, number: int, **settings: Any) -> list[Piece]:
    got: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    engine.submit(engine.prompt(asked(number)), Sampling(**{"max_tokens": 12, **settings}), got.put)
    found = [got.get(timeout=30)]
    while not found[-1].reason:
        found.append(got.get(timeout=30))
    return found


def test_twenty_users_at_once_get_what_each_would_get_alone(folder: Path, engine: Engine) -> None:
    config = ModelConfig(path=str(folder))
    alone = generate(
        load_model(config), load_tokenizer(config), [asked(n) for n in range(20)], max_new_tokens=12, batch_size=1
    )
    with ThreadPoolExecutor(20) as users:
        together = list(users.map(lambda n: answer(engine, n), range(20)))
    assert [t.strip() for t in together] == alone
    assert len(set(alone)) > 3, "the answers must differ for a mix-up to show"


def test_a_seeded_answer_does_not_depend_on_the_company(engine: Engine) -> None:
    hot: dict[str, Any] = {"temperature": 1.5, "top_p": 0.9, "max_tokens": 24}
    alone = [answer(engine, n, seed=n, **hot) for n in range(6)]
    with ThreadPoolExecutor(6) as users:
        assert list(users.map(lambda n: answer(engine, n, seed=n, **hot), range(6))) == alone
    assert answer(engine, 1, seed=2, **hot) != alone[1]
    assert answer(engine, 1, **hot) != answer(engine, 1, **hot), "without a seed every answer is a new one"


def test_a_tiny_temperature_or_top_p_is_greedy(engine: Engine) -> None:
    greedy = answer(engine, 3)
    assert answer(engine, 3, temperature=1e-6) == greedy
    assert answer(engine, 3, temperature=1.0, top_p=1e-9) == greedy


def test_logprobs_are_the_models_own(engine: Engine) -> None:
    import torch

    found = pieces(engine, 2, logprobs=3, max_tokens=4)
    told = [entry for piece in found for entry in piece.logprobs]
    prompt = engine.prompt(asked(2))
    assert len(told) == sum(p.tokens for p in found) == 4
    with torch.inference_mode():
        model = load_model(ModelConfig(path=engine.model.name_or_path))
        ids = model.generate(torch.tensor([prompt]), max_new_tokens=4, do_sample=False)[0]
        logs = model(ids[None]).logits[0].log_softmax(-1)
    for place, entry in enumerate(told, len(prompt) - 1):
        assert entry.token == engine.word(int(ids[place + 1]))
        assert entry.logprob == pytest.approx(float(logs[place, ids[place + 1]]), abs=1e-4)
        assert entry.top[0] == (entry.token, entry.logprob)
        assert len(entry.top) == 3


def test_penalties_avoid_repetition(engine: Engine) -> None:
    plain = [e.token for p in pieces(engine, 1, max_tokens=30, logprobs=0) for e in p.logprobs]
    told = pieces(engine, 1, max_tokens=30, logprobs=0, presence_penalty=2.0, frequency_penalty=2.0)
    penalised = [e.token for p in told for e in p.logprobs]
    assert len(set(penalised)) > len(set(plain))


def test_reasons_and_stop_texts(engine: Engine) -> None:
    found = pieces(engine, 5, max_tokens=10)
    whole = "".join(p.text for p in found)
    assert found[-1].reason == "length"
    assert sum(p.tokens for p in found) == 10
    stop = whole[len(whole) // 2 :][:2]
    cut = pieces(engine, 5, max_tokens=10, stop=("never said", stop))
    assert cut[-1].reason == "stop"
    assert "".join(p.text for p in cut) == whole[: whole.index(stop)]


def test_closing_a_stream_stops_the_model(engine: Engine) -> None:
    with closing(engine.stream(asked(1), Sampling(max_tokens=400))) as stream:
        next(stream)
    processor = engine.manager.batch_processor
    deadline = time.monotonic() + 20
    while processor.has_pending_requests() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processor.has_pending_requests()
    assert answer(engine, 1, max_tokens=3)


def test_an_answer_that_cannot_be_drawn_fails_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Draw._token

    def token(self: Draw, logits: Any) -> int:
        return real(self, logits * float("nan") if self.sampling.seed == 13 else logits)

    monkeypatch.setattr(Draw, "_token", token)
    with ThreadPoolExecutor(2) as users:
        broken = users.submit(answer, engine, 1, temperature=1.0, seed=13, max_tokens=40)
        well = users.submit(answer, engine, 2, temperature=1.0, seed=14, max_tokens=40)
        assert well.result()
        with pytest.raises(StageFailed, match="could not answer"):
            broken.result()
    assert engine.alive


def test_a_prompt_beyond_the_context_is_refused(engine: Engine) -> None:
    with pytest.raises(Invalid, match="context holds 512"):
        answer(engine, 200)
    near = [{"role": "user", "content": "a" * (engine.context - 20)}]
    prompt = engine.prompt(near)  # type: ignore[arg-type]
    got = list(engine.stream(near, Sampling()))  # type: ignore[arg-type]
    assert len(prompt) < engine.context
    assert got


def test_more_users_than_memory_holds_all_get_their_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = 2 * PAGE * 2 * 2 * 8 * 4  # keys and values of two layers, two heads of width 8, four bytes each
    monkeypatch.setattr("aquilamed.serve.engine.free_memory", lambda device: round(5 * block / MEMORY_SHARE))
    with Engine(ModelConfig(path=str(folder)), max_concurrency=6) as small:
        assert small.context == 5 * PAGE, "one user at least fits"
        with ThreadPoolExecutor(12) as users:
            found = list(users.map(lambda n: answer(small, n % 3, max_tokens=100), range(12)))
        assert found[:3] * 4 == found

        def long(number: int) -> str | None:
            got: queue.SimpleQueue[Piece] = queue.SimpleQueue()
            ids = [5 + (number * 7 + i) % 300 for i in range(1 + number * 53 % (small.context - 30))]
            name = small.submit(ids, Sampling(max_tokens=None if number % 3 else 9), got.put)
            while not (piece := got.get(timeout=60)).reason:
                if number % 5 == 4:
                    small.cancel(name)
            return piece.reason

        with ThreadPoolExecutor(20) as users:
            reasons = list(users.map(long, range(20)))
        assert set(reasons) <= {"length", "stop", "cancelled"}, "long prompts push each other out for ever"
        assert small.alive
    said: list[str] = []
    with answerer(str(folder), "transformers", 6, PAGE, said.append) as smaller:
        assert smaller.context == PAGE
        assert said[1:] == ["Memory holds 5 answers of 64 tokens at once; --max-context makes room for more."]
    monkeypatch.setattr("aquilamed.serve.engine.free_memory", lambda device: block)
    with pytest.raises(Invalid, match="no memory left"):
        Engine(ModelConfig(path=str(folder)))


def test_text_comes_in_whole_characters(engine: Engine) -> None:
    text = "发热🙂 fever\n心脏"
    ids = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    decoder = Decoder(engine.tokenizer)
    shown = [decoder.push([i], n == len(ids) - 1) for n, i in enumerate(ids)]
    assert "".join(shown) == text
    assert "" in shown, "some token must end inside a character"
    assert not any("\ufffd" in piece for piece in shown)
    half = engine.tokenizer("发", add_special_tokens=False)["input_ids"][:1]
    assert Decoder(engine.tokenizer).push(half, last=True) == "\ufffd", "nothing that was said is lost"


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_stop_texts_are_found_across_pieces(size: int) -> None:
    text = "one two th thr three four"
    stops = Stops(["three", "four"])
    shown = ""
    for at in range(0, len(text), size):
        shown += stops.push(text[at : at + size], at + size >= len(text))
        if stops.found:
            break
    assert shown == "one two th thr "
    unmet = Stops(["xyz"])
    assert unmet.push("ends in x") + unmet.push("y", last=True) == "ends in xy"
