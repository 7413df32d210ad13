"""Huatuo MedicalQA (Huatuo-26M's test set): JSON list with instruction [question, …] and output [answer, …]."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, json_items, text, turns
from aquilamed.records import Dialogue, record_id


def read(files: Files) -> list[Dialogue]:
    """The first question and the first answer of every item."""
    found = []
    for name, path in files:
        for origin, row in json_items(path, name):
            asked, answered = row.get("instruction"), row.get("output")
            if not isinstance(asked, list) or not isinstance(answered, list) or not asked or not answered:
                raise Invalid(f"{origin}: instruction and output must be lists with a text")
            pair = (text(asked[0], origin, "instruction"), text(answered[0], origin, "output"))
            found.append(
                Dialogue(
                    record_id("huatuo", origin),
                    "huatuo",
                    "Apache-2.0",
                    origin,
                    "single_turn_QA_zh",
                    "zh",
                    turns([pair]),
                )
            )
    return found
