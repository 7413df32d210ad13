"""The corpus stages against truth: languages, private information, toxicity, leaks and domains of public text.

    python benchmarks/accuracy.py        prints one JSON object as its last line

What was chosen (thresholds, patterns) was chosen on other halves or other seeds than those measured here.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

import accuracy_decontaminate
import accuracy_toxicity
from material import DATA, originals

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "corpus"))


def language() -> dict[str, float]:
    """Share of the public texts (second halves) that get their language."""
    from aquilamed.corpus.language import languages

    found = {}
    for lang, texts in originals().items():
        said = languages(texts[1::2])["lang"]
        found[f"language_{lang}"] = float((said.str.slice(0, 2) == lang).mean() or 0)
    return found


def private() -> dict[str, float]:
    """Recall and precision on planted private information, and how many traps were masked."""
    from pii_traps import traps

    from aquilamed.corpus.pii import find_pii
    from aquilamed.sample.private import generate, score

    result = score(generate(4000, seed=2026), find_pii)
    found = traps(each=12, seed=2026)
    masked = sum(bool(find_pii(trap)) for trap in found)
    return {
        "pii_recall": result.recall,
        "pii_precision": result.precision,
        "pii_traps": len(found),
        "pii_traps_masked": masked,
    }


def domain() -> dict[str, float]:
    """F1 of the medical domain on half of Apollo's texts, trained and calibrated on the other half."""
    from aquilamed.corpus.calibrate import calibrate, calibration_error
    from aquilamed.corpus.domain import classification
    from aquilamed.corpus.student import StudentConfig, train_student

    texts: list[str] = []
    truth: list[float] = []
    for file in sorted((DATA / "text" / "apollo").glob("*.json")):
        for item in json.loads(file.read_text(encoding="utf-8")):
            texts.append(item if isinstance(item, str) else "\n".join(item))
            truth.append(float("Medical" in file.name))
    order = list(range(len(texts)))
    random.Random(2026).shuffle(order)
    half = len(order) // 2
    train, fit, test = (np.array(part) for part in (order[: half * 4 // 5], order[half * 4 // 5 : half], order[half:]))
    targets = np.array(truth)
    student = train_student("classify", [texts[i] for i in train], targets[train], StudentConfig(), 0)
    curve = calibrate(student.predict([texts[i] for i in fit]), targets[fit])
    scores = curve(student.predict([texts[i] for i in test]))
    figures = classification(targets[test] >= 0.5, scores >= curve.threshold, "medical")
    return {
        "domain_f1": figures["f1"]["medical"],
        "domain_calibration_error": calibration_error(scores, targets[test]),
    }


def measure() -> dict[str, Any]:
    """All of it."""
    return {
        **private(),
        **accuracy_decontaminate.measure(),
        **domain(),
        **language(),
        **accuracy_toxicity.measure(),
    }


def rounded(value: Any) -> Any:
    """Numbers with four significant digits, at any depth."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return value if isinstance(value, bool | int) else float(f"{value:.4g}")


if __name__ == "__main__":
    print(json.dumps(rounded(measure())))
