"""A model in the form that a program takes: `aquilamed export WORKSPACE[:STAGE]|MODEL OUT --to safetensors|gguf|ollama|vllm`.

    safetensors  a folder for transformers: weights (adapters are merged when a training ends), tokenizer, chat template
    vllm         the same in bfloat16, and the settings of `vllm serve --config vllm.yaml`
    gguf         one file for llama.cpp and all that reads its format
    ollama       that file, and a Modelfile for `ollama create`

The folder appears in one rename and never replaces anything. Cards, figures and uploads are `aquilamed release`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import yaml

from aquilamed import __version__
from aquilamed.config import Invalid
from aquilamed.models import find_model
from aquilamed.records import write_atomic
from aquilamed.release import card, facts, folder, model, ollama, text
from aquilamed.release.gguf import find_converter, write_gguf
from aquilamed.release.weights import copy_model, json_file
from aquilamed.workspace import Workspace

Form = Literal["safetensors", "gguf", "ollama", "vllm"]
TYPES = ("f32", "f16", "bf16", "q8_0")
_USUAL: dict[str, str | None] = {"safetensors": None, "gguf": "f16", "ollama": "f16", "vllm": "bf16"}


@dataclass(frozen=True)
class Found:
    """A model to export: its folder, a name and an origin (Markdown), its licences (Markdown), and what checks a file."""

    path: Path
    name: str
    origin: str
    licenses: str
    check: Callable[[Path], None]


def export(target: str, out: Path, form: str, kind: str | None = None, system: str | None = None) -> Path:
    """Write a model to `out` and return that folder.

    Args:
        target: a workspace (its newest model), WORKSPACE:STAGE, a model's folder or a fetched model.
        form: one of `Form`.
        kind: type of the weights, one of `TYPES`; None takes f16 for gguf and ollama (it keeps more of float32 than bf16
            does, and runs everywhere), bf16 for vllm, and leaves safetensors as they are.
        system: a system prompt for the Modelfile.

    Raises:
        Invalid: no such model, form or type; something is at `out`; the converter to GGUF is not on this machine.
        StageFailed: a file is not what its stage wrote, or the converter failed.
    """
    if form not in get_args(Form):
        raise Invalid(f"--to {form}: choose one of {', '.join(get_args(Form))}")
    kind = kind or _USUAL[form]
    if kind is not None and kind not in (TYPES if form in ("gguf", "ollama") else TYPES[:3]):
        raise Invalid(f"--type {kind}: {form} takes {', '.join(TYPES if form in ('gguf', 'ollama') else TYPES[:3])}")
    if system is not None and form != "ollama":
        raise Invalid("--system goes with --to ollama only; elsewhere a system prompt is part of the conversation")
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise Invalid(f"{out} exists: an export replaces nothing; give another folder")
    found = find(target)
    with folder.building(out) as new:
        if form in ("gguf", "ollama"):
            assert kind is not None
            file = new / f"{found.name}-{kind.upper()}.gguf"
            if form == "ollama":  # first: what is wrong with it is known before the long conversion
                page = ollama.modelfile(found.path, file.name, found.licenses, system)
                write_atomic(new / "Modelfile", page.encode())
            write_gguf(find_converter(), found.path, file, found.name, kind, found.check)
        else:
            copy_model(found.path, new, kind, found.check)
            if form == "vllm":
                write_atomic(new / "vllm.yaml", _vllm(found).encode())
        write_atomic(new / "LICENSE.md", found.licenses.encode())
        write_atomic(new / "README.md", _readme(found, form, kind, new).encode())
        folder.write_sums(new)
    return out


def find(target: str) -> Found:
    """The model that a target means. Raises `Invalid` when it is none, or a stage that is not done."""
    place, _, stage = target.rpartition(":")
    for root, wanted in ((place, stage), (target, None)):
        if root and (Path(root) / "recipe.yaml").is_file():
            return _of_workspace(facts.read(Workspace(Path(root))), wanted)
    path = Path(find_model(target))
    if (path / "adapter_config.json").exists():
        raise Invalid(
            f"{target}: an adapter, not a model: merge it into its base (peft's merge_and_unload) and save that"
        )
    if not (path / "config.json").exists():
        raise Invalid(f"{target}: neither a workspace (recipe.yaml) nor a model (config.json)")
    base = model.told_by(path)
    known = f"{text.code(base.hub or base.name)} is under {text.code(base.license)}."
    unknown = f"The licence of {text.code(base.hub or base.name)} is not known here: see where the model came from."
    licenses = f"# Licence\n\n{known if base.license else unknown}\n"
    return Found(
        path, _name(path.resolve().name), f"the model {text.code(base.hub or base.name)}", licenses, lambda _: None
    )


def _of_workspace(found: facts.Facts, stage: str | None) -> Found:
    artifact = model.trained(found, stage)
    name = _name(f"{found.recipe.name}-{artifact.stage.rpartition('/')[2]}")
    origin = (
        f"stage {text.code(artifact.stage)} of the recipe {text.code(found.recipe.name)} "
        f"(fingerprint {text.code(artifact.manifest['fingerprint'])})"
    )
    return Found(artifact.path / "model", name, origin, model.licenses(found, artifact), model.checker(artifact))


def _name(name: str) -> str:
    """A name that is harmless in a path, a YAML value and a Modelfile."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def _vllm(found: Found) -> str:
    config = json_file(found.path / "config.json")
    settings: dict[str, str | int] = {"model": ".", "served-model-name": found.name, "dtype": "bfloat16"}
    if length := config.get("max_position_embeddings"):
        settings["max-model-len"] = int(length)
    return "# In this folder: vllm serve --config vllm.yaml\n" + yaml.safe_dump(settings, sort_keys=False)


def _readme(found: Found, form: str, kind: str | None, new: Path) -> str:
    config = json_file(found.path / "tokenizer_config.json")
    values = {
        "name": found.name,
        "origin": found.origin,
        "version": __version__,
        "form": form,
        "kind": kind or "as they were",
        "chat": (found.path / "chat_template.jinja").exists() or "chat_template" in config,
        "gguf": next((name for name in folder.files(new) if name.endswith(".gguf")), ""),
    }
    return card.render("export.md.j2", values)
