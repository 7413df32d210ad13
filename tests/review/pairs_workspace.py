"""A workspace that a real run made of twelve published pairs (and, when asked, of a few dialogues): what review is tested on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aquilamed import pipeline
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.workspace import Workspace

RECIPE = """\
name: ward
sources:
  preferences:
    sources: [{name: pairs, path: pairs.jsonl, form: trl_preference, license: CC0-1.0}]
prefer: {subjective: null, objective: null}
align: null
"""
COMPLAINTS = [
    "fever",
    "cough",
    "rash",
    "headache",
    "back pain",
    "sore throat",
    "earache",
    "nausea",
    "cramps",
    "dizziness",
]
COMPLAINTS += ["heartburn", "insomnia"]


def pair(number: int) -> dict[str, Any]:
    """A pair in TRL's form; the better answer is the chosen one."""
    what = COMPLAINTS[number % len(COMPLAINTS)]
    return {
        "prompt": [{"role": "user", "content": f"I have had {what} since {number + 2} days ago. What should I do?"}],
        "chosen": f"Rest and drink enough; see a doctor when the {what} lasts longer than a week or gets worse.",
        "rejected": f"It is surely nothing at all, simply wait until the {what} goes away some day by itself.",
    }


def make(root: Path, pairs: int = 12, recipe: str = RECIPE, extra: Sequence[dict[str, Any]] = ()) -> Workspace:
    """Run the recipe in `root`/space, on so many pairs and the extra ones."""
    root.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(p) + "\n" for p in (*map(pair, range(pairs)), *extra)]
    (root / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    (root / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return run(root)


def run(root: Path) -> Workspace:
    """Run it again, as `aquilamed run` does."""
    from aquilamed.review.hand_over import hand_over

    loaded, space = load_recipe(root / "recipe.yaml"), Workspace(root / "space")
    hand_over(loaded, space)
    pipeline.run(loaded, space, Progress(quiet=True))
    return space
