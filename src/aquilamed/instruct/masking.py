"""Private information in dialogues: typed placeholders by the corpus' kernels, by Microsoft Presidio with ours, or none."""

import json
from collections import Counter
from typing import Literal

from aquilamed.corpus.pii import mask_text
from aquilamed.instruct.presidio import PresidioConfig, presidio_mask
from aquilamed.records import Message

PiiMode = Literal["kernels", "presidio", "none"]


def mask_dialogue(
    dialogue: list[Message], lang: str, mode: PiiMode, config: PresidioConfig
) -> tuple[list[Message], str | None]:
    """The messages with placeholders, and the JSON counts per type (None for nothing)."""
    if mode == "none":
        return dialogue, None
    counts: Counter[str] = Counter()
    clean: list[Message] = []
    for message in dialogue:
        content = message["content"]
        text, hits = presidio_mask(content, lang, config) if mode == "presidio" else mask_text(content)
        counts.update(hits)
        clean.append({"role": message["role"], "content": text})
    return clean, json.dumps(dict(sorted(counts.items()))) if counts else None
