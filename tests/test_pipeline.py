"""The runner: which stages are on, what is skipped and redone, and law 1 checked from the written files."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from aquilamed import pipeline
from aquilamed.config import Invalid, StageFailed
from aquilamed.conservation import conservation
from aquilamed.pipeline import states
from aquilamed.progress import Progress
from aquilamed.recipe import Recipe, load_recipe
from aquilamed.records import write_parts
from aquilamed.stage import Context, Result, Stage
from aquilamed.stages import enabled
from aquilamed.workspace import Artifact, Workspace

SENTENCE = "Hypertension is a chronic rise of arterial pressure that strains the heart"
LINES = [f'{{"text": "{SENTENCE}. {n}"}}' for n in range(30)]


def recipe(tmp_path: Path, **more: Any) -> Recipe:
    web = tmp_path / "web.jsonl"
    if not web.exists():  # an unchanged file keeps its date, and its remembered hash
        web.write_text("\n".join(LINES), encoding="utf-8")
    source = {"name": "web", "path": "web.jsonl"}
    text = {"name": "t", "sources": {"documents": {"sources": [source]}}, **more}
    path = tmp_path / "recipe.yaml"
    import yaml

    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    return load_recipe(path)


def frame(ids: list[str], **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, **columns}, schema_overrides={"id": pl.String})


def artifact(folder: Path, ids: list[str]) -> Artifact:
    write_parts(folder / "kept", frame(ids))
    return Artifact("before", folder, {})


def written(folder: Path, kept: list[str], dropped: list[str], reason: str | None = "x.y") -> Path:
    write_parts(folder / "kept", frame(kept))
    write_parts(folder / "dropped", frame(dropped, reason=[reason] * len(dropped), detail=["d"] * len(dropped)))
    return folder


STAGE = Stage("x", lambda ctx, config: Result(), ("before",), flow=("before",))


def test_conservation_counts_the_files(tmp_path: Path) -> None:
    before = {"before": artifact(tmp_path / "in", ["a", "b", "c"])}
    counts = conservation(STAGE, written(tmp_path / "out", ["a", "c"], ["b"]), before, Result())
    assert counts == {"records_in": 3, "records_kept": 2, "records_dropped": 1, "reasons": {"x.y": 1}}


@pytest.mark.parametrize(
    ("kept", "dropped", "reason", "message"),
    [
        (["a"], ["b"], "x.y", "3 records in, 1 kept \\+ 1 dropped"),
        (["a", "b"], ["b"], "x.y", "1 ids were written twice"),
        (["a", "b"], ["z"], "x.y", "not the ids read"),
        (["a", "b"], ["c"], None, "1 dropped records have no reason"),
    ],
)
def test_conservation_fails_on_loss_doubling_exchange_and_silence(
    tmp_path: Path, kept: list[str], dropped: list[str], reason: str | None, message: str
) -> None:
    before = {"before": artifact(tmp_path / "in", ["a", "b", "c"])}
    with pytest.raises(StageFailed, match=message):
        conservation(STAGE, written(tmp_path / "out", kept, dropped, reason), before, Result())


def test_null_switches_a_stage_and_what_needs_it_off(tmp_path: Path) -> None:
    on = enabled(recipe(tmp_path))
    assert "corpus/quality" in on
    assert "finetune" not in on, "no dialogues are given"
    assert "align" not in on
    assert on["pretrain/stage2"] == ("corpus/pack2", "pretrain/stage1")
    less = enabled(recipe(tmp_path, pretrain={"stage1": None}))
    assert "pretrain/stage1" not in less
    assert less["pretrain/stage2"] == ("corpus/pack2",)


def test_a_sample_path_needs_the_sample(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, sources={"documents": {"sources": [{"name": "s", "path": "sample://corpus/*"}]}})
    with pytest.raises(Invalid, match="needs a `sample:` section"):
        enabled(loaded)


def test_until_runs_skips_and_redoes(tmp_path: Path) -> None:
    space, quiet = Workspace(tmp_path / "ws"), Progress(quiet=True)
    first = pipeline.run(recipe(tmp_path), space, quiet, until="corpus/rules", workers=1)
    assert [a.stage for a in first] == ["sources/documents", "corpus/language", "corpus/rules"]
    assert first[0].manifest["records_in"] == 30
    again = pipeline.run(recipe(tmp_path), space, quiet, until="corpus/rules", workers=1)
    assert [a.manifest for a in again] == [a.manifest for a in first]

    changed = recipe(tmp_path, corpus={"rules": {"min_tokens": 5}})
    before = {s.name: s.state for s in states(changed, space)}
    assert (before["corpus/language"], before["corpus/rules"], before["corpus/pii"]) == ("done", "stale", "waiting")
    third = pipeline.run(changed, space, quiet, until="corpus/rules", workers=1)
    assert third[1].path == first[1].path
    assert third[2].path != first[2].path

    (tmp_path / "web.jsonl").write_text("\n".join(LINES[:20]), encoding="utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    fourth = pipeline.run(loaded, space, quiet, until="sources", workers=1)
    assert fourth[0].manifest["records_in"] == 20


def test_a_failing_stage_leaves_its_error_and_continues_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(ctx: Context, config: Any) -> Result:
        raise StageFailed("no more today")

    space, quiet, loaded = Workspace(tmp_path / "ws"), Progress(quiet=True), recipe(tmp_path)
    rules = pipeline.BY_NAME["corpus/rules"]
    whole = rules.run
    object.__setattr__(rules, "run", broken)
    broken.__module__ = whole.__module__
    try:
        with pytest.raises(StageFailed, match="corpus/rules: no more today"):
            pipeline.run(loaded, space, quiet, until="corpus/rules", workers=1)
        failed = {s.name: s for s in states(loaded, space)}["corpus/rules"]
        assert failed.state == "failed"
        assert "no more today" in failed.why
    finally:
        object.__setattr__(rules, "run", whole)
    done = pipeline.run(loaded, space, quiet, until="corpus/rules", workers=1)
    assert done[-1].manifest["attempts"] == 2


def test_only_needs_its_inputs(tmp_path: Path) -> None:
    space, quiet = Workspace(tmp_path / "ws"), Progress(quiet=True)
    with pytest.raises(Invalid, match="its input sources/documents is not done"):
        pipeline.run(recipe(tmp_path), space, quiet, only="corpus/language", workers=1)
    with pytest.raises(Invalid, match="no stage 'corpus/rulez'"):
        pipeline.run(recipe(tmp_path), space, quiet, only="corpus/rulez", workers=1)
