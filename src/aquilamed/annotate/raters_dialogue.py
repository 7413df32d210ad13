"""Two rule-based raters for requests and answers. Both answers of a pair go through the same function, one at a time:
swapping A and B can only swap the verdict.

Odd rounds look at size, shared words and medical terms; even rounds at structure, word forms and redundancy.
"""

import math
import re
from collections.abc import Mapping

from aquilamed.annotate.catalog import ASPECTS, Choice, Score1to6, TurnScores, Verdict
from aquilamed.annotate.raters_text import compressed
from aquilamed.annotate.terms import Text

_QUESTION = re.compile(r"[?？]|吗|呢|怎么|如何|什么|为何|为什么|\b(?:what|why|how|which|when|should|can)\b")
_CONDITION = re.compile(
    r"\b(?:if|because|although|but|however|while|since|after|before|despite|unless|with|without|given)\b"
    r"|如果|因为|但是|虽然|然而|同时|并且|之后|之前|除了|伴|曾|且"
)
_DEMAND = re.compile(
    r"\b(?:explain|compare|analy[sz]e|discuss|justify|differentiate|evaluate|list|summari[sz]e|diagnos\w+)\b"
    r"|解释|比较|分析|讨论|鉴别|评价|总结|说明|诊断"
)
_ORDER = re.compile(
    r"(?m)^\s*(?:[-*•]|\d+[.、)）])|首先|其次|此外|最后|第一|第二|\b(?:first|second|finally|also|moreover)\b"
)
_ADVICE = re.compile(
    r"\b(?:should|recommend\w*|avoid|consult|if you|take|tests?|exam\w*|seek)\b"
    r"|建议|应该|应当|避免|及时|检查|注意|就医|服用|复查|可以"
)
_END = tuple(".!?。！？”\"')）")
_MARGIN = 0.25  # of 4: two answers closer than this are as good as each other


def complexity(item: Mapping[str, str], round: int) -> Score1to6:
    """How demanding a request is."""
    text = Text(item["instruction"])
    if round % 2:
        value = 0.9 * math.log2(1 + text.size / 6) + 0.25 * min(len(text.medical), 6)
    else:
        questions, conditions = len(_QUESTION.findall(text.lower)), len(_CONDITION.findall(text.lower))
        numbers = len(re.findall(r"\d+(?:\.\d+)?", text.raw))
        value = 0.5 * min(questions, 3) + 0.35 * min(conditions, 5) + 0.15 * min(numbers, 6)
        value += 0.6 * min(len(_DEMAND.findall(text.lower)), 2) + 0.4 * min(len(text.sentences), 4)
    return Score1to6(score=_scale(value / 5, 6))


def response_quality(item: Mapping[str, str], round: int) -> Score1to6:
    """How good a response to a request is: the mean of the four aspects."""
    aspects = _aspects(item["instruction"], item["response"], round)
    return Score1to6(score=_scale(sum(aspects.values()) / 4, 6))


def turn(item: Mapping[str, str], round: int) -> TurnScores:
    """The four aspects of one answer."""
    aspects = _aspects(item["dialogue"], item["answer"], round)
    return TurnScores(**{name: _scale(value, 5) for name, value in aspects.items()})


def compare(item: Mapping[str, str], round: int) -> Verdict:
    """The answer with the higher sum of the four aspects; a tie within the margin, of which an aspect's is a quarter."""
    a, b = (_aspects(item["dialogue"], item[name], round) for name in ("answer_a", "answer_b"))
    whole_a, whole_b = sum(a.values()), sum(b.values())
    return Verdict(
        analysis=f"rules: A {whole_a:.2f}, B {whole_b:.2f} of 4",
        **{name: _better(a[name], b[name], _MARGIN / 4) for name in ASPECTS},
        winner=_better(whole_a, whole_b, _MARGIN),
    )


def _better(a: float, b: float, margin: float) -> Choice:
    if abs(a - b) < margin:
        return "tie"
    return "A" if a > b else "B"


def _scale(value: float, top: int) -> int:
    """0..1 → 1..top."""
    return 1 + round(max(0.0, min(1.0, value)) * (top - 1))


def _aspects(dialogue: str, answer: str, round: int) -> dict[str, float]:
    """The four aspects, each 0 to 1."""
    asked, said = Text(dialogue[-800:]), Text(answer)
    if said.size < 1:
        return dict.fromkeys(("fluency", "relevance", "completeness", "proficiency"), 0.0)
    same_language = 1.0 if asked.chinese == said.chinese else 0.3
    aspects = _by_words(asked, said) if round % 2 else _by_structure(asked, said)
    # Without sense or in another language the other aspects do not help the patient either.
    usable = min(1.0, 0.3 + aspects["fluency"]) * same_language
    return {name: value * (1.0 if name == "fluency" else usable) for name, value in aspects.items()}


def _by_words(asked: Text, said: Text) -> dict[str, float]:
    sentences = [s.lower() for s in said.sentences]
    fresh = len(set(sentences)) / len(sentences)
    variety = len(set(said.words) | set(said.han)) / max(len(said.words) + len(said.han), 1)
    shared = len(asked.content & said.content) / max(min(len(asked.content), 12), 1)
    return {
        "fluency": min(fresh, min(1.0, variety / 0.25) if said.size > 30 else 1.0),
        "relevance": min(1.0, 0.35 + 1.2 * shared),
        "completeness": min(1.0, math.log2(1 + said.size) / math.log2(1 + 120)) * _not_endless(said),
        "proficiency": min(1.0, len(said.medical) / 8) * min(1.0, said.medical_share / 0.05),
    }


def _by_structure(asked: Text, said: Text) -> dict[str, float]:
    redundancy = max(0.0, (0.34 - compressed(said.raw)) * 4) if len(said.raw) > 200 else 0.0
    ended = 1.0 if said.raw.rstrip().endswith(_END) else 0.75
    covered = sum(n for term, n in asked.medical.items() if term in said.lower) / max(sum(asked.medical.values()), 1)
    advice, order = len(_ADVICE.findall(said.lower)), len(_ORDER.findall(said.lower))
    return {
        "fluency": max(0.0, 1.0 - redundancy) * ended,
        "relevance": min(1.0, 0.45 + 0.3 * covered + 0.08 * min(advice, 4)),
        "completeness": min(1.0, 0.12 * len(said.sentences) + 0.08 * advice + 0.05 * order) * _not_endless(said),
        "proficiency": min(1.0, said.morphology_share / 0.06) * min(1.0, 0.3 + said.size / 60),
    }


def _not_endless(said: Text) -> float:
    """1 up to 600 words, then falling: length alone must not win."""
    return min(1.0, 600 / max(said.size, 1.0))
