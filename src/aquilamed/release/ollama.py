"""The Modelfile: our chat template in Ollama's language, where answers end, greedy answers, licences.

Ollama's templates are Go's, in which nothing can be replaced: the markers of a turn that stand inside a message are not
broken up as our own template does it. Who serves strangers takes another server.
"""

from pathlib import Path

from aquilamed.config import Invalid
from aquilamed.models import TURN_END, chat_template, stop_ids
from aquilamed.release.weights import json_file

# Renders what chat_template.jinja renders with add_generation_prompt (tests/release/test_export.py compares). A begin token
# is put there by Ollama itself, as the GGUF file tells it to.
TEMPLATE = """\
{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
CONTEXT = 4096  # tokens: memory grows with it, and Ollama allocates all of it


def modelfile(folder: Path, gguf: str, licenses: str, system: str | None) -> str:
    """The Modelfile of a GGUF file that was made from a model's folder.

    Raises `Invalid` when the model has another chat template than ours, or a text cannot be quoted.
    """
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(folder)
    if own.chat_template != chat_template(own):
        raise Invalid(
            f"{folder.name}: its chat template is not the one of our trainings, and it cannot be turned into Ollama's "
            "language without a reader of both; export gguf and write TEMPLATE yourself"
        )
    stops = [TURN_END, *sorted({str(own.convert_ids_to_tokens(i)) for i in stop_ids(own)} - {TURN_END})]
    length = int(json_file(folder / "config.json").get("max_position_embeddings") or CONTEXT)
    lines = [
        f"# In this folder: ollama create {gguf.rpartition('-')[0].lower()} -f Modelfile",
        f"FROM ./{gguf}",
        f"TEMPLATE {_quoted(TEMPLATE)}",
        *(f'PARAMETER stop "{stop}"' for stop in stops),
        "# As in training's own evaluation: the likeliest word, and no penalty for saying one again.",
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_ctx {min(length, CONTEXT)}",
        *([f"SYSTEM {_quoted(system)}"] if system else []),
        f"LICENSE {_quoted(licenses.replace(chr(34) * 3, chr(39) * 3))}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text in three quotes, the only ones that may span lines; a Modelfile has no way to escape them."""
    if '"""' in text or text.endswith('"'):
        raise Invalid("--system: a Modelfile cannot hold three double quotes in a row, nor a text that ends with one")
    return f'"""{text}"""'
