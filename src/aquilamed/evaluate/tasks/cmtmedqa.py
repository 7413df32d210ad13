"""CMtMedQA's test set: JSON list with history [[question, answer], …], instruction and output (the last round).

Its last 144 rows, single questions that test safety, spell the field `instruct`.
"""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, json_items, text, turns
from aquilamed.records import Dialogue, record_id


def read(files: Files) -> list[Dialogue]:
    """Dialogues with all rounds, the last one being instruction and output."""
    found = []
    for name, path in files:
        for origin, row in json_items(path, name):
            history = row.get("history") or []
            if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
                raise Invalid(f"{origin}: history must be a list of [question, answer]")
            pairs = [(text(asked, origin, "history"), text(answered, origin, "history")) for asked, answered in history]
            pairs.append(
                (
                    text(row.get("instruction", row.get("instruct")), origin, "instruction"),
                    text(row.get("output"), origin, "output"),
                )
            )
            found.append(
                Dialogue(
                    record_id("cmtmedqa", origin),
                    "cmtmedqa",
                    "Apache-2.0",
                    origin,
                    "multi_turn_QA_zh",
                    "zh",
                    turns(pairs),
                )
            )
    return found
