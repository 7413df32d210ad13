"""Control tokens inside what people and models say: only the template's own become ones, the same words in a message are text."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

from aquilamed.records import Message, digest


def divided(
    tokenizer: Any, conversation: Sequence[Message], rendered: Callable[[Sequence[Message]], str]
) -> list[tuple[str, int | None]]:
    """A rendered conversation in pieces: (text, None), or (mark, n) where message n stands and is to be spelled out.

    That is a message which holds a control token of the vocabulary that the template lets through. Usually there is none,
    and one piece. Together the texts and marks are what was rendered.
    """
    control = _control(tokenizer)
    text, spelled = rendered(conversation), {n for n, m in enumerate(conversation) if control.search(m["content"])}
    if not spelled:
        return [(text, None)]
    mark = digest([m["content"] for m in conversation])[:16]
    marked: list[Any] = [{**m, "content": f"[{mark}:{n}]"} if n in spelled else m for n, m in enumerate(conversation)]
    frame = rendered(marked)
    if len(control.findall(text)) == len(control.findall(frame)):  # the template breaks them up, as ours does
        return [(text, None)]
    pieces = enumerate(re.split(rf"(\[{mark}:\d+\])", frame))  # text, mark, text …
    return [(p, None if at % 2 == 0 else int(p[1:-1].rpartition(":")[2])) for at, p in pieces]


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """A text's ids, every control token in it spelled out: it is cut behind the first character of each."""
    cuts = [m.start() + 1 for m in _control(tokenizer).finditer(text)]
    return [i for a, b in pairwise([0, *cuts, len(text)]) for i in text_ids(tokenizer, text[a:b])]


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """A text's ids as they are, control tokens included."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _control(tokenizer: Any) -> re.Pattern[str]:
    """Where a control token begins: special ones, and added ones in brackets such as <think>; overlapping ones too."""
    known = _patterns.get(tokenizer)
    if known is None or known[0] != len(tokenizer):
        known = _patterns[tokenizer] = (len(tokenizer), _control_pattern(tokenizer))
    return known[1]


_patterns: WeakKeyDictionary[Any, tuple[int, re.Pattern[str]]] = WeakKeyDictionary()
"""A tokenizer's size and pattern: Gemma has six thousand added tokens, and reading them takes 20 ms."""


def _control_pattern(tokenizer: Any) -> re.Pattern[str]:
    added = tokenizer.added_tokens_decoder.values()
    words = {
        t.content for t in added if len(t.content) > 1 and (t.special or re.fullmatch(r"[<\[{].*[>\]}]", t.content))
    }
    if not words:
        return re.compile(r"(?!)")
    firsts = "".join(re.escape(c) for c in sorted({w[0] for w in words}))  # most characters are none of them
    return re.compile(f"(?=[{firsts}])(?={'|'.join(map(re.escape, sorted(words)))})")
