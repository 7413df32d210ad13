"""Does a message tell of an emergency? Rules over signs, in Chinese and English; the chat then puts a fixed notice above the answer.

A rule is a set of signs that together must not wait; a sign is what people say for it. A sign that is denied ("no fever"),
long past or in somebody's history does not count, nor does a general question that is about nobody. Rules see wording, not
meaning: `docs/web.md` has what they find and what they miss. The notice never replaces the answer, and nothing is blocked.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from aquilamed.records import Message

LONGEST = 10_000
"""Characters of a message that are looked at."""
_RULES = "emergency_rules.yaml"

# Behind these words a sign is denied. "cannot breathe" begins with its "cannot", so its own words never deny it.
_DENIED = re.compile(
    r"\b(?:no|not|never|without|denies|deny|negative for|nor|neither|free of|isn'?t|doesn'?t|don'?t|didn'?t|wasn'?t|haven'?t|hasn'?t)"
    r"\s+(?:(?!but\b|and now\b|because\b)\w+\s+){0,3}$"
    r"|(?:没有|没|无|不|未|否认|并非|不是|不会|也不|不算|排除|不怎么|不太)(?:\w{0,2}(?:过|什么|任何|明显)?)$",
    re.IGNORECASE,
)
_PAST = re.compile(
    r"\b(?:years? ago|months? ago|last (?:year|month)|in (?:19|20)\d\d|as a child|used to|history of|in the past|previously|long ago|ever since|"
    r"died (?:of|from)|had (?:a|an) (?:heart attack|stroke) (?:in|at|when))\b|去年|前年|年前|月前|以前|曾经?|小时候|病史|既往|史$|上个月|从前|前(?:一)?段时间|前几天|之前|过年|那次|老毛病",
    re.IGNORECASE,
)
_ABOUT_SOMEBODY = re.compile(
    r"\b(?:i|i'm|i've|im|my|me|we|our|he|she|his|her|him|they|somebody|someone|wife|husband|son|daughter|baby|mother|father|friend|help)\b"
    r"|[我他她咱俺]|爸|妈|爷|奶|孩子|宝宝|小孩|老公|老婆|丈夫|妻子|儿子|女儿|同事|朋友|病人|患者|有人|老人|室友|工友|邻居|今天|昨天|昨晚|刚刚|刚才|现在|早上|晚上|下午|救命|[岁月]了?[，,]|[男女][，,]",
    re.IGNORECASE,
)
_GENERAL = re.compile(
    r"^\W*(?:what (?:is|are|does|do|causes?)|why (?:is|are|do|does|must)|how (?:is|are|do(?:es)?) (?!i\b|we\b|you help)|which|define|explain|describe|can you explain|tell me about)\b"
    r"|是什么|什么是|有哪些|哪些|原因|区别|如何预防|怎么预防|怎样预防|定义|原理|机制|为什么",
    re.IGNORECASE,
)
_CLAUSES = re.compile(r"[^，,。！？!?；;\n.]+")


@cache
def _read() -> dict[str, Any]:
    import yaml

    read: dict[str, Any] = yaml.safe_load(files(__package__).joinpath(_RULES).read_text(encoding="utf-8"))
    return read


@cache
def _rules() -> tuple[dict[str, re.Pattern[str]], list[tuple[str, list[list[str]]]]]:
    """Signs by name, and (category, groups of signs of which each must have one)."""
    read = _read()
    signs = {
        name: re.compile(rf"{'|'.join(said['zh'])}|\b(?:{'|'.join(said['en'])})", re.IGNORECASE)
        for name, said in read["signs"].items()
    }
    rules = [
        (category, [[sign.strip() for sign in group.split("|")] for group in rule.split("&")])
        for category, several in read["rules"].items()
        for rule in several
    ]
    if unknown := {s for _, groups in rules for group in groups for s in group} - set(signs):
        raise ValueError(f"{_RULES}: rules name signs that are not there: {', '.join(sorted(unknown))}")
    return signs, rules


def emergency(messages: Sequence[Message]) -> str | None:
    """The category of the emergency that the user's last message tells of, alone or together with the one before; else None."""
    said = [m["content"] for m in messages if m["role"] == "user"][-2:]
    if not said:
        return None
    found = found_in(said[-1])
    if found is None and len(said) == 2 and found_in(said[0]) is None:
        found = found_in("\n".join(said))
    return found


def notice(category: str, lang: Literal["zh", "en"]) -> list[str]:
    """What to do, a sentence or two each, in one language."""
    notices = _read()["notices"]
    return [*notices["always"][lang], *notices.get(category, {lang: []})[lang]]


def found_in(text: str) -> str | None:
    """The category of the first rule that a text fulfils, else None."""
    text = text[:LONGEST].replace("’", "'")
    if _GENERAL.search(text) and not _ABOUT_SOMEBODY.search(text):
        return None
    signs, rules = _rules()
    present: dict[str, bool] = {}

    def has(sign: str) -> bool:
        if sign not in present:
            present[sign] = any(_counts(text, match) for match in signs[sign].finditer(text))
        return present[sign]

    for category, groups in rules:
        if all(any(has(sign) for sign in group) for group in groups):
            return category
    return None


def _counts(text: str, match: re.Match[str]) -> bool:
    """Whether a sign is neither denied nor long past."""
    clause = next(
        (c for c in _CLAUSES.finditer(text) if c.start() <= match.start() < c.end()),
        None,
    )
    if clause is None:
        return True
    return not (_DENIED.search(text[clause.start() : match.start()]) or _PAST.search(clause[0]))
