"""Cleaning of a turn's text: what a web page or an export left in it and no speaker said.

html: tags become line feeds or nothing, `10<sup>9</sup>` becomes 10^9, entities their characters; "血压 <120" is no tag, and
a text with a backtick or a whole page's head speaks of tags.
control: control characters and overrides of direction. zero_width: characters without a width (a joiner inside an emoji
stays). space: no-break spaces, line ends of other systems, blanks at line ends, more than one empty line.
"""

import html
import re

# Only tags that occur in pages of questions and answers: "<T>" in a program and "p<0.05" are text.
_NAMES = (
    "a|b|br|blockquote|body|center|code|dd|div|dl|dt|em|font|h[1-6]|head|hr|html|i|img|label|li|ol|p|pre|section|small|"
    "span|strong|table|tbody|td|tfoot|th|thead|tr|u|ul"
)
_BLOCKS = "blockquote|br|center|dd|div|dl|dt|h[1-6]|hr|li|ol|p|pre|section|table|tr|ul"
# Attributes have an equals sign: "a <b and c> d" is no tag.
_END = r"(?:\s[^<>=]{0,100}=[^<>]{0,500}|\s*)/?>"
_ABOUT_TAGS = re.compile("`|<!doctype|<html", re.IGNORECASE)
# Every opening matches, at worst to the text's end: a search that fails at each of many openings would be quadratic.
_UNSAID = re.compile(rf"<(script|style){_END}.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL | re.IGNORECASE)
_RAISED = re.compile(rf"<sup{_END}([^<>]{{1,40}})</sup>", re.IGNORECASE)
_LOWERED = re.compile(rf"</?su[bp]{_END}", re.IGNORECASE)
_BLOCK = re.compile(rf"</?(?:{_BLOCKS}){_END}", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:{_NAMES}){_END}", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ZERO_WIDTH = re.compile("[\u00ad\u200b\u200c\u200e\u200f\u2060\ufeff]|\u200d(?![\u2600-\u27bf\U0001f000-\U0001faff])")
_LINE_END = re.compile("\r\n?|\u2028|\u2029")
_EMPTY_LINES = re.compile(r"\n{3,}")


RULES = ("html", "control", "zero_width", "space")


def clean(text: str) -> tuple[str, set[str]]:
    """The cleaned text and the names of the rules that changed it. Blanks around the text are stripped unrecorded."""
    found = set()
    text = text.strip()
    # In this order: an entity may stand for a control character, a tag hide a blank line.
    for name, rule in zip(RULES, (_html, _control, _zero_width, _space), strict=True):
        cleaned = rule(text)
        if cleaned != text:
            found.add(name)
        text = cleaned.strip()
    return text, found


def _html(text: str) -> str:
    if _ABOUT_TAGS.search(text):
        return text
    if "<" in text:
        text = _UNSAID.sub("", text)
        text = _LOWERED.sub("", _RAISED.sub(r"^\1", text))
        text = _TAG.sub("", _BLOCK.sub("\n", text))
    # Entities come last: "&lt;br&gt;" is a tag that somebody wrote about.
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text


def _control(text: str) -> str:
    return _CONTROL.sub("", text)


def _zero_width(text: str) -> str:
    return _ZERO_WIDTH.sub("", text)


def _space(text: str) -> str:
    text = _LINE_END.sub("\n", text).replace("\u00a0", " ")
    return _EMPTY_LINES.sub("\n\n", "\n".join(line.rstrip(" \t\u3000") for line in text.split("\n")))
