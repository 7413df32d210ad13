"""Mixing: the ratio is met, held-out documents are the same in both mixes, and nothing gets lost."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from aquilamed.config import StageFailed
from aquilamed.corpus import mix
from aquilamed.corpus.mix import Mix1Config, Mix2Config
from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import read_parts, write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact


def documents(medical: int, general: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": f"{domain[0]}{i:04d}",
            "source": f"s{i % 2}",
            "license": "CC0",
            "origin": f"f:{i}",
            "text": f"text {i}",
            "lang": "zh" if i % 3 else "en",
            "zh_share": 0.5,
            "tokens": 10 + i % 7,
            "domain": domain,
            "domain_score": 0.9,
        }
        for domain, count in (("medical", medical), ("general", general))
        for i in range(count)
    )


def talks(count: int) -> pl.DataFrame:
    messages = [{"role": "user", "content": "发热怎么办？"}, {"role": "assistant", "content": "多喝水。"}]
    common = {"source": "sft", "license": "CC0", "kind": "single_turn_QA_zh", "lang": "zh", "messages": messages}
    return pl.DataFrame({"id": f"t{i:04d}", "origin": f"t:{i}", **common} for i in range(count))


def context(tmp: Path, name: str, **frames: pl.DataFrame) -> Context:
    inputs = {}
    for key, frame in frames.items():
        stage = key.replace("_", "/")
        write_parts(tmp / name / "in" / stage / "kept", frame, rows=37)
        inputs[stage] = Artifact(stage, tmp / name / "in" / stage, {})
    progress = Progress(quiet=True)
    recipe: Any = SimpleNamespace()
    out = tmp / name / "out"
    return Context(out, out / ".work", inputs, LocalEngine(progress, workers=1), progress, 42, tmp, recipe)


def read(ctx: Context) -> tuple[pl.DataFrame, pl.DataFrame]:
    return read_parts(ctx.out / "kept"), read_parts(ctx.out / "dropped")


def test_ratio_is_met_and_nothing_lost(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_domain=documents(60, 200))
    metrics = mix.run_stage1(ctx, Mix1Config(domain_share=0.4)).metrics
    kept, dropped = read(ctx)
    assert {*kept["id"], *dropped["id"]} == {*documents(60, 200)["id"]}
    assert kept.height + dropped.height == 260
    assert kept.columns == mix.COLUMNS
    assert metrics["reached_share"] == pytest.approx(0.4, abs=0.01)
    assert (kept["domain"] == "medical").sum() == 60, "the scarce side goes in whole"
    assert set(dropped["reason"]) == {"mix.over_ratio"}
    assert "domain_score" in dropped.columns
    assert metrics["tokens"] == kept["tokens"].sum() == sum(metrics["tokens_by_split"].values())


def test_cap_is_kept(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_domain=documents(100, 100))
    metrics = mix.run_stage1(ctx, Mix1Config(domain_share=0.5, max_tokens=500)).metrics
    kept, dropped = read(ctx)
    assert 460 <= kept["tokens"].sum() <= 500
    assert metrics["reached_share"] == pytest.approx(0.5, abs=0.04)
    assert "mix.over_cap" in set(dropped["reason"])
    assert dropped["detail"].is_not_null().all()


def test_choice_does_not_depend_on_parts_or_order(tmp_path: Path) -> None:
    frame = documents(50, 80)
    one, two = (context(tmp_path, n, corpus_domain=f) for n, f in (("a", frame), ("b", frame.reverse())))
    for ctx in (one, two):
        mix.run_stage1(ctx, Mix1Config(domain_share=0.5, max_tokens=600))
    assert read(one)[0].sort("id").equals(read(two)[0].sort("id"))


def test_a_missing_side_fails_and_share_one_takes_the_domain_only(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_domain=documents(20, 0))
    with pytest.raises(StageFailed, match="kept no general document"):
        mix.run_stage1(ctx, Mix1Config())
    mix.run_stage1(ctx, Mix1Config(domain_share=1.0))
    assert read(ctx)[0].height == 20


def test_heldout_is_the_same_in_both_mixes(tmp_path: Path) -> None:
    frame = documents(300, 300)
    one = context(tmp_path, "a", corpus_domain=frame)
    mix.run_stage1(one, Mix1Config())
    quality = frame.filter(pl.col("domain") == "medical")[:150]
    two = context(tmp_path, "b", corpus_quality=quality, instruct_safety=talks(50))
    mix.run_stage2(two, Mix2Config())
    first, second = read(one)[0], read(two)[0]
    both = first.join(second, on="id", suffix="_2")
    assert both.height > 100
    assert both["split"].equals(both["split_2"], check_names=False)
    assert 0.01 < (first["split"] == "heldout").mean() < 0.12
    assert set(second.filter(pl.col("split") == "heldout")["lang"]) == {"zh", "en"}


def test_a_small_language_still_has_a_heldout_document(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_domain=documents(30, 30))
    mix.run_stage1(ctx, Mix1Config(heldout=1e-9))
    held = read(ctx)[0].filter(pl.col("split") == "heldout")
    assert sorted(held["lang"]) == ["en", "zh"]


def test_dialogues_become_text_with_labels_of_their_language(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_quality=documents(20, 0), instruct_safety=talks(12))
    metrics = mix.run_stage2(ctx, Mix2Config()).metrics
    kept, dropped = read(ctx)
    assert kept.height == 32
    assert dropped.height == 0
    assert kept.filter(pl.col("id") == "t0003")["text"][0] == "问：发热怎么办？\n答：多喝水。"
    assert 0 < metrics["dialogue_share"] < 1
    english = mix.dialogue_text([{"role": "user", "content": "Why?"}], "en")
    assert english == "Question: Why?"


def test_dialogues_can_be_left_out_and_keep_their_columns(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_quality=documents(20, 0), instruct_safety=talks(12))
    mix.run_stage2(ctx, Mix2Config(dialogues=False, max_tokens=100))
    kept, dropped = read(ctx)
    assert kept["tokens"].sum() <= 100
    assert set(dropped["reason"]) == {"mix.dialogues_off", "mix.over_cap"}
    talk = dropped.filter(pl.col("reason") == "mix.dialogues_off")
    assert talk.height == 12
    assert talk["messages"].is_not_null().all()


def test_sources_come_in_the_ratio_of_their_weights(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_domain=documents(4000, 4000))
    metrics = mix.run_stage1(ctx, Mix1Config(domain_share=0.5, weights={"s0": 3.0})).metrics
    kept, dropped = read(ctx)
    for side in ("medical", "general"):
        mine = kept.filter(pl.col("domain") == side)
        share = mine.filter(pl.col("source") == "s0")["tokens"].sum() / mine["tokens"].sum()
        assert share == pytest.approx(0.75, abs=0.005)
    assert metrics["reached_share"] == pytest.approx(0.5, abs=0.005)
    assert set(dropped["source"]) == {"s1"}
    assert dropped["detail"].str.contains(r"already had its [\d,]+ tokens").all()


def test_a_source_gives_no_more_than_its_cap(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_domain=documents(300, 300))
    mix.run_stage1(ctx, Mix1Config(domain_share=0.5, caps={"s1": 1000}))
    kept, dropped = read(ctx)
    capped = kept.filter(pl.col("source") == "s1")["tokens"].sum()
    assert capped <= 1000
    assert "mix.over_source_cap" in set(dropped["reason"])


def test_names_of_no_source_are_refused(tmp_path: Path) -> None:
    ctx = context(tmp_path, "a", corpus_domain=documents(20, 20))
    with pytest.raises(StageFailed, match="'web', but no document"):
        mix.run_stage1(ctx, Mix1Config(weights={"web": 2.0}))
    with pytest.raises(StageFailed, match="'web', but no document"):
        mix.run_stage1(ctx, Mix1Config(caps={"web": 2}))
