"""A large JSONL file in spans: the same records with the same ids, whatever the size of the spans."""

import json
import types
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.records import parts, read_parts
from aquilamed.sources import ingest
from aquilamed.sources.documents import DocumentsConfig, run
from aquilamed.sources.lines import lines, spans
from aquilamed.stage import Context


def context(out: Path, data: Path) -> Context:
    quiet = Progress(quiet=True)
    recipe = types.SimpleNamespace(data_folder=lambda: data)
    return Context(out, out / ".work", {}, LocalEngine(quiet, workers=1), quiet, 42, out, recipe)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\r\n"]), max_size=30), size=st.integers(1, 40))
def test_spans_give_every_line_once_with_its_number(tmp_path: Path, pieces: list[bytes], size: int) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(pieces))
    found = [line for span in spans(path, size) for line in lines(path, 100, span)]
    assert found == list(lines(path, 100))


def test_a_large_file_is_many_tasks_with_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [json.dumps({"text": f"text {n} " + "x" * (n * 37 % 400)}) for n in range(500)]
    rows[77], rows[123] = "{broken", json.dumps({"text": "y" * 9000})
    (data / "big.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (data / "small.jsonl").write_text('{"text": "small"}\n', encoding="utf-8")
    config = DocumentsConfig(max_bad_share=1, max_bytes=8000, sources=[{"name": "web", "path": "*"}])
    whole = run(context(tmp_path / "whole", data), config)
    monkeypatch.setattr(ingest, "SPAN_BYTES", 4096)
    split = run(context(tmp_path / "split", data), config)
    assert split == whole
    assert whole.metrics["per_source"]["web"] == {"files": 2, "in": 501, "kept": 499, "dropped": 2}
    for folder in ("kept", "dropped"):
        assert read_parts(tmp_path / "split" / folder).equals(read_parts(tmp_path / "whole" / folder))
    assert len(list(parts(tmp_path / "split" / "kept"))) > 20


def test_packed_files_and_sources_with_a_limit_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    data = tmp_path / "data"
    data.mkdir()
    text = "".join(f'{{"text": "text {n}"}}\n' for n in range(300))
    (data / "a.jsonl").write_text(text, encoding="utf-8")
    (data / "b.jsonl.gz").write_bytes(gzip.compress(text.encode(), 0))
    monkeypatch.setattr(ingest, "SPAN_BYTES", 500)
    sources = [{"name": "some", "path": "a.jsonl", "limit": 7}, {"name": "packed", "path": "b.jsonl.gz"}]
    result = run(context(tmp_path / "out", data), DocumentsConfig(sources=sources))
    assert [result.metrics["per_source"][n]["in"] for n in ("some", "packed")] == [7, 300]
    assert len(list(parts(tmp_path / "out" / "kept"))) == 2
