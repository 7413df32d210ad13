"""The corpus' filters one behind the other: every record is kept or dropped once, the same with one worker or two."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aquilamed.corpus import decontaminate, dedup, language, pii, rules, toxicity
from aquilamed.engine.local import LocalEngine
from aquilamed.evaluate import tasks
from aquilamed.evaluate.tasks import BenchmarkText
from aquilamed.progress import Progress
from aquilamed.records import DOCUMENT, read_parts, write_parts
from aquilamed.stage import Context, Result
from aquilamed.workspace import Artifact

QUESTION = (
    "Which vitamin deficiency causes bleeding gums, corkscrew hairs and poor wound healing in sailors without fruit?"
)
CLEAN = "Pernicious anaemia is a lack of vitamin B12 that the stomach cannot take up; it is treated with injections. "
TEXTS = {
    "good_en": CLEAN + "Patients feel tired, look pale, and may have tingling in the hands and feet.",
    "good_zh": "恶性贫血是因胃不能吸收维生素B12引起的贫血，需要注射治疗，患者常感乏力、面色苍白、手足麻木。",
    "language.other": "Die Patienten mit Anämie sind müde und nicht belastbar, und das Blut muss untersucht werden.",
    "rules.too_few_tokens": "Anaemia, see above.",
    "masked": "患者姓名：王小明，电话13812345678，因乏力、面色苍白三个月就诊，诊断为恶性贫血，予维生素B12肌注。",
    "toxicity.lexicon": "Shut up you fucking idiot, go die in a fire, nobody wants you cunts here at all.",
    "dedup.exact": "恶性贫血是因胃不能吸收维生素B12引起的贫血，需要注射治疗，患者常感乏力、面色苍白、手足麻木。",
    "dedup.near": CLEAN + "Patients feel tired, look pale, and may have tingling in the hands.",
    "decontaminate.benchmark_overlap": "We asked the class this one. "
    + QUESTION.upper()
    + " Nobody knew the answer to it.",
}
STAGES: list[tuple[str, Callable[[Context, Any], Result], Any]] = [
    ("corpus/language", language.run, language.LanguageConfig()),
    ("corpus/rules", rules.run, rules.RulesConfig()),
    ("corpus/pii", pii.run, pii.PiiConfig()),
    ("corpus/toxicity", toxicity.run, toxicity.ToxicityConfig(lexicon="terms.txt")),
    ("corpus/dedup", dedup.run, dedup.DedupConfig()),
    ("corpus/decontaminate", decontaminate.run, decontaminate.DecontaminateConfig()),
]


def run_chain(root: Path, workers: int) -> tuple[dict[str, Result], Path]:
    frame = pl.DataFrame(
        [dict.fromkeys(DOCUMENT.names, f"{i:02d}") | {"text": t} for i, t in enumerate(TEXTS.values())]
    )
    write_parts(root / "sources/documents" / "kept", frame, rows=4)
    (root / "terms.txt").write_text("grumblewort\n", encoding="utf-8")
    progress = Progress(quiet=True)
    engine = LocalEngine(progress, workers)
    recipe: Any = types.SimpleNamespace(data_folder=lambda: root)
    results, before = {}, Artifact("sources/documents", root / "sources/documents", {})
    try:
        for name, run, config in STAGES:
            out = root / name
            ctx = Context(out, out / ".work", {before.stage: before}, engine, progress, 42, root, recipe)
            results[name] = run(ctx, config)
            kept, dropped = read_parts(out / "kept"), read_parts(out / "dropped")
            assert sorted([*kept["id"], *dropped["id"]]) == sorted(read_parts(before.kept)["id"])
            before = Artifact(name, out, {})
    finally:
        engine.close()
    return results, root


@pytest.fixture
def _benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [BenchmarkText("mmlu", "q1", QUESTION)]
    monkeypatch.setattr(tasks, "benchmark_texts", lambda ctx: texts)


@pytest.mark.usefixtures("_benchmark")
def test_every_text_ends_where_it_should(tmp_path: Path) -> None:
    results, root = run_chain(tmp_path, workers=1)
    reasons = {}
    for name, _, _ in STAGES:
        dropped = read_parts(root / name / "dropped")
        reasons.update(dict(zip(dropped["id"], dropped["reason"], strict=True)))
    expected = {f"{i:02d}": name for i, name in enumerate(TEXTS) if "." in name}
    assert reasons == expected
    kept = read_parts(root / "corpus/decontaminate" / "kept")
    assert kept["id"].to_list() == ["00", "01", "04"]
    assert kept["lang"].to_list() == ["en", "zh", "zh"]
    assert kept["text"][2].startswith("患者姓名：[NAME]，电话[PHONE]，")
    assert kept["pii"].to_list() == [None, None, '{"NAME": 1, "PHONE": 1}']
    assert kept["tokens"].min() >= 10  # type: ignore[operator]
    assert results["corpus/language"].metrics == {"lang": {"de": 1, "en": 5, "zh": 3}}
    assert results["corpus/pii"].metrics == {"documents": 1, "found": {"NAME": 1, "PHONE": 1}}
    assert results["corpus/rules"].metrics["tokens_kept"] > 100


@pytest.mark.usefixtures("_benchmark")
def test_workers_do_not_change_a_byte(tmp_path: Path) -> None:
    one = run_chain(tmp_path / "one", workers=1)[1]
    two = run_chain(tmp_path / "two", workers=2)[1]
    files = sorted(p.relative_to(one) for p in one.rglob("part-*.parquet"))
    assert len(files) == 3 + 6 * 2 * 3
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)
