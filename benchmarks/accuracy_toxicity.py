"""Toxicity against truth, beside a plain lexicon.

    python benchmarks/accuracy_toxicity.py [--show]

Toxic: abuse, obscenity and illegal offers written for this, alone and put into real texts by the sample generator.
Not toxic: sensitive medical sentences written for this, and public medical and general texts. The plain lexicon drops a
text that holds any term of ours or of LDNOOBW, as whole words where the script has words.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aquilamed.corpus.toxicity import own_terms, toxic
from aquilamed.sample import dirt
from material import DATA, originals

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "corpus"))

PLANTED = 500
CLEAN = 4000


def plain_lexicon(data: Path) -> re.Pattern[str]:
    """Matches any term of the lexicons."""
    terms = {term for term, _ in own_terms()}
    for lang in ("en", "zh"):
        terms |= set((data / "lexicons" / f"ldnoobw_{lang}.txt").read_text(encoding="utf-8").lower().split("\n"))
    whole = sorted(re.escape(t) for t in terms if t.strip() and t.isascii())
    other = sorted(re.escape(t) for t in terms if t.strip() and not t.isascii())
    return re.compile(rf"\b(?:{'|'.join(whole)})\b|{'|'.join(other)}")


def measure(data: Path = DATA, show: bool = False) -> dict[str, Any]:
    """Precision and recall of our filter (`toxicity_…`) and of the plain lexicon (`lexicon_…`)."""
    from sensitive import MEDICINE, TOXIC

    rng = random.Random(11)
    pools = originals(data)
    bad, good = list(TOXIC), list(MEDICINE)
    for lang, texts in pools.items():
        # The second half of the texts: the filter's thresholds were looked at on the first.
        held_out = texts[1::2]
        bad += [dirt.toxic(text[:1500], lang, rng) for text in rng.sample(held_out, PLANTED)]
        good += rng.sample(held_out, CLEAN)
    pattern = plain_lexicon(data)
    ours = [toxic(text) is not None for text in [*bad, *good]]
    plain = [pattern.search(text.lower()) is not None for text in [*bad, *good]]
    if show:
        for text, hit, wanted in zip([*bad, *good], ours, [True] * len(bad) + [False] * len(good), strict=True):
            if hit != wanted:
                print("MISSED " if wanted else "DROPPED", toxic(text), repr(text[:300]))
    kept = sum(not hit for hit in ours[len(bad) : len(bad) + len(MEDICINE)])
    return {
        **_rates("toxicity", ours, len(bad)),
        **_rates("lexicon", plain, len(bad)),
        "toxicity_sensitive_kept": kept / len(MEDICINE),
        "toxicity_toxic": len(bad),
        "toxicity_clean": len(good),
    }


def _rates(name: str, hits: Sequence[bool], bad: int) -> dict[str, float]:
    right = sum(hits[:bad])
    return {f"{name}_precision": right / max(sum(hits), 1), f"{name}_recall": right / bad}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show", action="store_true", help="print what was missed and what was dropped wrongly")
    print(json.dumps(measure(show=parser.parse_args().show), ensure_ascii=False))
