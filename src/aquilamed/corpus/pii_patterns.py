"""What private information looks like, and what only looks so.

Each row: type, pattern, a check of the match (checksums, dates) and its gate. A group named `value` is what is masked, so
that a label stays readable; without one the whole match is. Rows are tried in order: what one finds the next leaves alone.

A row is only tried on a text that passes its gate: a quick pattern of GATES that any match contains, or, for rows with
none, one of the row's own fixed strings (`anchors.py`).
"""

import datetime
import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹"
    "薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤欧阳司马上官诸葛温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝"
    "張劉陳楊黃趙吳孫馬鄭謝許韓馮鄧蕭蔣葉蘇魏呂盧鐘譚陸範賈韋鄒閆龍陶賀顧龔萬錢嚴湯溫莊聶魯齊喬龐顏倪"
)
_HAN = r"\u4e00-\u9fff"
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
# What may follow a Chinese name: the end, a mark, or the next label of a form.
_AFTER_NAME = r"(?=\s|[,，。;；、/|)）(（]|$|性别|年龄|男|女|电话|手机|联系|身份|出生|住址|地址|民族|职业|婚姻|科室|床号|住院|病历|门诊|籍贯)"
_NUMBER_EN = r"(?:\s*(?:numbers?|no\.?|id|#))?\s*(?:is\s+)?[:：#.]?\s*"
_ID_VALUE = r"(?P<value>(?=[A-Za-z\-]*\d[A-Za-z\-]*\d)[A-Za-z0-9][A-Za-z0-9\-]{3,19})(?![A-Za-z0-9])"
_NOT_PERSON = re.compile(
    r"(?:hydrochloride|sodium|potassium|calcium|acetate|sulfate|phosphate|chloride|syndrome|disease|disorder|cancer|acid"
    r"|tablets?|capsules?|injection|solution|cream|virus|protein|vaccine|hospital|university|center|centre|institute|clinic"
    r"|deficiency|study|test|unknown|trial|gene|extract|oil)\b",
    re.IGNORECASE,
)


class Pattern(NamedTuple):
    """A row of the table."""

    kind: str
    regex: re.Pattern[str]
    check: Callable[[str, re.Match[str]], bool] | None = None
    gate: str = ""


def luhn(digits: str) -> bool:
    """Whether a number's last digit is its Luhn check digit."""
    total = 0
    for place, digit in enumerate(int(d) for d in reversed(digits)):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def resident_id(number: str) -> bool:
    """Whether 18 characters are a Chinese resident ID: a birth date that exists and the right check character."""
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    expected = "10X98765432"[sum(w * int(d) for w, d in zip(weights, number[:17], strict=True)) % 11]
    return 1880 <= born.year <= 2099 and number[17].upper() == expected


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _card(value: str, match: re.Match[str]) -> bool:
    digits = _digits(value)
    return len(digits) in range(13, 20) and len(set(digits)) > 1 and luhn(digits)


def _ipv4(value: str, match: re.Match[str]) -> bool:
    parts = [int(p) for p in value.split(".")]
    # "3.4.23.15" is an enzyme or a section: addresses have big numbers, or a label before them.
    labelled = re.search(
        r"(?:\bips?|ipv4|地址|host|server|登录|address)\W{0,12}$", match.string[: match.start()][-40:], re.IGNORECASE
    )
    section = re.search(
        r"(?:\bEC|\bv|version|版本|section|chapter|第|§)\W{0,3}$", match.string[: match.start()][-12:], re.IGNORECASE
    )
    wide = sum(p > 99 for p in parts) or sum(p > 9 for p in parts) >= 3
    return all(p < 256 for p in parts) and not section and bool(labelled or wide)


def _ipv6(value: str, match: re.Match[str]) -> bool:
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return False
    groups = [g for g in value.split(":") if g]
    return (len(groups) == 8 or len(groups) >= 3) and any(len(g) >= 3 for g in groups) and not address.is_unspecified


def _person(value: str, match: re.Match[str]) -> bool:
    return not _NOT_PERSON.search(value)


def _place_zh(value: str, match: re.Match[str]) -> bool:
    return re.search(r"省|市|区|县|路|街|巷|弄|村|镇|乡|栋|室|号|區|縣|樓|楼", value) is not None


def _plate(value: str, match: re.Match[str]) -> bool:
    return sum(c.isdigit() for c in value) >= 2 and (
        "·" in value or "•" in value or sum(c.isdigit() for c in value) >= 3
    )


def _row(
    kind: str,
    pattern: str,
    check: Callable[[str, re.Match[str]], bool] | None = None,
    flags: int = 0,
    gate: str = "",
) -> Pattern:
    return Pattern(kind, re.compile(pattern, flags), check, gate)


