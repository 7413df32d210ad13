"""Private information is masked; what only looks like it stays."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pii_traps import traps

from aquilamed.corpus.pii import PiiConfig, check, find_all, find_pii, mask_text
from aquilamed.corpus.pii_patterns import luhn, resident_id
from aquilamed.sample.private import generate

PRIVATE = {
    "请联系13812345678咨询": "PHONE",
    "手机：138 1234 5678": "PHONE",
    "+86-139-1234-5678 随时": "PHONE",
    "办公室 010-62781234 转3": "PHONE",
    "（0571）87654321": "PHONE",
    "住院部电话：87654321": "PHONE",
    "身份证号11010519491231002X": "ID_NUMBER",
    "号码 11010519491231002X 已登记": "ID_NUMBER",
    "身份证号码：110105194912310021": "ID_NUMBER",
    "护照号：E12345678": "PASSPORT",
    "Passport No. K1234567": "PASSPORT",
    "visa 4111 1111 1111 1111": "BANK_CARD",
    "银行卡号：6222021234567890123": "BANK_CARD",
    "车牌京A12345违停": "PLATE",
    "粤B·D12345": "PLATE",
    "write to li.wei@example.com today": "EMAIL",
    "邮箱zhang_san@163.com。": "EMAIL",
    "from 192.168.10.25 at noon": "IP",
    "server 2001:db8:85a3::8a2e:370:7334 answered": "IP",
    "see https://user:secret@host.example.org/x": "URL",
    "加微信：drwang_88": "ACCOUNT",
    "微信号abc12345": "ACCOUNT",
    "QQ：123456789": "ACCOUNT",
    "SSN 123-45-6789": "SSN",
    "call (415) 555-0132": "PHONE",
    "Phone: 415-555-0132": "PHONE",
    "病历号：A0012345": "MEDICAL_ID",
    "住院号 20230512": "MEDICAL_ID",
    "医保卡号：330106123456": "MEDICAL_ID",
    "MRN: 00123456": "MEDICAL_ID",
    "Medical record number 4456-778": "MEDICAL_ID",
    "Insurance ID: XK-998-1223": "MEDICAL_ID",
    "患者姓名：王小明，男": "NAME",
    "姓名：张三性别：男年龄：45岁": "NAME",
    "患者李建国，男，58岁": "NAME",
    "Patient name: John Smith": "NAME",
    "Name: Mary Ann Jones\nDOB: 1970": "NAME",
    "家庭住址：浙江省杭州市西湖区文三路18号": "ADDRESS",
    "Address: 12 Baker Street, Springfield, IL 62704\nnext": "ADDRESS",
}
TRAPS = [
    "阿莫西林 500 mg 每日3次，共7天；血压 135/85 mmHg，心率 72 次/分。",
    "Hb 132 g/L, WBC 6.5×10^9/L, PLT 250 300 4500, Na 140.2",
    "2023-01-15 入院，2023/02/01 出院；08:30:15 手术开始",
    "doi:10.1056/NEJMoa2034577 and 10.1016/j.jacc.2013.05.0123456789",
    "PMID: 32145678; PMC7123456; NCT04368728; ChiCTR2000029308; ISRCTN12345678",
    "ICD-10 E11.9, I25.101, C34.90; ATC A10BA02; 国药准字H20056789; NDC 0002-8215-01",
    "CAS 7732-18-5; EC 3.4.23.15; ISBN 978-7-117-12345-6; ISSN 0028-4793",
    "N Engl J Med 2019;380(1):11-22. 见 3.1.2.1 节，版本 10.2.14.1",
    "chr7:117120016-117308718, rs1801133, HLA-DRB1*15:01:01:01, NM_000546.6",
    "拨打120急救电话，心理援助热线12320",
    "微信公众号平台上的文章；WeChat users in China; QQ群里有人问",
    "Drug name: Metformin Hydrochloride. Brand name: Glucophage XR. Gene name: BRCA1",
    "Name: Ascorbic Acid",
    "Patient: Hello doctor, I have a cough.\nDoctor: How long?",
    "患者：您好，医生，我头痛。",
    "患者，男，65岁，因胸痛3小时入院。患者王某某。患者张口呼吸，高热",
    "新HBV疫苗与云HPV检测；青霉素G320万单位；新COVID19变异株",
    "web address: http://www.cdc.gov/a/b-c_1.html",
    "比例 1:2:3:4，评分 12:30，HR 0.85 (95% CI 0.72-0.99, p=0.0312)",
    "1999-2000-2001 三年；样本量 12345678 例；基金 81273456",
    "体重指数 22.86.0.1；滴度 1:1280；剂量 13 500 000 000 vp",
]


@pytest.mark.parametrize(("text", "kind"), list(PRIVATE.items()))
def test_private_information_gets_its_placeholder(text: str, kind: str) -> None:
    masked, counts = mask_text(text)
    assert counts.get(kind) == 1, (masked, counts)
    assert f"[{kind}]" in masked
    assert mask_text(masked) == (masked, {})


@pytest.mark.parametrize("text", TRAPS)
def test_what_only_looks_private_stays(text: str) -> None:
    assert mask_text(text) == (text, {})


def test_no_trap_is_masked() -> None:
    found = traps()
    assert len(found) >= 300
    assert [text for text in found if mask_text(text)[1]] == []


def test_full_width_digits_are_digits() -> None:
    assert mask_text("电话：１３８－１２３４－５６７８。") == ("电话：[PHONE]。", {"PHONE": 1})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*PRIVATE, *TRAPS, "，", "\n", " ", "患者", "1", "a@b", "::"]), min_size=1, max_size=8))
def test_the_gates_lose_nothing(pieces: list[str]) -> None:
    text = " ".join(pieces)
    assert find_all(pl.Series([text]))[0] == find_pii(text)


def test_the_gates_lose_nothing_in_generated_texts() -> None:
    texts = [p.text for p in generate(600, seed=3)]
    joined = ["\n".join(texts[i : i + 20]) for i in range(0, 600, 20)]
    assert find_all(pl.Series(texts + joined)) == [find_pii(t) for t in texts + joined]


def test_labels_and_neighbours_survive_masking() -> None:
    masked, counts = mask_text("患者姓名：王小明，电话13812345678，血糖 7.8 mmol/L")
    assert masked == "患者姓名：[NAME]，电话[PHONE]，血糖 7.8 mmol/L"
    assert counts == {"NAME": 1, "PHONE": 1}


def test_checksums() -> None:
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")
    assert resident_id("11010519491231002X")
    assert not resident_id("110105194912310021")
    assert not resident_id("11010519491331002X")


def test_modes_and_the_sieve_agree_with_mask_text() -> None:
    texts = [*PRIVATE, *TRAPS, None]
    frame = pl.DataFrame({"id": [str(i) for i in range(len(texts))], "text": texts})
    masked = check(frame, PiiConfig())
    assert masked["text"].to_list() == [mask_text(t)[0] if t else t for t in texts]
    assert masked["reason"].null_count() == len(texts)
    dropped = check(frame, PiiConfig(mode="drop"))
    assert dropped["text"].to_list() == texts
    assert dropped["reason"].is_not_null().to_list() == [bool(t and mask_text(t)[1]) for t in texts]
    report = check(frame, PiiConfig(mode="report"))
    assert report["text"].to_list() == texts
    assert report["pii"].to_list() == masked["pii"].to_list()


def test_long_runs_are_linear() -> None:
    import time

    for text in ("a" * 200_000, "1" * 200_000, "1:" * 100_000, "a.b-" * 50_000, "姓名" * 50_000, "1 " * 100_000):
        started = time.perf_counter()
        mask_text(text)
        assert time.perf_counter() - started < 5, text[:10]
