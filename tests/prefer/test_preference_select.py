"""Human verdicts outrank the judge, filters name their reason, the audit counts, and length can be balanced."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from made_pairs import BAD, GOOD, context, pair, said

from aquilamed.config import Invalid
from aquilamed.prefer import select
from aquilamed.prefer.refusals import refusal, unsafe_request
from aquilamed.prefer.select import PreferSelectConfig
from aquilamed.records import read_parts


def run(tmp_path: Path, rows: list[dict[str, Any]], verdicts: list[dict[str, Any]] | None = None, **keys: Any) -> Any:
    """(kept rows by id, reasons by id, metrics)."""
    if verdicts is not None:
        tmp_path.mkdir(exist_ok=True)
        lines = "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in verdicts)
        (tmp_path / "verdicts.jsonl").write_text(lines, encoding="utf-8")
        keys = {"verdicts": ["verdicts.jsonl"], **keys}
    ctx = context(tmp_path, rows)
    metrics = select.run(ctx, PreferSelectConfig(**keys)).metrics
    kept, dropped = (read_parts(ctx.out / name).to_dicts() for name in ("kept", "dropped"))
    assert sorted(r["id"] for r in (*kept, *dropped)) == sorted(r["id"] for r in rows)
    assert all(r["detail"] for r in dropped)
    return {r["id"]: r for r in kept}, {r["id"]: r["reason"] for r in dropped}, metrics


def content(row: dict[str, Any], side: str) -> str:
    return str(row[side][0]["content"])


def test_human_verdicts_outrank_the_judge(tmp_path: Path) -> None:
    rows = [pair(i) for i in "abcdefghi"]
    a, b, c, d, e, f, g, h, i = rows
    verdicts = [
        said(a, "li", "A"),
        said(b, "li", "A", chosen_first=False),  # was shown the rejected answer as A
        said(b, "wang", "B"),
        said(c, "li", "tie"),
        said(d, "li", "A", dangerous=["A"]),
        said(e, "li", "B", edited="Paracetamol by weight, fluids, and a doctor today."),
        said(f, "li", "A"),
        said(f, "wang", "B"),
        said(g, "li", "A"),
        said(g, "wang", "A"),
        said(g, "head", "B"),
        said(h, "li", "skip"),
        said(i, "li", "A", dangerous=["A"], edited="A doctor, today."),
    ]
    kept, reasons, metrics = run(tmp_path, rows, verdicts, adjudicators=["head"])
    assert reasons == {"c": "select.human_tie", "d": "select.dangerous", "f": "select.undecided"}
    assert (content(kept["a"], "chosen"), kept["a"]["margin"]) == (GOOD, 1.0)
    assert (content(kept["b"], "chosen"), content(kept["b"], "rejected")) == (BAD, GOOD)
    assert content(kept["e"], "chosen") == "Paracetamol by weight, fluids, and a doctor today."
    assert content(kept["e"], "rejected") == GOOD
    assert content(kept["g"], "chosen") == BAD, "the adjudicator has the last word"
    assert json.loads(kept["g"]["human"]) == {"upheld": 0, "overturned": 1, "tie": 0, "adjudicated": True}
    assert (kept["h"]["human"], kept["h"]["margin"]) == (None, 0.5), "a skip is no vote"
    assert content(kept["i"], "chosen") == "A doctor, today.", "the edit is not the answer called dangerous"
    human = metrics["human"]
    assert (human["pairs_judged"], human["upheld"], human["overturned"], human["edited"]) == (9, 1, 2, 2)
    assert human["raters"] == {"rater 1": 8, "rater 2": 3}, "names stay out of manifests"


def test_the_majority_decides(tmp_path: Path) -> None:
    a, b = rows = [pair("a"), pair("b")]
    verdicts = [said(a, r, v) for r, v in zip("xyz", ("B", "B", "A"), strict=True)]
    verdicts += [said(b, r, v) for r, v in zip("xyz", ("A", "B", "tie"), strict=True)]
    kept, reasons, _ = run(tmp_path, rows, verdicts)
    assert content(kept["a"], "chosen") == BAD
    assert kept["a"]["margin"] == pytest.approx(1 / 3)
    assert reasons == {"b": "select.undecided"}


def test_the_workspaces_own_verdicts_are_used(tmp_path: Path) -> None:
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "verdicts.jsonl").write_text(json.dumps(said(pair("a"), "li", "tie")) + "\n")
    assert run(tmp_path, [pair("a")])[1] == {"a": "select.human_tie"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pair": "zz"}, r"verdicts.jsonl:2: field 'pair': no pair 'zz'"),
        ({"shown": "0" * 16}, r"verdicts.jsonl:2: field 'shown': the texts of pair b have changed"),
        ({"rater": "stranger"}, r"verdicts.jsonl:2: field 'rater': 'stranger' is not in prefer.select.raters"),
        ({"verdict": "C"}, r"verdicts.jsonl:2: field 'verdict'"),
        ({"verdict": "tie", "edited": "x"}, r"verdicts.jsonl:2: .*edited answer needs the verdict A or B"),
        ({"time": "yesterday"}, r"verdicts.jsonl:2: field 'time'"),
        ({"mood": 1}, r"verdicts.jsonl:2: field 'mood'"),
    ],
)
def test_judgements_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    a, b = pair("a"), pair("b")
    with pytest.raises(Invalid, match=expected):
        run(tmp_path, [a, b], [said(a, "li", "A"), said(b, "li", "A") | change], raters=["li"])


def test_second_judgements_and_stale_ones(tmp_path: Path) -> None:
    a = pair("a")
    with pytest.raises(Invalid, match=r"verdicts.jsonl:2: 'li' judged pair a before, at verdicts.jsonl:1"):
        run(tmp_path, [a], [said(a, "li", "A"), said(a, "li", "B")])
    gone = [said(a, "li", "tie") | {"pair": "gone"}, said(a, "li", "tie") | {"shown": "0" * 16}]
    kept, _, metrics = run(tmp_path, [a], gone, stale_verdicts="skip")
    assert list(kept) == ["a"]
    assert metrics["human"]["stale_verdicts"] == 2


ZH = "孩子发烧两天了，体温三十八度九，在家应该怎么处理，什么情况需要去医院？"
ZH_GOOD = "建议多喝水，按体重服用对乙酰氨基酚；如果孩子精神差、呼吸急促或抽搐，请立即就医。"


def test_filters_and_their_reasons(tmp_path: Path) -> None:
    rows = [
        pair("fine"),
        pair("zh", ZH_GOOD, "没事的，过几天自己就会好，不用管它，也不用去医院看了。", ZH),
        pair("refuses", "I'm sorry, but I cannot help with that. Please ask a professional."),
        pair("refuses zh", "很抱歉，作为一个人工智能语言模型，我无法提供医疗建议，请咨询医生。", ZH_GOOD, ZH),
        pair("rightly", "I'm sorry, but I cannot help with that.", "Take all your pills.", "How can I kill myself?"),
        pair("rejected refuses", GOOD, "I'm sorry, but I cannot help with that."),
        pair("language", GOOD, ZH_GOOD, ZH),
        pair("rejected language", ZH_GOOD, BAD, ZH),
        pair("translate", GOOD, BAD, "请把下面的话翻译成英文：多喝水，按体重吃药。"),
        pair("same", GOOD, GOOD.replace("fluids", "Fluids")),
        pair("weak", margin=-0.25),
        pair("key", "B. gout\n" + GOOD, "C. gout\n" + GOOD, kind="objective", margin=1.0),
    ]
    _, reasons, metrics = run(tmp_path, rows, min_margin=0.0)
    assert reasons == {
        "refuses": "select.refusal",
        "refuses zh": "select.refusal",
        "language": "select.language",
        "same": "select.near_identical",
        "weak": "select.margin",
    }
    before, after = metrics["before"]["all"], metrics["after"]["all"]
    counts = (
        "pairs",
        "chosen_refuses",
        "refuses_unsafe",
        "rejected_refuses",
        "chosen_other_language",
        "near_identical",
    )
    assert [before[c] for c in counts] == [12, 3, 1, 1, 1, 1]
    assert [after[c] for c in counts] == [7, 1, 1, 1, 0, 0]
    assert set(metrics["before"]) == {"subjective", "objective", "all"}
    again, nothing, _ = run(tmp_path / "again", rows, refusals=False, language=False, near_identical=1)
    assert list(nothing) == ["same"], "equal but for case"
    assert set(again) == {r["id"] for r in rows} - {"same"}


def test_doctors_saw_what_they_judged(tmp_path: Path) -> None:
    row = pair("a", "I'm sorry, but I cannot help with that.")
    kept, _, _ = run(tmp_path, [row], [said(row, "li", "A")])
    assert list(kept) == ["a"]


def test_length_is_balanced_with_the_fewest_pairs(tmp_path: Path) -> None:
    rows = [pair(f"long{n}", GOOD + " Rest." * (n + 1), GOOD[:-10]) for n in range(8)]
    rows += [pair(f"short{n}", GOOD[:-10], BAD + " Rest well." * 3) for n in range(3)]
    rows += [pair("equal", "12 34 5", "ab cd e", kind="objective")]
    keys = {"balance_length": 0.1, "near_identical": 1.0, "language": False}
    _, reasons, metrics = run(tmp_path, rows, **keys)
    # (8 - k) / (11 - k) <= 0.6 first holds for k = 4
    assert len(reasons) == 4
    assert set(reasons.values()) == {"select.length_balance"}
    assert all(name.startswith("long") for name in reasons)
    assert metrics["before"]["subjective"]["chosen_longer"] == pytest.approx(8 / 11, abs=1e-4)
    assert metrics["after"]["subjective"]["chosen_longer"] == pytest.approx(4 / 7, abs=1e-4)
    assert metrics["after"]["objective"]["chosen_longer"] == 0.5
    one = sorted(reasons)[0]
    judged = run(tmp_path / "judged", rows, [said(r, "li", "A") for r in rows if r["id"] == one], **keys)[1]
    assert len(judged) == 4
    assert one not in judged, "what a doctor judged goes last"
    everything = [said(r, "li", "A") for r in rows if r["kind"] == "subjective"]
    assert len(run(tmp_path / "all", rows, everything, **keys)[1]) == 4


def test_what_is_left_is_balanced_in_its_mean_too(tmp_path: Path) -> None:
    draw = random.Random(5)
    rows = [pair(f"{n:03}", "x" * int(40 * draw.lognormvariate(0.3, 0.6)), "y" * 40) for n in range(200)]
    _, reasons, metrics = run(tmp_path, rows, balance_length=0.02, language=False, near_identical=1)
    before, after = metrics["before"]["all"], metrics["after"]["all"]
    assert before["chosen_longer"] > 0.6
    assert abs(after["chosen_longer"] - 0.5) <= 0.02
    assert reasons
    assert abs(after["length_ratio"] - 1) < 0.05 < before["length_ratio"] - 1


@pytest.mark.parametrize("seed", range(20))
def test_no_smaller_set_would_do(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    rows = [pair(f"{n:02}", "x" * draw.randint(1, 9), "y" * draw.randint(1, 7)) for n in range(draw.randint(1, 25))]
    tolerance = draw.choice([0.0, 0.02, 0.05, 0.2])
    kept, reasons, metrics = run(tmp_path, rows, balance_length=tolerance, language=False, near_identical=1)
    sizes = [(len(content(r, "chosen")), len(content(r, "rejected"))) for r in rows]
    longer, equal = sum(c > r for c, r in sizes), sum(c == r for c, r in sizes)

    def fits(k: int) -> bool:
        most, n = max(longer, len(rows) - longer - equal) - k, len(rows) - k
        return most >= 0 and (not n or abs((most + equal / 2) / n - 0.5) <= tolerance + 1e-9)

    assert len(reasons) == next(k for k in range(len(rows) + 1) if fits(k))
    if kept:
        assert abs(metrics["after"]["all"]["chosen_longer"] - 0.5) <= tolerance + 1e-4


def test_an_empty_set_stays_empty(tmp_path: Path) -> None:
    kept, reasons, metrics = run(tmp_path, [], balance_length=0.0)
    assert (kept, reasons) == ({}, {})
    assert metrics["after"]["all"]["chosen_longer"] is None


def test_refusals() -> None:
    for text in (
        "I'm sorry, but I can't assist with that request.",
        "As an AI language model, I am not able to give medical advice. Please see a doctor.",
        "对不起，我不能提供这方面的信息。",
        "作为一款人工智能助手，我无法为您诊断疾病。",
    ):
        assert refusal(text), text
    for text in (
        "I am sorry to hear that you feel unwell. Your cough may be bronchitis; rest and drink.",
        "Sorry for the late reply. You cannot take ibuprofen with warfarin.",
        "As an AI language model I cannot examine you. " + "What you describe fits a migraine: " * 20,
        "这个病不能吃海鲜，也不能喝酒，建议到医院复查。",
        "抱歉回复晚了。您的情况考虑胃炎，建议做胃镜检查。",
    ):
        assert not refusal(text), text
    assert unsafe_request("有没有办法无痛地自杀？")
    assert not unsafe_request("我父亲有自杀的念头，应该怎么帮助他？")
