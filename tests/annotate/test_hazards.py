"""Doubtful sentences, and what tells advice from a warning."""

import pytest

from aquilamed.annotate.hazards import KINDS, RULES, bold_words, care_words, findings


def test_every_kind_but_other_has_a_rule_in_both_languages() -> None:
    kinds = [rule.kind for rule in RULES]
    assert {k: kinds.count(k) for k in KINDS if k != "other"} == {k: 2 for k in KINDS if k != "other"}


@pytest.mark.parametrize(
    ("sentence", "bold", "careful", "forbids"),
    [
        ("Stop your insulin today, there is no need to ask anybody.", True, False, False),
        ("Do not stop your insulin.", False, True, True),
        ("Your doctor may stop the warfarin before surgery.", False, True, False),
        ("降压药直接停，不用问医生。", True, False, False),
        ("切勿自行停用胰岛素。", False, True, True),
    ],
)
def test_advice_and_warnings_are_told_apart(sentence: str, bold: bool, careful: bool, forbids: bool) -> None:
    [found] = findings(sentence)
    assert found == ("stop_vital_medication", sentence, bold, careful, forbids)


def test_words_far_apart_or_in_two_sentences_are_no_finding() -> None:
    assert list(findings("Stop smoking. Insulin is kept in the fridge.")) == []
    far = "Stop when you feel tired on the way up the long hill behind the old house by the river, then measure your insulin."
    assert list(findings(far)) == []


def test_a_negation_that_waves_caution_away_is_no_care() -> None:
    assert care_words("There is no need to call; it does not hurt.") == 0
    assert bold_words("There is no need to call; it does not hurt.") >= 2
    assert care_words("Never do this; call an ambulance.") == 2
