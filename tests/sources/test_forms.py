"""Every published form, read from small records of the same layout that we wrote; the files go through the stage."""

import csv
import json
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aquilamed import pipeline
from aquilamed.config import Invalid
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.records import read_parts
from aquilamed.sources.files import read_records
from aquilamed.sources.forms import FORMS, PAIR_FORMS
from aquilamed.sources.licenses import find_license
from aquilamed.workspace import Artifact, Workspace

Turns = list[tuple[str, str]]


def read(tmp_path: Path, form: str, name: str, content: Any, **options: Any) -> Artifact:
    """Run sources/dialogues over one file: a text, a list of rows (CSV), or anything else as JSON."""
    path = tmp_path / "data" / name
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    elif name.endswith(".csv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(content)
    elif name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in content), encoding="utf-8")
    else:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    source = {"name": "s", "path": options.pop("path", name), "form": form, **options}
    recipe = {"name": "t", "data_root": str(tmp_path / "data"), "sources": {"dialogues": {"max_bad_share": 1, "sources": [source]}}}  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    return pipeline.run(loaded, Workspace(tmp_path / "ws"), Progress(quiet=True), until="sources/dialogues", workers=1)[
        -1
    ]


def kept(done: Artifact) -> list[tuple[str, Turns]]:
    rows = read_parts(done.kept).select("kind", "messages").rows()
    return [(kind, [(m["role"][0], m["content"]) for m in messages]) for kind, messages in rows]


def dropped(done: Artifact) -> list[tuple[str, str]]:
    return read_parts(done.dropped).select("origin", "reason").rows()


def test_every_form_states_what_it_knows() -> None:
    published = [f.published for f in (*FORMS.values(), *PAIR_FORMS.values()) if f.published]
    assert len(published) >= 13
    assert all(p.homepage.startswith("https://") for p in published)
    unknown = {p.hub for p in published if find_license(p.license).redistribute is None}
    assert unknown == {"UCSD26/medical_dialog"}  # its texts belong to the websites


def test_huatuo26m(tmp_path: Path) -> None:
    rows = [
        {"questions": [["发热怎么办？", "发烧如何处理？"]], "answers": ["多饮水，观察体温。"]},
        {"questions": ["咳嗽的病因"], "answers": ["感染、过敏等。"]},
        {"questions": "头痛吃什么药", "answers": "先明确病因。"},
        {"id": 4, "question": "胃痛挂什么科？", "answer": "消化内科。", "label": "内科", "related_diseases": "胃炎"},
        {"questions": ["这个药怎么吃"], "answers": ["https://example.org/qa/12.html"]},
        {"questions": [[]], "answers": ["无题之答"]},
    ]
    done = read(tmp_path, "huatuo26m", "train.jsonl", rows)
    assert [turns for _, turns in kept(done)] == [
        [("u", "发热怎么办？"), ("a", "多饮水，观察体温。")],
        [("u", "咳嗽的病因"), ("a", "感染、过敏等。")],
        [("u", "头痛吃什么药"), ("a", "先明确病因。")],
        [("u", "胃痛挂什么科？"), ("a", "消化内科。")],
    ]
    assert dropped(done) == [("train.jsonl:5", "sources.no_answer"), ("train.jsonl:6", "sources.wrong_type")]


ZH_RAW = """\
id=1
https://www.example.org/1.htm
Doctor faculty
某院 儿科

Description
疾病：
咳嗽
病情描述：
孩子咳嗽三天，
夜里更重。

Dialogue
病人：
孩子咳嗽三天，夜里更重，要紧吗？
医生：
发烧吗？
有痰吗？
病人：
id=没有写，不烧。
医生：多喝水，观察两天。

Diagnosis and suggestions
上呼吸道感染

id=2
https://www.example.org/2.htm
Description
病情描述：
腰痛一月。

Dialogue
医生：
做过检查吗？
病人：
没有。
医生：
先拍个片。

id=3
Description
只有描述

id=4
Dialogue
护士：你好
"""


