"""What looks like private information and is none: doses, values, dates, codes, references. Every line is a trap."""

import random

_FORMS_ZH = [
    "{drug} {dose} mg 每日{n}次，共{n}天，总量 {big} mg。",
    "血压 {sys}/{dia} mmHg，心率 {sys} 次/分，体温 36.{n}℃。",
    "白细胞 {n}.{n}×10^9/L，血小板 {sys}×10^9/L，肌酐 {dia} μmol/L。",
    "20{yy}-{mm}-{dd} 入院，20{yy}年{m}月{d}日 出院，{mm}:{dd}:15 手术开始。",
    "国药准字H20{yy}{big}；批号 20{yy}{mm}{dd}{n}。",
    "临床试验 ChiCTR2000{big}；基金 8{big}{n}{n}{n}。",
    "纳入 {big} 例患者（{dia}.{n}%），P=0.0{big}，95% CI 0.{dia}~1.{sys}。",
    "滴度 1:{sys}{n}，比例 {n}:{n}:{n}:{n}，评分 {n}分。",
    "剂量 {big} {sys} {sys} IU，浓度 {n}.{n}{n}{n}{n} mol/L。",
    "见第{n}.{n}.{n}.{n}节，图{n}-{n}，表 {n}.{n}。",
    "按 GB/T {big}-20{yy} 与 YY/T 0{sys}—20{yy} 执行。",
    "邮编 3{big}，价格 {big} 元，编码 {n}{n}.{n}{n}。",
    "患者{age}岁，男性，患者张口呼吸，病人高热{n}天，医生：建议休息。",
    "微信公众号上的文章说，QQ群里有人问{n}次；地址栏为空。",
    "姓名 性别 年龄 科室 诊断 第{n}行；电话随访 {n} 次，共 {sys} 例。",
    "京津冀{n}家医院，川贝{n}g、桂枝{n}g、云南白药{n}粒，粤东{n}县。",
    "ICD-10编码 E11.{n}0{n}，手术编码 {yy}.{n}{n}0{n}，ATC A10BA0{n}。",
    "住院{n}天，病历书写规范共{n}条，检查号码牌，床号靠窗。",
]
_FORMS_EN = [
    "{drug} {dose} mg/{big} mL, {n} times daily for {n} days; AUC {big}.{n} ng·h/mL.",
    "BP {sys}/{dia}, HR {dia}, SpO2 9{n}%, glucose {n}.{n} mmol/L ({sys} mg/dL).",
    "20{yy}-{mm}-{dd} to 20{yy}/{mm}/{dd}, at {mm}:{dd}:{mm} and {mm}:{dd}.",
    "doi:10.1{sys}/NEJMoa{big}{n}{n} and 10.1016/j.jacc.20{yy}.0{n}.{sys}",
    "PMID: {n}{big}{n}{n}; PMC{n}{big}{n}; NCT0{n}{big}{n}{n}; ISRCTN{n}{big}{n}{n}.",
    "NDC {big}-{sys}-{mm}; ATC A10BA0{n}; ICD-10 C3{n}.9{n}; CPT 99{sys}; LOINC {big}-{n}.",
    "CAS {sys}-{mm}-{n}; EC {n}.{n}.{yy}.{n}; ISBN 978-{n}-{sys}-{big}-{n}; ISSN {yy}{mm}-{dd}{mm}.",
    "N Engl J Med 20{yy};{sys}({n}):{dia}-{sys}. Section {n}.{n}.{n}.{n}, version {n}.{n}.{n}.{n}.",
    "chr{n}:{sys}{big}-{sys}{big}; rs{n}{big}{n}; NM_0{big}{n}.{n}; HLA-DRB1*15:0{n}:0{n}.",
    "HR 0.{dia} (95% CI 0.{dia}-1.{sys}, p=0.0{n}{n}{n}); OR {n}.{n}; n={big} of {sys}{n}.",
    "Dilution 1:{sys}, ratio {n}:{n}:{n}, score {n}/{n}, grade {n}; 10^{n} copies.",
    "Levels were {sys}, {dia}, {sys}, {dia} and {sys} at {n}, {n} and {n} hours.",
    "Drug name: {drug} Hydrochloride. Brand name: Glucomin. Gene name: BRCA{n}.",
    "Patient: I have had a cough for {n} days. Doctor: Any fever above 38.{n}?",
    "The patient, aged {age}, was seen in room {n}; admission lasted {n} days; chart review of {sys} cases.",
    "web address: http://www.example.org/a/b-c_{n}.html; mean ({n}.{n}, {n}.{n}); card game {n}.",
    "Call your doctor if the pain lasts {n} days; phone-based follow-up in {sys} patients.",
    "Member states ({n}) and policy {n} of 20{yy}; hospital day {n}; record of {n} visits.",
]
_DRUGS = ["阿莫西林", "二甲双胍", "氨氯地平", "Amoxicillin", "Metformin", "Lisinopril", "Warfarin"]


def traps(each: int = 12, seed: int = 0) -> list[str]:
    """Distinct traps: every form with `each` draws of numbers."""
    rng = random.Random(f"traps {seed}")
    found = [form.format(**_values(rng)) for form in _FORMS_ZH + _FORMS_EN for _ in range(each)]
    return list(dict.fromkeys(found))


def _values(rng: random.Random) -> dict[str, str]:
    return {
        "drug": rng.choice(_DRUGS),
        "dose": str(rng.choice((2.5, 5, 10, 500, 850, 1000))),
        "sys": str(rng.randrange(100, 199)),
        "dia": str(rng.randrange(55, 99)),
        "n": str(rng.randrange(1, 9)),
        "big": str(rng.randrange(10000, 99999)),
        "yy": f"{rng.randrange(10, 25)}",
        "mm": f"{rng.randrange(1, 13):02d}",
        "dd": f"{rng.randrange(1, 29):02d}",
        "m": str(rng.randrange(1, 13)),
        "d": str(rng.randrange(1, 29)),
        "age": str(rng.randrange(18, 95)),
    }
