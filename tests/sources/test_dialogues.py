"""Stage sources/dialogues: every form, what does not fit, and the real public sets."""

import json
import types
from pathlib import Path
from typing import Any

import pytest

from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import DIALOGUE, read_parts
from aquilamed.sources.dialogues import DialoguesConfig, DialogueSource, run, to_dialogue
from aquilamed.sources.raw import Misfit, RawRecord
from aquilamed.stage import Context


def convert(form: str, value: Any, **options: Any) -> tuple[str, list[tuple[str, str]]]:
    source = DialogueSource(name="s", path="p", form=form, **options)
    made, _ = to_dialogue(source, RawRecord("p:1", value))
    return made.kind, [(m["role"][0], m["content"]) for m in made.messages]


def why(form: str, value: Any) -> str:
    with pytest.raises(Misfit) as error:
        convert(form, value)
    return error.value.rule


def turns(*contents: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": c} for n, c in enumerate(contents)]}


def test_messages() -> None:
    assert convert("messages", turns("头痛怎么办？", " 多休息。 ")) == (
        "single_turn_QA_zh",
        [("u", "头痛怎么办？"), ("a", "多休息。")],
    )
    assert convert("messages", turns("Hi", "Hello", "OK", "OK"))[0] == "multi_turn_QA_en"
    with_system = {"messages": [{"role": "system", "content": "Be kind."}, *turns("Q", "A")["messages"]]}
    assert convert("messages", with_system)[1] == [("s", "Be kind."), ("u", "Q"), ("a", "A")]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("no_answer", turns("Question?", "  ")),
        ("no_answer", turns("Question?", "Answer.", "And?")),
        ("no_question", turns(" ", "Answer.")),
        ("no_question", {"messages": [{"role": "assistant", "content": "Answer."}]}),
        ("echo", turns("The same words.", "The same words.")),
        ("roles", {"messages": [{"role": "doctor", "content": "x"}]}),
        ("roles", {"messages": [*turns("Q", "A")["messages"], {"role": "assistant", "content": "B"}]}),
        ("wrong_type", {"messages": []}),
        ("wrong_type", {"messages": "no list"}),
        ("wrong_type", {"messages": [{"role": "user", "content": 3}]}),
        ("wrong_type", "a text"),
        ("language", turns("123", "456")),
    ],
)
def test_what_is_no_dialogue(rule: str, value: Any) -> None:
    assert why("messages", value) == rule


def test_one_turn_forms() -> None:
    assert convert("alpaca", {"instruction": "Explain", "input": "fever", "output": "It is."})[1][0] == (
        "u",
        "Explain\nfever",
    )
    assert convert("chatdoctor", {"instruction": "If you are", "input": "I cough", "output": "Rest."})[1][0] == (
        "u",
        "I cough",
    )
    assert convert("qa", {"q": ["问一", "问二"], "a": "答"}, fields={"question": "q", "answer": "a"})[1] == [
        ("u", "问一"),
        ("a", "答"),
    ]
    row = {"department": "内科", "title": "能吃党参吗？", "ask": "我有高血压。", "answer": "可以。"}
    assert convert("chinese_medical_dialogue", row)[1][0] == ("u", "能吃党参吗？\n我有高血压。")
    assert convert("chinese_medical_dialogue", row | {"ask": "您好，能吃党参吗？"})[1][0] == ("u", "您好，能吃党参吗？")
    assert why("chinese_medical_dialogue", row | {"title": "", "ask": "无"}) == "no_question"


def test_recorded_conversations_are_merged_and_trimmed() -> None:
    said = [
        ("医生", "你好"),
        ("患者", "咳嗽"),
        ("患者", "三天了"),
        ("医生", "发烧吗"),
        ("患者", "不烧"),
        ("医生", "多喝水"),
        ("患者", "谢谢"),
    ]
    value = {"dialogue": {"dialogue-content": [{"speaker": s, "sentence": t} for s, t in said]}}
    assert convert("cmdd", value) == (
        "multi_turn_QA_zh",
        [("u", "咳嗽\n三天了"), ("a", "发烧吗"), ("u", "不烧"), ("a", "多喝水")],
    )
    smile = {"dialog": [{"role": "client", "content": "累"}, {"role": "counselor", "content": "说说"}]}
    assert convert("smilechat", smile)[0] == "single_turn_QA_zh"
    mts = {"dialogue": "Doctor: Hello.\nPatient: My knee hurts.\nGuest_family: A lot.\nDoctor_2: Since when?\nIn days."}
    assert convert("mts_dialog", mts)[1] == [("u", "My knee hurts.\nA lot."), ("a", "Since when?\nIn days.")]
    assert why("mts_dialog", {"dialogue": "Doctor: Hi\nParrot: Hi"}) == "roles"


