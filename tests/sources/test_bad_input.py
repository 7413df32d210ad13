"""What real inputs are like: each kind of damage is a quarantined record or an error that names it; nothing is lost."""

import ctypes
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
import zstandard

from aquilamed import pipeline
from aquilamed.config import Invalid
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.records import read_parts
from aquilamed.workspace import Artifact, Workspace

SENTENCE = "The nurse on the ward wrote down what patient number {} had eaten, and at which hour the fever had come."
GOOD = [json.dumps({"text": SENTENCE.format(n)}) for n in range(40)]
LONG_LINE = 200 << 20


def recipe(tmp_path: Path, **documents: Any) -> Path:
    path = tmp_path / "recipe.yaml"
    section = {"sources": [{"name": "web", "path": "*"}], **documents}
    text = {"name": "t", "data_root": str(tmp_path / "data"), "sources": {"documents": section}}
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    return path


def data(tmp_path: Path, **files: bytes) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    for name, content in {"good": "\n".join(GOOD).encode(), **files}.items():
        (folder / (name.replace("__", ".") if "__" in name else f"{name}.jsonl")).write_bytes(content)
    return folder


def run(path: Path, until: str = "sources/documents") -> list[Artifact]:
    space = Workspace(path.parent / "ws")
    return pipeline.run(load_recipe(path), space, Progress(quiet=True), until=until, workers=1)


