"""Both languages have every word, and the browser's language is kept to."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import aquilamed.web
from aquilamed.annotate.hazards import KINDS
from aquilamed.corpus.rules import _CUES
from aquilamed.stages import BY_NAME
from aquilamed.web.text import LANGUAGES, Text, preferred, table

CODE = Path(aquilamed.web.__file__).parent


def test_every_key_has_both_languages_and_the_same_placeholders() -> None:
    for key, texts in table().items():
        assert set(texts) == set(LANGUAGES), key
        assert all(text.strip() for text in texts.values()), key
        holes = [sorted(re.findall(r"{(\w+)}", text)) for text in texts.values()]
        assert holes[0] == holes[1], key
        assert texts["zh"] != texts["en"] or not re.search(r"[a-z]{3}", texts["en"]), key


def test_the_code_and_the_table_have_the_same_keys() -> None:
    """A key may be put together: then `text('state.' + …)` stands for all keys of its section."""
    source = "".join(f.read_text(encoding="utf-8") for f in [*CODE.rglob("*.py"), *CODE.rglob("*.j2")])
    used = set(re.findall(r"""["']([a-z_]+\.[\w]*)["']""", source))
    calls = set(re.findall(r"""text\(["']([a-z_]+\.\w+)["']""", source))
    assert calls <= set(table())
    assert {key for key in table() if key not in used and f"{key.split('.')[0]}." not in used} == set()


def rules_of(value: ast.expr) -> Iterator[str]:
    """The reasons of an expression: one text, or one of two."""
    for one in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
        if isinstance(one, ast.Constant):
            yield f"sources.{one.value}"


def reasons() -> Iterator[str]:
    """Every reason that the code can give a dropped record: written out, or put together of a stage and a rule."""
    stages = "|".join({*(name.rpartition("/")[2] for name, s in BY_NAME.items() if s.records), "sources", "mix"})
    for file in [f for part in ("sources", "corpus", "instruct", "prefer") for f in (CODE.parent / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Constant(str(text)) if re.fullmatch(rf"({stages})\.(?!json|parquet)\w+", text):
                    yield text
                case ast.Call(ast.Name("Misfit"), [rule, *_]) | ast.Call(ast.Name("bad"), [_, _, rule, *_]):
                    yield from rules_of(rule)
                case ast.Assign([ast.Name("rule")], value):
                    yield from rules_of(value)
                case ast.Tuple([ast.Constant(str(rule)), ast.JoinedStr() | ast.Name("detail")]) if (
                    file.name == "rules.py"
                ):
                    yield f"rules.{rule}"
    yield from (f"rules.{name}" for name in _CUES)
    yield from (f"safety.{kind}" for kind in KINDS)
    yield from (f"{stage}.{how}" for stage in ("dedup", "questions") for how in ("exact", "near"))


def test_every_reason_for_dropping_has_words_and_no_other() -> None:
    found = {"reason." + name.replace(".", "_") for name in reasons()}
    assert found == {key for key in table() if key.startswith("reason.")}
    assert Text("zh").reason("dedup.near") == "近似重复 · dedup.near"
    assert Text("zh").reason("<b>.new") == "<b>.new"


def test_no_visible_word_outside_the_table() -> None:
    """In templates, words stand only in tags and in calls of `text`."""
    for file in CODE.rglob("*.j2"):
        source = re.sub(
            r"{[%{#].*?[%}#]}|<style>.*?</style>|<[^>]*>", " ", file.read_text(encoding="utf-8"), flags=re.S
        )
        assert not re.findall(r"[A-Za-z]{3,}", source.replace("Aquila-Med", "")), file.name


@pytest.mark.parametrize(
    ("header", "cookies", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", {}, "zh"),
        ("de,en;q=0.3,zh;q=0.7", {}, "zh"),
        ("en-GB", {"language": "zh"}, "zh"),
        ("en-GB", {"language": "<script>"}, "en"),
        ("fr;q=x, *", {}, "en"),
        ("", {}, "en"),
    ],
)
def test_the_browsers_language(header: str, cookies: dict[str, str], language: str) -> None:
    assert preferred(header, cookies) == language


def test_values_are_filled_in() -> None:
    assert Text("zh")("overview.done", done=1, total=2) == "共 2 个阶段，已完成 1 个。"
    with pytest.raises(KeyError):
        Text("en")("overview.unheard_of")
