"""Copying a model's folder: safetensors (perhaps in another type), tokenizer and template, and never code or pickles."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aquilamed.config import Invalid
from aquilamed.records import write_json

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER = ("*.json", "*.jinja", "*.txt", "*.model")
_OURS = {"source.json", "checksums.json"}  # what `aquilamed fetch` keeps beside a model
_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def model_files(folder: Path) -> list[Path]:
    """The files that make a model, sorted. Raises `Invalid` when there are no safetensors."""
    found = {p for pattern in (*WEIGHTS, *TOKENIZER) for p in folder.glob(pattern) if p.is_file()}
    chosen = sorted(p for p in found if p.name not in _OURS)
    if not any(p.suffix == ".safetensors" for p in chosen):
        raise Invalid(f"{folder}: no safetensors; other weights are not read (a pickle can run code)")
    return chosen


def copy_model(source: Path, out: Path, kind: str | None, check: Callable[[Path], None]) -> None:
    """Copy a model, its floating-point weights as `kind` (f32, f16, bf16; None leaves them), one file at a time.

    Args:
        check: holds a file to what is known of it, before it is read.
    """
    dtype = None if kind is None else _DTYPES[kind]
    for path in model_files(source):
        check(path)
        if dtype is None or path.suffix != ".safetensors":
            shutil.copyfile(path, out / path.name)
        else:
            _convert(path, out / path.name, dtype)
        (out / path.name).chmod(0o644)  # safetensors makes them readable to their owner only
    if dtype is not None:
        config = json_file(out / "config.json")
        config.pop("torch_dtype", None)
        write_json(out / "config.json", {**config, "dtype": dtype})
        _renew_index(out)


def _convert(source: Path, out: Path, dtype: str) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    wanted = getattr(torch, dtype)
    with safe_open(source, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(
        {name: t.to(wanted) if t.is_floating_point() else t for name, t in tensors.items()}, out, {"format": "pt"}
    )


def _renew_index(out: Path) -> None:
    """The index of sharded weights states their size in bytes."""
    for path in out.glob("*.safetensors.index.json"):
        index = json_file(path)
        shards = {out / name for name in index["weight_map"].values()}
        index["metadata"] = {**index.get("metadata", {}), "total_size": sum(_tensor_bytes(p) for p in shards)}
        write_json(path, index)


def _tensor_bytes(path: Path) -> int:
    """Bytes of a file's tensors: what follows its header, whose size its first eight bytes hold."""
    with path.open("rb") as f:
        return path.stat().st_size - 8 - int.from_bytes(f.read(8), "little")


def json_file(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no file. Raises `Invalid` for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Invalid(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise Invalid(f"{path}: not a JSON object")
    return found
