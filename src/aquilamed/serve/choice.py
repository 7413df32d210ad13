"""Which engine answers: vLLM on a GPU, llama.cpp where it and a GGUF file are there, transformers otherwise."""

import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from aquilamed.config import Invalid

Kind = Literal["vllm", "llama.cpp", "transformers"]


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it was taken."""

    kind: Kind
    reason: str
    gguf: Path | None = None


def choose(folder: Path, asked: str = "auto") -> Choice:
    """The engine for a model's folder (or GGUF file).

    Args:
        asked: "auto", or an engine's name.

    Raises `Invalid` when the engine asked for cannot be used here; the message says what is missing.
    """
    gguf = gguf_of(folder)
    if asked != "auto":
        lacking = {"vllm": _no_vllm(folder), "llama.cpp": _no_llama(folder), "transformers": _no_transformers(folder)}
        if asked not in lacking:
            raise Invalid(f"--engine {asked!r}: one of auto, {', '.join(lacking)}")
        if lacking[asked]:
            raise Invalid(f"--engine {asked}: {lacking[asked]}")
        kind: Kind = "vllm" if asked == "vllm" else "llama.cpp" if asked == "llama.cpp" else "transformers"
        return Choice(kind, "as asked", gguf)
    vllm, llama, transformers = _no_vllm(folder), _no_llama(folder), _no_transformers(folder)
    if not vllm:
        return Choice("vllm", "there is a GPU, and vLLM is installed")
    if not llama:
        return Choice("llama.cpp", f"no vLLM ({vllm}); llama.cpp is installed and there is {_name(gguf)}", gguf)
    if transformers:
        raise Invalid(f"{folder}: {transformers}, and no llama.cpp: {llama}")
    return Choice("transformers", f"no vLLM ({vllm}), no llama.cpp ({llama})")


def gguf_of(folder: Path) -> Path | None:
    """The GGUF file that is meant by, or lies in, a folder; of several the first by name."""
    if folder.suffix == ".gguf" and folder.is_file():
        return folder
    return min(folder.glob("*.gguf"), default=None) if folder.is_dir() else None


def llama_command() -> tuple[str, ...] | None:
    """How llama.cpp's server is started here: its own binary, else the Python package's module."""
    binary = shutil.which("llama-server")
    if binary:
        return (binary,)
    if find_spec("llama_cpp") and find_spec("sse_starlette"):
        return (sys.executable, "-m", "llama_cpp.server")
    return None


def _no_vllm(folder: Path) -> str:
    import torch

    if not torch.cuda.is_available():
        return "no GPU"
    if find_spec("vllm") is None:
        return "not installed: pip install 'aquilamed[gpu]'"
    return "it reads safetensors" if folder.is_file() else ""


def _no_llama(folder: Path) -> str:
    if llama_command() is None:
        return "neither llama-server nor llama_cpp.server is installed"
    return "" if gguf_of(folder) else "no .gguf file beside the model"


def _no_transformers(folder: Path) -> str:
    return "" if folder.is_dir() and (folder / "config.json").is_file() else "not a model's folder"


def _name(path: Path | None) -> str:
    return path.name if path else ""
