"""Benchmark questions planted in documents, dressed in the ways in which they turn up on the web; the truth is known.

What decontamination is measured with: every document holds one question of `questions`, and says which and how.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[A-Za-z]{3,}")
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_NARROW = {code + 0xFEE0: code for code in range(0x21, 0x7F)}
_MARKS = re.compile(r"[,.;:?!，。；：？！、（）()\"'“”‘’-]")
_LETTERS = "ABCDEFGHIJ"
_HALF_LONG = 3000


@dataclass(frozen=True)
class Asked:
    """A benchmark's question: `options` in order, without letters; a dialogue has none."""

    benchmark: str
    id: str
    question: str
    options: tuple[str, ...] = ()

    @property
    def chinese(self) -> bool:
        """Whether it is written in Chinese."""
        return len(_HAN.findall(self.question)) > len(_WORD.findall(self.question))


@dataclass(frozen=True)
class Planted:
    """A document and the question in it."""

    text: str
    variant: str
    asked: Asked


def page(asked: Asked) -> str:
    """A question as a page prints it: the options below, with letters."""
    options = (f"{letter}. {option}" for letter, option in zip(_LETTERS, asked.options, strict=False))
    return "\n".join([asked.question, *options])


def verbatim(asked: Asked, host: str, rng: random.Random) -> str:
    """The question and its options."""
    return page(asked)


def repunctuated(asked: Asked, host: str, rng: random.Random) -> str:
    """Every mark replaced by another one or by a blank."""
    return _MARKS.sub(lambda mark: rng.choice([" ", " — ", " … ", "；", ", "]), page(asked))


def other_width(asked: Asked, host: str, rng: random.Random) -> str:
    """Half-width characters made full-width; where there are full-width ones, those made half-width."""
    text = page(asked)
    narrow = text.translate(_NARROW)
    return narrow if narrow != text and asked.chinese else text.translate(_WIDE)


def other_script(asked: Asked, host: str, rng: random.Random) -> str:
    """Simplified Chinese in Traditional characters, with the words of Taiwan or Hong Kong."""
    return str(_converter(rng.choice(["s2t", "s2tw", "s2hk"])).convert(page(asked)))


@cache
def _converter(name: str) -> Any:
    from opencc import OpenCC

    return OpenCC(name)


def shuffled(asked: Asked, host: str, rng: random.Random) -> str:
    """The options in another order."""
    options = list(asked.options)
    rng.shuffle(options)
    return page(Asked(asked.benchmark, asked.id, asked.question, tuple(options)))


def one_word(asked: Asked, host: str, rng: random.Random) -> str:
    """One word of the question (Chinese: two characters) replaced."""
    if asked.chinese:
        spans = [m.span() for m in re.finditer(r"(?=([\u4e00-\u9fff]{2}))", asked.question)]
        start = rng.choice(spans)[0]
        changed = asked.question[:start] + "丁卯" + asked.question[start + 2 :]
    else:
        start, end = rng.choice([m.span() for m in _WORD.finditer(asked.question)])
        changed = asked.question[:start] + "quibble" + asked.question[end:]
    return page(Asked(asked.benchmark, asked.id, changed, asked.options))


def alone(asked: Asked, host: str, rng: random.Random) -> str:
    """The question without its options."""
    return asked.question


def embedded(asked: Asked, host: str, rng: random.Random) -> str:
    """In the middle of a long document."""
    return f"{host[:_HALF_LONG]}\n{page(asked)}\n{host[_HALF_LONG : 2 * _HALF_LONG]}"


Variant = Callable[[Asked, str, random.Random], str]
VARIANTS: dict[str, Variant] = {
    "verbatim": verbatim,
    "repunctuated": repunctuated,
    "other_width": other_width,
    "other_script": other_script,
    "shuffled": shuffled,
    "one_word": one_word,
    "alone": alone,
    "embedded": embedded,
}


def plant(questions: Sequence[Asked], documents: Sequence[str], seed: int) -> list[Planted]:
    """Every question once, dressed in the variants in turn; a variant that a question cannot have falls to the next.

    Args:
        questions: what is planted; each needs a word (Chinese: two characters) that can be changed.
        documents: clean texts; `embedded` joins drawn ones to a long host.
        seed: decides order, hosts and changes.
    """
    rng = random.Random(seed)
    order = list(questions)
    rng.shuffle(order)
    names = list(VARIANTS)
    planted, turn = [], 0
    for asked in order:
        while not _possible(names[turn % len(names)], asked):
            turn += 1
        name = names[turn % len(names)]
        turn += 1
        host = "\n".join(rng.choice(documents) for _ in range(12)) if name == "embedded" else ""
        planted.append(Planted(VARIANTS[name](asked, host, rng), name, asked))
    return planted


def _possible(name: str, asked: Asked) -> bool:
    if name == "other_script":
        return asked.chinese
    return len(asked.options) > 1 if name in ("shuffled", "alone") else True
