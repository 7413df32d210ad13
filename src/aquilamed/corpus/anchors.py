"""Many slow patterns, one quick look: which of them could match a text at all.

Every match of a pattern contains one of a few literal strings, its *anchors* ("% off", "二维码"). They are read off the
parsed pattern, and one Aho-Corasick automaton finds those of all patterns in one pass over the text.
"""

# The standard library's own parser of patterns; it has no public door, and a second parser would be a second truth.
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

_MOST = 256  # strings in a set of anchors
Strings = frozenset[str]


class Anchors:
    """Finds for a text how often each of some case-insensitive patterns can match at most."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        """Raises `ValueError` for a pattern that has no anchor (such as ``\\d+``)."""
        from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

        of: dict[str, list[str]] = {}
        for name, pattern in patterns.items():
            for anchor in anchors(pattern):
                of.setdefault(anchor.lower(), []).append(name)
        self.names = list(of.values())
        self.automaton = BytesAhoCorasick(
            [a.encode() for a in of], matchkind=MatchKind.Standard, implementation=Implementation.DFA
        )

    def at_most(self, text: bytes) -> dict[str, int]:
        """Pattern → how often it matches at most, of those that may; `text` is UTF-8 (ASCII letters of any case)."""
        found: dict[str, int] = {}
        for which, _, _ in self.automaton.find_matches_as_indexes(text.lower(), overlapping=True):
            for name in self.names[which]:
                found[name] = found.get(name, 0) + 1
        return found


def anchors(pattern: str) -> Strings:
    """Strings of which every match of a pattern contains at least one, in the pattern's case.

    Raises `ValueError` when there are none.
    """
    found = _required(parser.parse(pattern))
    if found is None:
        raise ValueError(f"every match of an anchored pattern must contain a fixed string: {pattern}")
    return frozenset(a for a in found if not any(b in a and b != a for b in found))


def _required(sequence: Iterable[tuple[Any, Any]]) -> Strings | None:
    """The best set of strings of which one must occur in a match of the sequence."""
    sets: list[Strings] = []
    here: Strings = frozenset([""])
    for op, arg in sequence:
        exact = _exact(op, arg)
        if exact is not None and len(here) * len(exact) <= _MOST:
            here = frozenset(a + b for a, b in product(here, exact))
            continue
        first = _sequence(arg[2]) if op is sre.MAX_REPEAT and arg[0] > 0 else None
        if first and len(here) * len(first) <= _MOST:
            here = frozenset(a + b for a, b in product(here, first))
        sets.append(here)
        here = frozenset([""]) if exact is None else exact
        inner = _inside(op, arg) if exact is None else None
        if inner is not None:
            sets.append(inner)
    sets.append(here)
    best = max(sets, key=_rarity)
    return best if "" not in best else None


def _rarity(strings: Strings) -> int:
    """How seldom the commonest string of a set is likely to be: its bytes."""
    return min(len(s.encode()) for s in strings)


def _exact(op: Any, arg: Any) -> Strings | None:
    """All strings that a part of a pattern matches, when they are few."""
    found: set[str] | None = None
    if op is sre.LITERAL:
        found = {chr(arg)}
    elif op in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
        found = {""}
    elif op is sre.IN:
        found = _characters(arg)
    elif op is sre.SUBPATTERN:
        found = _sequence(arg[3])
    elif op is sre.BRANCH:
        parts = [_sequence(branch) for branch in arg[1]]
        found = set().union(*(p for p in parts if p)) if all(p is not None for p in parts) else None
    elif op is sre.MAX_REPEAT and arg[1] == 1:
        inner = _sequence(arg[2])
        found = None if inner is None else inner | ({""} if arg[0] == 0 else set())
    return frozenset(found) if found is not None and len(found) <= _MOST else None


def _characters(items: Iterable[tuple[Any, Any]]) -> set[str] | None:
    found: set[str] = set()
    for kind, arg in items:
        if kind is sre.LITERAL:
            found.add(chr(arg))
        elif kind is sre.RANGE and arg[1] - arg[0] < 10:
            found.update(map(chr, range(arg[0], arg[1] + 1)))
        else:
            return None
    return found


def _sequence(sequence: Iterable[tuple[Any, Any]]) -> set[str] | None:
    strings = {""}
    for op, arg in sequence:
        exact = _exact(op, arg)
        if exact is None or len(strings) * len(exact) > _MOST:
            return None
        strings = {a + b for a, b in product(strings, exact)}
    return strings


def _inside(op: Any, arg: Any) -> Strings | None:
    """A set of which one string must occur inside a part that is not exact."""
    if op is sre.SUBPATTERN:
        return _required(arg[3])
    if op is sre.MAX_REPEAT and arg[0] > 0:
        return _required(arg[2])
    if op is sre.BRANCH:
        parts = [_required(branch) for branch in arg[1]]
        return None if any(p is None for p in parts) else frozenset().union(*(p for p in parts if p))
    return None
