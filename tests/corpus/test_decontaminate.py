"""Planted benchmark questions are found however they are dressed; clean text stays."""

import gzip
import json
import types
from pathlib import Path

import polars as pl
import pytest
from opencc import OpenCC

from aquilamed.corpus import decontaminate
from aquilamed.corpus.decontaminate import DecontaminateConfig, build_index, find, leaks
from aquilamed.corpus.ngram_index import Index
from aquilamed.engine.local import LocalEngine
from aquilamed.evaluate import tasks
from aquilamed.evaluate.tasks import BenchmarkText
from aquilamed.progress import Progress
from aquilamed.records import read_parts, write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact

ENGLISH = (
    "A 54-year-old gardener comes to the clinic because of a painful, swollen wrist that began two days after she "
    "pruned roses. Which of the following organisms is the most likely cause of her condition?\n"
    "Sporothrix schenckii\nBartonella henselae\nPasteurella multocida\nCandida albicans"
)
CHINESE = "患者女性，32岁，产后两周出现左侧乳房红肿热痛伴寒战，最可能的致病菌是下列哪一种？\n金黄色葡萄球菌\n大肠埃希菌\n白色念珠菌\n肺炎链球菌"
SHORT = "What is the treatment of asthma?"
SHORT_ZH = "高血压怎么治疗？"
HOST_EN = "The garden behind the old house had been left to itself for many years, and nobody knew who owned it. " * 40
HOST_ZH = "这座小城依山傍水，居民多以种茶为生，每年春天都有许多游客前来观赏茶园的景色。" * 40


@pytest.fixture(scope="module")
def index() -> Index:
    texts = [
        BenchmarkText("medqa", "e1", ENGLISH),
        BenchmarkText("cmb", "z1", CHINESE),
        BenchmarkText("mmlu", "s1", SHORT),
        BenchmarkText("huatuo", "s2", SHORT_ZH),
    ]
    return build_index(texts, DecontaminateConfig())


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def lettered(text: str) -> str:
    question, *options = text.split("\n")
    return question + "\nOptions:\n" + "\n".join(f"({'ABCD'[i]}). {o}" for i, o in enumerate(options))


LEAKS = {
    "verbatim": (ENGLISH, CHINESE),
    "question alone": (ENGLISH.split("\n")[0], CHINESE.split("\n")[0]),
    "no punctuation": (
        ENGLISH.replace(",", "").replace("?", "").upper(),
        CHINESE.replace("，", " ").replace("？", "!"),
    ),
    "full width": (full_width(ENGLISH), full_width(CHINESE)),
    "lettered options": (lettered(ENGLISH), lettered(CHINESE)),
    "one word changed": (ENGLISH.replace("wrist", "elbow"), CHINESE.replace("左侧", "右边")),
    "embedded": (HOST_EN + ENGLISH + " " + HOST_EN, HOST_ZH + CHINESE + "\n" + HOST_ZH),
    "traditional": (ENGLISH, OpenCC("s2t").convert(CHINESE)),
}


@pytest.mark.parametrize("name", LEAKS)
def test_leak_is_found_and_named(name: str, index: Index) -> None:
    english, chinese = leaks(LEAKS[name], index)
    assert english is not None
    assert "medqa question e1" in english
    assert chinese is not None
    assert "cmb question z1" in chinese


CLEAN = [
    "Sporotrichosis is caused by Sporothrix schenckii; gardeners who prune roses get it. Which of the following organisms "
    "is the most likely cause of cat scratch disease? Bartonella henselae.",
    "A 54-year-old teacher comes to the clinic because of a cough that began two weeks after a cold. Which of the following "
    "is the most likely diagnosis?",
    "产后乳腺炎多由金黄色葡萄球菌引起，表现为乳房红肿热痛，可伴寒战高热。患者应继续排空乳汁。",
    "患者女性，32岁，左膝关节疼痛三个月，最可能的诊断是下列哪一种？",
    "What is the treatment of asthma? Asthma is treated with inhaled steroids.",
    "高血压怎么治疗？高血压的治疗包括药物与生活方式。",
    HOST_EN,
    HOST_ZH,
    "",
]


