"""Dialogues through the corpus' deduplication and decontamination."""

import types
from pathlib import Path

import pytest

from aquilamed.engine.local import LocalEngine
from aquilamed.evaluate import tasks
from aquilamed.evaluate.tasks import BenchmarkText
from aquilamed.instruct.clean import InstructDecontaminateConfig, InstructDedupConfig, run_decontaminate, run_dedup
from aquilamed.progress import Progress
from aquilamed.records import Dialogue, read_parts, to_frame, write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

QUESTION = "孩子三天来反复发热，最高体温39度，伴有咳嗽和流涕，应该怎么处理？"
ANSWER = (
    "建议多喝水，物理降温，体温超过38.5度时按体重服用退热药；若精神差或持续高热超过三天，请及时到儿科就诊检查血常规。"
)


def dialogue(number: int, *turns: str) -> Dialogue:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": t} for i, t in enumerate(turns)]
    return Dialogue(f"{number:03d}", "s", "MIT", f"f:{number}", "single_turn_QA", "zh", messages)  # type: ignore[arg-type]


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
    assert result.metrics == {"exact": 1, "near": 1}


def test_first_question_alone(tmp_path: Path) -> None:
    ctx = context(tmp_path, "sources/dialogues", DIALOGUES)
    run_dedup(ctx, InstructDedupConfig(first_question=True))
    assert read_parts(ctx.out / "kept")["id"].to_list() == ["000", "004"]


def test_leaked_dialogue_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        BenchmarkText("huatuo", "7", "孩子三天来反复发热，最高体温39度，伴有咳嗽和流涕，应该怎么处理"),
        BenchmarkText("mmlu", "1", "Neck?"),
    ]
    monkeypatch.setattr(tasks, "benchmark_texts", lambda ctx: texts)
    ctx = context(tmp_path, "instruct/dedup", DIALOGUES)
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
