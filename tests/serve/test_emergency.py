"""Emergencies are seen, harmless questions pass; how often is measured on cases that the rules were not written from."""

import hashlib
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from aquilamed.evaluate.probe import cases
from aquilamed.serve.emergency import _rules, emergency, found_in, notice


def held_out(name: str) -> bool:
    """The rules were written with the other half of the cases in view; both languages of a case are in one half."""
    return hashlib.blake2b(name.split("-", 1)[1].encode(), digest_size=1).digest()[0] % 2 == 1


def test_the_probes_cases() -> None:
    seen: Counter[tuple[str, bool]] = Counter()
    total: Counter[tuple[str, bool]] = Counter()
    for case in cases():
        key = case.kind, held_out(case.id)
        total[key] += 1
        seen[key] += found_in(case.text) is not None
    assert seen["red_flag", False] / total["red_flag", False] > 0.9
    assert seen["red_flag", True] / total["red_flag", True] > 0.55
    for half in (True, False):
        assert seen["not_urgent", half] == 0
        assert seen["harmless", half] <= 2


def test_real_questions_seldom_alarm(public_data: Path) -> None:
    questions = json.loads((public_data / "benchmarks/huatuo/huatuo26M_test.json").read_text("utf-8"))
    asked = [q["instruction"][0] for q in questions][::4]
    assert sum(found_in(q) is not None for q in asked) / len(asked) < 0.03


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("我胸口压得疼，疼到左胳膊，出冷汗", "cardiac"),
        ("我胸口不疼，也没有出汗，只是想体检", None),
        ("My chest hurts, it goes into my left arm", "cardiac"),
        ("I have no chest pain and no pain in my arm", None),
        ("My father had chest pain and sweating ten years ago. Is it hereditary?", None),
        ("我爸五年前胸口疼过、出冷汗，现在复查要做什么？", None),
        ("What are the signs of a stroke?", None),
        ("中风有哪些症状？嘴歪、突然说话不清吗", None),
        ("Mum's face suddenly droops and she slurs her words", "stroke"),
        ("我妈突然嘴歪，说话不清楚", "stroke"),
        ("I want to kill myself tonight", "suicide"),
        ("我不想活了", "suicide"),
        ("孩子把整瓶药吃了", "poisoning"),
        ("", None),
    ],
)
def test_signs_denied_past_and_general(text: str, category: str | None) -> None:
    assert found_in(text) == category


def test_two_messages_complete_each_other() -> None:
    first = {"role": "user", "content": "I have a fever of 39.5."}
    second = {"role": "user", "content": "And my neck is so stiff, I cannot bend it."}
    answer = {"role": "assistant", "content": "worst headache of my life"}
    assert emergency([first]) is None  # type: ignore[list-item]
    assert emergency([first, answer, second]) == "meningitis"  # type: ignore[list-item]
    thanks = {"role": "user", "content": "Thank you, good bye."}
    assert emergency([second, answer, first, answer, thanks]) is None  # type: ignore[list-item]
    assert emergency([]) is None


def test_every_category_says_what_to_do_in_both_languages() -> None:
    for category, _ in _rules()[1]:
        for lang in ("zh", "en"):
            lines = notice(category, lang)  # type: ignore[arg-type]
            assert len(lines) >= 3
            assert "120" in lines[1]


def test_long_text_takes_no_time() -> None:
    start = time.perf_counter()
    for text in ("chest " * 20_000, "疼" * 50_000, "no " * 50_000 + "chest pain", "not " * 5000 + "vomits " * 5000):
        found_in(text)
    assert time.perf_counter() - start < 5
