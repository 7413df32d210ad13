"""Two rule-based raters for documents. They look at different evidence, so that their agreement means something.

    domain, round 1    share of words that are listed medical terms
    domain, round 2    medical word forms (endings, typical characters) and turns of phrase
    quality, round 1   words: adverts and residue by density, repeated sentences, debris, spread of medical density
    quality, round 2   structure: contact details, compressibility, sentence lengths, shared content of neighbours

The two domain thresholds were set on the even-numbered texts of Apollo's sample (11 domains, zh and en).
"""

import re
import zlib
from collections.abc import Mapping

from aquilamed.annotate.catalog import DomainLabel, QualityScore
from aquilamed.annotate.terms import Text, occurrences

_TERM_SHARE = 0.02
_FORM_SHARE = 0.015
_CONTACT = re.compile(
    r"https?://|www\.|[\w.+-]+@[\w-]+\.\w|(?<!\d)1[3-9]\d{9}(?!\d)|(?<!\d)(?:\d{3,4}-){1,2}\d{4,8}|[$¥￥€]\s?\d|\d\s?元|★|☆|!{2,}|！{2,}"
)
_DEBRIS = re.compile(
    r"\ufffd|[ÃÂâ][\x80-\xbf€™]|&[a-z]{2,6};|<[^<>]{1,60}>|\\[nrtu]|锟斤拷|([^\w\s.\-=])\1{3,}|(?:\?\s*){4,}"
)
_TIMECODE = re.compile(
    r"(?<!\d)\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?\s*(?:-->|-\s*\d{1,2}:\d{2}|\])|\[\d{1,2}:\d{2}"
)
_CLOSED = tuple(".!?。！？…”\"')）】;；:：")


def domain(item: Mapping[str, str], round: int) -> DomainLabel:
    """medical or general, by the round's evidence."""
    text = Text(item["text"])
    if round % 2:
        medical = text.medical_share >= _TERM_SHARE
    else:
        medical = text.morphology_share + 0.01 * min(text.density("cues"), 8.0) >= _FORM_SHARE
    return DomainLabel(domain="medical" if medical else "general")


def quality(item: Mapping[str, str], round: int) -> QualityScore:
    """0 to 6, by the round's evidence."""
    text = Text(item["text"])
    value = _by_words(text) if round % 2 else _by_structure(text)
    return QualityScore(score=max(0, min(6, int(value + 0.5))))


def _by_words(text: Text) -> float:
    if text.size < 5:
        return 0.0
    value = 4.6 + min(text.medical_share / 0.08, 1.0) * 0.9 + min(text.size / 80, 1.0) * 0.5
    value -= max(0.0, (25 - text.size) / 5)  # too short to learn from
    value -= min(text.density("adverts") * 0.8, 4.0)
    value -= min(text.density("residue") * 0.8 + 100 * len(_TIMECODE.findall(text.raw)) / text.size, 3.5)
    value -= min(60 * len(_DEBRIS.findall(text.raw)) / text.size, 3.0)
    value -= 5 * _repeated_sentences(text)
    return value - (2.0 if _mixed_domains(text) else 0.0)


def _by_structure(text: Text) -> float:
    if text.size < 6:
        return 0.0
    value = 4.4 + min(text.morphology_share / 0.05, 1.0) * 0.6 + min(len(text.sentences) / 5, 1.0) * 0.8
    value -= max(0.0, (25 - text.size) / 5)
    calls = len(set(occurrences(text.lower, "adverts")))
    value -= min(calls * 0.5 + len(_CONTACT.findall(text.raw)) * 0.5, 3.5) if calls else 0.0
    value -= min(len(set(occurrences(text.lower, "residue"))) * 0.8 + len(_TIMECODE.findall(text.raw)) * 0.6, 3.5)
    value -= min(len(_DEBRIS.findall(text.raw)) * 0.5, 3.0)
    value -= max(0.0, (0.34 - compressed(text.raw)) * 20) if len(text.raw) > 200 else 0.0
    value -= 2.5 * _broken_sentences(text)
    return value - (2.0 if _unrelated_neighbours(text) else 0.0)


def compressed(text: str) -> float:
    """Size after zlib as a share of the size before: below about 0.3 a text repeats itself."""
    data = text.encode("utf-8", "replace")
    return len(zlib.compress(data, 6)) / max(len(data), 1)


def _repeated_sentences(text: Text) -> float:
    """Share of sentences that occurred before."""
    said = [s.lower() for s in text.sentences if len(s) > 6]
    return 1 - len(set(said)) / len(said) if said else 0.0


def _broken_sentences(text: Text) -> float:
    """Share of lines that are fragments: very short, or long without any end mark."""
    sentences = text.sentences
    broken = 0
    for sentence in sentences:
        size = Text(sentence).size
        broken += (size < 2.5 and len(sentences) > 2) or (size > 12 and not sentence.endswith(_CLOSED)) or size > 150
    return broken / max(len(sentences), 1)


def _windows(text: Text, words: float = 25.0) -> list[Text]:
    """The text in pieces of whole sentences, each of at least `words` words."""
    pieces: list[Text] = []
    current = ""
    for sentence in text.sentences:
        current = f"{current} {sentence}".strip()
        if Text(current).size >= words:
            pieces.append(Text(current))
            current = ""
    return pieces


def _mixed_domains(text: Text) -> bool:
    """Some pieces are dense with medical terms and others hold none: texts of two domains were joined."""
    shares = [w.medical_share for w in _windows(text)]
    return len(shares) >= 2 and max(shares) >= 0.08 and min(shares) <= 0.004


def _unrelated_neighbours(text: Text) -> bool:
    """At some point nothing said before is said again after it, or the language changes there."""
    pieces = _windows(text)
    for cut in range(1, len(pieces)):
        before = frozenset().union(*(p.content for p in pieces[:cut]))
        after = frozenset().union(*(p.content for p in pieces[cut:]))
        shared = len(before & after) / max(min(len(before), len(after)), 1)
        if shared < 0.02 or all(p.chinese != pieces[cut].chinese for p in pieces[:cut]):
            return True
    return False
