"""Names and addresses in running text are found; eponyms, authors, drugs and ordinary words stay."""

import random

import pytest

from aquilamed.instruct.recognisers import addresses, names

SURNAMES, GIVEN = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗", "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀英霞"
FIRST, LAST = ["James", "Mary", "Carlos", "Aisha", "Olga"], ["Smith", "Garcia", "Nguyen", "O'Brien", "Patel", "Lee"]
NAMED_ZH = [
    "上周请{}医生给我做了胃镜，她说没事。",
    "医生您好，我叫{}，今年四十五岁，胃疼三天了。",
    "我妈妈{}，女，67岁，血压一直偏高。",
    "接诊医生是{}，开了三天的药。",
    "您好，{}女士，您的检查结果出来了。",
    "这是{}主任开的方子，能长期吃吗？",
]
NAMED_EN = [
    "Hello, my name is {} and I have had a cough for two weeks.",
    "I saw Dr. {} last month, she gave me amoxicillin.",
    "Please rest and drink water. Regards, {}, MD",
    "Good morning Mrs. {}, how did you sleep?",
    "My son {} has a fever since yesterday.",
    "Surgery was done by {}, M.D., in spring.",
]
HOMES = [
    "我家住{}，附近没有大医院。",
    "药请寄到{}，谢谢医生。",
    "患者来自{}，务农。",
]
PLACES = [
    "浙江省杭州市西湖区文三路12号3栋502室",
    "北京市海淀区中关村大街27号",
    "四川省成都市武侯区人民南路四段8号",
    "广东省深圳市南山区和平街5号院2单元",
]
TRAPS = [
    "Dr. James Parkinson described the shaking palsy in 1817.",
    "Parkinson's disease and Alzheimer's disease are not the same.",
    "Professor Hashimoto published his four cases of goitre.",
    "The test is named after Dr. Apgar.",
    "Dr. Crohn was not the first to see it; Crohn's disease bears his name.",
    "Take Tylenol or Advil. Augmentin Duo is an antibiotic. Lisinopril 5 mg.",
    "I am Very tired. My name is not important.",
    "Thank you Doctor. Hello Doctor Please help me.",
    "Dr. Please tell me what to do.",
    "Regards, Chat Doctor.",
    "This is Type Two diabetes, Stage Three.",
    "According to Dr. Murphy, press below the ribs.",
    "Miss a dose? Mr. is not needed.",
    "My mother is ill. My son has a cough.",
    "Guillain-Barre syndrome, Epstein Barr virus, Foley catheter, Glasgow Coma Scale.",
    "We walked 5 miles to Main Street. Take 20 Drops of Vitamin D.",
    "The 12 Lead ECG shows ST elevation; 10 Mile walk.",
    "Wilson and Smith et al. reported 20 cases; see Smith et al. 2019.",
    "华佗医生发明了麻沸散，张仲景先生著《伤寒论》。",
    "李时珍的《本草纲目》记载了此药，孙思邈大夫也用过。",
    "任何医生都不会这样开药，许多专家认为应当手术。",
    "谢谢医生，麻烦大夫了，请问管床医生是谁？",
    "高血压专家门诊和白内障专家都在三楼。",
    "我是高血压，今年五十岁。我是白内障，需要手术吗？",
    "我叫了救护车，叫做完检查再来。",
    "阿莫西林、黄连素、白芍、石膏、何首乌、杜仲、熊胆都是药。",
    "云南白药和马应龙痔疮膏可以买到，王老吉也行。",
    "上次医生说先观察，上面医生开的药吃完了。",
    "鲁迅先生说过学医救不了中国人。",
    "帕金森病、阿尔茨海默病、霍奇金淋巴瘤、克罗恩病。",
    "信号通路2号位点，尿路5组标本，第3号染色体，消化道13组病例。",
    "纳入3个市12家医院，5号病房，二楼3室做检查。",
    "平时注意休息，成人医生建议每天一片；易感人群要小心。",
    "屠呦呦教授发现青蒿素，钟南山院士。",
    "连续三天发热，明天复查，于是医生让住院。",
    "国药准字H20053721，批号5号。",
]


def chinese(rng: random.Random) -> str:
    return rng.choice(SURNAMES) + "".join(rng.sample(GIVEN, rng.choice((1, 2))))


def english(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


@pytest.mark.parametrize(("forms", "make"), [(NAMED_ZH, chinese), (NAMED_EN, english)], ids=["zh", "en"])
def test_generated_names_are_found_exactly(forms: list[str], make: object) -> None:
    rng = random.Random(3)
    planted = [(form, make(rng)) for form in forms for _ in range(40)]  # type: ignore[operator]
    found = [{form.format(n)[s.start : s.end] for s in names(form.format(n))} for form, n in planted]
    missed = [p for p, f in zip(planted, found, strict=True) if f != {p[1]}]
    assert len(missed) <= 0.02 * len(planted), missed[:5]


def test_generated_addresses_are_found() -> None:
    for form in HOMES:
        for place in PLACES:
            text = form.format(place)
            [span] = addresses(text)
            assert text[span.start : span.end] == place
    text = "I live near the park, 221 Baker Street, Leeds; she moved to 12 Maple Avenue, Springfield, IL 62704."
    assert [text[s.start : s.end] for s in addresses(text)] == [
        "221 Baker Street, Leeds",
        "12 Maple Avenue, Springfield, IL 62704",
    ]


@pytest.mark.parametrize("text", TRAPS)
def test_medicine_is_no_private_information(text: str) -> None:
    assert [(s.kind, text[s.start : s.end]) for s in (*names(text), *addresses(text))] == []
