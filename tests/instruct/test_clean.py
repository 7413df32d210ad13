"""Dialogues through the corpus' deduplication and decontamination."""

import types
from pathlib import Path

import pytest

from aquilamed.engine.local import LocalEngine
from aquilamed.evaluate import tasks
from aquilamed.evaluate.tasks import BenchmarkText
from aquilamed.instruct.clean import (
    InstructDecontaminateConfig,
    InstructDedupConfig,
    QuestionsConfig,
    run_decontaminate,
    run_dedup,
    run_questions,
)
from aquilamed.progress import Progress
from aquilamed.records import Dialogue, read_parts, to_frame, write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

QUESTION = "孩子三天来反复发热，最高体温39度，伴有咳嗽和流涕，应该怎么处理？"
ANSWER = (
    "建议多喝水，物理降温，体温超过38.5度时按体重服用退热药；若精神差或持续高热超过三天，请及时到儿科就诊检查血常规。"
)


def dialogue(number: int, *turns: str, source: str = "s") -> Dialogue:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": t} for i, t in enumerate(turns)]
    return Dialogue(f"{number:03d}", source, "MIT", f"f:{number}", "single_turn_QA", "zh", messages)  # type: ignore[arg-type]


def context(tmp_path: Path, source: str, dialogues: list[Dialogue]) -> Context:
    write_parts(tmp_path / "in" / "kept", to_frame(dialogues, Dialogue), rows=3)
    progress, out = Progress(quiet=True), tmp_path / "out"
    inputs = {source: Artifact(source, tmp_path / "in", {})}
    recipe = types.SimpleNamespace()
    return Context(out, out / ".work", inputs, LocalEngine(progress, 1), progress, 42, tmp_path, recipe)  # type: ignore[arg-type]


DIALOGUES = [
    dialogue(0, QUESTION, ANSWER),
    dialogue(1, QUESTION, ANSWER),
    dialogue(2, QUESTION, ANSWER.replace("及时", "尽快")),
    dialogue(
        3,
        QUESTION,
        "可以先观察，注意补充水分。如果出现抽搐、呼吸急促，应马上去医院急诊，不要自行使用抗生素或者激素类药物。",
    ),
    dialogue(
        4,
        "What causes a stiff neck?",
        "Often a strained muscle; see a doctor if there is fever.",
        "And headache?",
        "Then go at once.",
    ),
]


def test_whole_dialogues_are_compared(tmp_path: Path) -> None:
    ctx = context(tmp_path, "sources/dialogues", DIALOGUES)
    result = run_dedup(ctx, InstructDedupConfig())
    dropped = read_parts(ctx.out / "dropped")
    assert dict(zip(dropped["id"], dropped["reason"], strict=True)) == {"001": "dedup.exact", "002": "dedup.near"}
    assert read_parts(ctx.out / "kept")["id"].to_list() == ["000", "003", "004"]
    assert result.metrics == {"exact": 1, "near": 1, "within": 2, "across": 0, "sources": {"s": {"s": 2}}}


def test_one_question_stays_with_one_answer_and_the_other_source_is_named(tmp_path: Path) -> None:
    advert = dialogue(
        5, QUESTION, "关注公众号领取红包，名额有限，快来加入我们吧，更多优惠等你来拿哦！" * 2, source="web"
    )
    ctx = context(tmp_path, "instruct/dedup", [advert, *DIALOGUES])
    metrics = run_questions(ctx, QuestionsConfig()).metrics
    assert read_parts(ctx.out / "kept")["id"].to_list() == ["003", "004"]  # the answer with most medical terms
    details = dict(read_parts(ctx.out / "dropped").select("id", "detail").iter_rows())
    assert details["005"] == "copy of 003 of source s, Jaccard 1.00"
    assert details["000"] == "copy of 003, Jaccard 1.00"
    assert set(read_parts(ctx.out / "dropped")["reason"]) == {"questions.exact"}
    assert metrics["sources"] == {"s": {"s": 3, "web": 1}}
    assert (metrics["within"], metrics["across"]) == (3, 1)


