"""Departments by rules against the departments that Chinese-Medical-Dialogue-Data was filed under.

    python benchmarks/accuracy_departments.py [--show]

Its CSV has a `department` column. Every second row was looked at while the lexicon was written; the figures are of the
others. General internal medicine (普通内科) is no specialty of ours and is left out. The set files fatty liver or hepatitis
under hepatology, infectious diseases or gastroenterology alike, so `departments_lenient` counts neighbours as right.
"""

import argparse
import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

from aquilamed.instruct.topics import label
from aquilamed.sources.forms.chinese_medical_dialogue import parse
from material import DATA

TRUTH = {
    "肝病科": "hepatology",
    "消化科": "gastroenterology",
    "神经科": "neurology",
    "心血管科": "cardiology",
    "内分泌科": "endocrinology",
    "呼吸科": "respiratory",
    "肾内科": "nephrology",
    "感染科": "infectious_diseases",
    "血液科": "haematology",
    "风湿免疫科": "rheumatology",
}
NEIGHBOURS = (
    {"hepatology", "gastroenterology", "infectious_diseases"},
    {"respiratory", "infectious_diseases"},
    {"haematology", "cardiology"},  # the set files blood lipids under the blood
)


def measure(data: Path = DATA, half: int = 1, show: bool = False) -> dict[str, Any]:
    """Accuracy, its floor (always the most frequent department), the mean recall, and the share with a department."""
    rows = [r for f in sorted((data / "sft" / "chinese_medical_dialogue").glob("*.csv")) for r in _rows(f)]
    rows = [r for r in rows[half::2] if r["department"] in TRUTH]
    truth = [TRUTH[r["department"]] for r in rows]
    said = [label(parse(r))[0] for r in rows]
    pairs = Counter(zip(truth, said, strict=True))
    near = sum(n for (t, s), n in pairs.items() if t == s or any({t, s} <= group for group in NEIGHBOURS))
    counts = Counter(truth)
    recalls = [pairs[d, d] / n for d, n in counts.items()]
    if show:
        for (t, s), n in pairs.most_common(40):
            print(f"{n:5d}  {t} -> {s}")
        for row, t, s in zip(rows, truth, said, strict=True):
            if t != s:
                print(
                    t, s, row["title"], row["ask"][:80].replace("\n", " "), "|", row["answer"][:60].replace("\n", " ")
                )
    return {
        "departments_n": len(rows),
        "departments_accuracy": sum(n for (t, s), n in pairs.items() if t == s) / len(rows),
        "departments_lenient": near / len(rows),
        "departments_majority": max(counts.values()) / len(rows),
        "departments_mean_recall": sum(recalls) / len(recalls),
        "departments_labelled": sum(s is not None for s in said) / len(rows),
    }


def _rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_bytes().decode("gb18030", "replace"))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--show", action="store_true", help="print confusions and errors of the half that was looked at"
    )
    show = parser.parse_args().show
    print(json.dumps(measure(half=0 if show else 1, show=show), ensure_ascii=False))
