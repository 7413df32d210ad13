"""Stage sources/documents: kept and dropped parts, limits, and the share of bad records."""

import json
import types
from pathlib import Path

import pytest
from pydantic import ValidationError

from aquilamed.config import Invalid
from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import DOCUMENT, parts, read_parts, record_id
from aquilamed.sources.documents import DocumentsConfig, run
from aquilamed.stage import Context


def context(out: Path, data: Path) -> Context:
    quiet = Progress(quiet=True)
    recipe = types.SimpleNamespace(data_folder=lambda: data)
    return Context(out, out / ".work", {}, LocalEngine(quiet, workers=1), quiet, 42, out, recipe)


def write(path: Path, values: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), encoding="utf-8")


def test_kept_and_dropped_with_reasons(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(
        data / "a.jsonl", [{"text": " one\r\ntwo "}, {"text": ""}, {"text": 5}, {"body": "x"}, ["q", "a"], "plain", 7]
    )
    (data / "b.txt").write_bytes(b"broken \xff text")
    config = DocumentsConfig(max_bad_share=1, sources=[{"name": "web", "path": "*", "license": "CC0"}])
    result = run(context(tmp_path / "out", data), config)
    kept, dropped = read_parts(tmp_path / "out" / "kept"), read_parts(tmp_path / "out" / "dropped")
    assert kept.columns == DOCUMENT.names
    assert dropped.columns == [*DOCUMENT.names, "reason", "detail"]
    assert kept.select("origin", "text", "license").rows() == [
        ("a.jsonl:1", "one\ntwo", "CC0"),
        ("a.jsonl:5", "q\na", "CC0"),
        ("a.jsonl:6", "plain", "CC0"),
    ]
    assert kept["id"][0] == record_id("web", "a.jsonl:1")
    assert dict(dropped.select("origin", "reason").iter_rows()) == {
        "a.jsonl:2": "sources.empty",
        "a.jsonl:3": "sources.wrong_type",
        "a.jsonl:4": "sources.wrong_type",
        "a.jsonl:7": "sources.wrong_type",
        "b.txt:1": "sources.undecodable",
    }
    assert all(detail.startswith(f"{origin}: ") for origin, detail in dropped.select("origin", "detail").iter_rows())
    assert dropped.filter(dropped["origin"] == "b.txt:1")["text"][0] == "broken \ufffd text"
    assert result.records_in == 8
    assert result.metrics["per_source"] == {"web": {"files": 2, "in": 8, "kept": 3, "dropped": 5}}
    assert result.metrics["bytes"] == sum(p.stat().st_size for p in data.iterdir())


def test_too_many_bad_records_stop_the_stage_and_name_ten(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.jsonl", [{"txt": "x"}] * 30 + [{"text": "good"}] * 70)
    config = DocumentsConfig(sources=[{"name": "web", "path": "a.jsonl"}])
    with pytest.raises(Invalid, match=r"30 of 100 records \(30\.0%\)") as error:
        run(context(tmp_path / "out", tmp_path / "data"), config)
    listed = str(error.value).splitlines()[1:]
    assert len(listed) == 10
    assert listed[9].strip() == "sources.wrong_type: a.jsonl:10: no field 'text'; the record's fields: 'txt'"


def test_limit_counts_over_files_in_order(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / "data" / f"{name}.jsonl", [{"text": f"{name}{n}"} for n in range(10)])
    config = DocumentsConfig(rows_per_part=4, sources=[{"name": "web", "path": "*.jsonl", "limit": 13}])
    result = run(context(tmp_path / "out", tmp_path / "data"), config)
    assert read_parts(tmp_path / "out" / "kept")["text"].to_list() == [f"a{n}" for n in range(10)] + ["b0", "b1", "b2"]
    assert result.records_in == 13
    assert [p.name for p in parts(tmp_path / "out" / "kept")] == [f"part-000-00000-{n:05d}.parquet" for n in range(4)]


def test_fields_are_joined(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.jsonl", [{"title": "T", "text": ["p1", "p2"]}, {"title": None, "text": "only"}])
    config = DocumentsConfig(sources=[{"name": "web", "path": "a.jsonl", "text": ["title", "text"]}])
    run(context(tmp_path / "out", tmp_path / "data"), config)
    assert read_parts(tmp_path / "out" / "kept")["text"].to_list() == ["T\np1\np2", "only"]


def test_mistakes_in_the_config_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="two sources are named 'web'"):
        DocumentsConfig(sources=[{"name": "web", "path": "a"}, {"name": "web", "path": "b"}])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "empty.jsonl").write_text("")
    for path, message in (("nothing/*", "no file matches"), ("empty.jsonl", "no records")):
        with pytest.raises(Invalid, match=message):
            run(context(tmp_path / "out", tmp_path / "data"), DocumentsConfig(sources=[{"name": "w", "path": path}]))


def test_real_corpora_are_read_whole(tmp_path: Path, public_data: Path) -> None:
    config = DocumentsConfig(
        sources=[
            {"name": "medquad", "path": "text/medquad.jsonl.gz", "text": ["question", "answer"], "limit": 2000},
            {"name": "apollo", "path": "text/apollo/Medical_*.json"},
            {"name": "wiki", "path": "text/cmrc2018_wiki_zh.jsonl.gz"},
        ]
    )
    result = run(context(tmp_path / "out", public_data), config)
    counts = {name: (found["in"], found["dropped"]) for name, found in result.metrics["per_source"].items()}
    assert counts == {"medquad": (2000, 0), "apollo": (1400, 0), "wiki": (1104, 0)}
