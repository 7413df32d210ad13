"""Cleaning takes away what nobody said, and nothing that somebody did."""

import time

import pytest

from aquilamed.sources.cleaning import clean
from aquilamed.sources.raw import Misfit
from aquilamed.sources.turns import cleaned_messages


@pytest.mark.parametrize(
    ("before", "after", "rules"),
    [
        ("指导意见：<br>多休息。<BR/>多喝水。", "指导意见：\n多休息。\n多喝水。", {"html"}),
        ('<p class="a">One</p>\n\n\n<p>Two</p>', "One\n\nTwo", {"html", "space"}),
        ("<a href='http://x.y'>link</a> and <b>bold</b>", "link and bold", {"html"}),
        ("白细胞 4×10<sup>9</sup>/L，SpO<sub>2</sub> 98%", "白细胞 4×10^9/L，SpO2 98%", {"html"}),
        ("before<script>alert(1)</script>after<!-- note -->", "beforeafter", {"html"}),
        ("ALT&gt;40&nbsp;U/L &amp; &ldquo;小三阳&rdquo;", "ALT>40 U/L & “小三阳”", {"html", "space"}),
        ("&lt;br&gt; is a tag", "<br> is a tag", {"html"}),
        ("bell\x07 and \x9f", "bell and", {"control"}),
        ("hidden &#8238;text", "hidden text", {"html", "control"}),
        ("zero\u200bwidth\ufeff", "zerowidth", {"zero_width"}),
        ("line\r\nend  \r\n\r\n\r\n\r\nmore\u00a0x", "line\nend\n\nmore x", {"space"}),
    ],
)
def test_what_nobody_said_goes_and_is_recorded(before: str, after: str, rules: set[str]) -> None:
    assert clean(before) == (after, rules)
    assert clean(after)[0] == after or "&lt;" in before


@pytest.mark.parametrize(
    "text",
    [
        "血压 <120/80 且 >60，p<0.05",
        "a <b and c> d, a list <T> and <em dash> too",
        "if x < y and z > 3: R&D; AT&T; ?a=1&section=2",
        "Use `<br>` for a line and <b>bold</b>.",
        "<!DOCTYPE html><html><body><p>A page</p></body></html>",
        "a family 👨\u200d👩\u200d👧 and a 　gap",
        "one\n\ntwo\n  indented",
    ],
)
def test_what_somebody_said_stays(text: str) -> None:
    assert clean(text) == (text, set())


def test_hostile_texts_take_no_time() -> None:
    started = time.perf_counter()
    for piece in ("<a ", "<p    ", "<script>", "<!--", "<sup>", "&amp", "<b x=", " \t", "\n\n", "<"):
        clean(piece * (300_000 // len(piece)) + "x")
    assert time.perf_counter() - started < 10


def test_a_turn_of_which_nothing_is_left_is_a_misfit() -> None:
    for text, rule in (("<br>&nbsp;\u200b", "empty"), ("  ", "no_answer")):
        with pytest.raises(Misfit) as error:
            cleaned_messages([{"role": "user", "content": "Q"}, {"role": "assistant", "content": text}])
        assert error.value.rule == rule
    with pytest.raises(Misfit, match="turn 1"):
        cleaned_messages([{"role": "user", "content": ""}])
    assert cleaned_messages([{"role": "system", "content": "<p></p>"}]) == ([], {"html"})
