"""What was acknowledged is there, whatever happens to the process that wrote it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aquilamed.review.store import ReviewStore, Twice

WRITER = """
import sys
from pathlib import Path
from aquilamed.review.store import ReviewStore
store = ReviewStore(Path(sys.argv[1]))
for n in range(100_000):
    store.add(sys.argv[2], "pair", f"p{n}", "t", n % 2 == 1, {"verdict": "A"})
    print(n, flush=True)  # the acknowledgement
"""


def test_two_writers_killed_in_the_middle_lose_nothing(tmp_path: Path) -> None:
    ReviewStore(tmp_path).close()
    line = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = {
        name: subprocess.Popen([*line, name], stdout=subprocess.PIPE, text=True, env={**os.environ}) for name in "ab"
    }
    for writer in writers.values():
        assert writer.stdout is not None
        for _ in range(15):
            writer.stdout.readline()
    for writer in writers.values():
        writer.send_signal(signal.SIGKILL)
    told = {name: 15 + len(writer.communicate()[0].splitlines()) for name, writer in writers.items()}
    store = ReviewStore(tmp_path)
    for name, count in told.items():
        kept = store.verdicts("pair", name)
        # One more may be on disk whose acknowledgement was still on its way.
        assert [v.item for v in kept] == [f"p{n}" for n in range(len(kept))]
        assert len(kept) in (count, count + 1)
        assert [v.swapped for v in kept[:4]] == [False, True, False, True]


def test_a_second_verdict_is_refused_until_the_first_is_undone(tmp_path: Path) -> None:
    store = ReviewStore(tmp_path)
    store.add("li", "pair", "p", "t", False, {"verdict": "A", "comment": "一\ud800\u202e\x00<b>"})
    with pytest.raises(Twice, match="'li' has judged pair p already"):
        ReviewStore(tmp_path).add("li", "pair", "p", "t", True, {"verdict": "B"})
    store.add("wang", "pair", "p", "t", True, {"verdict": "B"})
    store.add("li", "pair", "p", "other texts", True, {"verdict": "B"})
    store.add("li", "comparison", "c", "c", True, {"verdict": "tie"})
    undone = store.undo("li", ("pair",))
    assert undone is not None
    assert (undone.texts, undone.said) == ("other texts", {"verdict": "B"})
    assert store.judged("li", "pair") == {("p", "t")}
    assert store.counts("pair") == {("p", "t"): 2}
    first = store.undo("li", ("pair",))
    assert first is not None
    assert first.said == {"verdict": "A", "comment": "一\ufffd\ufffd\ufffd<b>"}
    assert store.undo("li", ("pair",)) is None
    assert [v.rater for v in store.verdicts("pair")] == ["wang"]
    assert len(store.verdicts("pair", standing=False)) == 3, "what was undone stays"
    store.add("li", "pair", "p", "t", False, {"verdict": "skip"})
    assert store.counts("pair") == {("p", "t"): 1}, "a skip is no vote"
