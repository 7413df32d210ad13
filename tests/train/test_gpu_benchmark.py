"""The GPU benchmark's code runs: a toy model on the CPU, both ways of training, the same loss on the same tokens."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_smoke_run_prints_one_object(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--smoke"])
    gpu.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    for way in ("plain", "ours", "trainer", "trl"):
        assert result[way]["tokens_per_second"] > 0
        assert result[way]["utilisation"] > 0
        assert result[way]["steps"] >= 2


def test_rows_are_full_and_no_label_crosses_documents(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    bench = gpu.Bench(smoke=True, seconds=0.0)
    documents = [[5, 6, 7, 8], [9, 10], [11] * 300]
    monkeypatch.setattr(bench, "documents", lambda: iter(documents))
    model, step = bench.ours(batch=1)
    loss, tokens, squares = step()
    assert tokens == 256
    assert squares == 4 * 4 + 2 * 2 + 250 * 250
    total = 0.0
    for document in (*documents[:2], documents[2][:250]):
        ids = torch.tensor([document])
        logits = model(input_ids=ids).logits[0, :-1]
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").detach())
    assert float(loss.detach()) == pytest.approx(total / (256 - 3), abs=1e-4)
