"""CMB-Exam as JSON lines: question, option ("(A) …" lines), anwer (sic) or answer: "(D)", or several letters."""

import re

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import LETTERS, Files, json_lines, question
from aquilamed.records import Question

_OPTION = re.compile(r"^\s*[(（]?([A-J])[)）.、]\s*(.*)$")


def read(files: Files) -> list[Question]:
    """All questions; single- and multi-select."""
    found = []
    for name, path in files:
        for line, row in json_lines(path):
            origin = f"{name}:{line}"
            answer = row.get("anwer", row.get("answer"))
            if not isinstance(answer, str):
                raise Invalid(f"{origin}: anwer is {answer!r}; a text such as (D) is needed")
            found.append(
                question(
                    "cmb",
                    "Apache-2.0",
                    origin,
                    lang="zh",
                    split="test",
                    stem=row.get("question"),
                    options=_options(row.get("option"), origin),
                    answer=re.sub(r"[^A-J]", "", answer.upper()),
                    several=True,
                )
            )
    return found


def _options(value: object, origin: str) -> list[str]:
    """Options in letter order, from "(A) …" lines (a line without a letter continues the one above) or from {A: …}."""
    if isinstance(value, dict):
        return [str(value[key]) for key in sorted(value) if str(value[key]).strip()]
    options: list[str] = []
    for line in str(value or "").splitlines():
        match = _OPTION.match(line)
        if match and match[1] == LETTERS[len(options) : len(options) + 1]:
            options.append(match[2].strip())
        elif options and line.strip():
            options[-1] += "\n" + line.strip()
        elif line.strip():
            raise Invalid(f"{origin}: option starts with {line.strip()[:40]!r}; '(A) …' lines are needed")
    return options
