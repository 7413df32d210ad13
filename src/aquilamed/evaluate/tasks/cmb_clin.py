"""CMB-Clin: 74 cases as a JSON list with title, description and QA_pairs [{question, answer}, …]."""

from aquilamed.config import Invalid
from aquilamed.evaluate.tasks.reading import Files, an_object, json_items, text, turns
from aquilamed.records import Dialogue, record_id


def read(files: Files) -> list[Dialogue]:
    """One dialogue a case: the description stands before the first question."""
    found = []
    for name, path in files:
        for origin, row in json_items(path, name):
            pairs = row.get("QA_pairs")
            if not isinstance(pairs, list) or not pairs:
                raise Invalid(f"{origin}: QA_pairs is {pairs!r}; a list of question and answer is needed")
            rounds = [
                (text(p.get("question"), origin, "question"), text(p.get("answer"), origin, "answer"))
                for p in (an_object(pair, f"{origin}: QA_pairs") for pair in pairs)
            ]
            rounds[0] = (f"{text(row.get('description'), origin, 'description')}\n\n{rounds[0][0]}", rounds[0][1])
            found.append(
                Dialogue(
                    record_id("cmb_clin", origin),
                    "cmb_clin",
                    "Apache-2.0",
                    origin,
                    "multi_turn_QA_zh",
                    "zh",
                    turns(rounds),
                )
            )
    return found