def test_sharegpt_and_exam() -> None:
    value = {"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A."}]}
    assert convert("sharegpt", value)[1] == [("u", "Q?"), ("a", "A.")]
    exam = {
        "question": "哪项正确？",
        "options": {"A": "甲", "B": "乙", "C": "丙"},
        "answer": "CA",
        "rationale": "因为。",
    }
    assert convert("exam", exam) == (
        "single_turn_option_zh",
        [("u", "哪项正确？\nA. 甲\nB. 乙\nC. 丙"), ("a", "A. 甲\nC. 丙\n因为。")],
    )
    assert why("exam", exam | {"answer": "D"}) == "answer"
    assert why("exam", exam | {"answer": ""}) == "no_answer"
    assert why("exam", exam | {"options": {"A": "甲", "C": "丙"}}) == "options"


def context(out: Path, data: Path) -> Context:
    quiet = Progress(quiet=True)
    recipe = types.SimpleNamespace(data_folder=lambda: data)
    return Context(out, out / ".work", {}, LocalEngine(quiet, workers=1), quiet, 42, out, recipe)


def test_dropped_dialogues_keep_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(turns("Q", "A")) + "\n" + json.dumps(turns("Q?", "")) + "\n{\n")
    config = DialoguesConfig(max_bad_share=1, sources=[{"name": "s", "path": "a.jsonl", "form": "messages"}])
    result = run(context(tmp_path / "out", tmp_path), config)
    kept, dropped = read_parts(tmp_path / "out" / "kept"), read_parts(tmp_path / "out" / "dropped")
    assert kept.columns == DIALOGUE.names
    assert dropped.columns == [*DIALOGUE.names, "reason", "detail", "raw"]
    assert dropped["reason"].to_list() == ["sources.no_answer", "sources.malformed"]
    assert json.loads(dropped["raw"][0]) == turns("Q?", "")
    assert result.records_in == 3


def test_real_sets(tmp_path: Path, public_data: Path) -> None:
    forms = {
        "chinese_medical_dialogue": "sft/chinese_medical_dialogue",
        "chatdoctor": "sft/chatdoctor",
        "sharegpt": "sft/medicalgpt",
        "smilechat": "sft/smilechat_2000.jsonl.gz",
        "cmdd": "sft/cmdd_dialogues.jsonl.gz",
        "mts_dialog": "sft/mts_dialog",
        "cmtmedqa": "benchmarks/cmtmedqa",
        "huatuo26m": "benchmarks/huatuo",
    }
    named = {"huatuo26m": {"questions": "instruction", "answers": "output"}}  # Zhongjing's copy names them otherwise
    # Every seventh MTS dialogue is a doctor's monologue with a thank-you, or a patient's: no answer to train on.
    sources = [
        {"name": form, "path": path, "form": form, "limit": 1144, "fields": named.get(form, {})}
        for form, path in forms.items()
    ]
    result = run(context(tmp_path / "out", public_data), DialoguesConfig(max_bad_share=0.2, sources=sources))
    assert result.metrics["cleaned"]["smilechat"] == {"html": 0, "control": 0, "zero_width": 1, "space": 0}
    kept, dropped = read_parts(tmp_path / "out" / "kept"), read_parts(tmp_path / "out" / "dropped")
    counts = dict(kept["source"].value_counts().iter_rows())
    assert counts["chinese_medical_dialogue"] == counts["chatdoctor"] == counts["huatuo26m"] == 1144
    assert counts["cmtmedqa"] == 1144
    assert counts["sharegpt"] == 1000
    assert counts["smilechat"] >= 990
    assert counts["cmdd"] >= 990
    assert counts["mts_dialog"] >= 840
    assert set(dropped["reason"]) <= {"sources.no_answer", "sources.no_question", "sources.roles", "sources.echo"}
    assert set(dropped["source"]) <= {"smilechat", "mts_dialog"}
    assert result.metrics["licenses"]["Apache-2.0"]["redistribute"]
    languages = {form: "en" if form in ("chatdoctor", "mts_dialog") else "zh" for form in forms}
    assert all(languages[source] == lang for source, lang in kept.select("source", "lang").unique().iter_rows())
    assert "餐" in "".join(
        m["content"] for row in kept["messages"].to_list()[:1000] for m in row
    )  # decoded, not mojibake
