"""Which texts belong to the domain (paper section 1, steps 1 to 3).

`run_labels` draws seed documents and has each labelled twice; where the labels differ the seed is dropped. `run` trains
a classifier on the seeds that are left and labels the whole corpus. General documents stay: the mix needs them.
"""

import json
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from aquilamed.annotate import DomainLabel, domain_rubric
from aquilamed.annotate.agreement import TwoRounds, agreement, kept_label
from aquilamed.config import Config, StageFailed
from aquilamed.corpus.seeds import annotate_twice, draw, fetch, write_verdicts
from aquilamed.corpus.student import Floats, StudentConfig, load_student, split_heldout, train_student
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts, read_parts, write_json
from aquilamed.stage import Context, Result

GENERAL = "general"
_SOURCE, _LABELS = "corpus/decontaminate", "corpus/domain_labels"


class DomainLabelsConfig(Config):
    """The seed sample and its labels."""

    seeds: int = Field(default=20_000, ge=1)
    """Documents that are drawn and labelled."""
    languages: list[str] = Field(default=["zh", "en"], min_length=1)
    """Languages that get equal shares of the seeds; "zh" covers "zh-Hant" too."""
    domain: str = Field(default="medical", pattern=r"^[a-z][a-z0-9_-]*$")
    """The domain's label; everything else is "general"."""
    about: str = ""
    """What belongs to the domain, for the prompt; unused for "medical", whose prompt says it."""
    max_failed: float = Field(default=0.1, ge=0, le=1)
    """Largest share of seeds without two answers; with more the stage fails."""

    @field_validator("domain")
    @classmethod
    def _not_the_rest(cls, domain: str) -> str:
        if domain == GENERAL:
            raise ValueError(f'"{GENERAL}" is the label of everything outside of the domain; name the domain')
        return domain


class DomainConfig(StudentConfig):
    """The domain classifier."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Probability of the domain from which on a document belongs to it."""


def run_labels(ctx: Context, config: DomainLabelsConfig) -> Result:
    """Stage corpus/domain_labels. Dropped: domain_labels.disagreement, domain_labels.call_failed."""
    source = ctx.inputs[_SOURCE]
    groups: dict[str, list[str]] = {language: [] for language in config.languages}
    for part in iter_parts(source.kept, columns=["id", "lang"]):
        for identity, lang in part.iter_rows():
            group = next((g for g in config.languages if lang == g or lang.startswith(f"{g}-")), None)
            if group is not None:
                groups[group].append(identity)
    seeds = draw(groups, config.seeds, ctx.seed, "domain_labels")
    if not seeds:
        raise StageFailed(f"no document of the languages {', '.join(config.languages)} is left to label")
    frame = fetch(source, seeds)
    annotator = ctx.annotator()
    rubric = domain_rubric(config.domain, config.about)
    rounds = annotate_twice(annotator, rubric, frame, _label, config.max_failed)
    frame = frame.with_columns(
        pl.Series("domain", [r.first if kept_label(r) else None for r in rounds], dtype=pl.String),
        pl.Series("label_1", [r.first for r in rounds], dtype=pl.String),
        pl.Series("label_2", [r.second for r in rounds], dtype=pl.String),
    )
    verdicts = [_verdict(r) for r in rounds]
    kept = write_verdicts(ctx, frame, [v[0] for v in verdicts], [v[1] for v in verdicts])
    labels = frame["domain"].drop_nulls().to_list()
    metrics = {
        "seeds": frame.height,
        "kept": kept,
        "languages": {g: len(set(ids) & set(seeds)) for g, ids in groups.items()},
        "agreement": agreement(rounds),
        "errors": sum(r.failed is not None for r in rounds),
        "labels": {name: labels.count(name) for name in (config.domain, GENERAL)},
        "annotator": {"kind": annotator.kind, "name": annotator.name, **annotator.statistics()},
    }
    return Result(metrics, records_in=frame.height)


def _label(answer: DomainLabel) -> str:
    return answer.domain


