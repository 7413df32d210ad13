"""Invented private information: where the truth says it is, and found there."""

from aquilamed.corpus.pii import find_pii
from aquilamed.corpus.pii_patterns import PATTERNS
from aquilamed.sample.private import Planted, Span, generate, score


def test_spans_point_at_what_was_planted() -> None:
    planted = generate(200, seed=5)
    assert planted == generate(200, seed=5)
    assert {p.lang for p in planted} == {"zh", "en"}
    for text, _, spans in planted:
        assert spans
        for span in spans:
            value = text[span.start : span.end]
            assert value == value.strip() != ""


def test_every_type_is_planted() -> None:
    assert {s.kind for p in generate(1500, seed=6) for s in p.spans} == {row.kind for row in PATTERNS}


def test_recall_and_precision_on_texts_that_no_pattern_was_fitted_to() -> None:
    result = score(generate(3000, seed=7), find_pii)
    assert result.recall >= 0.98, result.missed
    assert result.precision >= 0.97, result.wrong


def test_a_miss_and_a_false_find_are_counted() -> None:
    planted = [Planted("call 415-555-0132 or 2023", "en", [Span(5, 17, "PHONE")])]
    half = score(planted, lambda text: [Span(5, 12, "PHONE"), Span(21, 25, "PHONE")])
    assert (half.recall, half.precision) == (0.0, 0.5)
    assert half.missed == {"PHONE": ["call 415-555-0132"]}
    assert list(half.wrong) == ["PHONE"]
