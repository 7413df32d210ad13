"""croissant.json: read and checked by the reference implementation."""

import json
from pathlib import Path

import polars as pl
import pytest

from aquilamed.release import folder, release
from release_workspace import make

mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is in the dev extra")


@pytest.mark.parametrize("what", ["instruct", "preference", "corpus"])
def test_the_reference_reader_accepts_it_and_reads_the_records(what: str, tmp_path: Path) -> None:
    released = release(make(tmp_path), what)
    data = mlcroissant.Dataset(jsonld=released / "croissant.json")
    assert not data.metadata.ctx.issues.errors
    assert not data.metadata.ctx.issues.warnings
    told = json.loads((released / "croissant.json").read_text("utf-8"))
    for file in told["distribution"]:
        assert file["sha256"] == folder.sha256(released / file["contentUrl"])
    for one in told["recordSet"]:
        place, _, split = one["@id"].partition("-")
        files = sorted((released / {"default": "data"}.get(place, place)).glob(f"{split}-*.parquet"))
        rows = pl.concat([pl.read_parquet(f) for f in files])
        read = list(data.records(one["@id"]))
        assert len(read) == rows.height
        assert [r[f"{one['@id']}/id"] for r in read] == [i.encode() for i in rows["id"]]
        if "messages" in rows.columns:
            content = [
                [m[f"{one['@id']}/messages/content"].decode() for m in r[f"{one['@id']}/messages"]] for r in read
            ]
            assert content == [[m["content"] for m in messages] for messages in rows["messages"]]


def test_a_split_of_several_files_is_one_record_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquilamed.release.tables.SHARD_BYTES", 1)
    released = release(make(tmp_path), "instruct")
    data = mlcroissant.Dataset(jsonld=released / "croissant.json")
    rows = pl.concat([pl.read_parquet(f) for f in sorted((released / "data").glob("train-*.parquet"))])
    read = {r["default-train/id"].decode() for r in data.records("default-train")}
    assert read == set(rows["id"])
