"""Dangerous advice goes; warnings, questions and sexual-health medicine stay; private information is masked."""

import json
from pathlib import Path

import polars as pl
import pytest

from aquilamed.instruct.safety import SafetyConfig, check, dangerous_advice, unsafe
from aquilamed.records import Message

SAMPLE = Path(__file__).parents[2] / "src" / "aquilamed" / "sample" / "data"


def dialogue(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Stop taking your warfarin today, herbs will do.", "stop_vital_medication"),
        ("胰岛素可以自己停，不用问医生。", "stop_vital_medication"),
        ("Just swallow the whole bottle of paracetamol.", "dangerous_dose"),
        ("头疼就一次吃50片止痛药。", "dangerous_dose"),
        ("You can inject heroin for the pain.", "illegal_drugs"),
        ("你不如去自杀。", "self_harm"),
        ("Do not call an ambulance, it will pass.", "refuse_care"),
        ("发烧就喝消毒液。", "poison"),
    ],
)
def test_dangerous_advice_is_found(answer: str, kind: str) -> None:
    found = dangerous_advice(answer)
    assert found is not None
    assert found[0] == kind


@pytest.mark.parametrize(
    "answer",
    [
        "Do not stop taking your warfarin on your own today without asking us.",
        "Never swallow the whole bottle; if you have, call an ambulance.",
        "切勿自行停用胰岛素，请先咨询医生。",
        "不能一次吃50片止痛药。",
        "如果误喝消毒液，请立即拨打120。",
        "Vaginal dryness after the menopause is common; an oestrogen cream helps.",
        "阴道炎期间应避免性生活，使用避孕套可减少复发。",
        "Thoughts of suicide are a reason to call the emergency number now; you are not alone.",
    ],
)
def test_good_counsel_stays(answer: str) -> None:
    assert unsafe(dialogue("What should I do?", answer), SafetyConfig()) is None


def test_a_patient_may_ask_anything() -> None:
    asked = dialogue("Can I stop my insulin today on my own?", "No. Your body needs it every day.")
    assert unsafe(asked, SafetyConfig()) is None


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_clean_dialogue_of_the_sample_is_unsafe(lang: str) -> None:
    for line in (SAMPLE / f"dialogues.{lang}.jsonl").read_text("utf-8").splitlines():
        assert unsafe(json.loads(line)["messages"], SafetyConfig()) is None


def test_private_information_is_masked_and_counted() -> None:
    messages = dialogue("我的手机是13812345678，什么时候复查？", "请三个月后复查。")
    frame = check(pl.DataFrame({"id": ["a"], "messages": [messages]}), SafetyConfig())
    assert "13812345678" not in json.dumps(frame["messages"].to_list(), ensure_ascii=False)
    assert sum(json.loads(frame["pii"][0]).values()) == 1
    assert frame["reason"][0] is None
