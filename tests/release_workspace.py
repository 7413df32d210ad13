"""A finished workspace without running anything: every stage's parts and manifest at the place where the runner would put them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from aquilamed.pipeline import states
from aquilamed.recipe import Recipe, load_recipe
from aquilamed.records import write_json, write_parts
from aquilamed.stages import BY_NAME
from aquilamed.workspace import HashCache, Workspace

HOSTILE = "x](https://evil.example) <img src=x onerror=alert(1)> | `tick` www.evil.example\n---\nlicense: mit\n# {{ 7*7 }} \u202e $x$"
FINISHED = "2026-11-26T10:00:00+00:00"
QUESTION, ANSWER = "What is a fever?", "发热是指体温高于正常范围。"
SOURCES = [("open", "CC0-1.0"), ("shared", "CC-BY-SA-4.0"), ("closed", "research"), ("silent", "")]


def recipe_values(**changes: Any) -> dict[str, Any]:
    """A recipe with dialogues, documents and both trainings behind them; nothing in it exists as a file but data.jsonl."""
    source = {"path": "data.jsonl"}
    values: dict[str, Any] = {
        "name": "ward",
        "annotator": {"kind": "offline", "api_key_env": "WARD_KEY", "base_url": "http://intern.example/v1"},
        "sources": {
            "documents": {"sources": [{"name": "open", "license": "CC0-1.0", **source}]},
            "dialogues": {
                "sources": [{"name": n, "form": "messages", "license": one, **source} for n, one in SOURCES if one]
            },
        },
        "pretrain": {"stage1": None, "stage2": None},
        "evaluate": {"pairwise": None, "multiturn": None, "safety": None},
        "prefer": {"objective": None},
    }
    return values | changes


def make(
    root: Path, model: Path | None = None, records: Callable[[str], pl.DataFrame] | None = None, **changes: Any
) -> Workspace:
    """A workspace of which every stage is done.

    Args:
        model: what finetune and align are said to have made.
        records: stage → its kept records, where they are not the usual ones.
    """
    data = root / "secret-folder"
    data.mkdir(parents=True)
    (data / "data.jsonl").write_text("{}\n", encoding="utf-8")
    base = data / "base-model"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\nA base.\n", encoding="utf-8")
    space = Workspace(root / "space")
    space.root.mkdir()
    text = yaml.safe_dump({"base_model": {"path": str(base)}} | recipe_values(**changes) | {"data_root": str(data)})
    (space.root / "recipe.yaml").write_text(text, encoding="utf-8")
    cache = HashCache(space.root / "inputs.json")
    for path in (data / "data.jsonl", base / "README.md"):
        cache.get(path, compute=True)
    recipe = load_recipe(space.root / "recipe.yaml")
    found = states(recipe, space)
    fingerprints = {s.name: s.fingerprint for s in found}
    for state in found:
        folder = space.folder(state.name, str(state.fingerprint))
        folder.mkdir(parents=True)
        manifest = _manifest(recipe, state.name, {i: fingerprints[i] for i in state.inputs})
        if BY_NAME[state.name].records:
            kept = (records or usual)(state.name)
            write_parts(folder / "kept", kept, rows=12)
            write_parts(folder / "dropped", kept.head(0))
            reasons = {f"{state.name.split('/')[1]}.rule": 3}
            manifest |= {
                "records_in": kept.height + 3,
                "records_kept": kept.height,
                "records_dropped": 3,
                "reasons": reasons,
            }
        elif state.name in ("finetune", "align") and model is not None:
            shutil.copytree(model, folder / "model")
        space.commit(state.name, str(state.fingerprint), manifest | {"fingerprint": state.fingerprint})
    return space


def usual(stage: str) -> pl.DataFrame:
    """What a stage kept: forty dialogues, pairs or documents, a quarter from each source."""
    rows = []
    for i in range(40):
        source, license = SOURCES[i % 4]
        common = {
            "id": f"{stage.partition('/')[0]}{i:03d}",
            "source": source,
            "license": license,
            "origin": f"deep/folder/data.jsonl:{i}",
        }
        lang = "zh" if i % 2 else "en"
        if stage.startswith("corpus") or stage == "sources/documents":
            text = {
                "text": f"{ANSWER} {i}",
                "lang": lang,
                "domain": "medical" if i % 3 else "general",
                "tokens": 10 + i,
            }
            rows.append(common | text | {"split": "heldout" if i % 10 == 0 else "train"})
            continue
        asked = [{"role": "user", "content": f"{QUESTION} {i}"}]
        told = [{"role": "assistant", "content": f"{ANSWER} {i}"}]
        if stage.startswith("prefer"):
            kind = {"kind": "subjective", "lang": lang, "prompt": asked, "chosen": told}
            rows.append(common | kind | {"rejected": [{"role": "assistant", "content": "no"}], "margin": 1.0})
            continue
        system = [{"role": "system", "content": "You are a doctor."}] if i % 5 == 0 else []
        rounds = (asked + told) * (1 + i % 3)
        kind = f"{'single' if i % 3 == 0 else 'multi'}_turn_QA_{lang}"
        scores = {"complexity": 2.0, "quality": 3.0, "deita": 6.0, "relevance": [None, 0.5], "pii": None}
        topics = {"department": "cardiology" if i % 4 == 0 else None, "diseases": ["asthma", "gout"][: i % 3]}
        rows.append(common | {"kind": kind, "lang": lang, "messages": system + rounds} | scores | topics)
    return pl.DataFrame(
        rows, infer_schema_length=None, schema_overrides={"pii": pl.String} if stage.startswith("inst") else None
    )


def _manifest(recipe: Recipe, stage: str, inputs: dict[str, Any]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    if stage.startswith("sources/"):
        section = recipe.sources.dialogues if stage.endswith("dialogues") else recipe.sources.documents
        assert section is not None
        metrics["licenses"] = {s.terms().name: s.terms().model_dump(exclude={"name"}) for s in section.sources}
    if stage.endswith("/decontaminate"):
        leaked = {
            "questions": 4321,
            "too_short": 21,
            "leaked_questions": 17,
            "leaked_share": 0.0039,
            "documents_dropped": 19,
        }
        metrics["benchmarks"] = {"mmlu": leaked}
    if stage == "instruct/deita":
        metrics |= {"scorer": "model", "deita": {"n": 40, "mean": 6.0, "histogram": [[1.0, 12], [2.0, 20], [3.0, 8]]}}
    if stage == "instruct/safety":
        metrics["masked_dialogues"] = 1234
    if stage == "prefer/subjective":
        judge = {
            "kind": "openai",
            "name": HOSTILE,
            "rubrics": {"compare": "f" * 32},
            "calls": 777,
            "errors": {"timeout": 5},
        }
        metrics |= {"judge": judge, "agreement": {"equal": 0.8125, "kappa": 0.7}}
    if stage in ("finetune", "align"):
        metrics |= {
            "loss": [[1, 3.25], [2, 2.125]],
            "steps": 2,
            "tokens": 515,
            "tokens_per_second": 61.5,
            "method": "full",
        }
    if stage == "align":
        told = {"accuracy": 0.5, "margin": 0.0}
        metrics |= {
            "step0_loss": 0.6931,
            "before": told,
            "after": {"accuracy": 0.8125, "margin": 0.01},
            "pairs": {"train": 33},
        }
        metrics["measured_on"] = "validation"
    if stage == "evaluate/knowledge":
        scored = {"task": "mmlu", "n": 613, "shots": 3, "accuracy": 0.4375, "stderr": 0.0521, "chance": 0.25}
        scored |= {"interval": [0.34, 0.54], "invalid": 2, "leaked": None, "clean": None}
        metrics["results"] = [
            {"model": "align", "model_fingerprint": inputs.get("align"), **scored},
            {"model": "base", "model_fingerprint": "base:b", **scored, "accuracy": 0.25},
        ]
    return {
        "stage": stage,
        "code": "c" * 32,
        "seed": recipe.seed,
        "params": {"config": {"answers": "annotator"}} if stage == "prefer/subjective" else {},
        "inputs": inputs,
        "files": {"secret-folder/data.jsonl": "d" * 32} if stage.startswith("sources/") else {},
        "finished": FINISHED,
        "seconds": 1.0,
        "attempts": 1,
        "metrics": metrics,
        "versions": {"python": "3.11"},
    }


def change(space: Workspace, stage: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit a stage's manifest in place."""
    import json

    path = next((space.root / stage).glob("*/manifest.json"))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    write_json(path, manifest)
