"""Letters out of generated answers, in both languages; what is not said is None."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquilamed.evaluate.choices import parse_letters

SINGLE = {
    "B": "B",
    "b": "B",
    "(B)": "B",
    "（B）": "B",
    "Ｂ": "B",
    " B.": "B",
    "B. fever": "B",
    "(B) fever, because it rises": "B",
    "The answer is b.": "B",
    "The answer is: B": "B",
    "The correct answer is (C), since the heart fails.": "C",
    "Answer: D": "D",
    "The correct option is **A**": "A",
    "The best choice would be B. I am sure.": "B",
    "答案是C": "C",
    "答案：C": "C",
    "答案为 C。": "C",
    "正确答案是【D】": "D",
    "故选B": "B",
    "因此选择选项A。": "A",
    "应选 D": "D",
    "本题考查心衰。\n答案：D": "D",
    r"So \boxed{C}": "C",
    r"\boxed{\text{B}}": "B",
    "A fever is common, thus the answer is C.": "C",
    "Let me think.\nNot A, as it is rare.\nC": "C",
    "The answer is not A. The answer is B.": "B",
    "B、发热": "B",
}
SEVERAL = {
    "答案是AC": "AC",
    "选 A、C": "AC",
    "选A和C": "AC",
    "A,C,D": "ACD",
    "(A)(C)": "AC",
    "The correct answers are A and C.": "AC",
    "答案：C、A、D。": "ACD",
    "ABCDE": "ABCDE",
    "Answer: B": "B",
    "答案是 A，C，以及 D": "ACD",
}
NOTHING = [
    "",
    "I do not know.",
    "a fever is common",
    "发热是常见症状",
    "As a doctor I advise rest.",
    "Both may be right.",
    "F",
    "The answer is apple",
    "不能选A",
]


@pytest.mark.parametrize("text", SINGLE)
def test_one_letter(text: str) -> None:
    assert parse_letters(text, 4) == SINGLE[text]


@pytest.mark.parametrize("text", SEVERAL)
def test_several_letters(text: str) -> None:
    assert parse_letters(text, 5, several=True) == SEVERAL[text]
    if len(SEVERAL[text]) > 1:
        assert parse_letters(text, 5) is None


@pytest.mark.parametrize("text", NOTHING)
def test_what_is_not_said_is_nothing(text: str) -> None:
    assert parse_letters(text, 5) is None


WORDINGS = {
    # language: announcements of an answer; {} is the letters
    "zh": [
        "答案是{}", "答案：{}。", "答案为{}", "正确答案为（{}）", "正确答案：【{}】", "最佳答案是{}。", "故选{}", "所以选{}。", "因此，选择{}。",
        "应选{}", "应该选{}", "我选{}", "选{}", "综上，选项为{}", "参考答案：{}",
    ],
    "en": [
        "The answer is {}.", "The answer is: {}", "Answer: {}", "answer: {}", "The correct answer is ({}).", "The best choice is {}",
        "The correct option is **{}**", "The right answers are {}.", "the final answer would be {}", r"\boxed{{{}}}",
    ],
    "any": ["({})", "{}", "**{}**", "{}.", "【{}】"],
}  # fmt: skip
BEFORE = {
    "zh": ["", "本题考查心力衰竭的诊断。\n", "患者发热三天，首先考虑感染。", "A错，B不符合题意。", "选项都需要考虑。"],
    "en": [
        "",
        "Let me think step by step.\n",
        "A fever is common, so a scan is not needed. ",
        "Option A is wrong. ",
        "I can rule A out.\n",
    ],
    "any": [""],
}
AFTER = {
    "zh": ["", "。因为体温升高。", "\n解析：略"],
    "en": ["", " because the heart fails.", "\nI am sure."],
    "any": [""],
}
BETWEEN = {"zh": ["", "、", "，", "和", "及"], "en": ["", ", ", " and ", "/", " & "], "any": ["", "、", ",", ", ", " "]}


@given(st.data(), st.sampled_from(sorted(WORDINGS)), st.sets(st.sampled_from("ABCDE"), min_size=1))
def test_every_wording_gives_back_its_letters(data: st.DataObject, lang: str, letters: set[str]) -> None:
    draw = data.draw
    said = draw(st.permutations(sorted(letters)))
    wording, between = draw(st.sampled_from(WORDINGS[lang])), draw(st.sampled_from(BETWEEN[lang]))
    before, after = draw(st.sampled_from(BEFORE[lang])), draw(st.sampled_from(AFTER[lang]))
    text = before + wording.format(between.join(said)) + after
    assert parse_letters(text, 5, several=True) == "".join(sorted(letters)), text
    assert parse_letters(text, 5) == (said[0] if len(said) == 1 else None), text


@given(st.sampled_from("ABCD"), st.sampled_from("ABCD"), st.sampled_from(["zh", "en"]))
def test_what_is_ruled_out_is_no_answer(out: str, right: str, lang: str) -> None:
    wordings = {"zh": "不能选{}，答案是{}。", "en": "The answer is not {}. The answer is {}."}
    assert parse_letters(wordings[lang].format(out, right), 4) == right


@given(st.sampled_from("ABCD"), st.sampled_from("ABCD"))
def test_the_last_word_counts(first: str, last: str) -> None:
    assert parse_letters(f"答案是{first}？再想一想，答案是{last}。", 4) == last
    assert parse_letters(f"The answer is {first}. No, wait: the answer is {last}.", 4) == last


@given(st.sampled_from("FGHIJ"), st.sampled_from([*WORDINGS["zh"], *WORDINGS["en"]]))
def test_a_letter_beyond_the_options_is_no_answer(letter: str, wording: str) -> None:
    assert parse_letters(wording.format(letter), 5, several=True) is None


@given(st.text(max_size=200), st.integers(2, 10), st.booleans())
def test_any_text_gives_letters_that_are_options_or_nothing(text: str, count: int, several: bool) -> None:
    found = parse_letters(text, count, several)
    assert found is None or (set(found) <= set("ABCDEFGHIJ"[:count]) and found == "".join(sorted(set(found))))
    assert several or found is None or len(found) == 1