@pytest.mark.parametrize(
    "greeting",
    ["医生你好，请问一下", "Hello doctor, thank you!", "大夫您好，在吗？", "What do you mean by that, doctor?"],
)
def test_questions_that_tell_nothing_are_not_compared(tmp_path: Path, greeting: str) -> None:
    same = [dialogue(n, greeting, f"答案{n}：请说说您的情况。") for n in range(3)]
    asked = [dialogue(n, greeting, "请说。", f"{QUESTION}", "好的。" * n) for n in (7, 8)]
    ctx = context(tmp_path, "instruct/dedup", [*same, *asked])
    run_questions(ctx, QuestionsConfig())
    assert read_parts(ctx.out / "kept")["id"].to_list() == ["000", "001", "002", "007"]


def test_questions_need_not_be_compared(tmp_path: Path) -> None:
    ctx = context(tmp_path, "instruct/dedup", DIALOGUES)
    run_questions(ctx, QuestionsConfig(min_words=None))
    assert read_parts(ctx.out / "kept").height == len(DIALOGUES)


def test_leaked_dialogue_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        BenchmarkText("huatuo", "7", "孩子三天来反复发热，最高体温39度，伴有咳嗽和流涕，应该怎么处理"),
        BenchmarkText("mmlu", "1", "Neck?"),
    ]
    monkeypatch.setattr(tasks, "benchmark_texts", lambda ctx: texts)
    ctx = context(tmp_path, "instruct/questions", DIALOGUES)
    result = run_decontaminate(ctx, InstructDecontaminateConfig())
    dropped = read_parts(ctx.out / "dropped")
    assert dropped["id"].to_list() == ["000", "001", "002", "003"]
    assert "huatuo question 7" in dropped["detail"][0]
    assert read_parts(ctx.out / "kept")["id"].to_list() == ["004"]
    assert result.metrics["benchmarks"]["huatuo"] == {
        "questions": 1,
        "too_short": 0,
        "leaked_questions": 1,
        "leaked_share": 1.0,
        "documents_dropped": 4,
    }
    assert result.metrics["benchmarks"]["mmlu"]["documents_dropped"] == 0


TURNS = ("我父亲去年查出冠心病", "平时吃阿司匹林和他汀类药物", "最近总是胃痛，还能继续吃吗")
LONG = "您好，这种情况比较常见，请不要紧张，先告诉我老人家的年龄、平时的血压和血糖，以及有没有做过胃镜检查。" * 3


def test_a_leak_spread_over_several_turns_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "benchmark_texts", lambda ctx: [BenchmarkText("clin", "1", "\n".join(TURNS))])
    leaked = dialogue(1, TURNS[0], LONG, TURNS[1], LONG, TURNS[2], LONG)
    ctx = context(tmp_path, "instruct/questions", [leaked, *DIALOGUES])
    run_decontaminate(ctx, InstructDecontaminateConfig())
    assert read_parts(ctx.out / "dropped")["detail"].to_list() == ["100% of the 4-grams of clin question 1"]


def test_a_question_with_options_is_found_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question, options = "下列哪种药物最适合治疗支气管哮喘急性发作", ["沙丁胺醇吸入剂", "阿莫西林胶囊", "华法林钠片"]
    text = BenchmarkText("cmb", "1", "\n".join([question, *options]))
    monkeypatch.setattr(tasks, "benchmark_texts", lambda ctx: [text])
    turned = [f"{letter}. {o}" for letter, o in zip("ABC", reversed(options), strict=True)]
    asked = dialogue(1, "\n".join([question, *turned]), "C. 沙丁胺醇吸入剂")
    other = dialogue(2, "\n".join(["下列哪种疾病可以使用糖皮质激素治疗", *turned]), "A")
    ctx = context(tmp_path, "instruct/questions", [asked, other])
    run_decontaminate(ctx, InstructDecontaminateConfig())
    assert read_parts(ctx.out / "dropped")["id"].to_list() == ["001"]
