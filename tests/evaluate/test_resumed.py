"""An evaluation that is killed goes on at the next batch, and ends with the bytes of one that was not."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_model
from aquilamed.annotate import AnnotatorConfig
from aquilamed.evaluate import backends, knowledge, multiturn, pairwise, safety
from aquilamed.evaluate.kept import Kept
from aquilamed.evaluate.tasks import BenchmarkConfig
from aquilamed.records import digest

KNOWLEDGE = knowledge.KnowledgeConfig(shots=1, batch_size=2, models=["base"])
STAGES: dict[str, tuple[Callable[..., Any], Any, int]] = {
    # the stage, its config, and after how many writes it is killed
    "knowledge": (knowledge.run, KNOWLEDGE, 3),
    "generated": (knowledge.run, KNOWLEDGE.model_copy(update={"mode": "generate"}), 2),
    "pairwise": (
        pairwise.run,
        pairwise.PairwiseConfig(models=["base"], against=["reference"], max_new_tokens=6, batch_size=2),
        3,
    ),
    "multiturn": (multiturn.run, multiturn.MultiturnConfig(models=["base"], max_new_tokens=6, batch_size=2), 4),
    "safety": (safety.run, safety.SafetyProbeConfig(models=["base"], limit=1, max_new_tokens=6, batch_size=2), 2),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build(tmp_path_factory.mktemp("model"))


def context(root: Path, base: Path, name: str) -> Any:
    """Twelve questions, two of them with several right letters, five dialogues, and a local judge."""
    options = {"A": "heart", "B": "water", "C": "发热", "D": "oxygen"}
    exam = [
        {"id": f"q{n}", "lang": "zh" if n % 2 else "en", "topic": "t", "question": f"{n}: which? {'heart ' * n}"}
        | {"options": options, "answer": "AC" if n > 15 else "ABCD"[n % 4], "rationale": "", "split": "test"}
        for n in range(18)
    ]
    said = [{"role": r, "content": f"{r} {n}: fever"} for n in range(2) for r in ("user", "assistant")]
    dialogues = [
        {"lang": "en", "messages": [{**m, "content": f"{n} {m['content']}"} for m in said[:k]]}
        for n in range(5)
        for k in (2, 4)
    ]
    for file, rows in (("exam.jsonl", exam), ("dialogues.jsonl", dialogues)):
        (root / file).write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    ctx = tiny_model.context(root, base, {}, name)
    paths = {"exam": "exam.jsonl", "dialogues_single": "dialogues.jsonl", "dialogues_multi": "dialogues.jsonl"}
    ctx.recipe.evaluate.benchmarks = [BenchmarkConfig(task=t, path=p) for t, p in paths.items()]
    ctx.recipe.annotator = AnnotatorConfig(kind="local", model=str(base), max_chars=200)
    ctx.recipe.data_folder = lambda: root
    return ctx


def files(out: Path) -> dict[str, bytes]:
    kept = (p for p in out.rglob("*") if p.is_file() and ".work" not in p.parts)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in kept}


def die_at(write: int, run: Callable[[], Any]) -> None:
    """Run, and die of SIGKILL within the n-th write of an answer file, half a line written."""
    writes = 0
    real = Kept.add

    def add(self: Kept, values: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == write:
            with self.path.open("ab") as file:
                file.write(b'{"values": {"ab')
            os.kill(os.getpid(), signal.SIGKILL)
        real(self, values)

    Kept.add = add  # type: ignore[method-assign]
    run()


@pytest.mark.parametrize("name", STAGES)
def test_killed_and_resumed(tmp_path: Path, base: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, config, write = STAGES[name]
    whole = context(tmp_path, base, "whole")
    adds: list[tuple[str, int]] = []
    real = Kept.add

    def counted(self: Kept, values: Any) -> None:
        adds.append((self.path.name, len(values)))
        real(self, values)

    monkeypatch.setattr(Kept, "add", counted)
    run(whole, config)
    undisturbed, adds[:] = list(adds), []
    killed = context(tmp_path, base, "killed")
    child = multiprocessing.get_context("fork").Process(target=die_at, args=(write, lambda: run(killed, config)))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert not (killed.out / "results.json").exists()
    run(killed, config)
    assert adds == undisturbed[write - 1 :], "what was kept is not computed again, and batches are the same"
    assert files(killed.out) == files(whole.out)
    results = json.loads((whole.out / "results.json").read_text("utf-8"))
    again = context(tmp_path, base, "again")
    run(again, config)
    assert digest(json.loads((again.out / "results.json").read_text("utf-8"))) == digest(results)


def test_a_finished_file_needs_no_model(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path, base, "out")
    run, config, _ = STAGES["safety"]
    run(ctx, config)
    first = files(ctx.out)
    monkeypatch.setattr(backends, "load_model", lambda model: pytest.fail("the model is loaded again"))
    run(ctx, config)
    assert files(ctx.out) == first


def test_results_name_what_decided_them(tmp_path: Path, base: Path) -> None:
    ctx = context(tmp_path, base, "out")
    metrics = knowledge.run(ctx, KNOWLEDGE).metrics["results"][0]
    (result,) = json.loads((ctx.out / "results.json").read_text("utf-8"))["results"]
    assert set(result["hashes"]) == {"data", "answers", "prompts", "template", "task", "model"}
    assert result["hashes"]["model"] == result["model_fingerprint"]
    assert metrics["seconds"] > 0
    assert "seconds" not in result
    assert result["shot_ids"]
    other = tiny_model.build(tmp_path / "other", seed=1)
    changed = context(tmp_path, other, "changed")
    (again,) = knowledge.run(changed, KNOWLEDGE).metrics["results"]
    differ = {k for k in result["hashes"] if result["hashes"][k] != again["hashes"][k]}
    assert differ == {"model"}, "the weights count, not the path"


def test_half_a_line_is_cut_and_floats_keep_their_digits(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a.jsonl")
    kept.add({"x": [0.1 + 0.2, True], "y": "\ud800 发热\u2028"})
    with kept.path.open("ab") as file:
        file.write(b'{"values": {"z"')
    again = Kept(kept.path)
    assert again.values == kept.values
    again.add({"z": "1"})
    assert Kept(kept.path).values == kept.values | {"z": "1"}
