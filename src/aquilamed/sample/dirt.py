"""How clean texts are made dirty: each function does one kind of harm, drawn from a seeded generator.

What is about people is made up: phone numbers of ranges that nobody owns, resident numbers with a right check digit.
"""

import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
_SENTENCE = re.compile(r"(?<=[。！？])|(?<=[.!?])\s+(?=[A-Z])")
_SYMBOLS = "★☆●◆■□▲▼►◄※§¤¦#@$%^&*_+=~|<>{}[]\\/"
_WIDE = str.maketrans(",.?:;()", "，。？：；（）")
_NARROW = str.maketrans("，。？：；（）", ",.?:;()")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@cache
def phrases(lang: str) -> dict[str, Any]:
    """The building blocks of a language's dirt."""
    found: dict[str, Any] = json.loads((DATA / f"dirt.{lang}.json").read_text(encoding="utf-8"))
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order."""
    return [s for part in _SENTENCE.split(text) if (s := part.strip())]


def join(pieces: list[str], lang: str) -> str:
    """Sentences as running text."""
    return ("" if lang == "zh" else " ").join(pieces)


def excerpt(text: str, lang: str, rng: random.Random, share: float = 0.5) -> list[str]:
    """About `share` of a text, consecutive sentences: too little to count as its near-duplicate."""
    found = sentences(text)
    size = max(1, round(len(found) * share))
    start = rng.randrange(len(found) - size + 1)
    return found[start : start + size]


def advert(lang: str, rng: random.Random, claims: int = 5) -> str:
    """A marketing page."""
    pool = phrases(lang)["adverts"]
    drawn = [rng.choice(pool["opening"]), *rng.sample(pool["claim"], claims)]
    drawn += [*rng.sample(pool["offer"], 2), rng.choice(pool["closing"])]
    product = rng.choice(phrases(lang)["products"])
    filled = [_fill(piece, rng, product) for piece in drawn]
    return join(filled, lang)


def _fill(piece: str, rng: random.Random, product: str = "") -> str:
    return piece.format(product=product, number=f"{rng.randrange(1000, 99000)}", small=rng.randrange(3, 60))


def advert_in(text: str, lang: str, rng: random.Random) -> str:
    """A part of a real text that ends in marketing."""
    return join(excerpt(text, lang, rng), lang) + "\n" + advert(lang, rng, claims=4)


def personal(text: str, lang: str, rng: random.Random) -> tuple[str, str]:
    """A part of a text with private data in it; and what was put in, as "type=value; …"."""
    templates = phrases(lang)["pii"]
    kinds = sorted(rng.sample(sorted(templates), 2))
    name = rng.choice(phrases(lang)["names"])
    pieces, said = excerpt(text, lang, rng), []
    for kind in kinds:
        value = _private_value(kind, lang, rng)
        said.append(f"{kind}={value}")
        pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(templates[kind]).format(name=name, value=value))
    return join(pieces, lang), "; ".join(said)


def _private_value(kind: str, lang: str, rng: random.Random) -> str:
    if kind == "phone":
        # 555-01xx is reserved for fiction; the 1390000 block likewise serves as a placeholder.
        return f"1390000{rng.randrange(10000):04d}" if lang == "zh" else f"+1 202-555-01{rng.randrange(100):02d}"
    if kind == "email":
        return f"{rng.choice(['ward', 'clinic', 'patient', 'family'])}{rng.randrange(100, 999)}@mail.example.com"
    if kind == "record":
        return f"{rng.randrange(10**7, 10**8)}"
    return resident_id(rng)


def resident_id(rng: random.Random) -> str:
    """A Chinese resident number that exists for nobody (the area code is unassigned) and passes the checksum."""
    born = f"{rng.randrange(1940, 2006)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"
    digits = f"119999{born}{rng.randrange(1000):03d}"
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=True))
    return digits + "10X98765432"[total % 11]


def toxic(text: str, lang: str, rng: random.Random) -> str:
    """A part of a text with abuse in it."""
    pieces = excerpt(text, lang, rng)
    for line in rng.sample(phrases(lang)["toxic"], 2):
        pieces.insert(rng.randrange(len(pieces) + 1), line)
    return join(pieces, lang)


def near_duplicate(text: str, lang: str, rng: random.Random) -> tuple[str, str]:
    """The text with a few words (Chinese: characters) changed, and how many."""
    units = list(text) if lang == "zh" else text.split(" ")
    edits = max(2, len(units) // 60)
    for position in sorted(rng.sample(range(1, len(units) - 1), edits), reverse=True):
        kind = rng.randrange(3)
        if kind == 0:
            del units[position]
        elif kind == 1:
            units.insert(position, rng.choice(phrases(lang)["fillers"]))
        else:
            units[position] += units[position] if lang == "zh" else ","
    return ("" if lang == "zh" else " ").join(units), f"{edits} edits in {len(text)} characters"


def splice(first: str, second: str, lang: str) -> str:
    """The first half of one text run into the second half of another."""
    head, tail = sentences(first), sentences(second)
    return join(head[: (len(head) + 1) // 2] + tail[len(tail) // 2 :], lang)


def symbols(rng: random.Random) -> str:
    """Symbol soup: what is left of a page when the text is gone."""
    groups = ["".join(rng.choice(_SYMBOLS) for _ in range(rng.randrange(3, 12))) for _ in range(40)]
    words = [rng.choice(["px", "div", "404", "null", "图", "http", "var"]) for _ in range(8)]
    drawn = groups + words
    rng.shuffle(drawn)
    return " ".join(drawn)


def short(lang: str, number: int, rng: random.Random) -> str:
    """A fragment of a page's furniture."""
    line: str = rng.choice(phrases(lang)["short"])
    return line.format(number=number)


def exam_text(item: dict[str, Any], lang: str, with_answer: bool = True) -> str:
    """An exam question as a page would print it."""
    options = "\n".join(f"{letter}. {option}" for letter, option in item["options"].items())
    answer = f"\n{phrases(lang)['answer']}: {item['answer']}" if with_answer else ""
    return f"{item['question']}\n{options}{answer}"


def repunctuated(text: str, lang: str) -> str:
    """The same characters with other punctuation and spacing."""
    changed = text.translate(_NARROW if lang == "zh" else _WIDE)
    return changed.replace("\n", "  ") if lang == "zh" else re.sub(r" ", "  ", changed)


def embedded(item: dict[str, Any], text: str, lang: str, rng: random.Random) -> str:
    """An exam question in the middle of a text."""
    pieces = excerpt(text, lang, rng)
    half = (len(pieces) + 1) // 2
    intro = rng.choice(phrases(lang)["leak_intro"])
    return f"{join(pieces[:half], lang)}\n{intro}\n{exam_text(item, lang)}\n{join(pieces[half:], lang)}".strip()


def undecodable(line: bytes, rng: random.Random) -> bytes:
    """A line with bytes that are neither UTF-8 nor GB18030 in its middle."""
    half = len(line) // 2 + rng.randrange(10)
    while half < len(line) and line[half] & 0xC0 == 0x80:
        half += 1
    return line[:half] + rng.choice([b"\xff\xfe", b"\xff\xff", b"\xfe\xff"]) + line[half:]


def malformed(line: str, rng: random.Random) -> str:
    """A JSON line that is cut off, has lost its quote, or holds a word JSON does not know."""
    kind = rng.randrange(3)
    if kind == 0:
        return line[: len(line) * 3 // 5]
    return line.replace('": "', '": ', 1) if kind == 1 else line.replace('"text": ', '"text": undefined ', 1)