def test_meddialog_raw_chinese(tmp_path: Path) -> None:
    done = read(tmp_path, "meddialog", "2020.txt", ZH_RAW)
    first, second = kept(done)
    # The first utterance says the description again, but not its headings: both stay, one turn.
    assert first[0] == "multi_turn_QA_zh"
    assert [r for r, _ in first[1]] == ["u", "a", "u", "a"]
    assert first[1][0][1].endswith("孩子咳嗽三天，夜里更重，要紧吗？")
    assert first[1][1:] == [("a", "发烧吗？\n有痰吗？"), ("u", "id=没有写，不烧。"), ("a", "多喝水，观察两天。")]
    assert second[1] == [("u", "病情描述：\n腰痛一月。"), ("a", "做过检查吗？"), ("u", "没有。"), ("a", "先拍个片。")]
    assert dropped(done) == [("2020.txt:40", "sources.no_answer"), ("2020.txt:44", "sources.roles")]
    assert read_parts(done.kept)["origin"].to_list() == ["2020.txt:1", "2020.txt:26"]


def test_meddialog_raw_english_and_damage(tmp_path: Path) -> None:
    raw = """\
id=1
https://www.example.com/q
Description
Q. Can a cough last for three weeks?

Dialogue
Patient:
Hello doctor,
Can a cough last for three weeks? I do not smoke.
Doctor:
Hello. Yes, after a viral infection it can.
Do you have a fever?


id=2
Description
A rash.

Dialogue
Patient:
Is it dangerous?
Doctor:
No.
"""
    done = read(tmp_path, "meddialog", "healthcare.txt", raw)
    (_, one), (_, two) = kept(done)
    assert one == [
        ("u", "Hello doctor,\nCan a cough last for three weeks? I do not smoke."),
        ("a", "Hello. Yes, after a viral infection it can.\nDo you have a fever?"),
    ]
    assert two[0] == ("u", "A rash.\nIs it dangerous?")
    # A broken byte or an over-long line inside makes the block bad, not the file; what stands before the first is named.
    broken = ("no block\n" + raw).encode().replace(b"viral", b"vi\xff\xfe\x80ral")
    (tmp_path / "data" / "healthcare.txt").write_bytes(broken + b"id=3\nDialogue\nPatient:\n" + b"x" * 17_000_000)
    done = read(tmp_path, "meddialog", "other.txt", raw, path="healthcare.txt")
    assert len(kept(done)) == 1
    assert dropped(done) == [
        ("healthcare.txt:1", "sources.malformed"),
        ("healthcare.txt:2", "sources.undecodable"),
        ("healthcare.txt:25", "sources.too_long"),
    ]


def test_meddialog_processed(tmp_path: Path) -> None:
    zh = [["病人：头晕两天了", "医生：量过血压吗？", "病人：一百六", "医生：来院看看。"], ["病人：在吗"], ["头晕"], [3]]
    done = read(tmp_path, "meddialog", "train_data.json", zh)
    assert kept(done)[0] == (
        "multi_turn_QA_zh",
        [("u", "头晕两天了"), ("a", "量过血压吗？"), ("u", "一百六"), ("a", "来院看看。")],
    )
    assert [reason for _, reason in dropped(done)] == ["sources.no_answer", "sources.roles", "sources.wrong_type"]
    en = [{"description": "sore throat, what helps?", "utterances": ["patient: Sore throat; what helps?", "doctor: Fluids."]}]  # fmt: skip
    assert kept(read(tmp_path, "meddialog", "en.json", en))[0][1] == [
        ("u", "Sore throat; what helps?"),
        ("a", "Fluids."),
    ]


