"""Planted questions: every dress does what it says, and decontamination finds each in the public benchmarks."""

import random
from pathlib import Path

import pytest

from aquilamed.corpus.decontaminate import DecontaminateConfig, build_index, find
from aquilamed.corpus.language import simplify
from aquilamed.evaluate.tasks import TASKS, BenchmarkText
from aquilamed.records import Question
from aquilamed.sample.leaks import VARIANTS, Asked, page, plant

ENGLISH = Asked("mmlu", "e", "Which nerve is most often hurt, in a shaft fracture?", ("radial", "ulnar", "median"))
CHINESE = Asked("cmb", "z", "患儿发热三天，最可能的诊断是？", ("麻疹", "风疹", "水痘"))
DIALOGUE = Asked("huatuo", "d", "小儿咳嗽夜里加重怎么办？")
HOSTS = ["The tea was cold. " * 60, "茶已经凉了，没有人去喝。" * 60]


def dressed(name: str, asked: Asked) -> str:
    return VARIANTS[name](asked, "\n".join(HOSTS * 4), random.Random(1))


def test_every_dress_changes_what_it_says() -> None:
    assert dressed("verbatim", ENGLISH) == page(ENGLISH)
    assert "," not in dressed("repunctuated", ENGLISH).split("\n")[0].replace(", ", "")
    assert dressed("other_width", ENGLISH).startswith("Ｗｈｉｃｈ")
    assert "?" in dressed("other_width", CHINESE)
    traditional = dressed("other_script", CHINESE)
    assert traditional != page(CHINESE)
    assert simplify(traditional) == page(CHINESE)
    moved = dressed("shuffled", ENGLISH).split("\n")[1:]
    assert sorted(line[3:] for line in moved) == sorted(ENGLISH.options)
    assert dressed("alone", CHINESE) == CHINESE.question
    assert len(dressed("embedded", CHINESE)) > 3000
    assert page(CHINESE) in dressed("embedded", CHINESE)


@pytest.mark.parametrize("asked", [ENGLISH, CHINESE])
def test_one_word_is_one_word(asked: Asked) -> None:
    changed = dressed("one_word", asked)
    units = (list if asked.chinese else str.split)(page(asked))
    new = (list if asked.chinese else str.split)(changed)
    assert len(units) == len(new)
    assert 1 <= sum(a != b for a, b in zip(units, new, strict=True)) <= 2


def test_plan_is_seeded_and_leaves_out_what_cannot_be() -> None:
    asked = [ENGLISH, CHINESE, DIALOGUE] * 40
    planted = plant(asked, HOSTS, seed=3)
    assert planted == plant(asked, HOSTS, seed=3)
    assert planted != plant(asked, HOSTS, seed=4)
    assert {p.variant for p in planted} == set(VARIANTS)
    assert len(planted) == len(asked)
    assert all(p.asked.chinese for p in planted if p.variant == "other_script")
    assert all(p.asked.options for p in planted if p.variant in ("shuffled", "alone"))


def test_planted_public_questions_are_found(public_data: Path) -> None:
    folder = public_data / "benchmarks"
    asked = []
    for task, pattern in (("cmb", "cmb/cmb-single_2000.jsonl"), ("medmcqa", "medmcqa/dev.json")):
        files = [(p.name, p) for p in folder.glob(pattern)]
        items = [q for q in TASKS[task].read(files) if isinstance(q, Question)]
        asked += [Asked(task, q.id, q.question, tuple(q.options)) for q in items[::3]]
    texts = [BenchmarkText(a.benchmark, a.id, page(a)) for a in asked]
    index = build_index(texts, DecontaminateConfig())
    known = {(unit.benchmark, unit.id) for unit in index.units if unit.length >= 20}
    planted = plant([a for a in asked if (a.benchmark, a.id) in known and len(a.question) > 40], HOSTS, seed=5)
    assert len(planted) > 500
    hits = [
        any((o.benchmark, o.id) == (p.asked.benchmark, p.asked.id) for o in found)
        for p, found in zip(planted, find([p.text for p in planted], index), strict=True)
    ]
    assert sum(hits) >= 0.98 * len(planted)
    assert find(HOSTS, index) == [[], []]
