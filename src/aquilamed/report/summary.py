"""summary.json: the numbers of a run under stable keys, for scripts and for the README.

    schema          1; raised when a key changes its meaning
    fingerprint     of everything shown; equal means the report is up to date
    recipe, seed, annotator
    stages          name → {state, why, fingerprint, seconds, attempts, records_in, records_kept, records_dropped,
                    reasons}
    filters         filter → {n, true_positive, false_positive, false_negative, precision, recall, defects, found,
                    mistaken}; only with the sample, whose truth is known (report/truth.py)
    agreement       {domain, quality} → {answered, equal, kappa, …} of two annotation rounds
    domain          {backend, f1, accuracy, confusion, train, calibration, heldout, threshold, calibration_error,
                    uncertain, labels} of the domain classifier
    domain_rounds   [{round, labels, f1}] of the labelling loop
    quality         {spearman, mae, threshold, histogram, …} of the quality regressor
    mixes, packs    {mix1, mix2}, {pack1, pack2} → what the stages measured
    contamination   {corpus, instruct, prefer} → benchmark → {questions, too_short, leaked_questions, leaked_share, documents_dropped}
    duplicates      {dedup, questions} → {exact, near, within, across, sources}; sources: what stays → what goes → count
    safety          what instruct/safety measured: certain, doubtful, judged, by kind, classifier, audit, masked
    perplexity      {base, stage1, stage2} → {zh, en} per token of held-out text; `sets` → {pack1, pack2} →
                    {before, after}: base and stage1 are measured on pack1's held-out documents, stage2 on pack2's
    trainings       stage → {loss, steps, tokens, tokens_per_second, method}; loss is [[step, nats], …], per token
                    (align: per pair)
    sft             {eval_loss, first, best, best_step, rows}
    dpo             {step0_loss, before, after, pairs, measured_on}
    deita           {scorer, scored_by, complexity, quality, deita, grid, regressor, …}: what the stage measured
    relevance       {relevance: {n, mean, histogram}, …} of turns
    composition     {counts, shares, paper} of the SFT set by kind; `kinds` → {asked, available, not_diverse, taken};
                    target, languages, paper_languages, thresholds, histograms
    topics          {departments, no_department, diseases, no_disease} of the SFT set, before selection where that is not done
    preferences     {subjective, objective, select} → what the stages measured; select: {before, after} → kind → the audit,
                    `human` → what doctors said and how far they agree
    knowledge       [{model, task, n, shots, accuracy, stderr, interval, chance, invalid, paper, paper_model}], percent; `leaked`
                    and `clean` ({n, accuracy, …}) and `turned` as evaluate/knowledge gives them, shares
    knowledge_comparisons  [{task, model, against, n, difference, interval, gained, lost, p, noise}], shares
    pairwise        [{model, against, benchmark, n, win, tie, loss, unscored, shares, win_rate, win_rate_interval,
                    length_controlled, characters, position, aspects}]; aspects: aspect → {win, tie, loss}; shares: outcome →
                    {share, interval}; length_controlled: {win_rate, interval, slope, extrapolated, reason};
                    position: {n, first, second, agree}, the last three {share, interval} (evaluate/verdicts.py).
                    With several judges the figures are the majority's; position and aspects stand in `judges`: [{judge, …}];
                    agreement: [{judges, equal, kappa, …}]; self_preference: [{own, judge, n, given, others, difference,
                    interval}]
    multiturn       {judge, history, models}; models → {rounds, average, benchmarks}: 1 to 5 per aspect, with n, dialogues,
                    unscored and `intervals` (aspect → [low, high]) in each; with several judges also judges → average, and
                    `agreement`: aspect → [{judges, equal, weighted_kappa, …}]
    safety_probe    {judge, results, categories}: [{model, kind, lang (or category), n, right, wrong, undecided, judged, share,
                    interval, at_least, at_most, named}], shares; kind: red_flag, not_urgent, trap, harmless
    annotations     [{stage, kind, name, calls, cached, errors, tokens_in, tokens_out, cost}]
    total_seconds   of all finished stages
    versions        library → version (several with " / " where stages were made with different ones)

A value that was not measured is null (or its key is absent inside what a stage reports itself).
"""

from typing import Any

from aquilamed.evaluate.parity import beside
from aquilamed.report.gather import Run
from aquilamed.report.truth import measure

STAGE_KEYS = ("fingerprint", "seconds", "attempts", "records_in", "records_kept", "records_dropped", "reasons")
TRAININGS = ("pretrain/stage1", "pretrain/stage2", "finetune", "align")
ANNOTATED = {
    "corpus/domain_labels": "annotator",
    "corpus/quality_labels": "annotator",
    "instruct/safety": "annotator",
    "instruct/topics": "annotator",
    "instruct/deita": "annotator",
    "prefer/subjective": "judge",
    "evaluate/pairwise": "judge",
    "evaluate/multiturn": "judge",
    "evaluate/safety": "judge",
}


