"""Text that was decoded with the wrong character set, put right where nothing was lost (ftfy, and the Chinese cases)."""

from aquilamed.corpus.cues import MOJIBAKE

_WRONG = (("gb18030", "utf-8"), ("latin-1", "gb18030"), ("cp1252", "gb18030"), ("latin-1", "big5"))
"""Pairs (decoded as, was written as) that ftfy does not know."""


def repair(text: str, tokens: int) -> str | None:
    """The text as it was meant, or None where no decoding makes sense of all of it.

    Args:
        tokens: how many it has, for the density of what stays suspicious.
    """
    import ftfy

    candidates = [ftfy.fix_encoding(text)]
    for decoded_as, written_as in _WRONG:
        try:
            candidates.append(text.encode(decoded_as).decode(written_as))
        except UnicodeError:
            continue
    for fixed in candidates:
        if fixed != text and MOJIBAKE(fixed, tokens) is None and "\ufffd" not in fixed and _plausible(fixed):
            return fixed
    return None


def _plausible(text: str) -> bool:
    """Whether a decoded text is made of everyday characters: any two bytes decode, but seldom to those of GB2312."""
    wide = [c for c in text if ord(c) > 0x2FFF]
    common = sum(c.encode("gb2312", "ignore") != b"" or c.encode("big5", "ignore") != b"" for c in wide)
    return common >= 0.95 * len(wide) and not any(0x80 <= ord(c) < 0xA0 or 0xE000 <= ord(c) < 0xF900 for c in text)
