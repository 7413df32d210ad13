"""Texts with invented private information and where it stands: the truth that the PII stage is measured against.

Everybody here is made up: names from common parts, numbers drawn at random with valid check digits.
"""

import random
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from aquilamed.corpus.pii import Span
from aquilamed.sample.dirt import resident_id

_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀英霞平刚桂华建国志红玉兰淑珍海燕晓东子涵梓轩"
_FIRST = ["James", "Mary", "Robert", "Linda", "Michael", "Karen", "David", "Susan", "Carlos", "Aisha", "Wei", "Olga"]
_LAST = ["Smith", "Johnson", "Brown", "Garcia", "Miller", "Nguyen", "O'Brien", "Patel", "Kowalski", "Lee", "Hall"]
_CITIES = [("浙江省杭州市", "西湖区"), ("广东省深圳市", "南山区"), ("四川省成都市", "武侯区"), ("北京市", "海淀区")]
_STREETS = ["文三路", "人民南路", "中山东路", "解放大道", "建设一路", "和平街"]
_STREETS_EN = ["Maple Street", "Oak Avenue", "Pine Road", "Lakeview Drive", "Baker Street", "5th Avenue"]
_TOWNS = ["Springfield, IL 62704", "Austin, TX 78701", "Leeds LS1 4DY", "Portland, OR 97205"]
_MAIL = ["example.com", "mail.example.org", "163.com", "qq.com", "hospital.example.cn"]
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_PROSE_ZH = [
    "患者主诉反复咳嗽两周，夜间加重，无发热。",
    "血压135/85 mmHg，心率72次/分，空腹血糖6.1 mmol/L。",
    "建议低盐饮食，氨氯地平5 mg每日一次，两周后复诊。",
    "2023年5月12日行腹部超声，未见明显异常。",
    "既往有2型糖尿病史10年，口服二甲双胍。",
    "查体：神志清，双肺呼吸音清，未闻及干湿啰音。",
]
_PROSE_EN = [
    "The patient reports a dry cough for two weeks, worse at night.",
    "Blood pressure was 135/85 mmHg, heart rate 72, fasting glucose 6.1 mmol/L.",
    "Continue amlodipine 5 mg daily and return in 14 days.",
    "An ultrasound on 2023-05-12 showed no abnormality.",
    "History of type 2 diabetes for 10 years, on metformin 500 mg twice daily.",
    "On examination the chest is clear and the abdomen soft.",
]


class Planted(NamedTuple):
    """A text, its language and the private information in it."""

    text: str
    lang: str
    spans: list[Span]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _name(rng: random.Random) -> str:
    return rng.choice(_SURNAMES) + "".join(rng.choice(_GIVEN) for _ in range(rng.choice((1, 2, 2))))


def _name_en(rng: random.Random) -> str:
    middle = f" {rng.choice('ABCDEHJKLM')}." if rng.random() < 0.2 else ""
    return f"{rng.choice(_FIRST)}{middle} {rng.choice(_LAST)}"


def _mobile(rng: random.Random) -> str:
    number = "1" + rng.choice("3456789") + _digits(rng, 9)
    cut = f"{number[:3]}{{0}}{number[3:7]}{{0}}{number[7:]}".format(rng.choice(("", "", "-", " ")))
    return rng.choice(("", "", "", "+86 ", "+86-", "86-")) + cut


