"""C-Eval's medical subjects: CSV id,question,A..D,answer[,explanation]; few-shot from dev, scored on val as the paper does."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, csv_rows, once, question
from aquilamed.records import Question

SUBJECTS = ("basic_medicine", "clinical_medicine", "physician", "veterinary_medicine")


def read(files: Files) -> list[Question]:
    """Files named <subject>_<dev|val>.csv; other subjects are left out."""
    found = []
    for name, path in files:
        subject, _, split = path.stem.rpartition("_")
        if subject not in SUBJECTS or split not in ("dev", "val"):
            continue
        seen: dict[str, str] = {}
        for line, row in csv_rows(path, header=True):
            origin = f"{name}:{line}"
            if not isinstance(row, dict) or any(key not in row for key in ("question", "A", "B", "C", "D", "answer")):
                raise Invalid(f"{origin}: the header must have question,A,B,C,D,answer")
            once(seen, row.get("id", origin), origin)
            found.append(
                question(
                    "ceval",
                    "CC BY-NC-SA 4.0",
                    origin,
                    lang="zh",
                    split="dev" if split == "dev" else "test",
                    stem=row["question"],
                    options=[row[letter] for letter in "ABCD"],
                    answer=row["answer"],
                    subject=subject,
                )
            )
    return found