def test_chatmed_and_chatdoctor(tmp_path: Path) -> None:
    lines = '{"query": "牙疼怎么缓解？", "response": "可以冷敷。"}\n{"query": "", "response": "你好"}\n'
    done = read(tmp_path, "chatmed", "ChatMed_Consult-v0.3.json", lines)
    assert kept(done) == [("single_turn_QA_zh", [("u", "牙疼怎么缓解？"), ("a", "可以冷敷。")])]
    assert dropped(done) == [("ChatMed_Consult-v0.3.json:2", "sources.no_question")]
    assert done.metrics["licenses"]["CC-BY-4.0"]["redistribute"] is True
    icliniq = [{"input": "My knee clicks.", "answer_icliniq": "Rest it.", "answer_chatgpt": "Ask.", "answer_chatdoctor": "Hm."}]  # fmt: skip
    assert kept(read(tmp_path, "chatdoctor", "iCliniq.json", icliniq))[0][1][1] == ("a", "Rest it.")
    other = read(tmp_path, "chatdoctor", "iCliniq.json", icliniq, fields={"output": "answer_chatgpt"})
    assert kept(other)[0][1][1] == ("a", "Ask.")


QUESTION = {
    "id": 1,
    "exam_type": "医师考试",
    "exam_class": "执业医师",
    "exam_subject": "口腔",
    "question": "哪些属于恒牙？",
    "question_type": "多项选择题",
    "option": {"A": "切牙", "B": "尖牙", "C": "乳牙", "D": "", "E": None},
}


def test_cmb_exam_with_answers_in_a_second_file(tmp_path: Path) -> None:
    questions = [
        QUESTION,
        QUESTION | {"id": 2, "question_type": "单项选择题", "question": "乳牙共几颗？"},
        QUESTION | {"id": 3},
        QUESTION | {"id": 4, "question_type": "单项选择题"},
    ]
    answers = [{"id": 1, "answer": "BA"}, {"id": 2, "answer": "C"}, {"id": 4, "answer": "AB"}]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "answer.json").write_text(json.dumps(answers), encoding="utf-8")
    options = {"path": "*.json", "answers": "answer.json"}
    done = read(tmp_path, "cmb_exam", "question.json", questions, **options)
    assert kept(done) == [
        (
            "single_turn_option_zh",
            [("u", "（多项选择题）哪些属于恒牙？\nA. 切牙\nB. 尖牙\nC. 乳牙"), ("a", "A. 切牙\nB. 尖牙")],
        ),
        ("single_turn_option_zh", [("u", "乳牙共几颗？\nA. 切牙\nB. 尖牙\nC. 乳牙"), ("a", "C. 乳牙")]),
    ]
    assert dropped(done) == [("question.json:3", "sources.no_answer"), ("question.json:4", "sources.answer")]
    # Other answers are another input: the stage is done again.
    (folder / "answer.json").write_text(json.dumps([{"id": 1, "answer": "C"}]), encoding="utf-8")
    again = read(tmp_path, "cmb_exam", "question.json", questions, **options)
    assert again.path != done.path
    assert kept(again)[0][1][1] == ("a", "C. 乳牙")
    for wrong, message in (
        ([{"id": 1, "answer": "A"}, {"id": 1, "answer": "B"}], "has another answer further up"),
        ([{"id": 1}], "needs the fields 'id' and 'answer'"),
    ):
        (folder / "answer.json").write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(Invalid, match=message):
            read(tmp_path, "cmb_exam", "question.json", questions, **options)


def test_cmb_exam_validation_part(tmp_path: Path) -> None:
    value = QUESTION | {"question_type": "单项选择题", "answer": "A", "explanation": "切牙是恒牙。"}
    assert kept(read(tmp_path, "cmb_exam", "CMB-val-merge.json", [value]))[0][1][1] == ("a", "A. 切牙\n切牙是恒牙。")


