"""Looking through tables: what is found, where a page ends, what is never read."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from aquilamed.records import write_parts
from aquilamed.web import scan
from aquilamed.web.distribution import spread
from aquilamed.web.scan import START, Filter, by_ids, look
from aquilamed.web.shown import shown
from aquilamed.workspace import Artifact

N = 1000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand records in parts of 100, row groups of 30; sources follow each other as they do in a corpus."""
    folder = tmp_path_factory.mktemp("table")
    for part in range(10):
        n = range(part * 100, part * 100 + 100)
        frame = pl.DataFrame(
            {
                "id": [f"{i:04d}" for i in n],
                "source": ["wards" if i < 500 else "leaflets" for i in n],
                "lang": ["zh" if i % 2 else "en" for i in n],
                "text": [f"病人 {i} has a Fever" if i % 7 == 0 else f"nothing {i}" for i in n],
                "quality": [None if i % 10 == 0 else i / 100 for i in n],
                "relevance": [[i / 10, i / 10 + 1] for i in n],
                "messages": [[{"role": "user", "content": f"asked {i}"}] for i in n],
            }
        )
        pq.write_table(frame.to_arrow(), folder / f"part-{part:05d}.parquet", row_group_size=30)
    return folder


def ids(wanted: Filter, table: Path, limit: int = N) -> list[int]:
    """The numbers of all records that fit, a page at a time."""
    found, at = [], START
    while True:
        page = look(table, wanted, at, limit, seconds=60)
        found += [int(row["id"]) for row in page.rows]
        assert len(page.rows) <= limit
        if page.rest is None:
            return found
        at = page.rest


def test_every_record_comes_once_whatever_the_page(table: Path) -> None:
    for limit in (1, 7, 30, 100, N):
        assert ids(Filter(), table, limit) == list(range(N))


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Filter(source="leaflets"), lambda i: i >= 500),
        (Filter(lang="zh", source="wards"), lambda i: i % 2 == 1 and i < 500),
        (Filter(words="fever"), lambda i: i % 7 == 0),
        (Filter(words="病人 FEVER"), lambda i: i % 7 == 0),
        (Filter(words="asked fever 21"), lambda i: i % 7 == 0 and "21" in str(i)),
        (Filter(words="f.ver"), lambda i: False),
        (Filter(score="quality", low=2.5, high=3.0), lambda i: 250 <= i <= 300 and i % 10),
        (Filter(score="relevance", low=99.0), lambda i: i / 10 + 0.5 >= 99.0),
        (Filter(score="quality"), lambda i: i % 10 != 0),
        (Filter(reason="rules.short"), lambda i: False),
    ],
)
def test_filters(table: Path, wanted: Filter, fits: object) -> None:
    assert callable(fits)
    for limit in (3, N):
        assert ids(wanted, table, limit) == [i for i in range(N) if fits(i)]


def test_row_groups_are_skipped_by_their_statistics(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    before = scan._frame
    monkeypatch.setattr(scan, "_frame", lambda file, group, names: read.append(group) or before(file, group, names))
    assert len(ids(Filter(source="leaflets", score="quality", low=9.5), table)) == 45
    assert len(read) <= 2 * 3  # of forty row groups: those of the last part from record 930 on, twice each
    read.clear()
    look(table, Filter(), limit=20)
    assert len(read) == 1


def test_time_runs_out_and_the_next_page_goes_on(table: Path) -> None:
    found, at, pages = [], START, 0
    while at is not None:
        page = look(table, Filter(words="fever"), at, 1000, seconds=0.0)
        found += page.rows
        at, pages = page.rest, pages + 1
    assert pages > 10
    assert len(found) == len([i for i in range(N) if i % 7 == 0])


def test_records_by_id(table: Path) -> None:
    found = by_ids(table, ["0999", "0001", "0001", "nobody"])
    assert set(found) == {"0999", "0001"}
    assert found["0999"]["source"] == "leaflets"
    assert by_ids(table, []) == {}


def test_what_a_threshold_keeps_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.uniform(0, 6, 5000), 2)
    frame = pl.DataFrame({"id": [str(i) for i in range(5000)], "quality": scores})
    write_parts(tmp_path / "kept", frame.filter(pl.col("quality") >= 4))
    write_parts(
        tmp_path / "dropped",
        frame.filter(pl.col("quality") < 4).vstack(pl.DataFrame({"id": ["n"], "quality": [None]}, schema=frame.schema)),
    )
    found = spread(Artifact("corpus/quality", tmp_path, {}), "quality")
    assert found is not None
    assert found.total == 5000
    assert len(found.kept) <= 210
    for edge in found.edges[:-1]:
        assert found.at_least(float(edge)) == int((scores >= float(f"{edge:.10g}")).sum()), edge
    assert found.kept[found.edges[:-1] < 4].sum() == 0
    assert spread(Artifact("corpus/quality", tmp_path, {}), "no_such_column") is None


def test_a_score_without_statistics_and_values_that_are_none(table: Path, tmp_path: Path) -> None:
    assert scan.extent(table, "quality") == (0.01, 9.99)
    assert scan.extent(table, "relevance") == (0.5, 100.4)  # means of lists, which have no statistics
    frame = pl.DataFrame({"id": ["a", "b", "c", "d"], "deita": [float("inf"), 2.0, float("nan"), 3.5]})
    write_parts(tmp_path / "kept", frame)
    assert scan.extent(tmp_path / "kept", "deita") == (2.0, 3.5)
    found = spread(Artifact("instruct/deita", tmp_path, {}), "deita")
    assert found is not None
    assert found.total == 2


def test_private_information_is_never_shown() -> None:
    row = {
        "id": "1",
        "text": "call 13812345678 or mail li.wei@example.com",
        "messages": [{"role": "user", "content": "我的电话是13812345678"}],
        "detail": "because of 13812345678",
        "verdicts": '{"said": "13812345678"}',
        "raw": "x" * 19_995 + " 13812345678",
    }
    record = shown(row)
    everything = str(record) + record.excerpt
    assert "13812" not in everything
    assert "li.wei" not in everything
    assert everything.count("[PHONE]") >= 4
    assert record.holds("CALL mail")
    assert not record.holds("13812345678")
