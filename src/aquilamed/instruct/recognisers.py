"""Names and addresses in running text, Chinese and English, by their surroundings: what the corpus' kernels leave out because
it costs too much, or errs too often, on a whole corpus.

A name is masked behind or before a title, in a self-introduction, or in a signature. Physicians whom medicine is named
after, and authors, stay: Parkinson and 华佗 are no patients.
"""

import re
from collections.abc import Iterator
from functools import cache

from aquilamed.annotate.terms import entries
from aquilamed.corpus.pii import Span
from aquilamed.corpus.pii_patterns import SURNAMES


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_HAN = "\u4e00-\u9fff"
# Characters that no given name holds: they betray a word that happens to begin with a surname.
_NOT_GIVEN = "的了是在有不也都就很吗呢吧啊医药病院科床疼痛症炎您你我他她们个这那么什某们为把被等及或者时候问"
_NAME_ZH = rf"(?:欧阳|司马|上官|诸葛|(?![和应祝上时成全向于平古明])[{SURNAMES}])(?:(?![{_NOT_GIVEN}])[{_HAN}]){{1,2}}"
_TITLE_ZH = r"(?:副?主任|副?教授|医生|医师|大夫|护士长?|护师|院长|专家|先生|女士|小姐|同志|老师)"
_BEFORE_ZH = rf"(?<![{_HAN}])|(?<=[由请找问让和跟是给向见的叫为])"
_KIN_ZH = (
    r"(?:妈妈|爸爸|母亲|父亲|老公|老婆|妻子|丈夫|儿子|女儿|孩子|宝宝|奶奶|爷爷|外婆|外公|哥哥|姐姐|弟弟|妹妹|爱人)"
)
_NAMES_ZH = (
    re.compile(rf"(?:{_BEFORE_ZH})(?P<value>{_NAME_ZH})(?={_TITLE_ZH})"),
    re.compile(
        rf"(?:我叫|名叫|名字叫|名字是|叫做|我的名字是)(?P<value>{_NAME_ZH})(?=[，,。！!；;\s]|$|今年|家住|住在|是|\d)"
    ),
    re.compile(
        rf"(?:我是|本人|我{_KIN_ZH}(?:叫)?)[，,]?(?P<value>{_NAME_ZH})(?=[，,]\s?(?:男|女|今年|\d{{1,3}}\s?岁))"
    ),
    re.compile(rf"(?:主治|接诊|主刀|经治|值班)(?:医生|医师|大夫)(?:是|为)?(?P<value>{_NAME_ZH})(?=[，,。；;\s]|$)"),
)
_WORDS_ZH = _set(
    "麻烦 关于 任课 麦片 任意 相信 那就 路上 任何 许多 谢谢 相关 管床 查房 方便 马上 常见 安全 康复 连续 单位 于是 成人 成年 明确 平时 包括 应该 温和 严重 权威 祝您 尤其 易感 "
    "白内 黄斑 石膏 麻醉 时间 向来 何时 曾经 管理 高级 高年 高危 高龄 连锁 房颤 全科 强烈 金牌 金属 顾问 甘油 胡说 景区 "
    "左右 柳叶 车祸 项目 钱包 纪录 经过 尚未 凌晨 单纯 水平 关系 关注 关键 能够 毛病 江湖 路过 古代 古典 麦粒 申请 安排 宁可 桑拿 童年 "
    "成功 商量 乔装 段落 盛行 游泳 连带 苗条 花钱 明天 明显 井然 农村 洪水 汤药 华西 华东 华北 广大 方面 方案 江苏 司机 汪汪"
)
_EPONYMS_ZH = _set(
    "华佗 张仲景 李时珍 孙思邈 扁鹊 皇甫谧 葛洪 叶天士 王清任 吴鞠通 钱乙 朱丹溪 刘完素 张从正 李东垣 陶弘景 屠呦呦 钟南山 吴孟超 "
    "林巧稚 张锡纯 王叔和 巢元方 陈实功 王惟一 傅青主 喻昌 薛己 吴又可 张介宾 张景岳 施今墨 董奉 许叔微 宋慈 黄家驷 汤飞凡 顾方舟 "
    "裘法祖 鲁迅 张孝骞 李杲 程钟龄 陈修园 徐灵胎 王孟英 郑钦安 吴谦 万全"
)

_AUTHOR_ZH = re.compile(
    r"(?:老师|先生|教授|医生|医师|主任)?(?:(?:所?[写著编]的?|的)[^，。]{0,6}《|在《|的(?:书|话|理论|著作|名言)|曾?(?:说过|写道))"
)

