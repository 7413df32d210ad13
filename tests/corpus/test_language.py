"""Languages by script and words, on our own sentences and on real public text."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from aquilamed.corpus.language import LanguageConfig, check, languages, simplify

SENTENCES = {
    "糖尿病患者应当控制饮食，按时服药并监测血糖。": "zh",
    "患者使用 metformin 500 mg 后出现 lactic acidosis，请注意 eGFR。": "zh",
    "高血壓患者應當減少鹽分攝取，並按時服藥。": "zh-Hant",
    "Patients with diabetes should check their blood sugar before breakfast.": "en",
    "Aspirin, ibuprofen, naproxen, diclofenac": "en",
    "Die Patienten mit Diabetes sollten nicht nur den Blutzucker messen, sondern auch auf die Ernährung achten.": "de",
    "Les patients atteints de diabète doivent surveiller leur glycémie et prendre les médicaments dans la journée.": "fr",
    "Los pacientes con diabetes deben controlar el azúcar en la sangre y tomar las medicinas por la mañana.": "es",
    "I pazienti con il diabete devono controllare la glicemia e prendere le medicine che sono prescritte.": "it",
    "De patiënten met diabetes moeten het bloedsuiker meten en niet zonder een arts stoppen.": "nl",
    "Пациенты с диабетом должны контролировать уровень сахара в крови.": "ru",
    "糖尿病の患者さんは、食事に気をつけて、薬をきちんと飲んでください。": "ja",
    "당뇨병 환자는 혈당을 자주 확인하고 약을 규칙적으로 복용해야 합니다.": "ko",
    "يجب على مرضى السكري مراقبة مستوى السكر في الدم.": "ar",
    "Os pacientes com diabetes devem medir a glicose todos os dias e falar com o médico.": "pt",
    "Diyabet hastaları kan şekerini düzenli olarak ölçmeli ve ilaçlarını zamanında almalıdır.": "tr",
    "Bệnh nhân tiểu đường nên kiểm tra đường huyết mỗi ngày và uống thuốc đúng giờ.": "vi",
    "Pasien diabetes sebaiknya memeriksa gula darah setiap hari dan minum obat tepat waktu.": "id",
    "Pacjenci z cukrzycą powinni codziennie mierzyć poziom cukru we krwi i przyjmować leki.": "pl",
    "Patienter med diabetes bör mäta sitt blodsocker varje dag och ta sina läkemedel i tid.": "sv",
    "Пацієнти з діабетом повинні щодня вимірювати рівень цукру в крові.": "uk",
    "Οι ασθενείς με διαβήτη πρέπει να μετρούν το σάκχαρο κάθε μέρα.": "el",
    "חולי סוכרת צריכים למדוד את רמת הסוכר בדם מדי יום.": "he",
    "ผู้ป่วยเบาหวานควรตรวจน้ำตาลในเลือดทุกวันและกินยาให้ตรงเวลา": "th",
    "मधुमेह के रोगियों को हर दिन रक्त शर्करा की जाँच करनी चाहिए।": "hi",
    "Pacienți cu diabet trebuie să își măsoare glicemia în fiecare zi și să ia medicamentele.": "ro",
    "12345 67890 +++": "other",
    "": "other",
}


@pytest.mark.parametrize(("text", "lang"), SENTENCES.items())
def test_language_of_a_sentence(text: str, lang: str) -> None:
    assert languages([text])["lang"][0] == lang


def test_kernel_keeps_what_is_asked_for_and_explains_the_rest() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c", "d"], "text": [*list(SENTENCES)[:1], *list(SENTENCES)[2:4], None]})
    result = check(frame, LanguageConfig(keep=["zh", "en"]))
    assert result["reason"].to_list() == [None, "language.other", None, "language.other"]
    assert result["detail"][1] == "zh-Hant is not kept: by its characters"
    assert result["zh_share"].to_list() == [1.0, 1.0, 0.0, 0.0]


def test_mixed_documents_get_both_shares() -> None:
    mixed = languages(["高血压 hypertension 是常见病 disease。", "Diabetes is common; in Chinese it is called 糖尿病."])
    assert mixed["lang"].to_list() == ["zh", "en"]
    assert mixed["zh_share"].to_list() == [0.2692, 0.0789]
    assert mixed["en_share"].to_list() == [0.7308, 0.9211]


def test_result_does_not_depend_on_batches() -> None:
    texts = list(SENTENCES)
    alone = pl.concat([languages([text]) for text in texts])
    assert alone.equals(languages(texts))


def test_simplify_is_one_for_one() -> None:
    assert simplify("高血壓患者應當減少鹽分") == "高血压患者应当减少盐分"


def test_real_text_is_recognised(public_data: Path) -> None:
    def read(name: str, field: str) -> list[str]:
        with gzip.open(public_data / "text" / name, "rt", encoding="utf-8") as file:
            return [json.loads(line)[field] or "" for line in file][1::2]

    shares = {
        "en": (languages(read("medquad.jsonl.gz", "answer"))["lang"] == "en").mean(),
        "zh": (languages(read("cmrc2018_wiki_zh.jsonl.gz", "text"))["lang"] == "zh").mean(),
        "zh-Hant": (languages(read("drcd_wiki_zh_hant.jsonl.gz", "text"))["lang"] == "zh-Hant").mean(),
    }
    assert min(float(s or 0) for s in shares.values()) > 0.995, shares  # type: ignore[arg-type]
