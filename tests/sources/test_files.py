"""The raw readers: what is good comes through, what is bad is quarantined with file, number and reason."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquilamed.config import Invalid
from aquilamed.sources.files import BadRecord, RawRecord, read_records
from aquilamed.sources.lines import choose_encoding, lines

ZH = "高血压患者应当限制食盐摄入，每天不超过五克，并坚持适量运动。"


def read(path: Path, **options: object) -> list[RawRecord | BadRecord]:
    return list(read_records(path, path.name, **options))  # type: ignore[arg-type]


def outcome(path: Path, **options: object) -> list[tuple[str, object]]:
    return [(r.origin, r.value if isinstance(r, RawRecord) else r.reason) for r in read(path, **options)]


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_jsonl_quarantines_bad_lines_and_goes_on(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        b'\xef\xbb\xbf{"text": "one"}\r\n\n{"text": \n{"text": "b\xff\xfed"}\n{"text": "nul \\u0000"}\n'
        b'{"text": "half \\ud83d"}\n"plain"\n' + b"[" * 100_000 + b'\n{"text": "last"}',
    )
    assert outcome(path) == [
        ("a.jsonl:1", {"text": "one"}),
        ("a.jsonl:3", "sources.malformed"),
        ("a.jsonl:4", "sources.undecodable"),
        ("a.jsonl:5", "sources.malformed"),
        ("a.jsonl:6", "sources.malformed"),
        ("a.jsonl:7", "plain"),
        ("a.jsonl:8", "sources.malformed"),
        ("a.jsonl:9", {"text": "last"}),
    ]
    bad = read(path)[2]
    assert isinstance(bad, BadRecord)
    assert "a.jsonl:4" in bad.detail
    assert "0xff" in bad.detail
    assert bad.raw == '{"text": "b\ufffd\ufffdd"}'


def test_over_long_line_is_dropped_and_memory_stays_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'"a"\n"' + b"x" * 5_000_000 + b'"\n"b"\n')
    assert outcome(path, max_bytes=10_000) == [
        ("a.jsonl:1", "a"),
        ("a.jsonl:2", "sources.too_long"),
        ("a.jsonl:3", "b"),
    ]
    assert max(len(line.data) for line in lines(path, 10_000)) <= 10_000


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_truncated_and_corrupt_tails_keep_what_came_before(tmp_path: Path, suffix: str, pack: object) -> None:
    import random

    rng = random.Random(1)
    data = b"".join(json.dumps({"n": n, "x": rng.random()}).encode() + b"\n" for n in range(20_000))
    packed = pack(data)  # type: ignore[operator]
    whole = write(tmp_path / f"whole.jsonl{suffix}", packed + packed)
    assert len(read(whole)) == 40_000
    for broken in (packed[: len(packed) * 2 // 3], packed[: len(packed) * 2 // 3] + b"junk" * 99):
        found = read(write(tmp_path / f"cut.jsonl{suffix}", broken))
        assert len(found) > 5_000
        assert [r.reason for r in found if isinstance(r, BadRecord)] in (
            ["sources.truncated"],
            ["sources.malformed", "sources.truncated"],
            ["sources.undecodable", "sources.truncated"],
        )
        assert found[0].value == {"n": 0, "x": json.loads(data.split(b"\n")[0])["x"]}  # type: ignore[union-attr]
    assert [r.reason for r in read(write(tmp_path / f"no.jsonl{suffix}", b"not packed at all"))] == [
        "sources.truncated"
    ]  # type: ignore[union-attr]


def test_encoding_is_decided_by_most_lines(tmp_path: Path) -> None:
    gb = write(tmp_path / "gb.txt", f"{ZH}\n".encode("gb18030") * 9)
    assert choose_encoding(gb, "auto") == "gb18030"
    broken = write(tmp_path / "u.txt", f"{ZH}\n".encode() * 9 + ZH.encode("gb18030"))
    assert choose_encoding(broken, "auto") == "utf-8"
    # One Latin-1 accent in an English file is a broken byte, not a Chinese character.
    latin = write(tmp_path / "l.txt", b"plain text\n" * 9 + "the naïve café on a hill".encode("latin-1"))
    assert choose_encoding(latin, "auto") == "utf-8"
    # The cut at one megabyte may fall into the middle of a character.
    large = write(tmp_path / "large.txt", (ZH * 12_000).encode())
    assert choose_encoding(large, "auto") == "utf-8"


def test_csv_in_gb18030_with_a_broken_row_and_an_open_quote(tmp_path: Path) -> None:
    rows = [
        "department,title,ask,answer",
        f'内科,"{ZH}\n第二行",问,答',
        "外科,缺一列,问",
        f'儿科,{ZH},"没有结束,答',
        f"骨科,{ZH},问,答",
    ]
    path = write(tmp_path / "a.csv", "\r\n".join(rows).encode("gb18030"))
    found = read(path)
    assert found[0].value == {"department": "内科", "title": f"{ZH}\n第二行", "ask": "问", "answer": "答"}  # type: ignore[union-attr]
    assert [(r.origin, getattr(r, "reason", None)) for r in found] == [
        ("a.csv:2", None),
        ("a.csv:4", "sources.malformed"),
        ("a.csv:5", "sources.malformed"),
        ("a.csv:6", None),
    ]


def test_csv_without_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "q1,a1\nq2,a2\n")
    assert [r.value for r in read(path, columns=["question", "answer"])] == [  # type: ignore[union-attr]
        {"question": "q1", "answer": "a1"},
        {"question": "q2", "answer": "a2"},
    ]


def test_json_list_object_and_lines(tmp_path: Path) -> None:
    items = [{"text": "x" * 3000, "n": n} for n in range(1500)]  # over several chunks
    for indent in (None, 2):
        assert [r.value for r in read(write(tmp_path / "l.json", json.dumps(items, indent=indent)))] == items  # type: ignore[union-attr]
    assert outcome(write(tmp_path / "o.json", '{\n "text": "one"\n}\n')) == [("o.json:1", {"text": "one"})]
    assert outcome(write(tmp_path / "j.json", '{"a": 1}\n{"a": 2}\n')) == [
        ("j.json:1", {"a": 1}),
        ("j.json:2", {"a": 2}),
    ]
    assert outcome(write(tmp_path / "n.json", "[12, 3]")) == [("n.json:1", 12), ("n.json:2", 3)]
    assert outcome(write(tmp_path / "e.json", " [ ] ")) == []
    broken = outcome(write(tmp_path / "b.json", '["one", "two" "three"]'))
    assert broken == [("b.json:1", "one"), ("b.json:2", "two"), ("b.json:3", "sources.malformed")]
    assert outcome(write(tmp_path / "u.json", b'["a\xffb", "two"]')) == [
        ("u.json:1", "sources.undecodable"),
        ("u.json:2", "two"),
    ]


def test_txt_whole_and_by_paragraph(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\ntwo\n\n\nthree\n")
    assert outcome(path) == [("a.txt:1", "one\ntwo\n\n\nthree")]
    assert outcome(path, paragraphs=True) == [("a.txt:1", "one\ntwo"), ("a.txt:5", "three")]
    assert outcome(path, max_bytes=8) == [("a.txt:1", "sources.too_long")]


def test_parquet_and_a_file_that_is_none(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["one", "nul \x00", "three"]}).write_parquet(tmp_path / "a.parquet")
    assert outcome(tmp_path / "a.parquet") == [
        ("a.parquet:1", {"text": "one"}),
        ("a.parquet:2", "sources.malformed"),
        ("a.parquet:3", {"text": "three"}),
    ]
    assert outcome(write(tmp_path / "b.parquet", b"PAR1 not really")) == [("b.parquet:1", "sources.malformed")]


def test_unknown_suffix_and_missing_file_are_invalid(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="set `format`"):
        read(write(tmp_path / "a.bin", b"x"))
    with pytest.raises(Invalid, match="cannot be read"):
        read(tmp_path / "gone.jsonl")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), suffix=st.sampled_from(["jsonl", "json", "csv", "txt", "jsonl.gz", "parquet"]))
def test_no_bytes_stop_a_reader(tmp_path: Path, data: bytes, suffix: str) -> None:
    for record in read(write(tmp_path / f"x.{suffix}", data)):
        assert record.origin.startswith(f"x.{suffix}:")
        if isinstance(record, BadRecord):
            record.raw.encode()  # safe to write
        else:
            json.dumps(record.value, ensure_ascii=False).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff\u202d\u202e"), max_size=40),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_survives_jsonl_json_and_csv(tmp_path: Path, texts: list[str]) -> None:
    import csv
    import io

    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([["n", "text"], *[[n, t] for n, t in enumerate(texts)]])
    made = {
        "a.jsonl": "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts),
        "a.json": json.dumps([{"text": t} for t in texts], ensure_ascii=False),
    }
    if not any("\r" in t for t in texts):  # a lone carriage return in a field is a line end to csv
        made["a.csv"] = table.getvalue()
    for name, data in made.items():
        assert [r.value["text"] for r in read(write(tmp_path / name, data), encoding="utf-8")] == texts  # type: ignore[union-attr]
