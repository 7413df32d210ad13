"""Releases of models: safetensors, tokenizer and chat template, with a card that says what they were trained on and measured by.

Other formats of the same weights are further files of the folder: whoever writes them does so before `_files`, which lists
what is there, and checksums follow by themselves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aquilamed import __version__
from aquilamed.config import Invalid
from aquilamed.models import find_model
from aquilamed.records import iter_parts, write_atomic
from aquilamed.release import card, facts, figures, text
from aquilamed.release.folder import files, sha256
from aquilamed.release.model_tables import model_table, parameters, settings_table
from aquilamed.release.public_recipe import public_path, public_recipe
from aquilamed.release.rights import Rights, licenses_of
from aquilamed.release.tables import verify
from aquilamed.release.weights import copy_model, json_file
from aquilamed.report import dialogue_sections, knowledge_sections, probe_sections, training_sections
from aquilamed.report.cells import Table, count
from aquilamed.report.run_sections import limitations
from aquilamed.report.summary import TRAININGS, summarise
from aquilamed.stages import enabled
from aquilamed.workspace import Artifact

EVALUATIONS = ("evaluate/knowledge", "evaluate/pairwise", "evaluate/multiturn", "evaluate/safety")


@dataclass(frozen=True)
class Base:
    """The model that training started from: its name, its hub id and licence where they are known."""

    name: str
    hub: str = ""
    license: str = ""


def build(out: Path, found: facts.Facts, stage: str | None, repository: str) -> dict[str, Any]:
    """Write everything of a model release but its checksums into `out`; returns what release.json says.

    Raises:
        Invalid: no such training in the recipe, or it is not done.
        StageFailed: a file of the model was changed since its stage wrote it.
    """
    artifact = trained(found, stage)
    copy_model(artifact.path / "model", out, None, checker(artifact))
    lineage = found.lineage([artifact])
    trained_on = _training_data(found, lineage)
    write_atomic(out / "recipe.yaml", public_recipe(found.recipe).encode())
    (out / "figures").mkdir()
    summary = summarise(found.run)
    trainings = [a.stage for a in lineage if a.stage in TRAININGS]
    figures.training(out / "figures" / "training.png", summary, trainings)
    base, (rights, languages) = _base(found), _read(trained_on, lineage)
    write_atomic(out / "LICENSE.md", _licenses(base, rights).encode())
    page = _readme(out, found, artifact, lineage, summary, trainings, base, rights, languages, repository)
    write_atomic(out / "README.md", page.encode())
    return {
        "what": "model",
        "recipe": found.recipe.name,
        "finished": facts.finished([artifact]),
        "stage": artifact.stage,
        "stages": facts.provenance(lineage),
        "versions": facts.versions(lineage),
        "sha256": {name: sha256(out / name) for name in files(out)},
    }


def trained(found: facts.Facts, stage: str | None) -> Artifact:
    """The training whose model is meant; None means the recipe's last. Raises `Invalid` when it is not there or not done."""
    made = [name for name in facts.MODELS if name in enabled(found.recipe)]
    if not made:
        raise Invalid("this workspace's recipe trains no model")
    if stage is not None and stage not in made:
        raise Invalid(f"--stage {stage}: no training of this recipe; it has: {', '.join(made)}")
    try:
        return found.done(stage or made[0])
    except Invalid as error:
        done = [name for name in made if name in found.run.artifacts()]
        hint = f"; or release an earlier one: --stage {done[0]}" if done and stage is None else ""
        raise Invalid(f"{error}{hint}") from error


def checker(artifact: Artifact) -> Callable[[Path], None]:
    """What holds a file of a stage to its manifest's hash, and raises `StageFailed` when it was changed."""
    return lambda path: verify(artifact, path)


def _training_data(found: facts.Facts, lineage: Sequence[Artifact]) -> list[Artifact]:
    """The data sets that a training (or its packing) read."""
    known = found.run.artifacts()
    users = [a for a in lineage if "records_in" not in a.manifest]
    names = {name for a in users for name in a.manifest.get("inputs", {})}
    return [known[name] for name in known if name in names and "records_in" in known[name].manifest]


def _read(data: Sequence[Artifact], lineage: Sequence[Artifact]) -> tuple[Rights, set[str]]:
    """Whose records the trainings read, and in which languages they are."""
    rights, languages = Rights(licenses_of(lineage), include_restricted=True), set[str]()
    for artifact in data:
        for frame in iter_parts(artifact.kept, ["source", "license", "origin", "lang"]):
            rights.sift(frame)
            languages.update(frame["lang"].drop_nulls().unique().to_list())
    return rights, languages


def _base(found: facts.Facts) -> Base:
    """The base model by its hub name where there is one; a local folder goes by its own name."""
    path = found.recipe.base_model.path
    try:
        folder = Path(find_model(path))
    except Invalid:  # it may be on another machine: the weights are ours already
        return Base(public_path(path))
    if not folder.is_dir():
        return Base(path, hub=path)
    return told_by(folder)


def told_by(folder: Path) -> Base:
    """What a model's folder says of itself: its card's header, and what was noted when it was fetched."""
    told = _header(folder / "README.md") | json_file(folder / "source.json")
    return Base(folder.name, str(told.get("model") or ""), str(told.get("license") or ""))


def _header(readme: Path) -> dict[str, Any]:
    """The YAML header of a model's card; {} where there is none."""
    try:
        head = readme.read_text(encoding="utf-8").partition("---\n")[2].partition("\n---")[0]
        values = yaml.safe_load(head)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return {"license": values["license"]} if isinstance(values, dict) and isinstance(values.get("license"), str) else {}


