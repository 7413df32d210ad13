"""Dialogues in OpenAI's messages form as a benchmark (JSON lines with lang and messages): the sample's, or your own."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, an_object, json_lines, text, turns
from aquilamed.records import Dialogue, record_id


def read_single(files: Files) -> list[Dialogue]:
    """Those of one question and one answer."""
    return [d for d in _read(files) if len(d.messages) == 2]


def read_multi(files: Files) -> list[Dialogue]:
    """Those of several rounds."""
    return [d for d in _read(files) if len(d.messages) > 2]


def _read(files: Files) -> list[Dialogue]:
    found = []
    for name, path in files:
        for line, row in json_lines(path):
            origin = f"{name}:{line}"
            messages, lang = row.get("messages"), text(row.get("lang"), origin, "lang")
            if not isinstance(messages, list) or len(messages) < 2 or len(messages) % 2:
                raise Invalid(f"{origin}: messages must be user and assistant turns in pairs")
            messages = [an_object(m, f"{origin}: messages") for m in messages]
            texts = [text(m.get("content"), origin, f"messages[{n}].content") for n, m in enumerate(messages)]
            if [m.get("role") for m in messages] != ["user", "assistant"] * (len(messages) // 2):
                raise Invalid(f"{origin}: roles must be user, assistant in turn")
            if lang not in ("zh", "en"):
                raise Invalid(f"{origin}: lang is {lang[:20]!r}, not zh or en")
            kind = f"{'single' if len(messages) == 2 else 'multi'}_turn_QA_{lang}"
            pairs = list(zip(texts[::2], texts[1::2], strict=True))
            found.append(
                Dialogue(
                    record_id("dialogues", origin),
                    "dialogues",
                    str(row.get("license", "")),
                    origin,
                    kind,
                    lang,
                    turns(pairs),
                )
            )
    return found
