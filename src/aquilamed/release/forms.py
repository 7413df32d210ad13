"""The forms in which a set is published: one config of the released folder each.

`default` is what trainers read as it is: OpenAI messages (TRL's SFT), prompt/chosen/rejected (TRL's DPO), or text.
`aquilamed` is the form of the paper's own sets: instruction, input, output and history; of a pair `output` is the list
[chosen, rejected]. It is written as Parquet and, as the paper's sets are, as JSON lines. All configs are Parquet because
`datasets` reads every config of a folder with the reader of the first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from aquilamed.records import Message

_TEXT = pa.string()
_ROUNDS = pa.list_(pa.list_(pa.string()))
_COMMON = [("id", _TEXT), ("source", _TEXT), ("license", _TEXT), ("kind", _TEXT), ("lang", _TEXT)]
AQUILAMED_INSTRUCT = pa.schema(
    [("instruction", _TEXT), ("input", _TEXT), ("output", _TEXT), ("history", _ROUNDS), ("system", _TEXT), *_COMMON]
)
AQUILAMED_RL = pa.schema(
    [
        ("instruction", _TEXT),
        ("input", _TEXT),
        ("output", pa.list_(pa.string())),
        ("history", _ROUNDS),
        ("system", _TEXT),
        *_COMMON,
    ]
)


@dataclass(frozen=True)
class Form:
    """One config: where its files go, its columns, what it makes of a part of the set, and whether JSON lines stand beside."""

    name: str
    folder: str
    schema: pa.Schema
    rows: Callable[[pl.DataFrame], pa.Table]
    jsonl: bool = False


def instruct_forms(columns: pl.Schema) -> list[Form]:
    """Messages for trainers with every score and label behind them, and the paper's form."""
    return [
        _table("default", "data", _first(columns, ["messages"])),
        _published(AQUILAMED_INSTRUCT, _instruct),
    ]


def preference_forms(columns: pl.Schema) -> list[Form]:
    """TRL's conversational preference form, and the paper's."""
    return [
        _table("default", "data", _first(columns, ["prompt", "chosen", "rejected"])),
        _published(AQUILAMED_RL, _pair),
    ]


def corpus_forms(name: str, columns: pl.Schema) -> list[Form]:
    """A mix as text."""
    return [_table(name, name, _first(columns, ["text"]))]


def _table(name: str, folder: str, columns: dict[str, Any]) -> Form:
    schema = arrow_schema(columns)

    def rows(frame: pl.DataFrame) -> pa.Table:
        return frame.select(list(columns)).to_arrow().cast(schema)

    return Form(name, folder, schema, rows)


def _published(schema: pa.Schema, form: Callable[[dict[str, Any]], dict[str, Any]]) -> Form:
    def rows(frame: pl.DataFrame) -> pa.Table:
        return pa.Table.from_pylist([form(row) for row in frame.to_dicts()], schema)

    return Form("aquilamed", "aquilamed", schema, rows, jsonl=True)


def _first(columns: pl.Schema, names: list[str]) -> dict[str, Any]:
    """The columns with `names` in front."""
    return {n: columns[n] for n in names} | {n: t for n, t in columns.items() if n not in names}


def arrow_schema(columns: dict[str, Any]) -> pa.Schema:
    """Polars' column types as the plain Arrow types that every reader of Parquet knows (no large strings or lists)."""
    return pa.schema([(name, _plain(field.type)) for name, field in _fields(columns)])


def _fields(columns: dict[str, Any]) -> list[tuple[str, Any]]:
    table = pl.DataFrame(schema=columns).to_arrow()
    return [(field.name, field) for field in table.schema]


def _plain(kind: Any) -> Any:
    if pa.types.is_large_string(kind) or pa.types.is_null(kind) or kind == pa.string_view():
        return pa.string()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(f.name, _plain(f.type)) for f in kind])
    return kind


def _common(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name, _ in _COMMON}


def _split(messages: list[Message]) -> tuple[str, list[list[str]], list[str]]:
    """System text, finished rounds, and what is left of turns that end with the user's."""
    system = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    turns = [m["content"] for m in messages if m["role"] != "system"]
    last = (len(turns) - 1) // 2 * 2
    return system, [turns[i : i + 2] for i in range(0, last, 2)], turns[last:]


def _instruct(row: dict[str, Any]) -> dict[str, Any]:
    """The last round is instruction and output, those before are the history."""
    system, history, (question, answer) = _split(row["messages"])
    form = {"instruction": question, "input": "", "output": answer, "history": history, "system": system}
    return form | _common(row)


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    """The prompt's last turn is the instruction; output is [chosen, rejected]."""
    system, history, (question,) = _split(row["prompt"])
    output = [_answer(row["chosen"]), _answer(row["rejected"])]
    form = {"instruction": question, "input": "", "output": output, "history": history, "system": system}
    return form | _common(row)


def _answer(messages: list[Message]) -> str:
    return "\n".join(m["content"] for m in messages)


def features(schema: pa.Schema) -> list[dict[str, Any]]:
    """A schema as the `features` of a card's `dataset_info`, in the form that `datasets` reads."""
    return [{"name": field.name} | _feature(field.type) for field in schema]


def _feature(kind: Any) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    if pa.types.is_struct(kind):
        return {"struct": features(pa.schema(list(kind)))}
    return {"dtype": {"double": "float64", "float": "float32"}.get(str(kind), str(kind))}
