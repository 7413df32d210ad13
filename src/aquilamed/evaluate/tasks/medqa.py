"""MedQA with four options: JSON lines with question, options {A..D}, answer_idx; the test file alone is scored.

USMLE in English, and MCMLE, the examination of mainland China (folder Mainland/4_options), in the same form.
"""

from functools import partial

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, json_lines, question
from aquilamed.records import Question


def _read(source: str, lang: str, files: Files) -> list[Question]:
    found = []
    for name, path in files:
        for line, row in json_lines(path):
            origin = f"{name}:{line}"
            options = row.get("options")
            if not isinstance(options, dict) or sorted(options) != list("ABCD"):
                raise Invalid(
                    f"{origin}: options is {str(options)[:200]}; an object {{'A': …, 'B': …, 'C': …, 'D': …}} is needed "
                    "(of MedQA's files those with 4 options)"
                )
            found.append(
                question(
                    source,
                    "MIT",
                    origin,
                    lang=lang,
                    split="test",
                    stem=row.get("question"),
                    options=[options[key] for key in "ABCD"],
                    answer=row.get("answer_idx"),
                )
            )
    return found


read = partial(_read, "medqa", "en")
read_mcmle = partial(_read, "mcmle", "zh")