_CAP = r"[A-Z](?:['’][A-Z])?[a-z]+(?:-[A-Z][a-z]+)?"
_FULL = rf"{_CAP}(?:[ \t]+[A-Z]\.)?(?:[ \t]+{_CAP}){{0,2}}"
_TWO = rf"{_CAP}(?:[ \t]+[A-Z]\.)?[ \t]+{_CAP}"
_DEGREE = r"M\.?D\b|M\.?B\.?B\.?S\b|Ph\.?D\b|R\.?N\b|D\.?O\b|F\.?R\.?C\.?[SP]\b"
_NAMES_EN = (
    re.compile(rf"\b(?:Dr|Mr|Mrs|Ms|Miss|Prof|Professor|Nurse|Sister)\b\.?[ \t]+(?P<value>{_FULL})"),
    re.compile(rf"\b(?:[Mm]y name is|[Mm]y name's|I am called|[Tt]his is|I am|I'm)[ \t]+(?P<value>{_TWO})"),
    re.compile(rf"\b[Mm]y name is[ \t]+(?P<value>{_CAP})"),
    re.compile(
        rf"\b(?:[Rr]egards|[Ss]incerely|[Yy]ours truly|[Bb]est wishes|[Ww]arm wishes|[Tt]ake care)[,.!]?\s+(?P<value>{_TWO})(?=\s*(?:[,.]|\n|$))"
    ),
    re.compile(rf"(?<![A-Za-z])(?P<value>{_TWO})(?=,?[ \t]+(?:{_DEGREE}))"),
    re.compile(
        rf"\b[Mm]y (?:son|daughter|husband|wife|mother|father|brother|sister)(?:,)?[ \t]+(?P<value>{_FULL})(?=,|[ \t]+(?:is|has|was|had)\b)"
    ),
)
_WORDS_EN = _set(
    "Please Hello Hi Thank Thanks The This That I And My For With Your You He She It We They Chat Doctor Doc Patient Dear Sir Madam No Yes If "
    "In On At As So But Is Are Was Had Has Have What How When Since From Male Female Also After Before Good Best Regards Hope Let Do Can Will "
    "January February March April May June July August September October November December Monday Tuesday Wednesday Thursday Friday Saturday Sunday "
    "Type Stage Grade Vitamin Hospital Clinic University Medical Center Indian American Chinese African Asian Caucasian Hindu Muslim Christian"
)
_EPONYMS_EN = _set(
    "Parkinson Alzheimer Hodgkin Crohn Graves Addison Cushing Down Huntington Marfan Raynaud Kaposi Wilson Paget Bell Hashimoto Kawasaki "
    "Tourette Meniere Sjogren Behcet Wernicke Korsakoff Koch Pasteur Lister Fleming Jenner Osler Charcot Babinski Virchow Semmelweis Nightingale "
    "Hippocrates Galen Avicenna Vesalius Harvey Snow Apgar Salk Sabin Banting Best Freud Jung Kraepelin Bleuler Asperger Kanner Turner Klinefelter "
    "Barrett Mallory Dupuytren Peyronie Colles Smith-Lemli Murphy McBurney Rovsing Kernig Brudzinski Trousseau Chvostek Romberg Phalen Tinel Heimlich "
    "Epstein Barr Burkitt Whipple Zollinger Ellison Gilbert Dubin Johnson-Stevens Stevens Guillain Barre Lou Gehrig Creutzfeldt Jakob Chagas Lyme "
    "Hansen Pott Bright Berger Goodpasture Wegener Takayasu Henoch Schonlein Perthes Scheuermann Achilles Foley Hickman Swan Ganz Glasgow Braden "
    "Norton Morse Holter Doppler Bishop Ballard Framingham Wells Child Pugh Epley Kegel Valsalva Trendelenburg Fowler Sims Bartholin Skene Cowper "
    "Virginia Baker Doolittle Watson Crick Curie Roentgen Einthoven Landsteiner Ehrlich Domagk Waksman Marshall Warren Barnard"
)
_WORD = re.compile(r"\S+")
_TITLES_EN = _set("Miss Mister Mr Mrs Ms Dr Prof Professor Nurse Sister")
_THING_EN = re.compile(
    r"(?:['’]s?)?(?:[- ][A-Z][a-z]+)?[ \t]+(?:disease|syndrome|sign|test|palsy|score|scale|criteria|reflex|lymphoma|sarcoma|phenomenon|position|manoeuvre|maneuver"
    r"|exercises?|catheter|classification|fracture|contracture|thyroiditis|ataxia|esophagus|oesophagus|virus|method|law|et al)\b|['’]s? (?:work|paper|book|theory|original|discovery)\b"
    r"|[ \t]+(?:first )?(?:described|discovered|introduced|published|reported|defined|proposed|invented|developed|wrote|showed|et al)\b|[ \t]*\(?(?:1[5-9]\d\d|20\d\d)\b"
)
_AUTHOR_EN = re.compile(
    r"(?:named (?:after|for)|described by|discovered by|developed by|introduced by|according to|eponym\w*)\s+(?:(?:Dr|Prof|Professor|Sir)\.?\s+)?$"
)

