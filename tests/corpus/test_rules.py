"""Each rule drops what it is for and leaves good text alone."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from aquilamed.corpus.rules import RulesConfig, check, count_tokens, repeated_lines, repeated_ngrams

GOOD_EN = (
    "Hypertension is a common condition in which the force of the blood against the artery walls is too high. "
    "It is diagnosed by repeated measurements, and treated with diet, exercise and medicines such as amlodipine 5 mg. "
    "If your pressure stays above 180/120 mmHg, call your doctor or go to the emergency department."
)
GOOD_ZH = (
    "高血压是常见的慢性病，诊断需要多次测量血压。治疗包括低盐饮食、规律运动和药物，如氨氯地平 5 mg 每日一次。"
    "若血压持续高于 180/120 mmHg，请立即就医，可拨打120急救电话，也可以通过医院官方微信预约挂号。"
)
BAD = {
    "too_few_tokens": ["高血压怎么办", "See above."],
    "special_characters": [
        "★★★☆☆ ■■■■ ◆◆◆ 健康 ●●● ▲▲▲ 养生 ※※※ §§§ 知识 ###### @@@@ 大全 ～～～～ ￥￥￥￥ 内容 |||| ____ 完",
        "== || ## {{ }} <<>> [[ ]] $$ ^^ ~~ `` a b c d e f g h i j k l ########## ____ |||||| ^^^^ text",
    ],
    "repeated_lines": [
        "多喝水，注意休息，保持心情愉快。\n" * 12 + "祝您早日康复，谢谢。",
        "Drink water and rest well every day.\nAlways see your doctor first.\n" * 9,
    ],
    "repeated_ngrams": [
        " ".join(
            f"{i} take the blue pill with a glass of water in the morning before your breakfast and" for i in range(20)
        ),
        "，".join(f"{i}号患者入院后给予抗感染补液对症支持治疗后好转出院" for i in range(30)),
    ],
    "advert": [
        "祖传秘方治疗牛皮癣，无效退款！限时优惠，原价1999元，现仅需 299元，立即拨打热线电话400-123-4567咨询，加微信：zy88888领取免费名额。",
        "权威男科医院，在线预约享受五折优惠，免费咨询热线：010-88886666，彻底告别烦恼，名额有限，点击咨询。",
        "Buy now and get 50% off! Our miracle cure melts fat with no side effects, 100% guaranteed. Call now toll-free, limited time offer, free shipping on every order.",
    ],
    "media_residue": [
        "00:00:01,000 --> 00:00:04,500\n大家好欢迎收看本期节目\n00:00:05,000 --> 00:00:09,000\n今天我们讲高血压\n字幕组制作 水印 别忘了一键三连",
        "[Music] Hi everyone, in this video we talk about diabetes. [Applause] Cut to: a nurse. Fade in. Thanks for watching, like and subscribe! IMG_2041.jpg",
        "镜头一：医生走进病房，画外音响起。转场，特写镜头推近药瓶。剪辑时注意加字幕和片尾水印，导出设置选1080P。",
    ],
    "mojibake": [
        "高血压是常见的慢性病，诊断需要多次测量血压。治疗包括低盐饮食和药物。".encode().decode("gbk", "replace"),
        "高血压是常见的慢性病，诊断需要多次测量血压。治疗包括低盐饮食和药物。".encode().decode("latin-1"),
        "高血压是常见的慢性病，诊断需要多次测量血压。治疗包括低盐饮食和药物。".encode("gbk").decode("latin-1"),
        "It\u00e2\u20ac\u2122s the patient\u00e2\u20ac\u2122s first visit and we don\u00e2\u20ac\u2122t know the history of it yet, she said.",
    ],
    "boilerplate": [
        "网站首页 | 新闻中心 | 健康知识 | 联系我们 | 网站地图\n用户登录 注册 忘记密码\n上一篇：高血压 下一篇：糖尿病\n版权所有 免责声明 京ICP备12345678号\n返回顶部 分享到 收藏本站",
        "Skip to main content Home | About us | Contact us | Sitemap Log in Sign up Privacy Policy Terms of Use All rights reserved Read more Next page Share on Facebook This site uses cookies",
    ],
}


def run(texts: list[str | None], config: RulesConfig | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"id": [str(i) for i in range(len(texts))], "text": texts}, schema_overrides={"text": pl.String}
    )
    return check(frame, config or RulesConfig())


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in BAD.items() for text in texts])
def test_bad_text_is_dropped_by_its_rule(rule: str, text: str) -> None:
    result = run([text])
    assert result["reason"].to_list() == [f"rules.{rule}"], result["detail"].to_list()
    assert result["detail"][0]


@pytest.mark.parametrize("text", [GOOD_EN, GOOD_ZH])
def test_good_text_stays(text: str) -> None:
    assert run([text])["reason"].to_list() == [None]


def test_broken_encoding_is_put_right_where_nothing_was_lost() -> None:
    latin, gbk, quotes = BAD["mojibake"][1:]
    lost = BAD["mojibake"][0]
    found = run([latin, gbk, quotes, lost, GOOD_ZH], RulesConfig(repair=True))
    meant = "高血压是常见的慢性病，诊断需要多次测量血压。治疗包括低盐饮食和药物。"
    assert found["text"].to_list()[:3] == [meant, meant, quotes.replace("â€™", "’")]
    assert found["repaired"].to_list() == ["mojibake", "mojibake", "mojibake", None, None]
    assert found["reason"].to_list() == [None, None, None, "rules.mojibake", None]
    assert found["tokens"][0] == 31


def test_details_hold_the_numbers() -> None:
    result = run(["太短了", BAD["special_characters"][0]])
    assert result["detail"][0] == "3 tokens < 10"
    assert result["detail"][1].startswith("special characters ")
    assert result["detail"][1].endswith("% > 25%")


def test_tokens_are_script_aware() -> None:
    assert count_tokens(["血压 180/120 mmHg", "It's fine.", ""]).tolist() == [5, 3, 0]


def test_limits_and_switches() -> None:
    assert run([GOOD_EN], RulesConfig(max_tokens=20))["reason"].to_list() == ["rules.too_many_tokens"]
    assert run([BAD["advert"][0]], RulesConfig(advert=False))["reason"].to_list() == [None]


def test_shares() -> None:
    assert repeated_lines("one line\nanother line\nthird line") == 0
    assert repeated_lines("same line\nsame line\nsame line\nsame line") == pytest.approx(0.75)
    same = "take one tablet in the morning and one in the evening with water "
    first, second = repeated_ngrams([GOOD_EN, same * 10])
    assert first == 0
    assert second == pytest.approx(1 - 13 / 123)


def test_batches_do_not_matter() -> None:
    texts = [t for group in BAD.values() for t in group] + [GOOD_EN, GOOD_ZH, None, ""]
    whole = run(texts)["reason"].to_list()
    assert whole == [run([t])["reason"][0] for t in texts]


def test_real_medical_text_is_hardly_touched(public_data: Path) -> None:
    with gzip.open(public_data / "text" / "medquad.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["answer"] for line in file][1::4]
    reasons = run([t for t in texts if t])["reason"].drop_nulls().to_list()
    assert len(reasons) < 0.01 * len(texts), pl.Series(reasons).value_counts()
