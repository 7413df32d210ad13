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


TEMPLATES = [
    "答案是{}",
    "答案：{}。",
    "故选{}",
    "The answer is {}.",
    "Answer: {}",
    "({})",
    "{}",
    "正确答案为（{}）",
    "**{}**",
]


@given(
    st.sampled_from(TEMPLATES),
    st.sets(st.sampled_from("ABCDE"), min_size=1),
    st.sampled_from(["", "、", ",", ", ", " "]),
)
def test_every_wording_gives_back_its_letters(template: str, letters: set[str], between: str) -> None:
    said = "".join(sorted(letters))
    assert parse_letters(template.format(between.join(said)), 5, several=True) == said


@given(st.text(max_size=200), st.integers(2, 10), st.booleans())
def test_any_text_gives_letters_that_are_options_or_nothing(text: str, count: int, several: bool) -> None:
    found = parse_letters(text, count, several)
    assert found is None or (set(found) <= set("ABCDEFGHIJ"[:count]) and found == "".join(sorted(set(found))))
    assert several or found is None or len(found) == 1