_I = re.IGNORECASE
_CAPITALISED = r"[A-Z][a-zA-Z'’\-]+"
_FULL_NAME = rf"(?:(?:Mr|Mrs|Ms|Miss|Dr)\.?\s+)?{_CAPITALISED}(?:[ \t]+[A-Z]\.)?(?:[ \t]+{_CAPITALISED}){{1,3}}"
PATTERNS: tuple[Pattern, ...] = (
    _row("URL", r"(?<![A-Za-z])[A-Za-z][A-Za-z0-9+.\-]{1,15}://[^\s/@:]{1,64}(?::[^\s/@]{0,64})?@[^\s<>\"'，。）)]+"),
    _row("EMAIL", r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9\-])"),
    _row(
        "MEDICAL_ID",
        r"(?:病历|病歷|住院|门诊|門診|就诊卡?|病案|社保卡?|社会保障卡?|医保卡?|医疗保险(?:卡|证)?|健康卡|登记|检查|检验单?|病理|影像|入院|床位?|保单|体检)(?:号码|编号|号|號|ID)\s*(?:为|是|[:：#])?\s*"
        + _ID_VALUE,
    ),
    _row(
        "MEDICAL_ID",
        r"\b(?:MRN|medical record|patient id|chart|admission|hospital|health insurance|insurance(?: policy)?|policy|member(?:ship)? id|member|subscriber|medicare|medicaid|NHS|encounter|beneficiary|health plan)(?:(?<=MRN)|(?<= id)|\s*(?:numbers?|no\.?|id|#))\s*(?:is\s+)?[:#.：]?\s*"
        + _ID_VALUE,
        None,
        _I,
    ),
    _row("ID_NUMBER", r"(?:身份证|身份證|公民身份)(?:号码|号|號)?\s*(?:为|是|[:：])?\s*(?P<value>\d{17}[\dXx]|\d{15})(?!\d)", gate="number"),
    _row(
        "ID_NUMBER",
        r"(?<![\dA-Za-z./\-])(?P<value>[1-8]\d{5}[ \-]?(?:18|19|20)\d{6}[ \-]?\d{3}[\dXx])(?![\dA-Za-z])",
        lambda value, match: resident_id(re.sub("[ -]", "", value)),
        gate="number",
    ),
    _row("PASSPORT", r"(?:护照|護照|passport)(?:号码?|號碼?)?" + _NUMBER_EN + r"(?P<value>[A-Za-z]{0,2}\d{6,9})(?![A-Za-z0-9])", None, _I),
    _row("BANK_CARD", r"(?:银行卡|銀行卡|信用卡|储蓄卡|借记卡|账号|帐号|card)" + r"(?:号码|号|\s*(?:number|no\.?))?\s*(?:为|是|[:：#])?\s*(?P<value>\d(?:[ \-]?\d){14,18})(?!\d)", None, _I, gate="number"),
    _row("BANK_CARD", r"(?<![\d./\-A-Za-z])(?P<value>[3-6]\d{3}(?:[ \-]?\d{4}){2,3}[ \-]?\d{1,7})(?![\d.]\d|\d|[A-Za-z])", _card, gate="number"),
    _row("SSN", r"(?<![\d\-.])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d\-])", gate="number"),
    _row("SSN", r"\b(?:SSN|social security(?: number| no\.?)?)\s*(?:is\s*)?[:#：]?\s*(?P<value>\d{3}[- ]?\d{2}[- ]?\d{4})(?!\d)", None, _I, gate="number"),
    _row("PHONE", r"(?<![\dA-Za-z./_\-])(?:(?:\+|00)?86[ \-]?)?1[3-9]\d[ \-]?\d{4}[ \-]?\d{4}(?![\d]|[.\-]\d)", gate="number"),
    _row("PHONE", r"(?<![\d.\-A-Za-z/])(?:(?:\+|00)86[ \-]?)?[(（]?0(?:10|2\d|[3-9]\d{2})[)）\- ][ \-]?[1-9]\d{6,7}(?:[\-转]\d{1,5})?(?![\d\-])", gate="number"),
    _row("PHONE", r"(?:电话|電話|座机|热线|传真|手机|聯繫方式|联系方式)(?:号码|号)?\s*(?:为|是|[:：])?\s*(?P<value>\+?\d(?:[ \-]{0,2}\d){6,14})(?!\d)", gate="number"),
    _row("PHONE", r"(?<![\d./\-A-Za-z])[48]00[ \-]\d{3}[ \-]\d{4}(?!\d)", gate="number"),
    _row("PHONE", r"(?<![\d./A-Za-z\-])(?:\+?1[\-. ]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[\-.])\d{3}[\-.]\d{4}(?![\d\-]|\.\d)", gate="number"),
    _row("PHONE", r"\b(?:phone|tel|telephone|mobile|cell|fax|call)(?:\s*(?:number|no\.?))?\s*(?:is\s*|at\s*)?[.:：]?\s*(?P<value>\+?\(?\d(?:[ ().\-]{0,2}\d){6,14})(?!\d)", None, _I, gate="number"),
    _row("IP", r"(?<![\d.A-Za-z])\d{1,3}(?:\.\d{1,3}){3}(?![\d]|\.\d)", _ipv4, gate="ipv4"),
    _row("IP", r"(?<![\w:.*])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{6,39}(?![\w:])", _ipv6, gate="ipv6"),
    _row("PLATE", r"(?<![A-Za-z0-9])[" + _PROVINCES + r"][A-HJ-NP-Z][·•]?[A-HJ-NP-Z0-9]{5,6}(?![A-Za-z0-9])", _plate, gate="plate"),
    _row("ACCOUNT", r"(?:微信|威信|薇信|weixin|wechat|\bvx|v信)\s*(?:号码?|号|帳號|账号|id)?\s*(?:为|是|[:：])\s*(?P<value>[A-Za-z][A-Za-z0-9_\-]{4,19})", None, _I),
    _row("ACCOUNT", r"(?:微信|威信|薇信|weixin|wechat|\bvx|v信)(?:号码?|号|群|\s*id)?\s*[:：]?\s*(?P<value>(?=[A-Za-z_\-]*\d)[A-Za-z][A-Za-z0-9_\-]{4,19})", None, _I),
    _row("ACCOUNT", r"(?<![A-Za-z])(?:QQ|扣扣)(?:号码?|群)?\s*(?:为|是|[:：])?\s*(?P<value>[1-9]\d{4,10})(?!\d)", None, _I),
    _row("NAME", r"(?:姓\s?名|联系人|聯絡人|患者名字|监护人|收件人|签名|签字|曾用名)\s*[:：]\s*(?P<value>[" + _HAN + r"·]{2,5}?)" + _AFTER_NAME),
    _row("NAME", r"姓名[ \u3000](?P<value>[" + SURNAMES + "][" + _HAN + "]{1,2})" + _AFTER_NAME),
    _row("NAME", r"(?:患者|病人|家属|患儿|病员|医生|医师|主治医师|主管护士|管床医生|责任护士)\s*[:：]\s*(?P<value>[" + SURNAMES + "][" + _HAN + "]{1,2})" + _AFTER_NAME),
    _row("NAME", r"(?:患者|病人|患儿)[，,]?\s?(?P<value>[" + SURNAMES + "][" + _HAN + r"]{1,2})(?=[，,、\s]{1,2}(?:男|女|性别|\d{1,3}\s?岁))"),
    _row("NAME", r"(?i:patient(?:'s|’s)? name|name of (?:the )?patient|full name|next of kin|emergency contact)\s*(?:[:：]|is)\s*(?P<value>" + _FULL_NAME.replace("{1,3}", "{0,3}") + ")", _person),
    _row("NAME", r"(?:(?<=^)|(?<=[\n.;,(（，。；|]))[ \t]*(?:Name|NAME)\s*[:：]\s*(?P<value>" + _FULL_NAME + ")", _person, re.MULTILINE),
    _row("NAME", r"\bPatient\s*[:：]\s*(?P<value>" + _FULL_NAME + r")(?=\s*[,;(]|\s*\n|\s*$|\s+(?:DOB|Age|Sex|MRN|is a))", _person),
    _row("ADDRESS", r"(?:家庭|现|現|居|联系|聯繫|通讯|通信|户籍|戶籍|工作|邮寄|收货|详细)?(?:住址|地址|住所)\s*[:：]\s*(?P<value>[^\n，。；;,|：:]{4,60})", _place_zh),
    _row("ADDRESS", r"(?:家住|现住|居住在|居住于|住在)(?P<value>[" + _HAN + r"]{2,12}[省市区县][" + _HAN + r"\dA-Za-z\-]{2,40}?(?:号|室|栋|楼|村|组|弄)(?:[" + _HAN + r"\d]{1,12}(?:室|栋|楼|层|号|组))?)"),
    _row("ADDRESS", r"\b(?:lives?|living|resid(?:es?|ing)) at (?P<value>\d{1,6}[A-Za-z]?[ ]+[A-Za-z0-9][A-Za-z0-9 .'’\-]{1,40}?\b(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Boulevard|Blvd|Court|Ct|Place|Pl|Way|Square|Terrace)\b(?:,[^\n;|.]{2,50})?)", None, _I),
    _row("ADDRESS", r"\b(?:home |mailing |street |residential |current )?address\s*(?:[:：]|is)\s*(?P<value>\d{1,6}[A-Za-z]?[ ]+[A-Za-z0-9][^\n;|]{3,70}?)(?=\.(?:\s|$)|\n|;|\||$|,?\s+(?:phone|tel|email|DOB))", None, _I),
)  # fmt: skip
GATES = {
    "number": r"[0-9](?:[ .()（）\-]{0,2}[0-9]){6}",
    "ipv4": r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
    "ipv6": r":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:",
    "wide": r"[０-９]",
    "plate": rf"[{_PROVINCES}][A-HJ-NP-Z][·•]?[A-HJ-NP-Z0-9]{{5}}",
}
NARROW = {0xFEE0 + ord(c): c for c in "0123456789+-.@()ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}
"""Full-width digits, letters and marks as ordinary ones, for a text in which the gate "wide" is open."""
BEFORE, BEHIND = 48, 64
"""Characters around a "number" that its rows' matches and their surroundings lie in."""