def test_every_kind_of_damage_is_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    many = "".join(f"{json.dumps({'text': os.urandom(300).hex()})}\n" for _ in range(400)).encode()
    packed, squeezed = gzip.compress(many), zstandard.compress(many)
    lone = '{"text": "half a pair \\ud83d of a sign"}'
    override = json.dumps({"text": "user \u202eexe.gpj\u202c"}, ensure_ascii=False)
    folder = data(
        tmp_path,
        cut__jsonl__gz=packed[: len(packed) // 2],
        cut__jsonl__zst=squeezed[: len(squeezed) // 2],
        binary=bytes(range(256)) * 4000,
        nul=b'{"text": "with \\u0000 escaped"}\n{"text": "with \x00 raw"}\n' + GOOD[0].encode(),
        lone=lone.encode(),
        override=override.encode(),
        unbroken=json.dumps({"text": "x" * 1_000_000}).encode(),
    )
    pl.DataFrame({"body": [SENTENCE, SENTENCE]}).write_parquet(folder / "wrong.parquet")
    done = run(recipe(tmp_path, max_bad_share=1), "corpus/decontaminate")
    dropped = read_parts(done[0].path / "dropped")
    files = pl.col("origin").str.replace(":\\d+$", "")
    reasons = {name: set(frame["reason"]) for (name,), frame in dropped.with_columns(file=files).group_by("file")}
    assert reasons["binary.jsonl"] <= {"sources.undecodable", "sources.malformed"}
    assert "sources.truncated" in reasons["cut.jsonl.gz"]
    assert "sources.truncated" in reasons["cut.jsonl.zst"]
    assert reasons["nul.jsonl"] == {"sources.malformed"}
    assert reasons["lone.jsonl"] == {"sources.malformed"}
    assert reasons["override.jsonl"] == {"sources.malformed"}
    assert reasons["wrong.parquet"] == {"sources.wrong_type"}
    assert not {"good.jsonl", "unbroken.jsonl"} & set(reasons)
    details = dict(dropped.select("origin", "detail").iter_rows())
    assert "NUL at character" in details["nul.jsonl:1"]
    assert "NUL at character" in details["nul.jsonl:2"]
    assert "U+D83D" in details["lone.jsonl:1"]
    assert "U+202E" in details["override.jsonl:1"]
    assert "no field 'text'; the record's fields: 'body'" in details["wrong.parquet:1"]
    # What stood before the cut came through, and later stages take a million characters without a blank.
    kept = read_parts(done[0].kept)
    assert kept.filter(pl.col("origin").str.starts_with("cut.")).height > 100
    assert kept.filter(pl.col("origin").str.starts_with("good.")).height == len(GOOD)
    assert kept.filter(pl.col("origin").str.starts_with("unbroken."))["text"].str.len_chars().to_list() == [1_000_000]


def test_a_line_of_200_mb_is_dropped_unread(tmp_path: Path) -> None:
    folder = data(tmp_path)
    with (folder / "huge.jsonl").open("wb") as file:
        for _ in range(LONG_LINE >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + GOOD[0].encode())
    done = run(recipe(tmp_path, max_bad_share=1))
    dropped, kept = read_parts(done[0].path / "dropped"), read_parts(done[0].kept)
    assert dropped.select("origin", "reason").rows() == [("huge.jsonl:1", "sources.too_long")]
    assert dropped["text"].str.len_bytes().item() < 100_000
    assert kept.filter(pl.col("origin") == "huge.jsonl:2").height == 1
    assert done[0].manifest["metrics"]["bytes"] > LONG_LINE


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("binary", bytes(range(256)) * 50, "binary.jsonl:1: "),
        ("wrong", b'{"body": "one"}\n' * 30, "wrong.jsonl:1: no field 'text'; the record's fields: 'body'"),
    ],
)
def test_too_much_damage_is_an_error_that_names_it_and_mending_helps(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    folder = data(tmp_path, **{name: content})
    path = recipe(tmp_path)
    with pytest.raises(Invalid) as error:
        run(path)
    assert "max_bad_share" in str(error.value)
    assert message in str(error.value)
    (folder / f"{name}.jsonl").write_text(json.dumps({"text": SENTENCE}), encoding="utf-8")
    assert run(path)[0].manifest["records_kept"] == len(GOOD) + 1


def test_an_empty_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = recipe(tmp_path)
    with pytest.raises(Invalid, match=r"no file matches '\*' below .*data"):
        run(path)
    data(tmp_path)
    assert run(path)[0].manifest["records_kept"] == len(GOOD)


def command(
    path: Path, limit: Callable[[], None] | None = None, until: str = "corpus/rules"
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from aquilamed.cli import main; main()", "run", str(path)]
    line += ["--workspace", str(path.parent / "ws"), "--until", until, "--workers", "1"]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, preexec_fn=limit, check=False)


def small_files() -> None:
    """No file may grow beyond 100 kB: a write fails in the middle, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def no_privilege() -> None:
    """Root reads everything: give up the two capabilities which say so (a user has none and fails to; that is fine)."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    rows = [json.dumps({"text": SENTENCE.format(n) + os.urandom(400).hex()}) for n in range(900)]
    data(tmp_path, big="\n".join(rows).encode())
    path = recipe(tmp_path)
    failed = command(path, small_files)
    assert failed.returncode == 1
    assert "failed: sources/documents: " in failed.stderr
    assert "make room, then run the same command again" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert command(path).returncode == 0
    done = run(path, "corpus/rules")
    assert done[0].manifest["records_in"] == len(rows) + len(GOOD)
    assert done[0].manifest["attempts"] == 2
    assert sum(done[-1].manifest[k] for k in ("records_kept", "records_dropped")) == done[-1].manifest["records_in"]


def test_a_full_disk_in_a_later_stage_loses_nothing(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"{SENTENCE.format(n)} {' '.join(SENTENCE[n % 60 :].split())}"}) for n in range(9000)]
    data(tmp_path, big="\n".join(rows).encode())
    path = recipe(tmp_path)
    assert command(path, until="corpus/toxicity").returncode == 0
    failed = command(path, small_files, until="corpus/dedup")
    assert failed.returncode == 1
    assert "failed: corpus/dedup: " in failed.stderr
    assert "make room" in failed.stderr
    done = run(path, "corpus/dedup")[-1].manifest
    assert done["attempts"] == 2
    assert done["records_in"] == done["records_kept"] + done["records_dropped"]


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    secret = data(tmp_path, secret=GOOD[0].encode()) / "secret.jsonl"
    secret.chmod(0)
    path = recipe(tmp_path)
    failed = command(path, no_privilege)
    assert failed.returncode == 2
    assert "secret.jsonl: cannot be read (Permission denied)" in failed.stderr
    secret.chmod(0o600)
    assert command(path).returncode == 0
