"""MedQA-USMLE, four options: JSON lines with question, options {A..D}, answer_idx; the test file alone is scored."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, json_lines, question
from aquilamed.records import Question


def read(files: Files) -> list[Question]:
    """All questions of the files given."""
    found = []
    for name, path in files:
        for line, row in json_lines(path):
            origin = f"{name}:{line}"
            options = row.get("options")
            if not isinstance(options, dict):
                raise Invalid(f"{origin}: options is {options!r}; an object such as {{'A': …}} is needed")
            found.append(
                question(
                    "medqa",
                    "MIT",
                    origin,
                    lang="en",
                    split="test",
                    stem=str(row.get("question", "")),
                    options=[str(options[key]) for key in sorted(options)],
                    answer=str(row.get("answer_idx", "")),
                )
            )
    return found
