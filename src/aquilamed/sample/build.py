"""The sample's rows: clean originals once each, and their dirty relatives, each with the truth about itself."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aquilamed.config import Invalid
from aquilamed.sample import dirt
from aquilamed.sources.files import BadRecord, read_records

LANGS = ("zh", "en")
Item = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One record of the sample. `key` names it within the build; `of` is the key of the original of a duplicate.

    `content` is a text or a list of messages; `line` is its exact raw line where that is broken on purpose.
    """

    key: str
    lang: str
    domain: str
    defect: str
    content: Any
    of: str = ""
    detail: str = ""
    line: bytes | None = None


def load(name: str) -> list[Item]:
    """A file of the package's clean data. Raises `Invalid` naming the line where one is bad."""
    path = dirt.DATA / f"{name}.jsonl"
    items = []
    for record in read_records(path, path.name, "jsonl", "utf-8"):
        if isinstance(record, BadRecord):
            raise Invalid(record.detail)
        items.append(record.value)
    return items


def originals(lang: str) -> list[Item]:
    """The clean documents of a language, medical and general."""
    return load(f"documents.medical.{lang}") + load(f"documents.general.{lang}")


def generator(seed: int, *purpose: str) -> random.Random:
    """A generator for one purpose: adding dirt of one kind does not change that of another."""
    return random.Random(":".join([str(seed), *purpose]))


def document_rows(rates: dict[str, float], lang: str, seed: int) -> list[Row]:
    """All documents of a language; `rates` is the number of records of a defect per clean document."""
    clean = originals(lang)
    rows = [Row(d["id"], d["lang"], d["domain"], "clean", d["text"]) for d in clean]
    pool = [d for d in clean if d["lang"] == lang]  # the phrases of dirt are not written in Traditional Chinese
    exam = [item for item in load(f"exam.{lang}") if item["split"] == "test"]
    for defect, rate in rates.items():
        rng = generator(seed, "document", lang, defect)
        for number, base in enumerate(_draw(pool, round(rate * len(clean)), rng)):
            rows.append(_dirty_document(defect, number, base, pool, exam, rng))
    return rows


def _draw(pool: list[Item], count: int, rng: random.Random) -> list[Item]:
    """`count` items without repeating one before all were drawn."""
    drawn: list[Item] = []
    while len(drawn) < count:
        drawn += rng.sample(pool, min(len(pool), count - len(drawn)))
    return drawn


def _dirty_document(
    defect: str, number: int, base: Item, clean: list[Item], exam: list[Item], rng: random.Random
) -> Row:
    lang, text, of, detail, domain = base["lang"], base["text"], "", "", base["domain"]
    line: bytes | None = None
    if defect == "advert":
        whole = number % 2 == 0
        text = dirt.advert(lang, rng) if whole else dirt.advert_in(text, lang, rng)
        detail, domain = ("whole page", "") if whole else ("appended to a text", domain)
    elif defect == "pii":
        text, detail = dirt.personal(text, lang, rng)
    elif defect == "toxic":
        text = dirt.toxic(text, lang, rng)
    elif defect == "exact_duplicate":
        of = base["id"]
    elif defect == "near_duplicate":
        of = base["id"]
        text, detail = dirt.near_duplicate(text, lang, rng)
    elif defect == "spliced":
        other = rng.choice([d for d in clean if d["topic"] != base["topic"]])
        text, domain = dirt.splice(text, other["text"], lang), domain if domain == other["domain"] else ""
        detail = f"{base['id']} + {other['id']}"
    elif defect == "leak":
        text, detail = _leak(number, exam[number % len(exam)], text, lang, rng)
        domain = "medical" if not detail.startswith("embedded") else domain
    else:
        text, domain, line = _broken(defect, number, base, rng)
    return Row(f"{base['id']}/{defect}/{number}", lang, domain, defect, text, of, detail, line)


def _leak(number: int, item: Item, text: str, lang: str, rng: random.Random) -> tuple[str, str]:
    how = ("verbatim", "repunctuated", "embedded")[number % 3]
    if how == "embedded":
        return dirt.embedded(item, text, lang, rng), f"{how} {item['id']}"
    printed = dirt.exam_text(item, lang)
    return printed if how == "verbatim" else dirt.repunctuated(printed, lang), f"{how} {item['id']}"


