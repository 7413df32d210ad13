"""From the review store to the files that a run reads: verdicts on pairs, and pairs that votes and corrections make.

`review/verdicts.jsonl` is read by every run (stage prefer/select). `review/pairs.jsonl` is a preference set like any other;
a recipe that wants it says so, and is then given the newest one at the start of each run:

    sources:
      preferences:
        sources: [{name: review, path: "workspace://review/pairs.jsonl", form: trl_preference, license: internal}]
"""

import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aquilamed.prefer.judgements import Judgement, Placed
from aquilamed.prefer.review import verdict_file
from aquilamed.recipe import Recipe
from aquilamed.records import write_atomic
from aquilamed.review.answers import single_answers
from aquilamed.review.compare import voted_pairs
from aquilamed.review.store import FILE, ReviewStore, Verdict
from aquilamed.sources.files import RawRecord
from aquilamed.sources.preferences import PreferenceSource, to_preference
from aquilamed.sources.raw import Misfit
from aquilamed.stage import WORKSPACE
from aquilamed.workspace import Workspace

PAIRS = f"{WORKSPACE}review/pairs.jsonl"
"""Pairs from votes on comparisons and from corrected answers, in TRL's form."""
LINE = f'- {{name: review, path: "{PAIRS}", form: trl_preference, license: internal}}'
"""What a recipe says to read them."""


def hand_over(recipe: Recipe, workspace: Workspace) -> None:
    """Bring both files up to date before a run; nothing where nobody reviewed in the web app."""
    if not (workspace.root / FILE).is_file():
        return
    store = ReviewStore(workspace.root)
    try:
        hand_over_verdicts(workspace.root, store)
        if reads_pairs(recipe):
            hand_over_pairs(recipe, workspace, store)
    finally:
        store.close()


def reads_pairs(recipe: Recipe) -> bool:
    """Whether the recipe takes the pairs into its preference set."""
    preferences = recipe.sources.preferences
    return preferences is not None and any(s.path == PAIRS for s in preferences.sources)


def hand_over_verdicts(root: Path, store: ReviewStore) -> None:
    """Write the standing verdicts on pairs into review/verdicts.jsonl; those that came in files stay.

    Where a reviewer's verdict on a pair is in the store, the store decides: an undone one leaves the file too.
    """
    latest: dict[tuple[str, str], Verdict] = {}
    seen: set[tuple[str, str]] = set()
    for verdict in store.verdicts("pair", standing=False):
        key = verdict.item, verdict.rater
        seen.add(key)
        if verdict.undone is None:
            latest[key] = verdict
    if not seen:
        return
    with verdict_file(root) as kept:
        for key in seen - set(latest):
            kept.pop(key, None)
        for key, verdict in latest.items():
            kept[key] = Placed(f"{FILE}:{verdict.id}", Judgement.model_validate(verdict.said))


def hand_over_pairs(recipe: Recipe, workspace: Workspace, store: ReviewStore) -> int:
    """Write review/pairs.jsonl; returns how many pairs it holds: voted comparisons, then corrected answers.

    Left out is what the stage that reads them would call unusable, such as an empty answer: it stops at a few of those.
    """
    made = [*voted_pairs(store, recipe.prefer.select.adjudicators), *_corrected(recipe, workspace, store)]
    pairs = [pair for pair in made if _usable(pair)]
    lines = "".join(json.dumps(pair, ensure_ascii=False, sort_keys=True) + "\n" for pair in pairs)
    write_atomic(workspace.root / PAIRS.removeprefix(WORKSPACE), lines.encode())
    return len(pairs)


def _usable(pair: dict[str, Any]) -> bool:
    source = PreferenceSource(name="review", path=PAIRS, form="trl_preference")
    try:
        to_preference(source, RawRecord(PAIRS, pair))
    except Misfit:
        return False
    return True


def _corrected(recipe: Recipe, workspace: Workspace, store: ReviewStore) -> list[dict[str, Any]]:
    """The corrected answer over the answer, one pair each: the adjudicator's correction, else that of the first by name."""
    said: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for verdict in store.verdicts("answer"):
        if verdict.said.get("edited", "").strip():
            said[verdict.item, verdict.texts][verdict.rater] = verdict.said
    if not said:
        return []
    adjudicators = recipe.prefer.select.adjudicators
    dialogues = {d["id"]: d["messages"] for d in single_answers(recipe, workspace)}
    pairs = []
    for (item, _), by in sorted(said.items()):
        edited = by[min(by, key=lambda r: (r not in adjudicators, r))]["edited"].strip()
        if item in dialogues and edited != dialogues[item][-1]["content"].strip():
            *prompt, answer = dialogues[item]
            chosen = [{"role": "assistant", "content": edited}]
            pairs.append({"prompt": prompt, "chosen": chosen, "rejected": [answer], "margin": 1.0, "by": "correction"})
    return pairs


class HandOver:
    """Keeps review/verdicts.jsonl up to date behind a running server: soon after a verdict, not at each one."""

    def __init__(self, root: Path, store: ReviewStore, seconds: float = 1.0) -> None:
        self._root, self._store, self._seconds = root, store, seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def soon(self) -> None:
        """Write the file within a second or so."""
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(self._seconds, self.now)
                self._timer.daemon = True
                self._timer.start()

    def now(self) -> None:
        """Write the file."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        hand_over_verdicts(self._root, self._store)
