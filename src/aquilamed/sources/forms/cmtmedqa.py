"""CMtMedQA: {"cate1", "cate2", "instruction", "input", "output", "history": [[question, answer], …]}; the instruction is the
last question, called "instruct" in the test part's questions on safety. LLaMA-Factory's Alpaca files look the same."""

from typing import Any

from aquilamed.records import Message
from aquilamed.sources.forms.contract import Published, history, pair, text

PUBLISHED = Published("https://github.com/SupritYoung/Zhongjing", "Suprit/CMtMedQA", "MIT")


def parse(value: Any) -> list[Message]:
    """The rounds of the history, then the last question and its answer."""
    name = "instruct" if isinstance(value, dict) and "instruct" in value else "instruction"
    question = f"{text(value, name, '')}\n{text(value, 'input', '')}".strip()
    return [*history(value), *pair(question, text(value, "output"))]
