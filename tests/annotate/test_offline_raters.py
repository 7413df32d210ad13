"""The rule-based raters on real text with known domains, and on real text with flaws put in by the test."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from aquilamed.annotate import (
    ANSWER,
    ASPECTS,
    COMPARE,
    COMPLEXITY,
    DOMAIN,
    QUALITY,
    RESPONSE_QUALITY,
    TURN,
    AnnotatorConfig,
    CallError,
    open_annotator,
)
from aquilamed.annotate.agreement import agreement, two_rounds
from aquilamed.annotate.terms import Text, entries, occurrences
from aquilamed.progress import Progress

APOLLO = Path(__file__).parents[3] / "shared" / "data" / "text" / "apollo"
needs_apollo = pytest.mark.skipif(
    not APOLLO.is_dir(), reason="the shared real data (shared/data/text/apollo) is absent"
)
ADVERT = {
    "zh": "限时优惠，仅需998元，立即咨询热线400-123-4567，名额有限，扫码加微信领取红包！",
    "en": " Order now and get a 50% discount! Limited time offer, call us or visit our website www.example.com today!!",
}
RESIDUE = {
    "zh": "图片来源：网络，点击放大。字幕组 00:12 --> 00:15 转场 片头 滤镜 上一篇 下一篇 责任编辑",
    "en": " Click to enlarge. Photo by us. Watch the video 00:12 --> 00:15 fade in, cut to b-roll, read more",
}


def annotator(root: Path = Path()) -> Any:
    return open_annotator(AnnotatorConfig(), root, Progress(quiet=True))


def apollo(pattern: str, half: int = 1) -> list[str]:
    """The answers of one half of the matching files (0 is the half that the thresholds were set on)."""
    texts = []
    for file in sorted(APOLLO.glob(pattern)):
        found = json.loads(file.read_text(encoding="utf-8"))[half::2]
        texts += [entry if isinstance(entry, str) else "\n".join(entry) for entry in found]
    return texts


@needs_apollo
@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("round", [1, 2])
def test_each_rater_tells_medical_from_general_on_the_other_half(lang: str, round: int) -> None:
    texts = {f: apollo(f"{f}_{lang}*.json") for f in ("Medical_*", "General", "Math", "Code")}
    medical = [{"text": t} for t in texts.pop("Medical_*")]
    general = [{"text": t} for ts in texts.values() for t in ts]
    rater = annotator()
    hits = sum(a.domain == "medical" for a in rater.annotate(DOMAIN, medical, round))
    false = sum(a.domain == "medical" for a in rater.annotate(DOMAIN, general, round))
    assert 2 * hits / (hits + false + len(medical)) > 0.86, (hits, len(medical), false, len(general))


@needs_apollo
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_quality_falls_with_every_flaw_for_both_raters(lang: str) -> None:
    pick = random.Random(3)
    clean = [t for t in apollo(f"Medical_*_{lang}*.json") if len(t) > 300][:80]
    general = [t for t in apollo(f"General_{lang}*.json") if len(t) > 200]
    flawed = {
        "advert": [t + "\n" + ADVERT[lang] for t in clean],
        "residue": [t + "\n" + RESIDUE[lang] for t in clean],
        "spliced": [t[:400] + "\n" + pick.choice(general)[:400] for t in clean],
        "repeated": [(t[:200] + "。") * 4 for t in clean],
        "garbled": ["".join(c if pick.random() > 0.1 else "\ufffd" for c in t) for t in clean],
        "short": [t[:16] for t in clean],
    }
    rater = annotator()

    def mean(texts: list[str], round: int) -> float:
        return sum(a.score for a in rater.annotate(QUALITY, [{"text": t} for t in texts], round)) / len(texts)

    for round in (1, 2):
        best = mean(clean, round)
        assert best > 4.5
        for flaw, texts in flawed.items():
            assert mean(texts, round) < best - 0.8, (flaw, round, best)


@needs_apollo
def test_the_raters_agree_mostly_but_not_always() -> None:
    items = [{"text": t} for t in apollo("*.json")]
    labels = agreement(two_rounds(annotator(), DOMAIN, items, lambda a: a.domain))
    assert 0.6 < labels["kappa"] < 1
    scores = agreement(two_rounds(annotator(), QUALITY, items, lambda a: a.score), weighted=True)
    assert 0.3 < scores["equal"] < 1
    assert scores["weighted_kappa"] > 0.4


DIALOGUE = "医生您好，我最近咳嗽有痰，晚上发热到38.5度，需要吃什么药？"
GOOD = (
    "您好，咳嗽有痰并伴有发热，首先考虑急性支气管炎，也要排除肺炎。建议您尽快到医院做血常规和胸部影像检查。"
    "如果确诊为细菌感染，医生会开抗生素，例如头孢类，对青霉素过敏者应避免使用。发热超过38.5度可以口服布洛芬退热，"
    "注意多饮水、休息。如果出现呼吸困难或胸痛，请及时就医。"
)
ANSWERS = {
    "good": GOOD,
    "curt": "多喝水。",
    "repeating": "注意休息。" * 30,
    "other language": "You should rest, drink water and see a doctor for bronchitis if the fever stays.",
    "unrelated": "今天的足球比赛非常精彩，主队在最后一分钟进球，观众们都站起来欢呼，球员们互相拥抱庆祝胜利。",
}


@pytest.mark.parametrize("round", [1, 2])
def test_swapping_the_answers_swaps_the_verdict(round: int) -> None:
    rater = annotator()
    swapped = {"A": "B", "B": "A", "tie": "tie"}
    for a, b in itertools.product(ANSWERS.values(), repeat=2):
        both = [{"dialogue": DIALOGUE, "answer_a": x, "answer_b": y} for x, y in ((a, b), (b, a))]
        one, other = rater.annotate(COMPARE, both, round)
        for what in ("winner", *ASPECTS):
            assert getattr(other, what) == swapped[getattr(one, what)]
        assert a != b or one.winner == "tie"
    for name, bad in ANSWERS.items():
        [verdict] = rater.annotate(COMPARE, [{"dialogue": DIALOGUE, "answer_a": GOOD, "answer_b": bad}], round)
        assert verdict.winner == ("tie" if name == "good" else "A"), name


@pytest.mark.parametrize("round", [1, 2])
def test_turns_and_responses_are_scored_in_the_expected_order(round: int) -> None:
    rater = annotator()
    names = list(ANSWERS)
    turns = rater.annotate(TURN, [{"dialogue": DIALOGUE, "answer": ANSWERS[n]} for n in names], round)
    totals = {n: t.fluency + t.relevance + t.completeness + t.proficiency for n, t in zip(names, turns, strict=True)}
    assert all(totals["good"] > total for name, total in totals.items() if name != "good"), totals
    pairs = [{"instruction": DIALOGUE, "response": ANSWERS[n]} for n in names]
    scores = dict(zip(names, (a.score for a in rater.annotate(RESPONSE_QUALITY, pairs, round)), strict=True))
    assert all(scores["good"] > score for name, score in scores.items() if name != "good"), scores
    case = (
        DIALOGUE
        + "我有十年糖尿病病史，同时有高血压，因为肾功能不全，如果用药请比较并解释不同方案的不良反应，如何调整剂量？"
    )
    asked = rater.annotate(COMPLEXITY, [{"instruction": i} for i in ("你好", DIALOGUE, case)], round)
    assert asked[0].score < asked[1].score < asked[2].score


def test_rules_cannot_answer_and_say_so() -> None:
    rater = annotator()
    [answer] = rater.annotate(ANSWER, [{"dialogue": DIALOGUE}])
    assert isinstance(answer, CallError)
    assert answer.kind == "unsupported"
    assert rater.statistics()["errors"] == {"unsupported": 1}
    assert rater.name == "offline"


def test_latin_terms_match_whole_words_only() -> None:
    assert list(occurrences("the heart and a heartless art. cough, 咳嗽和发热", "medical.en", "medical.zh")) == [
        "heart",
        "cough",
        "咳嗽",
        "发热",
    ]
    assert Text("").medical_share == 0
    assert all(len(entries(name)) > 100 for name in ("medical.zh", "medical.en", "cues", "adverts", "residue"))
