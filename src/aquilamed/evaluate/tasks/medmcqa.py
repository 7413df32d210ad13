"""MedMCQA's dev file (its test answers are not public): JSON lines with question, opa..opd, cop (1 to 4)."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import LETTERS, Files, json_lines, once, question
from aquilamed.records import Question


def read(files: Files) -> list[Question]:
    """All questions; `choice_type` says "multi" for some, but every one has one right option."""
    found = []
    for name, path in files:
        seen: dict[str, str] = {}
        for line, row in json_lines(path):
            origin = f"{name}:{line}"
            right = row.get("cop")
            if not isinstance(right, int) or not 1 <= right <= 4:
                raise Invalid(f"{origin}: cop is {right!r}; 1 to 4 is needed")
            once(seen, str(row.get("id", origin)), origin)
            found.append(
                question(
                    "medmcqa",
                    "MIT",
                    origin,
                    lang="en",
                    split="test",
                    stem=row.get("question"),
                    options=[row.get(f"op{letter}") for letter in "abcd"],
                    answer=LETTERS[right - 1],
                )
            )
    return found