def _verdict(rounds: TwoRounds[str]) -> tuple[str | None, str | None]:
    if rounds.failed is not None:
        return "domain_labels.call_failed", rounds.failed
    if not kept_label(rounds):
        return "domain_labels.disagreement", f"round 1 says {rounds.first}, round 2 says {rounds.second}"
    return None, None


def run(ctx: Context, config: DomainConfig) -> Result:
    """Stage corpus/domain: train, then label every document. Nothing is dropped."""
    labelled = read_parts(ctx.inputs[_LABELS].kept, columns=["id", "lang", "text", "domain"])
    domain = _domain_name(labelled)
    trained = ctx.work / "trained.json"
    if not trained.exists():
        write_json(trained, _train(ctx, config, labelled, domain))
    metrics = json.loads(trained.read_text(encoding="utf-8"))
    folder = str(ctx.out / "classifier")
    kernel = partial(label_documents, folder=folder, domain=domain, threshold=config.threshold)
    ctx.flow(kernel, _SOURCE, "domain", gpu=config.backend == "transformers")
    counts = {domain: 0, GENERAL: 0}
    for part in iter_parts(ctx.out / "kept", columns=["domain"]):
        for name in counts:
            counts[name] += int((part["domain"] == name).sum())
    return Result({**metrics, "labels": counts})


def label_documents(frame: pl.DataFrame, folder: str, domain: str, threshold: float) -> pl.DataFrame:
    """Kernel: add `domain` and `domain_score` (the domain's probability)."""
    scores = np.round(load_student(folder).predict(frame["text"].to_list()), 4)
    names = [domain if s >= threshold else GENERAL for s in scores]
    added = frame.with_columns(
        pl.Series("domain", names, dtype=pl.String), pl.Series("domain_score", scores, dtype=pl.Float64)
    )
    return no_reason(added)


def _domain_name(labelled: pl.DataFrame) -> str:
    names = sorted(set(labelled["domain"].to_list()) - {GENERAL}) if labelled.height else []
    if len(names) != 1:
        raise StageFailed(f"the kept seeds hold no document of the domain ({labelled.height} seeds): label more seeds")
    return str(names[0])


def _train(ctx: Context, config: DomainConfig, labelled: pl.DataFrame, domain: str) -> dict[str, Any]:
    held = split_heldout(labelled["id"].to_list(), config.heldout, ctx.seed)
    targets: Floats = (labelled["domain"] == domain).to_numpy().astype(np.float64)
    texts = labelled["text"].to_list()
    weights = language_weights(labelled["lang"].to_list())
    training = [t for t, h in zip(texts, held, strict=True) if not h]
    student = train_student("classify", training, targets[~held], config, ctx.seed, weights[~held])
    student.save(ctx.out / "classifier")
    predicted = student.predict([t for t, h in zip(texts, held, strict=True) if h]) >= config.threshold
    figures = classification(targets[held] >= 0.5, predicted, domain)
    return {"backend": config.backend, **figures, "train": int((~held).sum()), "heldout": int(held.sum())}


def language_weights(langs: list[str]) -> Floats:
    """Weights by which every language (zh-Hant is zh) counts the same, where the sample could not be balanced."""
    names = [lang.split("-")[0] for lang in langs]
    sizes = {name: names.count(name) for name in set(names)}
    return np.asarray([len(names) / (len(sizes) * sizes[name]) for name in names])


def classification(truth: Any, predicted: Any, domain: str) -> dict[str, Any]:
    """F1 of both classes (null where a class neither occurs nor is predicted), accuracy, and the confusion (truth →
    predicted → count)."""
    count = {(t, p): int(((truth == t) & (predicted == p)).sum()) for t in (True, False) for p in (True, False)}
    f1 = {}
    for name, positive in ((domain, True), (GENERAL, False)):
        hits, misses = count[positive, positive], count[positive, not positive] + count[not positive, positive]
        f1[name] = 2 * hits / (2 * hits + misses) if hits or misses else None
    names = {True: domain, False: GENERAL}
    confusion = {names[t]: {names[p]: count[t, p] for p in (True, False)} for t in (True, False)}
    return {"f1": f1, "accuracy": (count[True, True] + count[False, False]) / len(truth), "confusion": confusion}