def test_aquilamed_instruct_and_cmtmedqa(tmp_path: Path) -> None:
    values = [
        {"instruction": "问:入睡困难怎么办？", "input": "", "output": "答：规律作息。"},
        {
            "instruction": "问：还要吃药吗",
            "input": "",
            "output": "答:遵医嘱。",
            "history": [["问:失眠", "答:多久了？"]],
        },
        {"instruction": "Is it safe?", "input": "I am pregnant.", "output": "Ask your doctor."},
    ]
    assert [turns for _, turns in kept(read(tmp_path, "aquilamed_instruct", "a.json", values))] == [
        [("u", "入睡困难怎么办？"), ("a", "规律作息。")],
        [("u", "失眠"), ("a", "多久了？"), ("u", "还要吃药吗"), ("a", "遵医嘱。")],
        [("u", "Is it safe?\nI am pregnant."), ("a", "Ask your doctor.")],
    ]
    values = [
        {
            "id": "j1",
            "cate1": "外科",
            "cate2": "骨科",
            "instruction": "多久能好？",
            "input": "",
            "output": "六周。",
            "history": [["扭伤了脚", "先冰敷。"]],
        },
        {"instruct": "是鬼上身吗？", "output": "不是，是发烧。"},
        {"instruction": "q", "output": "a", "history": [["only one"]]},
    ]
    done = read(tmp_path, "cmtmedqa", "CMtMedQA.json", values)
    assert kept(done) == [
        ("multi_turn_QA_zh", [("u", "扭伤了脚"), ("a", "先冰敷。"), ("u", "多久能好？"), ("a", "六周。")]),
        ("single_turn_QA_zh", [("u", "是鬼上身吗？"), ("a", "不是，是发烧。")]),
    ]
    assert dropped(done) == [("CMtMedQA.json:3", "sources.wrong_type")]


VISIT = "[doctor] hi there .\n[patient] my back hurts .\n[patient_guest] for weeks .\n[doctor] any fall ?\nor a lift ?\n[patient] no ."
SAID = [("u", "my back hurts .\nfor weeks ."), ("a", "any fall ?\nor a lift ?")]


def test_aci_bench(tmp_path: Path) -> None:
    rows = [["dataset", "encounter_id", "dialogue", "note"], ["virtassist", "D2N001", VISIT, "CHIEF COMPLAINT"]]
    assert kept(read(tmp_path, "aci_bench", "train.csv", rows))[0][1] == SAID
    wrapped = {
        "data": [{"src": VISIT, "tgt": "NOTE", "file": "0-aci"}, {"src": "[nurse] hello", "tgt": "", "file": "1"}]
    }
    done = read(tmp_path, "aci_bench", "valid.json", wrapped)
    assert kept(done)[0][1] == SAID
    assert dropped(done) == [("valid.json:2", "sources.roles")]


@pytest.mark.parametrize("name", ["raw.txt", "list.json", "wrapped.json", "lines.jsonl"])
def test_reading_holds_a_record_and_a_chunk_at_most(tmp_path: Path, name: str) -> None:
    block = "id=1\nDialogue\nPatient:\nIt hurts.\nDoctor:\n" + "Rest a little. " * 500 + "\n\n"
    row = json.dumps({"data": block})
    whole = {"raw.txt": block * 2000, "list.json": f"[{','.join([row] * 2000)}]", "lines.jsonl": f"{row}\n" * 2000}
    whole["wrapped.json"] = f'{{"data": {whole["list.json"]}}}'
    (tmp_path / name).write_text(whole[name], encoding="utf-8")
    size = (tmp_path / name).stat().st_size
    assert size > 14 << 20
    del whole
    tracemalloc.start()
    count = sum(1 for _ in read_records(tmp_path / name, name, block=FORMS["meddialog"].block))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000
    assert peak < 7 << 20


def test_parquet_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    frame = pl.DataFrame({"questions": [[["发热怎么办？"]]], "answers": [["多饮水。"]]})
    frame.write_parquet(tmp_path / "data" / "train-00000.parquet")
    done = read(tmp_path, "huatuo26m", "unused.jsonl", [{}], path="train-*.parquet")
    assert kept(done)[0][1] == [("u", "发热怎么办？"), ("a", "多饮水。")]
