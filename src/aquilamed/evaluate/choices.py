"""From a generated answer to option letters: "答案是AC", "选 A、C", "(B)", "The answer is b."

What cannot be told is None: the question counts as unparsable, never silently as wrong.
"""

import re
import unicodedata

from aquilamed.evaluate.tasks.reading import LETTERS

_BETWEEN = r"[\s,，、;；/&+]*(?:(?:and|or|和|与|及|以及)\s*)?"
_CLOSE = r"[)\]】)）〕>》}」”\"'*_]*"
_OPEN = r"[(\[【(（〔<《{「“\"'*_]*"


def _letters(count: int) -> str:
    """A pattern for one or several letters: "A", "(A)(C)", "A、C", "A and C"."""
    one = rf"{_OPEN}[{LETTERS[:count]}{LETTERS[:count].lower()}]{_CLOSE}"
    return rf"{one}(?:{_BETWEEN}{one})*"


# What announces an answer; the strongest first. Behind each stands the letters' pattern.
_CUES = (
    r"(?:final|correct|right|best)\s+(?:answer|option|choice)s?\s*(?:is|are|[:：=])\s*(?:[:：]\s*)?(?:option|choice)?s?\s*",
    r"(?:answer|option|choice)s?\s*(?:is|are|[:：=]|would be|should be)\s*(?:[:：]\s*)?(?:option|choice)?s?\s*",
    r"(?:正确|最佳|最终|标准|参考)?(?:答案|选项|选择)\s*(?:应该|应当|应)?\s*(?:是|为|选|[:：=])\s*(?:[:：]\s*)?(?:选项)?\s*",
    r"(?:故|因此|所以|综上|应该|应当|应|我|建议|可)?[,，]?\s*(?:选择|选)\s*(?:[:：]\s*)?(?:选项)?\s*",
)
_NEGATED = re.compile(r"(?:not|isn't|aren't|n't|never|不是|不|非|不能|排除|错误)\s*$", re.IGNORECASE)
_BOXED = r"\\boxed\{(?:\\text\{)?"
_WORD = re.compile(r"[A-Za-z]")


def parse_letters(text: str, count: int, several: bool = False) -> str | None:
    """The option letters that an answer names, in order, or None.

    Looked for in this order: an answer of nothing but letters; what stands behind a cue ("答案是", "the answer is"), the
    last such place; a first or last line of nothing but letters, or that begins with "A." or "(A)". Places that disagree
    in the same rank give None where only one answer can be meant.

    Args:
        count: how many options there are.
        several: whether more than one letter may be right; without it two different letters give None.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    letters = _letters(count)
    for found in (_whole(plain, letters), _cued(plain, letters), _lines(plain, count)):
        if found:
            return found if several or len(found) == 1 else None
    return None


def _named(match: str) -> str:
    """The letters of a match, each once, in order; a cue's own words never reach this."""
    without = re.sub(r"and|or", " ", match, flags=re.IGNORECASE)
    return "".join(sorted({c.upper() for c in without if _WORD.match(c)}))


def _whole(text: str, letters: str) -> str | None:
    match = re.fullmatch(rf"({letters})[.。:：]?", text, re.IGNORECASE)
    return _named(match[1]) if match else None


def _cued(text: str, letters: str) -> str | None:
    end = r"(?![A-Za-z])"
    boxed = re.findall(rf"{_BOXED}\s*({letters})\s*\}}", text)
    if boxed:
        return _named(boxed[-1])
    for cue in _CUES:
        places = [
            m
            for m in re.finditer(rf"(?<![A-Za-z]){cue}({letters}){end}", text, re.IGNORECASE)
            if not _NEGATED.search(text[: m.start()])
        ]
        if places:
            return _named(places[-1][1])
    return None


def _lines(text: str, count: int) -> str | None:
    """A line such as "B", "B. fever" or "(B) fever": the first line, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    options = LETTERS[:count]
    for line in (lines[0], lines[-1]) if lines else ():
        if match := re.fullmatch(rf"({_letters(count)})[.。]?", line, re.IGNORECASE):
            return _named(match[1])
        # Upper case here: "a fever" begins with an article, not with an answer.
        if match := re.match(rf"{_OPEN}([{options}])(?:{_CLOSE}\s*[.:、,)）]|[)）\]】])", line):
            return match[1]
    return None