def licenses(found: facts.Facts, artifact: Artifact) -> str:
    """The licences that a training's model stands under, as Markdown: its base model's and its data's."""
    lineage = found.lineage([artifact])
    return _licenses(_base(found), _read(_training_data(found, lineage), lineage)[0])


def _licenses(base: Base, rights: Rights) -> str:
    stated = f"The base model {text.code(base.name)} is under {text.code(base.license)}" if base.license else ""
    unknown = f"The licence of the base model {text.code(base.name)} is not known here: see where it came from"
    return card.render(
        "license.md.j2",
        {
            "intro": f"{stated or unknown}; the weights here are derived from it. They were trained on these sources:",
            "table": card.licenses_table(rights),
            "restricted": "",
            "outro": "No training text is part of this release. The program that made it (aquilamed) is under Apache-2.0.",
        },
    )


def _readme(
    out: Path,
    found: facts.Facts,
    artifact: Artifact,
    lineage: list[Artifact],
    summary: dict[str, Any],
    trainings: list[str],
    base: Base,
    rights: Rights,
    languages: set[str],
    repository: str,
) -> str:
    title = f"{found.recipe.name}-{artifact.stage.replace('/', '-')}"
    known = found.run.artifacts()
    evaluations = [known[name] for name in EVALUATIONS if name in known]
    results = [r for r in _results(known) if r.get("model_fingerprint") == artifact.manifest["fingerprint"]]
    mine = {**summary, "trainings": {k: summary["trainings"][k] for k in trainings}}
    perplexity = training_sections.perplexity(summary) if any(t.startswith("pretrain/") for t in trainings) else []
    trained = {
        "": training_sections.trainings(mine),
        "Perplexity of held-out text": perplexity,
        "Fine-tuning": training_sections.sft(summary) if "finetune" in trainings else [],
        "Preferences": training_sections.dpo(summary) if "align" in trainings else [],
    }
    scored = {
        "Multiple choice": knowledge_sections.knowledge(summary) if summary["knowledge"] else [],
        "Answers, judged in pairs": dialogue_sections.pairwise(summary),
        "Dialogues of several rounds": dialogue_sections.multiturn(summary),
        "Safety": probe_sections.probe(summary)[:1],
    }
    restricted = sum(rights.restricted().values())
    chain = [a for a in lineage if "records_in" in a.manifest]
    return card.render(
        "model.md.j2",
        {
            "header": card.header(
                {
                    **card.license_header([base.license] if base.license else []),
                    "language": card.languages(languages),
                    "base_model": base.hub if base.hub and base.hub == text.one_line(base.hub) else "",
                    "library_name": "transformers",
                    "pipeline_tag": "text-generation",
                    "tags": ["medical", "conversational", *(["dpo"] if "align" in trainings else []), "aquilamed"],
                    "model-index": [{"name": title, "results": _index(results)}] if results else [],
                }
            ),
            "title": title,
            "base": text.link(base.name, f"https://huggingface.co/{base.hub}" if base.hub else ""),
            "trainings": " → ".join(text.code(t) for t in trainings),
            "parameters": count(parameters(out)),
            "repository": repository,
            "chat": artifact.stage in ("finetune", "align"),
            "model_table": model_table(out),
            "files_table": _files(out),
            "settings_table": settings_table([a for a in lineage if a.stage in TRAININGS], known),
            "training_parts": _parts(trained),
            "figure": (out / "figures" / "training.png").exists(),
            "figure_alt": f"Training loss over steps of {', '.join(trainings)}; first and last values are in the table",
            "sources_table": card.sources_table(rights, left_out=False),
            "restricted": count(restricted) if restricted else "",
            "funnel_table": card.funnel_table(facts.funnel(chain)),
            "contamination_table": card.contamination_table(facts.contamination(lineage)),
            "labels_table": card.labels_table(facts.labels(lineage)),
            "evaluation_parts": _parts(scored),
            "judges_table": card.labels_table(facts.labels(evaluations)),
            "limitations": limitations(summary),
            "version": __version__,
            "recipe": text.code(found.recipe.name),
            "recipe_plain": found.recipe.name,
            "finished": facts.finished([artifact]),
            "stage": artifact.stage,
            "stages_table": card.stages_table(lineage),
        },
    )


def _parts(found: dict[str, list[Table]]) -> list[tuple[str, list[str]]]:
    """Headings with their finished tables, those without a table left out."""
    return [(heading, [text.table(t) for t in tables]) for heading, tables in found.items() if tables]


def _results(known: dict[str, Artifact]) -> list[dict[str, Any]]:
    return list(known["evaluate/knowledge"].metrics["results"]) if "evaluate/knowledge" in known else []


def _index(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The card's model-index: accuracy and its standard error as shares, with the number of questions in the name."""
    found = []
    for r in results:
        if r["accuracy"] is None:
            continue
        about = f"{r['shots']}-shot, n = {r['n']}"
        metrics = [{"type": "accuracy", "name": f"accuracy ({about})", "value": round(r["accuracy"], 6)}]
        if r["stderr"] is not None:
            metrics.append(
                {"type": "accuracy_stderr", "name": f"standard error ({about})", "value": round(r["stderr"], 6)}
            )
        task = {"type": "multiple-choice", "name": "Multiple choice"}
        found.append({"task": task, "dataset": {"type": r["task"], "name": r["task"]}, "metrics": metrics})
    return found


def _files(out: Path) -> str:
    """What the folder holds, by size."""
    body = [[text.code(name), count((out / name).stat().st_size)] for name in files(out) if name != "README.md"]
    return text.rows(["File", "Bytes"], body)