def summarise(run: Run) -> dict[str, Any]:
    """The values of summary.json."""
    artifacts = run.artifacts()
    return {
        "schema": 1,
        "fingerprint": run.fingerprint(),
        "recipe": run.recipe,
        "seed": run.seed,
        "annotator": run.annotator,
        "stages": {
            s.name: {"state": s.state, "why": s.why, **{k: s.manifest.get(k) for k in STAGE_KEYS}} for s in run.stages
        },
        "filters": measure(artifacts.get("sample"), artifacts),
        "agreement": {k: run.metric(f"corpus/{k}_labels", "agreement") for k in ("domain", "quality")},
        "domain": run.metric("corpus/domain"),
        "domain_rounds": run.metric("corpus/domain_labels", "rounds"),
        "quality": run.metric("corpus/quality"),
        "mixes": {k: run.metric(f"corpus/{k}") for k in ("mix1", "mix2")},
        "packs": {k: run.metric(f"corpus/{k}") for k in ("pack1", "pack2")},
        "contamination": {k: run.metric(f"{k}/decontaminate", "benchmarks") for k in ("corpus", "instruct", "prefer")},
        "duplicates": {k: run.metric(f"instruct/{k}") for k in ("dedup", "questions")},
        "safety": run.metric("instruct/safety"),
        "perplexity": perplexity(run),
        "trainings": {s: training(run, s) for s in TRAININGS if s in artifacts},
        "sft": sft(run),
        "dpo": {k: run.metric("align", k) for k in ("step0_loss", "before", "after", "pairs", "measured_on")},
        "deita": run.metric("instruct/deita"),
        "relevance": run.metric("instruct/relevance"),
        "topics": run.metric("instruct/select", "topics") or topics(run),
        "composition": {
            **{k: run.metric("instruct/select", k) for k in _SELECT},
            "counts": run.metric("instruct/select", "composition"),
            "shares": run.metric("instruct/select", "composition_share"),
            "paper": run.metric("instruct/select", "paper_share"),
        },
        "preferences": {k: run.metric(f"prefer/{k}") for k in ("subjective", "objective", "select")},
        "knowledge": beside(run.metric("evaluate/knowledge", "results") or []),
        "knowledge_comparisons": run.metric("evaluate/knowledge", "comparisons") or [],
        "pairwise": run.metric("evaluate/pairwise", "comparisons") or [],
        "multiturn": run.metric("evaluate/multiturn") or {},
        "safety_probe": run.metric("evaluate/safety") or {},
        "annotations": annotations(run),
        "total_seconds": sum(a.manifest.get("seconds") or 0 for a in artifacts.values()),
        "versions": versions(run),
    }


_SELECT = ("kinds", "target", "languages", "paper_languages", "thresholds", "histograms")


def topics(run: Run) -> dict[str, Any] | None:
    """The labels of all dialogues, where the selection is not done."""
    told = run.metric("instruct/topics")
    keys = ("departments", "no_department", "diseases", "no_disease")
    return {k: told[k] for k in keys} if told else None


def perplexity(run: Run) -> dict[str, Any]:
    """Held-out perplexity per language; which documents each pair of numbers was measured on is in `sets`."""
    one, two = (run.metric(f"pretrain/{s}", "perplexity") or {} for s in ("stage1", "stage2"))
    return {
        "base": one.get("before") if one else two.get("before"),
        "stage1": one.get("after"),
        "stage2": two.get("after"),
        "sets": {"pack1": one or None, "pack2": two or None},
    }


def training(run: Run, stage: str) -> dict[str, Any]:
    """A training's loss curve and cost."""
    return {k: run.metric(stage, k) for k in ("loss", "steps", "tokens", "tokens_per_second", "method")}


def sft(run: Run) -> dict[str, Any]:
    """Validation loss before the first step, at its best, and all of them."""
    losses = run.metric("finetune", "eval_loss") or []
    values = [loss for _, loss in losses if loss is not None]
    return {
        "eval_loss": losses or None,
        "first": values[0] if values else None,
        "best": min(values) if values else None,
        "best_step": run.metric("finetune", "best_step"),
        "rows": run.metric("finetune", "rows"),
    }


def annotations(run: Run) -> list[dict[str, Any]]:
    """What every annotating stage said about its annotator or judge."""
    keys = ("kind", "name", "calls", "cached", "errors", "tokens_in", "tokens_out", "cost", "rubrics")
    told = [(stage, t) for stage, key in ANNOTATED.items() for t in (run.metric(stage, key), *_panel(run, stage))]
    return [{"stage": stage, **{k: t.get(k) for k in keys}} for stage, t in told if isinstance(t, dict)]


def _panel(run: Run, stage: str) -> list[Any]:
    return run.metric(stage, "panel") or []


def versions(run: Run) -> dict[str, str]:
    """Library → version, over all finished stages."""
    found: dict[str, set[str]] = {}
    for artifact in run.artifacts().values():
        for name, version in artifact.manifest.get("versions", {}).items():
            found.setdefault(name, set()).add(version)
    return {name: " / ".join(sorted(values)) for name, values in found.items()}
