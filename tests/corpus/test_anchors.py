"""The quick look never overlooks what the patterns themselves would find."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquilamed.corpus.anchors import Anchors, anchors
from aquilamed.corpus.cues import ADVERT, MEDIA, MOJIBAKE, NAVIGATION, SUSPECT

KINDS = {kind: pattern for cues in (ADVERT, MEDIA, NAVIGATION) for kind, pattern in cues.kinds.items()}


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_match_has_an_anchor(kind: str) -> None:
    quick = Anchors(KINDS)
    pattern = re.compile(KINDS[kind], re.IGNORECASE | re.ASCII)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.from_regex(pattern, fullmatch=True), min_size=1, max_size=3), st.text(max_size=5))
    def check(matches: list[str], between: str) -> None:
        text = between.join(matches)
        exact = len(re.findall(pattern, text))
        assert quick.at_most(text.encode("utf-8", "surrogatepass")).get(kind, 0) >= exact

    check()


@pytest.mark.parametrize("kind", list(MOJIBAKE.kinds))
def test_every_broken_letter_is_suspect(kind: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.from_regex(re.compile(MOJIBAKE.kinds[kind]), fullmatch=True))
    def check(match: str) -> None:
        assert re.search(SUSPECT, match)

    check()


def test_anchors_are_the_rarest_strings_that_a_match_needs() -> None:
    assert anchors("colou?r") == {"color", "colour"}
    assert anchors(r"\d+ ?% off|sale!") == {"% off", "sale!"}
    assert anchors(r"(?:IMG|DSC)_[01]\d") == {"IMG_0", "IMG_1", "DSC_0", "DSC_1"}
    assert anchors(r"扫.{0,6}二维码") == {"二维码"}


def test_a_pattern_without_a_fixed_string_is_refused() -> None:
    with pytest.raises(ValueError, match="fixed string"):
        Anchors({"numbers": r"\d+"})


def test_letters_of_any_case_count() -> None:
    assert Anchors({"order": "buy now"}).at_most(b"BUY NOW! Buy now!") == {"order": 2}