def _wide(text: str) -> str:
    """In full-width characters."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _landline(rng: random.Random) -> str:
    area = rng.choice(("010", "021", "0571", "0755", "028", "025"))
    number = rng.choice("2345678") + _digits(rng, 7)
    return rng.choice((f"{area}-{number}", f"({area}){number}", f"（{area}）{number}", f"{area} {number}"))


def _card(rng: random.Random) -> str:
    body = rng.choice(("622202", "621700", "4111", "5500", "622848"))
    body += _digits(rng, rng.choice((15, 18) if body.startswith("62") else (15,)) - len(body))
    total = 0
    for place, digit in enumerate(int(d) for d in reversed(body)):
        doubled = digit if place % 2 else digit * 2
        total += doubled - 9 if doubled > 9 else doubled
    number = body + str(-total % 10)
    return " ".join(number[i : i + 4] for i in range(0, len(number), 4)) if rng.random() < 0.4 else number


def _ssn(rng: random.Random) -> str:
    return f"{rng.randrange(100, 660)}-{rng.randrange(10, 99)}-{rng.randrange(1000, 9999)}"


def _us_phone(rng: random.Random) -> str:
    area, middle, end = rng.randrange(201, 989), rng.randrange(200, 999), _digits(rng, 4)
    forms = (
        f"({area}) {middle}-{end}",
        f"{area}-{middle}-{end}",
        f"{area}.{middle}.{end}",
        f"+1 {area}-{middle}-{end}",
    )
    return rng.choice(forms)


def _ipv6(rng: random.Random) -> str:
    groups = [f"{rng.randrange(0x1000, 0xFFFF):x}" for _ in range(8)]
    return ":".join(groups) if rng.random() < 0.5 else f"2001:db8:{groups[0]}::{groups[1]}:{groups[2]}"


def _email(rng: random.Random) -> str:
    first, last = rng.choice(_FIRST).lower(), rng.choice(_LAST).lower().replace("'", "")
    return f"{first}{rng.choice('._-')}{last}{rng.randrange(100)}@{rng.choice(_MAIL)}"


def _account(rng: random.Random) -> str:
    return rng.choice(("wx", "dr", "li", "health")) + rng.choice(("_", "-", "")) + _digits(rng, rng.randrange(4, 8))


def _record(rng: random.Random) -> str:
    return rng.choice(("", "A", "ZY", "MZ")) + _digits(rng, rng.randrange(6, 11))


def _address(rng: random.Random) -> str:
    city, district = rng.choice(_CITIES)
    tail = rng.choice(("", f"{rng.randrange(1, 30)}栋{rng.randrange(1, 9)}单元{rng.randrange(101, 2400)}室"))
    return f"{city}{district}{rng.choice(_STREETS)}{rng.randrange(1, 900)}号{tail}"


def _address_en(rng: random.Random) -> str:
    return f"{rng.randrange(1, 9999)} {rng.choice(_STREETS_EN)}, {rng.choice(_TOWNS)}"


def _plate(rng: random.Random) -> str:
    tail = rng.choice(_LETTERS) + _digits(rng, 4) if rng.random() < 0.5 else _digits(rng, 5)
    return f"{rng.choice('京沪粤浙苏川鄂湘')}{rng.choice(_LETTERS)}{rng.choice(('', '·'))}{tail}"


Make = Callable[[random.Random], str]
_ZH: list[tuple[str, str, Make]] = [
    ("PHONE", "联系电话：{}。", _mobile),
    ("PHONE", "家属手机{}，请及时联系。", _mobile),
    ("PHONE", "如有不适请拨打{}咨询。", _mobile),
    ("PHONE", "科室电话 {}，周一至周五。", _landline),
    ("PHONE", "传真：{}；", _landline),
    ("PHONE", "手机号码是{}（微信同号）。", _mobile),
    ("PHONE", "电话{}转护士站。", lambda r: _wide(_mobile(r))),
    ("ID_NUMBER", "身份证 {}，", lambda r: " ".join(re.split(r"(?<=^.{6})|(?<=^.{14})", resident_id(r)))),
    ("NAME", "病人姓名 {} 年龄 56岁，", _name),
    ("NAME", "患者：{}，女，38岁。", _name),
    ("NAME", "监护人姓名：{}（父亲）。", _name),
    ("ADDRESS", "家住{}。", _address),
    ("MEDICAL_ID", "就诊卡号：{}。", lambda r: _digits(r, 10)),
    ("MEDICAL_ID", "社保号：{}，", lambda r: _digits(r, 10)),
    ("ID_NUMBER", "身份证号：{}，", resident_id),
    ("ID_NUMBER", "登记信息 {} 已核对。", resident_id),
    ("ID_NUMBER", "身份证号码为{}。", resident_id),
    ("PASSPORT", "护照号码：{}。", lambda r: r.choice(("E", "G", "EA")) + _digits(r, 8)),
    ("PASSPORT", "持护照{}就诊。", lambda r: "E" + _digits(r, 8)),
    ("BANK_CARD", "退款账号：{}。", _card),
    ("BANK_CARD", "银行卡号{}，开户行工商银行。", _card),
    ("PLATE", "救护车车牌{}。", _plate),
    ("PLATE", "家属驾驶{}送医。", _plate),
    ("EMAIL", "邮箱：{}，", _email),
    ("EMAIL", "结果请发至{}。", _email),
    ("IP", "登录IP为{}。", lambda r: ".".join(str(r.randrange(1, 255)) for _ in range(4))),
    ("ACCOUNT", "加微信：{}，", _account),
    ("ACCOUNT", "微信号是{}。", _account),
    ("ACCOUNT", "QQ：{}。", lambda r: str(r.randrange(10**6, 10**10))),
    ("MEDICAL_ID", "住院号：{}，", _record),
    ("MEDICAL_ID", "病历号{}。", _record),
    ("MEDICAL_ID", "医保卡号：{}。", lambda r: _digits(r, 12)),
    ("MEDICAL_ID", "门诊号为{}，", _record),
    ("MEDICAL_ID", "病案号: {}；", _record),
    ("NAME", "患者姓名：{}，男，", _name),
    ("NAME", "姓名：{} 性别：女 ", _name),
    ("NAME", "联系人：{}。", _name),
    ("NAME", "病人{}，女，45岁，因腹痛入院。", _name),
    ("NAME", "主治医师：{}。", _name),
    ("ADDRESS", "家庭住址：{}。", _address),
    ("ADDRESS", "现住址: {}，", _address),
    ("ADDRESS", "通讯地址：{}；", _address),
]
_EN: list[tuple[str, str, Make]] = [
    ("PHONE", "Phone: {}. ", _us_phone),
    ("PHONE", "Please call {} after 5 pm. ", _us_phone),
    ("PHONE", "You can reach the family at {}. ", _us_phone),
    ("PHONE", "Mobile (China): {}. ", _mobile),
    ("PHONE", "Tel. {}. ", _landline),
    ("PHONE", "Fax: {}, ", _us_phone),
    ("PHONE", "His cell is {}. ", _us_phone),
    ("NAME", "Patient's name is {}. ", _name_en),
    ("NAME", "Name of patient: {}. ", _name_en),
    ("NAME", "Full name: Mrs. {}. ", _name_en),
    ("MEDICAL_ID", "Chart no: {}. ", _record),
    ("MEDICAL_ID", "Member ID# {}. ", _record),
    ("ADDRESS", "He lives at {}. ", _address_en),
    ("IP", "The client IP was {}. ", lambda r: ".".join(str(r.randrange(1, 255)) for _ in range(4))),
    ("SSN", "SSN: {}. ", _ssn),
    ("SSN", "Social Security number {}, ", _ssn),
    ("SSN", "He gave {} at the desk. ", _ssn),
    ("PASSPORT", "Passport No. {}. ", lambda r: r.choice(("K", "AB", "")) + _digits(r, 7)),
    ("BANK_CARD", "Paid with card {}. ", _card),
    ("EMAIL", "Write to {} with questions. ", _email),
    ("EMAIL", "Email: {}; ", _email),
    ("IP", "Access from {} was logged. ", lambda r: f"{r.randrange(100, 224)}.{r.randrange(100, 255)}.{r.randrange(256)}.{r.randrange(256)}"),
    ("IP", "IPv6 address {}. ", _ipv6),
    ("URL", "See {} for the scan. ", lambda r: f"https://{r.choice(_FIRST).lower()}:{_digits(r, 6)}@files.example.org/scan/{r.randrange(99)}"),
    ("ACCOUNT", "WeChat ID: {}. ", _account),
    ("MEDICAL_ID", "MRN: {}. ", _record),
    ("MEDICAL_ID", "Medical record number {}. ", _record),
    ("MEDICAL_ID", "Insurance policy no. {}, ", lambda r: f"{r.choice(('XK', 'BC', 'UH'))}-{_digits(r, 3)}-{_digits(r, 4)}"),
    ("MEDICAL_ID", "Admission number: {}. ", _record),
    ("MEDICAL_ID", "Patient ID {}. ", _record),
    ("NAME", "Patient name: {}. ", _name_en),
    ("NAME", "Name: {}, age 54. ", _name_en),
    ("NAME", "Emergency contact: {}. ", _name_en),
    ("NAME", "Next of kin: {}; ", _name_en),
    ("NAME", "Patient: {}, male. ", _name_en),
    ("ADDRESS", "Address: {}. ", _address_en),
    ("ADDRESS", "Home address: {}; ", _address_en),
]  # fmt: skip


def generate(count: int, seed: int) -> list[Planted]:
    """`count` texts, half Chinese and half English, each with one to three pieces of private information."""
    rng = random.Random(f"private {seed}")
    return [_text(rng, "zh" if number % 2 == 0 else "en") for number in range(count)]


def _text(rng: random.Random, lang: str) -> Planted:
    forms, prose = (_ZH, _PROSE_ZH) if lang == "zh" else (_EN, _PROSE_EN)
    pieces: list[str] = []
    spans = []
    for kind, form, make in rng.sample(forms, rng.randrange(1, 4)):
        # A label such as "Name:" stands at the beginning of a sentence or a line.
        pieces += [rng.choice(prose), rng.choice(("", "\n") if lang == "zh" else (" ", "\n"))]
        before, after = form.split("{}")
        value = make(rng)
        start = sum(map(len, pieces)) + len(before)
        pieces += [before, value, after]
        spans.append(Span(start, start + len(value), kind))
    return Planted("".join([*pieces, rng.choice(prose)]), lang, spans)


class Score(NamedTuple):
    """How well spans were found.

    Args:
        recall: share of the planted spans that found ones of the same type cover from end to end.
        precision: share of the found spans that overlap a planted one of the same type.
        missed: per type, planted spans not found.
        wrong: per type, found spans where none was planted.
    """

    recall: float
    precision: float
    missed: dict[str, list[str]]
    wrong: dict[str, list[str]]


def score(planted: Iterable[Planted], find: Callable[[str], list[Span]]) -> Score:
    """Compare what `find` finds with the truth."""
    missed: dict[str, list[str]] = {}
    wrong: dict[str, list[str]] = {}
    true = found_count = 0
    for text, _, spans in planted:
        found = find(text)
        true, found_count = true + len(spans), found_count + len(found)
        for span in spans:
            if not any(o.kind == span.kind and o.start <= span.start and span.end <= o.end for o in found):
                missed.setdefault(span.kind, []).append(text[max(span.start - 12, 0) : span.end])
        for span in found:
            if not any(_overlap(span, other) for other in spans):
                wrong.setdefault(span.kind, []).append(text[max(span.start - 12, 0) : span.end])
    return Score(
        1 - sum(map(len, missed.values())) / max(true, 1),
        1 - sum(map(len, wrong.values())) / max(found_count, 1),
        missed,
        wrong,
    )


def _overlap(a: Span, b: Span) -> bool:
    return a.kind == b.kind and a.start < b.end and b.start < a.end
