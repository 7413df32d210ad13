"""Toxic text goes, medicine stays: also where it speaks of sex, violence, drugs and death."""

from pathlib import Path

import polars as pl
import pytest
import sensitive

from aquilamed.corpus.toxicity import ToxicityConfig, check, own_terms, read_terms, toxic

# Written for this test: the words are vile because the filter is for them.
TOXIC = [
    "Shut up you fucking idiot, go die in a fire, nobody wants you cunts here.",
    "Those niggers are subhuman and should all be shot. Kill them all.",
    "Hot teens xxx videos, wet pussy and huge cock, watch free porn now!",
    "I will kill you and slit your throat, bitch, and then I'll burn your house.",
    "Buy cocaine and crystal meth online, fake passports and counterfeit money, discreet shipping.",
    "She moaned as he slid his throbbing cock inside her wet pussy, moaning and cumming again and again.",
    "Here is how to make a bomb at home: molotov cocktail recipe and pipe bomb instructions for beginners.",
    "All of these filthy immigrants are vermin and scum, exterminate the savages.",
    "你这个傻逼，操你妈，全家死光吧，滚！",
    "出售冰毒海洛因，出售枪支，代办证件，货到付款，安全可靠。",
    "激情视频在线观看，无码成人视频，美女裸聊，免费黄片每天更新。",
    "他把肉棒插进她的骚穴，淫水直流，她娇喘着达到高潮。",
    "老子要砍死你，杀你全家，不得好死的狗杂种。",
    "澳门新葡京真人荷官在线发牌，百家乐时时彩，网上赌场首存送彩金。",
    "那些劣等民族都是畜生不如的人渣，应该杀光。",
]
MEDICINE = [
    "Breast cancer screening: a mammogram of each breast is taken, nipple discharge and lumps are examined.",
    "Anal fissure is a small tear in the lining of the anus; pain during bowel movements and rectal bleeding are symptoms.",
    "Suicide risk screening: have you ever tried to kill yourself? Have you had thoughts of ending your life?",
    "Sexually transmitted diseases such as gonorrhea spread through vaginal, anal and oral sex; use condoms.",
    "Rape victims should receive emergency contraception, HIV prophylaxis and forensic examination; rape trauma is treated.",
    "Cocaine and heroin abuse raise the risk of endocarditis; methadone treats opioid addiction.",
    "Erectile dysfunction: the penis cannot keep an erection; orgasm and ejaculation disorders are treated too.",
    "47,XXX syndrome is caused by an extra X chromosome. Many women with 47,XXX have no symptoms.",
    "The patient was stabbed in the abdomen; the stab wound was explored, blood loss was 800 ml, he was killed by sepsis.",
    "The horny layer of the skin thickens; the drug retards growth of the tumour and kills parasites.",
    "阴道炎患者外阴瘙痒、白带增多，性交后出血应及时就诊，治疗期间避免性生活。",
    "性病包括梅毒、淋病和尖锐湿疣，可经肛交、口交传播，患者应与性伴侣同时治疗。",
    "自杀风险筛查：您是否有过想死的念头？是否想过杀死自己？请及时联系心理医生。",
    "乳腺癌手术后，患者乳房切除侧上肢水肿，需要康复治疗。",
    "吸毒人员长期注射海洛因，容易感染艾滋病和丙肝，戒毒治疗可用美沙酮。",
    "变态反应性鼻炎与代谢废物无关，患者可口服氯雷他定；取足三里等穴位针刺，小穴位也可选用。",
    "早泄和阳痿患者在做爱时射精过快，达不到性高潮，可在男科医生指导下治疗。",
    "有机磷中毒患者口吐白沫，应立即洗胃；炸药爆炸致伤者先止血。",
]


@pytest.mark.parametrize("text", TOXIC)
def test_toxic_text_is_found(text: str) -> None:
    assert toxic(text)


@pytest.mark.parametrize("text", MEDICINE)
def test_medicine_stays(text: str) -> None:
    assert toxic(text) is None


@pytest.mark.parametrize("text", sensitive.MEDICINE)
def test_sensitive_medicine_stays(text: str) -> None:
    assert toxic(text) is None


def test_sensitive_sentences_are_many_and_of_both_languages() -> None:
    assert len(sensitive.MEDICINE) == len(set(sensitive.MEDICINE)) >= 100
    assert sum(text.isascii() for text in sensitive.MEDICINE) >= 50


def test_nearly_all_vile_sentences_go() -> None:
    missed = [text for text in sensitive.TOXIC if toxic(text) is None]
    assert len(missed) <= len(sensitive.TOXIC) // 20


def test_detail_names_terms_and_score() -> None:
    detail = toxic("go die, you fucking asshole")
    assert detail is not None
    assert "'fucking'×1" in detail
    assert "score 9" in detail


def test_words_inside_words_do_not_count() -> None:
    assert toxic("Scunthorpe classes in Sussex assess cocktail cocks' passports and Dickens' analysis") is None


def test_a_quotation_does_not_condemn_a_long_text() -> None:
    story = "The nurse wrote down what he had said and went on with her round through the quiet ward. " * 30
    assert toxic(story + "He had called her a fucking liar.") is None


def test_further_lexicon_counts_as_weak() -> None:
    extra = read_terms("grumblewort\n# comment\nfizzlenaught\n", 1.0, "\n")
    assert [term for term, _ in extra] == ["grumblewort", "fizzlenaught"]
    text = "you grumblewort, grumblewort, fizzlenaught!"
    assert toxic(text) is None
    assert toxic(text, ToxicityConfig(), extra)


def test_kernel_gives_reasons() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c"], "text": [TOXIC[0], MEDICINE[0], None]})
    result = check(frame, ToxicityConfig())
    assert result["reason"].to_list() == ["toxicity.lexicon", None, None]


def test_lexicon_terms_are_lower_case_and_unique() -> None:
    terms = [term for term, _ in own_terms()]
    assert len(terms) > 400
    assert len(terms) == len(set(terms))
    assert all(term == term.lower().strip() for term in terms)


def test_real_medical_text_is_hardly_touched(public_data: Path) -> None:
    import gzip
    import json

    with gzip.open(public_data / "text" / "medquad.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["answer"] or "" for line in file]
    held_out = texts[1::2]
    assert sum(toxic(t) is not None for t in held_out) <= len(held_out) // 1000