def _broken(defect: str, number: int, base: Item, rng: random.Random) -> tuple[str, str, bytes | None]:
    """Text, domain and, where the line itself is broken, that line."""
    lang = base["lang"]
    if defect == "too_short":
        return dirt.short(lang, number, rng), "", None
    if defect == "symbols":
        return dirt.symbols(rng), "", None
    if defect == "empty":
        return " " * (number % 3), "", None
    whole = json.dumps({"text": join_excerpt(base, rng)}, ensure_ascii=False)
    if defect == "undecodable":
        return "", base["domain"], dirt.undecodable(whole.encode(), rng)
    if defect == "malformed":
        return "", base["domain"], dirt.malformed(whole, rng).encode()
    raise Invalid(f"no defect is called {defect!r}")


def join_excerpt(base: Item, rng: random.Random) -> str:
    """A part of a document as running text."""
    return dirt.join(dirt.excerpt(base["text"], base["lang"], rng, 0.6), base["lang"])


def dialogue_rows(rates: dict[str, float], lang: str, seed: int, heldout: float) -> tuple[list[Row], list[Item]]:
    """The dialogues of a language, and those held out for evaluation (by seeded draw; nothing is made of them)."""
    everything = load(f"dialogues.{lang}")
    held = _held_out(everything, heldout, generator(seed, "heldout", lang))
    clean = [d for d in everything if d not in held]
    rows = [Row(d["id"], lang, "medical", "clean", d["messages"]) for d in clean]
    exam = [item for item in load(f"exam.{lang}") if item["split"] == "test"]
    for defect, rate in rates.items():
        rng = generator(seed, "dialogue", lang, defect)
        for number, base in enumerate(_draw(clean, round(rate * len(clean)), rng)):
            rows.append(_dirty_dialogue(defect, number, base, clean, exam, rng))
    return rows, held


def _held_out(everything: list[Item], share: float, rng: random.Random) -> list[Item]:
    """The share of single-turn and of multi-turn dialogues alike: the two are evaluated apart."""
    short = [d for d in everything if len(d["messages"]) <= 2]
    long = [d for d in everything if len(d["messages"]) > 2]
    return [d for group in (short, long) for d in rng.sample(group, round(share * len(group)))]


def _dirty_dialogue(
    defect: str, number: int, base: Item, clean: list[Item], exam: list[Item], rng: random.Random
) -> Row:
    lang, messages, of, detail = base["lang"], [dict(m) for m in base["messages"]], "", ""
    if defect == "exact_duplicate":
        of = base["id"]
    elif defect == "near_duplicate":
        of = base["id"]
        messages[-1]["content"], detail = dirt.near_duplicate(messages[-1]["content"], lang, rng)
    elif defect == "advert":
        messages[-1]["content"] = dirt.advert(lang, rng)
    elif defect == "no_answer":
        messages[-1]["content"] = ""
    elif defect == "unsafe":
        pool = dirt.phrases(lang)["unsafe"]
        messages = _pair(*pool[number % len(pool)])
        detail = f"case {number % len(pool) + 1}"
    elif defect == "shuffled":
        messages, detail = _shuffled(clean, rng)
    elif defect == "leak":
        item = exam[number % len(exam)]
        answer = f"{item['answer']}. {item['options'][item['answer']]}"
        messages, detail = _pair(dirt.exam_text(item, lang, with_answer=False), answer), f"verbatim {item['id']}"
    else:
        raise Invalid(f"no defect of dialogues is called {defect!r}")
    return Row(f"{base['id']}/{defect}/{number}", lang, "medical", defect, messages, of, detail)


def _pair(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _shuffled(clean: list[Item], rng: random.Random) -> tuple[list[dict[str, str]], str]:
    """A dialogue whose rounds come from three unrelated ones."""
    drawn = rng.sample(clean, 3)
    rounds = [_round(d["messages"], min(n, len(d["messages"]) // 2 - 1)) for n, d in enumerate(drawn)]
    return [m for pair in rounds for m in pair], " + ".join(d["id"] for d in drawn)


def _round(messages: list[dict[str, str]], number: int) -> Iterator[dict[str, str]]:
    turns = [m for m in messages if m["role"] != "system"]
    yield from turns[2 * number : 2 * number + 2]
