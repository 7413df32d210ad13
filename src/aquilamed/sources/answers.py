"""Answers in a second file: CMB-Exam publishes its test questions without them, and the answers by `id`."""

from pathlib import Path
from typing import Any

from aquilamed.config import Invalid
from aquilamed.sources.files import BadRecord, read_records
from aquilamed.sources.raw import Misfit, RawRecord


class Answers:
    """A file's records by `id`: only their `answer` is used.

    Raises `Invalid` for a record that cannot be read, lacks one of both fields, or gives an id another answer.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.found: dict[str, str] = {}
        for record in read_records(path, path.name):
            if isinstance(record, BadRecord):
                raise Invalid(f"{record.detail}; mend the file of answers")
            value = record.value if isinstance(record.value, dict) else {}
            mark, answer = value.get("id"), value.get("answer")
            if mark is None or not isinstance(answer, str):
                raise Invalid(f"{record.origin}: an answer needs the fields 'id' and 'answer' (a text)")
            if self.found.setdefault(str(mark), answer) != answer:
                raise Invalid(f"{record.origin}: the id {str(mark)[:80]!r} has another answer further up")

    def join(self, raw: RawRecord) -> RawRecord:
        """The record with its answer. Raises `Misfit` when there is none for it."""
        value: Any = raw.value
        if not isinstance(value, dict) or "id" not in value:
            raise Misfit("wrong_type", f"no field 'id' to find the answer in {self.name} by")
        if str(value["id"]) not in self.found:
            raise Misfit("no_answer", f"{self.name} has no answer for the id {str(value['id'])[:80]!r}")
        return RawRecord(raw.origin, value | {"answer": self.found[str(value["id"])]})