_ADMIN_ZH = rf"(?:[{_HAN}]{{2,7}}?(?:省|自治区|市|区|县|州|旗))"
_ROAD_ZH = rf"(?:[{_HAN}\d]{{2,10}}?(?<![通尿气回思线电铁公网])(?:路|大街|街|大道|巷|弄|胡同|村|镇|乡|小区|社区|花园|新村|家园)(?:[一二三四五六七八九十\d]{{1,2}}段)?)"
_HOUSE_ZH = rf"(?:[一二三四五六七八九十\d]{{1,5}}(?:号院?|弄|栋|幢|座|单元|室|组)(?:[{_HAN}]{{0,4}}?(?=\d))?)"
_ADDRESSES = (
    re.compile(rf"(?:{_ADMIN_ZH}{{1,4}}{_ROAD_ZH}{{0,2}}|{_ROAD_ZH}{{1,2}}){_HOUSE_ZH}+"),
    re.compile(
        r"(?<![\d.,/-])\d{1,5}[A-Za-z]?[ \t]+(?:[A-Z][a-z]+\.?[ \t]+|\d{1,3}(?:st|nd|rd|th)[ \t]+){1,3}(?:Street|St\.|Avenue|Ave\.?|Road|Rd\.?|Lane|Drive|Boulevard|Blvd\.?|Court|Terrace|Square)(?![A-Za-z])"
        r"(?:,?[ \t]+(?:Apt|Apartment|Suite|Unit|Flat)\.?[ \t]*\w{1,5})?(?:,[ \t]+[A-Z][A-Za-z]+(?:[ \t]+[A-Z][A-Za-z]+)?)?(?:,?[ \t]+[A-Z]{2}[ \t]+\d{5})?"
    ),
)


def names(text: str) -> list[Span]:
    """People's names, whatever the language of the text; of overlapping ones the longest."""
    found = [
        match.span("value")
        for pattern in _NAMES_ZH
        for match in pattern.finditer(text)
        if chinese_name(match["value"]) and not _AUTHOR_ZH.match(text, match.end())
    ]
    english = (english_name(text, *m.span("value")) for pattern in _NAMES_EN for m in pattern.finditer(text))
    found += [span for span in english if span]
    chosen: list[Span] = []
    for start, end in sorted(found, key=lambda s: (s[0] - s[1], s)):
        if all(end <= c.start or c.end <= start for c in chosen):
            chosen.append(Span(start, end, "NAME"))
    return sorted(chosen)


def addresses(text: str) -> Iterator[Span]:
    """Postal addresses with a house number."""
    for pattern in _ADDRESSES:
        for match in pattern.finditer(text):
            start = match.start() + len((_LEAD.match(match[0]) or _EMPTY)[0])
            yield Span(start, match.end(), "ADDRESS")


_LEAD = re.compile(r".{0,4}?(?:家住|居住在|居住于|居住|住址是?|地址是?|家在|住在|位于|来自|住|在|到|去)")
_EMPTY = ("",)


def chinese_name(value: str) -> bool:
    """Whether what looks like a Chinese name may be a patient's or a doctor's."""
    if value in _EPONYMS_ZH or value[:2] in _WORDS_ZH:
        return False
    return not any(value.startswith(term) or term.startswith(value) for term in _medical(value[:2]))


@cache
def _medical(beginning: str) -> tuple[str, ...]:
    return tuple(t for t in (*entries("medical.zh"),) if t.startswith(beginning))


def english_name(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without words that are none; None when nobody's name is left, or it stands for a thing or an author."""
    words = list(_WORD.finditer(text, start, end))
    while words and words[0][0].strip(".") in _TITLES_EN:
        words = words[1:]
    good = 0
    while good < len(words) and words[good][0].strip(".") not in _WORDS_EN:
        good += 1
    if not good:
        return None
    start, end = words[0].start(), words[good - 1].end()
    tokens = [w[0] for w in words[:good]]
    if _THING_EN.match(text, end) or _AUTHOR_EN.search(text[max(0, start - 40) : start]):
        return None
    if tokens[-1] in _EPONYMS_EN and (len(tokens) == 1 or tokens[0] in ("James", "Alois", "Thomas", "Florence")):
        return None
    return start, end
