"""CMMLU's medical subjects: CSV with header ,Question,A,B,C,D,Answer in folders dev and test; few-shot from dev, scored on test."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, csv_rows, once, question
from aquilamed.records import Question

SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_medicine",
    "genetics",
    "nutrition",
    "professional_medicine",
    "traditional_chinese_medicine",
    "virology",
)


def read(files: Files) -> list[Question]:
    """Files <dev|test>/<subject>.csv; other subjects and folders are left out."""
    found = []
    for name, path in files:
        subject, split = path.stem, path.parent.name
        if subject not in SUBJECTS or split not in ("dev", "test"):
            continue
        seen: dict[str, str] = {}
        for line, row in csv_rows(path, header=True):
            origin = f"{name}:{line}"
            if not isinstance(row, dict) or list(row) != ["", "Question", *"ABCD", "Answer"]:
                raise Invalid(f"{origin}: the header must be ,Question,A,B,C,D,Answer, it is {','.join(row)}")
            once(seen, row[""], origin)
            found.append(
                question(
                    "cmmlu",
                    "CC BY-NC 4.0",
                    origin,
                    lang="zh",
                    split=split,
                    stem=row["Question"],
                    options=[row[letter] for letter in "ABCD"],
                    answer=row["Answer"],
                    subject=subject,
                )
            )
    return found
