"""What the doctor finds and advises: this machine is well; others are not."""

from pathlib import Path
from typing import Any

import pytest

from aquilamed.doctor import advice, machine, outdated


def test_a_machine_in_need_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path))
    found: dict[str, Any] = machine()
    assert found["cores"] >= 1
    assert found["models"] == "none fetched"
    assert any("aquilamed fetch smollm2-135m" in line for line in advice(found))
    (tmp_path / "models" / "half").mkdir(parents=True)
    said = advice(found | {"memory_gb": 2.0, "free_disk_gb": 0.3, "gpu": "NVIDIA H100", "extras": "web"})
    assert [line for line in said if "half is incomplete" in line]
    assert [line for line in said if "2.0 GB of memory" in line]
    assert [line for line in said if "0.3 GB are free" in line]
    assert [line for line in said if "pip install 'aquilamed[gpu]'" in line]


def test_this_machine_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILAMED_HOME", str(tmp_path))
    model = tmp_path / "models" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    assert advice(machine() | {"memory_gb": 24.0, "free_disk_gb": 100.0}) == []


def test_libraries_that_do_not_fit_are_named() -> None:
    lines = [
        "numpy>=1.26",
        "numpy>=99",
        "no-such-library>=2",
        'no-such-extra>=1; extra == "gpu"',
        'numpy<1; extra == "x"',
    ]
    lines += ['pywin32>=1; sys_platform == "win32"']
    said = outdated(lines)
    assert len(said) == 3
    assert "pip install 'numpy>=99'" in said[0]
    assert said[1] == "no-such-library is not installed: pip install 'no-such-library>=2'"
    assert "numpy<1" in said[2]
