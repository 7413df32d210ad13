"""What this machine has, and what is wrong with it: `aquilamed doctor`."""

import os
import platform
import shutil
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aquilamed.hub import CHECKSUMS
from aquilamed.models import home
from aquilamed.pipeline import versions
from aquilamed.serve.choice import llama_command

EXTRAS = {
    "gpu": ("vllm", "deepspeed", "liger_kernel"),
    "ray": ("ray",),
    "web": ("gradio",),
    "presidio": ("presidio_analyzer",),
    "s3": ("s3fs",),
}
# GB. The demo trains 135 million parameters in float32: weights, gradients and two moments are 2.2, before activations.
LEAST_MEMORY = 6.0
# GB. Each of its four trainings leaves 0.5, and has checkpoints of 1.6 while it runs.
LEAST_DISK = 5.0


def machine() -> dict[str, Any]:
    """Versions, cores, memory, disk, accelerators, extras, and fetched models and repositories."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    models, hub = home() / "models", home() / "hub"
    return {
        **versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "extras": ", ".join(_extras()) or "none",
        "llama.cpp": " ".join(llama_command() or ["not installed"]),
        "models": ", ".join(sorted(p.name for p in models.iterdir())) if models.is_dir() else "none fetched",
        "hub": ", ".join(sorted(p.parent.relative_to(hub).as_posix() for p in hub.glob(f"*/*/{CHECKSUMS}")))
        or "none fetched",
    }


def advice(found: dict[str, Any]) -> list[str]:
    """What to do about a machine (of `machine`), a sentence each; nothing when all is well."""
    said = [*outdated(_requirements()), *_gpu_advice(found), *_model_advice(home())]
    if found["memory_gb"] < LEAST_MEMORY:
        said.append(f"{found['memory_gb']} GB of memory is little: the demo wants {LEAST_MEMORY:g}")
    if found["free_disk_gb"] < LEAST_DISK:
        said.append(
            f"{found['free_disk_gb']} GB are free here: the demo wants {LEAST_DISK:g}; give --workspace another disk"
        )
    place = next(p for p in (home(), *home().parents) if p.exists())
    if not os.access(place, os.W_OK):
        said.append(f"{place} cannot be written: set AQUILAMED_HOME to a folder for models")
    return said


def outdated(requirements: Iterable[str]) -> list[str]:
    """Installed libraries that are not of the version that we need, absent ones, and how to get the right one.

    Args:
        requirements: as in a package's metadata; those of extras count only where they are installed.
    """
    from packaging.requirements import Requirement

    said = []
    for line in requirements:
        needed = Requirement(line)
        optional = needed.marker is not None and "extra" in str(needed.marker)
        if needed.marker is not None and not optional and not needed.marker.evaluate():
            continue
        try:
            have = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            if not optional:
                said.append(f"{needed.name} is not installed: pip install '{needed.name}{needed.specifier}'")
            continue
        if not needed.specifier.contains(have, prereleases=True):
            said.append(f"{needed.name} {have} does not fit: pip install '{needed.name}{needed.specifier}'")
    return said


def _requirements() -> list[str]:
    try:
        return metadata.requires("aquilamed") or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return []


def _extras() -> list[str]:
    """Every extra that is installed, with the parts that it lacks."""
    said = []
    for extra, modules in EXTRAS.items():
        lacking = [m for m in modules if find_spec(m) is None]
        if len(lacking) < len(modules):
            said.append(f"{extra} without {' and '.join(lacking)}" if lacking else extra)
    return said


def _gpu_advice(found: dict[str, Any]) -> list[str]:
    import torch

    if found["gpu"] != "none":
        return [] if "gpu" in found["extras"] else ["a GPU without the extra [gpu]: pip install 'aquilamed[gpu]'"]
    if not Path("/proc/driver/nvidia/version").exists():
        return []
    if torch.version.cuda is None:
        return ["an NVIDIA driver, but a torch without CUDA: install the wheel for it that pytorch.org names"]
    return ["an NVIDIA driver, but torch sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES"]


def _model_advice(place: Path) -> list[str]:
    folders = sorted(p for p in (place / "models").glob("*") if p.is_dir())
    if not folders:
        return ["no model was fetched: run aquilamed fetch smollm2-135m (the demo's)"]
    broken = [p.name for p in folders if not (p / "config.json").is_file() or not any(p.glob("*.safetensors"))]
    return [f"model {name} is incomplete: delete {place / 'models' / name} and fetch it again" for name in broken]
