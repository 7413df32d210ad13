"""Stage corpus/domain: a classifier learns the labels and judges the whole corpus (paper section 1, step 3).

The held-out seeds are split in two: one half calibrates the probabilities and chooses the threshold, the other gives the
reported figures. General documents stay: the mix needs them.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from aquilamed.config import StageFailed
from aquilamed.corpus.calibrate import Calibration, calibrate, calibration_error
from aquilamed.corpus.domain_labels import GENERAL
from aquilamed.corpus.student import Floats, StudentConfig, hash_order, load_student, split_heldout, train_student
from aquilamed.engine import no_reason
from aquilamed.records import iter_parts, read_parts, write_json
from aquilamed.stage import Context, Result

_SOURCE, _LABELS = "corpus/decontaminate", "corpus/domain_labels"
_SHOWN = 20  # uncertain examples in the metrics


class DomainConfig(StudentConfig):
    """The domain classifier."""

    threshold: float | None = Field(default=None, gt=0, lt=1)
    """Calibrated probability from which on a document belongs to the domain; none is the best F1 on held-out seeds."""


def run(ctx: Context, config: DomainConfig) -> Result:
    """Train, calibrate, then label every document. Nothing is dropped."""
    labelled = read_parts(ctx.inputs[_LABELS].kept, columns=["id", "lang", "text", "domain", "round"])
    domain = _domain_name(labelled)
    trained = ctx.work / "trained.json"
    if not trained.exists():
        write_json(trained, _train(ctx, config, labelled, domain))
    metrics = json.loads(trained.read_text(encoding="utf-8"))
    kernel = partial(label_documents, folder=str(ctx.out / "classifier"), domain=domain)
    ctx.flow(kernel, _SOURCE, "domain", gpu=config.backend == "transformers")
    counts = {domain: 0, GENERAL: 0}
    for part in iter_parts(ctx.out / "kept", columns=["domain"]):
        for name in counts:
            counts[name] += int((part["domain"] == name).sum())
    return Result({**metrics, "labels": counts})


def label_documents(frame: pl.DataFrame, folder: str, domain: str) -> pl.DataFrame:
    """Kernel: add `domain` and `domain_score` (the domain's calibrated probability)."""
    calibration = Calibration.load(Path(folder) / "calibration.json")
    scores = calibration(load_student(folder).predict(frame["text"].to_list()))
    names = [domain if s >= calibration.threshold else GENERAL for s in scores]
    added = frame.with_columns(
        pl.Series("domain", names, dtype=pl.String), pl.Series("domain_score", np.round(scores, 4), dtype=pl.Float64)
    )
    return no_reason(added)


def _domain_name(labelled: pl.DataFrame) -> str:
    names = sorted(set(labelled["domain"].to_list()) - {GENERAL}) if labelled.height else []
    if len(names) != 1:
        raise StageFailed(f"the kept seeds hold no document of the domain ({labelled.height} seeds): label more seeds")
    return str(names[0])


def _train(ctx: Context, config: DomainConfig, labelled: pl.DataFrame, domain: str) -> dict[str, Any]:
    """Only seeds are held out: what the loop added is harder than the corpus is."""
    ids, texts = labelled["id"].to_list(), labelled["text"].to_list()
    seeds = labelled.filter(pl.col("round") == 0)["id"].to_list()
    out = [i for i, h in zip(seeds, split_heldout(seeds, config.heldout, ctx.seed), strict=True) if h]
    order = [out[n] for n in hash_order(out, ctx.seed, "calibration")]
    half = len(order) // 2
    place = {i: n for n, i in enumerate(ids)}
    fit, test = ([place[i] for i in part] for part in (order[:half], order[half:]))
    training = sorted(set(range(len(ids))) - set(fit) - set(test))
    targets: Floats = (labelled["domain"] == domain).to_numpy().astype(np.float64)
    weights = language_weights(labelled["lang"].to_list())
    student = train_student(
        "classify", [texts[n] for n in training], targets[training], config, ctx.seed, weights[training]
    )
    student.save(ctx.out / "classifier")
    calibration = calibrate(student.predict([texts[n] for n in fit]), targets[fit], config.threshold)
    calibration.save(ctx.out / "classifier" / "calibration.json")
    raw = student.predict([texts[n] for n in test])
    scores = calibration(raw)
    figures = classification(targets[test] >= 0.5, scores >= calibration.threshold, domain)
    sizes = {"train": len(training), "calibration": len(fit), "heldout": len(test)}
    errors = {"raw": calibration_error(raw, targets[test]), "calibrated": calibration_error(scores, targets[test])}
    doubtful = np.argsort(np.abs(scores - calibration.threshold), kind="stable")[:_SHOWN].tolist()
    examples = [
        {"text": texts[test[n]][:160], "label": labelled["domain"][test[n]], "probability": round(float(scores[n]), 4)}
        for n in doubtful
    ]
    return {
        "backend": config.backend,
        **figures,
        **sizes,
        "threshold": calibration.threshold,
        "calibration_error": errors,
        "uncertain": examples,
    }


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
