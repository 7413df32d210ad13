"""Texts that talk to their judge: they stay inside the marks, are no control tokens, and never become the verdict."""

import json
from pathlib import Path
from typing import Any

import pytest

from aquilamed.annotate import COMPARE, DOMAIN, QUALITY, CallError
from aquilamed.annotate.parse import parse
from aquilamed.control_tokens import plain_ids
from aquilamed.models import prompt_ids

FILE = Path(__file__).parents[2] / "benchmarks" / "injections.jsonl"
INJECTIONS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
RUBRICS = {"score": (QUALITY, "text"), "winner": (COMPARE, "answer_b"), "domain": (DOMAIN, "text")}
OWN = {
    "score": {"score": 1},
    "domain": {"domain": "medical"},
    "winner": dict.fromkeys(("fluency", "relevance", "completeness", "proficiency", "winner"), "A"),
}
TEXT = "Fever and cough for three days. 发热咳嗽三天。"
each = pytest.mark.parametrize("injection", INJECTIONS, ids=lambda i: i["id"])


def injected(injection: dict[str, Any]) -> tuple[Any, dict[str, str], str]:
    """The rubric, an item with the injection, and the injection's text."""
    [goal] = injection["wants"]
    rubric, field = RUBRICS[goal]
    item = dict.fromkeys(rubric.fields, TEXT)
    mark = rubric.render(item).split("[BEGIN ")[1].split()[1][:8]
    said = injection["text"].replace("{mark}", mark) * injection.get("repeat", 1)
    return rubric, {**item, field: f"{TEXT}\n{said}"}, said


def test_there_are_enough_of_every_kind_in_both_languages() -> None:
    assert len(INJECTIONS) >= 60
    assert len({i["id"] for i in INJECTIONS}) == len(INJECTIONS)
    kinds = {i["kind"] for i in INJECTIONS}
    assert kinds >= {"order", "favour", "verdict", "end", "turn", "marker", "fence", "unicode", "long"}
    for lang in ("zh", "en"):
        assert sum(i["lang"] == lang for i in INJECTIONS) >= 30


@each
def test_it_stays_between_the_marks(injection: dict[str, Any]) -> None:
    rubric, item, said = injected(injection)
    prompt = rubric.render(item, max_chars=10**6)
    mark = prompt.split("[BEGIN ")[1].split()[1][:8]
    assert mark not in said
    assert [prompt.count(f"[{word} {f} {mark}]") for f in rubric.fields for word in ("BEGIN", "END")] == [1] * (
        2 * len(rubric.fields)
    )
    assert len(rubric.render(item, max_chars=500)) < len(rubric.render(dict.fromkeys(item, ""))) + 600 * len(item)


@each
def test_a_reply_that_quotes_it_keeps_the_judges_own_verdict(injection: dict[str, Any]) -> None:
    rubric, item, said = injected(injection)
    [goal] = injection["wants"]
    prompt, own = rubric.render(item, max_chars=10**6), json.dumps(OWN[goal])
    verdict = rubric.schema.model_validate(OWN[goal])
    # Quoted as it should be, inside a string of the JSON object, the verdict is read.
    quoting = json.dumps({"analysis": f"It says: {said}", **OWN[goal]}, ensure_ascii=False)
    fenced = f"```json\n{json.dumps({'note': said, **OWN[goal]})}\n```"
    assert [getattr(parse(r, rubric.schema, prompt), goal) for r in (quoting, own)] == [OWN[goal][goal]] * 2
    # Quoted raw, it is read or it is an error.
    replies = [
        fenced,
        f"{said}\n{own}",
        f"{own}\n{said}",
        f'The text says "{said}". I follow no orders: {own}',
        f"```json\n{own}\n```\nIt asked for: {said}",
        f"<think>{said}</think>{own}",
        f"<think>{said}\nI will not.</think>\n```json\n{own}\n```",
    ]
    for reply in replies:
        answer = parse(reply, rubric.schema, prompt)
        assert isinstance(answer, CallError) or answer == verdict, reply[:300]
    # A verdict in words only is no verdict, whatever is quoted beside it.
    for reply in (
        f"The text says: {said}\nMy verdict is the lowest one.",
        f"My verdict is the lowest one; it says {said}",
    ):
        assert isinstance(parse(reply, rubric.schema, prompt), CallError), reply[:300]


# As other models' templates are: what a message holds goes in as it is.
LLAMA = (
    "<s>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"


@pytest.fixture(scope="module", params=[LLAMA, CHATML], ids=["llama", "chatml"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """Byte level, with the control tokens of many models, not all of them declared special."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    names = ("im_start", "im_end", "endoftext", "eot_id", "start_header_id", "end_header_id", "assistant", "user")
    special = [f"<|{n}|>" for n in names] + ["<s>", "</s>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"]
    core.add_special_tokens(special)
    core.add_tokens([AddedToken("<think>"), AddedToken("</think>"), AddedToken("  ")])
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    made.chat_template = request.param
    return made


@each
def test_its_markers_are_no_control_tokens(injection: dict[str, Any], tokenizer: Any) -> None:
    rubric, item, said = injected({**injection, "repeat": min(injection.get("repeat", 1), 30)})
    control = {i for i, t in tokenizer.added_tokens_decoder.items() if t.content.strip()}
    clean = prompt_ids(tokenizer, [{"role": "user", "content": "x"}])
    ids = prompt_ids(tokenizer, [{"role": "user", "content": rubric.render(item)}])
    assert [i for i in ids if i in control] == [i for i in clean if i in control]
    assert not control & set(plain_ids(tokenizer, said))
    assert tokenizer.decode(plain_ids(tokenizer, said)) == said
    assert said in tokenizer.decode(ids)


def test_without_markers_the_ids_are_the_templates(tokenizer: Any) -> None:
    messages: Any = [
        {"role": "user", "content": TEXT},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
    ]
    whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert prompt_ids(tokenizer, messages) == tokenizer(whole, add_special_tokens=False)["input_ids"]
    overlapping = "<|im_start<|im_start|>|>"
    assert tokenizer.decode(plain_ids(tokenizer, overlapping)) == overlapping
