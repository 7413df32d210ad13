"""What the task files share: reading JSON and CSV with errors that name file, line and field."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aquilamed.config import Invalid
from aquilamed.records import Message, Question, record_id

Files = list[tuple[str, Path]]
LETTERS = "ABCDEFGHIJ"


def csv_rows(path: Path, header: bool) -> Iterator[tuple[int, dict[str, str] | list[str]]]:
    """(line, row) of a UTF-8 CSV file; rows are dicts when there is a header."""
    with _decoded(path), path.open(encoding="utf-8-sig", newline="") as f:
        if header:
            reader = csv.DictReader(f)
            for row in reader:
                if None in row:  # a comma without quotes moves every cell behind it
                    raise Invalid(f"{path.name}:{reader.line_num}: more cells than the header has; quote the commas")
                yield reader.line_num, {k: v or "" for k, v in row.items()}
        else:
            plain = csv.reader(f)
            for values in plain:
                yield plain.line_num, values


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a JSON-lines file."""
    with _decoded(path), path.open(encoding="utf-8-sig") as f:
        for number, line in enumerate(f, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    raise Invalid(f"{path.name}:{number}: not JSON ({error}); repair or remove the line") from error
                yield number, an_object(value, f"{path.name}:{number}")


def json_file(path: Path) -> Any:
    """A whole JSON file."""
    with _decoded(path):
        try:
            return json.loads(path.read_text(encoding="utf-8-sig"))
        except json.JSONDecodeError as error:
            raise Invalid(f"{path.name}:{error.lineno}: not JSON ({error.msg}); repair the file") from error
        except RecursionError as error:
            raise Invalid(f"{path.name}: not JSON that can be read ({error}); repair the file") from error


def json_items(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(origin, object) of a file that is a JSON list of objects."""
    items = json_file(path)
    if not isinstance(items, list):
        raise Invalid(f"{name}: a JSON list is needed, this is {type(items).__name__}")
    for number, item in enumerate(items, 1):
        yield f"{name}:{number}", an_object(item, f"{name}:{number}")


def an_object(value: Any, where: str) -> dict[str, Any]:
    """A JSON value that must be an object."""
    if not isinstance(value, dict):
        raise Invalid(f"{where}: an object is needed, this is {type(value).__name__}")
    return value


@contextmanager
def _decoded(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise Invalid(
            f"{path.name}: not UTF-8 text ({error.reason} at byte {error.start}); convert the file"
        ) from error
    except csv.Error as error:
        raise Invalid(f"{path.name}: not CSV ({error}); repair the file") from error


def text(value: Any, where: str, field: str) -> str:
    """A field that must be a non-empty text."""
    if not isinstance(value, str) or not value.strip():
        raise Invalid(f"{where}: {field} is {value!r}; a non-empty text is needed")
    return value.strip()


def once(seen: dict[str, str], mark: str, origin: str) -> None:
    """Note an item's id. Raises `Invalid` when another item had it: one of both would be scored under a false name."""
    if mark in seen:
        raise Invalid(f"{origin}: the id {mark[:80]!r} was used before, at {seen[mark]}; mend the file")
    seen[mark] = origin


def question(
    source: str,
    license: str,
    origin: str,
    *,
    lang: str,
    split: str,
    stem: Any,
    options: Sequence[Any],
    answer: Any,
    subject: str = "",
    context: str = "",
    several: bool = False,
) -> Question:
    """A checked question: at least two options, an answer that is one of them (with `several`: one or more of them).

    Raises `Invalid` naming `origin` otherwise.
    """
    letters = "".join(sorted(set(answer.strip().upper()))) if isinstance(answer, str) else ""
    if len(options) < 2 or any(not isinstance(option, str) or not option.strip() for option in options):
        raise Invalid(f"{origin}: options are {options!r}; at least two non-empty ones are needed")
    if not letters or any(letter not in LETTERS[: len(options)] for letter in letters):
        raise Invalid(f"{origin}: answer is {answer!r}, which names no option of {LETTERS[: len(options)]}")
    if len(letters) > 1 and not several:
        raise Invalid(f"{origin}: answer is {answer!r}, but every question of this benchmark has one right option")
    return Question(
        id=record_id(source, origin),
        source=source,
        license=license,
        origin=origin,
        lang=lang,
        subject=subject,
        split=split,
        context=context,
        question=text(stem, origin, "question"),
        options=[option.strip() for option in options],
        answer=letters,
        rationale="",
    )


def turns(pairs: list[tuple[str, str]]) -> list[Message]:
    """(question, answer) pairs as messages."""
    messages: list[Message] = []
    for asked, answered in pairs:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return messages