@pytest.mark.parametrize("text", CLEAN)
def test_clean_text_stays(text: str, index: Index) -> None:
    assert leaks([text], index) == [None]


def test_scattered_ngrams_are_no_leak() -> None:
    question = " ".join(f"word{i}" for i in range(40))
    pieces = [f"word{i} word{i + 1} word{i + 2} word{i + 3} word{i + 4} word{i + 5} word{i + 6}" for i in range(33)]
    index = build_index([BenchmarkText("b", "q", question)], DecontaminateConfig())
    spread = (" filler" * 60).join(pieces)
    assert leaks([spread], index) == [None]
    assert leaks([question], index) != [None]


def test_formula_shared_by_questions_weighs_little() -> None:
    diseases = ["sarcoidosis", "gout", "scurvy", "rabies", "malaria", "measles", "mumps", "tetanus"]
    texts = [
        BenchmarkText(
            "b", d, f"In an otherwise healthy adult patient what is the most common presenting sign of {d} today"
        )
        for d in diseases
    ]
    index = build_index(texts, DecontaminateConfig())
    other = "In an otherwise healthy adult patient what is the most common presenting sign of botulism"
    found = find([texts[0].text, other], index)
    assert found[0][0].id == "sarcoidosis"
    assert found[0][0].share == pytest.approx(1.0)
    assert len(found[0]) > 0


def test_no_benchmarks_no_leaks() -> None:
    assert leaks(["anything", ""], build_index([], DecontaminateConfig())) == [None, None]


def test_stage_counts_questions_and_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        BenchmarkText("medqa", "e1", ENGLISH),
        BenchmarkText("cmb", "z1", CHINESE),
        BenchmarkText("cmb", "s2", SHORT_ZH),
    ]
    monkeypatch.setattr(tasks, "benchmark_texts", lambda ctx: texts)
    documents = [*LEAKS["verbatim"], LEAKS["embedded"][1], *CLEAN]
    frame = pl.DataFrame({"id": [str(i) for i in range(len(documents))], "text": documents})
    write_parts(tmp_path / "in" / "kept", frame, rows=4)
    progress = Progress(quiet=True)
    inputs = {"corpus/dedup": Artifact("corpus/dedup", tmp_path / "in", {})}
    out = tmp_path / "out"
    recipe = types.SimpleNamespace()
    ctx = Context(out, out / ".work", inputs, LocalEngine(progress, 1), progress, 42, tmp_path, recipe)  # type: ignore[arg-type]
    result = decontaminate.run(ctx, DecontaminateConfig())
    assert result.metrics["benchmarks"] == {
        "cmb": {"questions": 2, "too_short": 1, "leaked_questions": 1, "leaked_share": 0.5, "documents_dropped": 2},
        "medqa": {"questions": 1, "too_short": 0, "leaked_questions": 1, "leaked_share": 1.0, "documents_dropped": 1},
    }
    assert json.loads((out / "contamination.json").read_text()) == result.metrics["benchmarks"]
    dropped = read_parts(out / "dropped")
    assert dropped["id"].to_list() == ["0", "1", "2"]
    assert set(dropped["reason"]) == {"decontaminate.benchmark_overlap"}
    assert read_parts(out / "kept").height == len(CLEAN)


def test_real_benchmarks_against_real_text(public_data: Path) -> None:
    questions = []
    with (public_data / "benchmarks" / "medqa" / "phrases_no_exclude_test.jsonl").open(encoding="utf-8") as file:
        for number, row in enumerate(json.loads(line) for line in file):
            questions.append(
                BenchmarkText("medqa", str(number), "\n".join([row["question"], *row["options"].values()]))
            )
    index = build_index(questions, DecontaminateConfig())
    planted = [q.text.split("\n")[0].replace(" the ", " THE, ") for q in questions[::5]]
    assert None not in leaks(planted, index)
    with gzip.open(public_data / "text" / "medquad.jsonl.gz", "rt", encoding="utf-8") as file:
        clean = [json.loads(line)["answer"] or "" for line in file][1::8]
    assert sum(d is not None for d in leaks(clean, index)) == 0
