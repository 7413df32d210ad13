"""The SFT set's composition (paper, section 3): how many dialogues of each kind make a target.

Parts are whole numbers by the largest remainder, so that they add up to the target exactly.
"""

from collections.abc import Mapping

PAPER_SHARE = {
    "single_turn_QA_zh": 0.272,
    "single_turn_QA_en": 0.140,
    "single_turn_option_zh": 0.248,
    "multi_turn_QA_zh": 0.340,
}
"""The paper's composition of about 320,000 records (it writes _ch where we write _zh); zh : en = 86 : 14."""


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers near total · share that add up to total · (sum of shares), rounded; ties go by name.

    A sum within a thousandth of 1 is 1: three rounded thirds mean the whole.
    """
    whole = sum(shares.values())
    if abs(whole - 1) < 1e-3 and whole > 0:
        shares = {kind: share / whole for kind, share in shares.items()}
        whole = 1.0
    exact = {kind: total * share for kind, share in shares.items()}
    # Nearly whole numbers are whole: 1000 · 0.29 is 290, not 289.99999999999994.
    parts = {kind: int(value + 1e-9) for kind, value in exact.items()}
    left = int(total * whole + 0.5 + 1e-9) - sum(parts.values())
    order = sorted(exact, key=lambda kind: (-round(exact[kind] - parts[kind], 9), kind))
    for kind in order[:left]:
        parts[kind] += 1
    return parts


def refill(shares: Mapping[str, float], left: Mapping[str, int], missing: int) -> dict[str, int]:
    """How many more each kind gives, so that together they fill up what others lack.

    Args:
        left: records of each kind that can still be taken.
        missing: records that the target lacks.

    They go by the kinds' shares, at most what a kind has left; {} when no kind has anything to give.
    """
    more: dict[str, int] = {}
    able = {kind: n for kind, n in left.items() if n and shares.get(kind)}
    while missing and able:
        total = sum(shares[kind] for kind in able)
        for kind, n in apportion(missing, {kind: shares[kind] / total for kind in able}).items():
            given = min(n, able[kind])
            more[kind] = more.get(kind, 0) + given
            able[kind] -= given
            missing -= given
        able = {kind: n for kind, n in able.items() if n}
    return {kind: n for kind, n in more.items() if n}
