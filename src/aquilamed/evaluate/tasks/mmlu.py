"""MMLU's medical subjects (hendrycks/test): CSV without header, question,A,B,C,D,answer; few-shot from dev, scored on test."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, csv_rows, question
from aquilamed.records import Question

SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "medical_genetics",
    "professional_medicine",
)


def read(files: Files) -> list[Question]:
    """Files named <subject>_<dev|val|test>.csv; other subjects and val are left out."""
    found = []
    for name, path in files:
        subject, _, split = path.stem.rpartition("_")
        if subject not in SUBJECTS or split not in ("dev", "test"):
            continue
        for line, row in csv_rows(path, header=False):
            origin = f"{name}:{line}"
            if len(row) != 6:
                raise Invalid(f"{origin}: {len(row)} columns; question,A,B,C,D,answer are needed")
            stem, *options, answer = list(row)
            found.append(
                question(
                    "mmlu",
                    "MIT",
                    origin,
                    lang="en",
                    split=split,
                    stem=stem,
                    options=options,
                    answer=answer,
                    subject=subject,
                )
            )
    return found
