"""What summary.json holds: one model per part, and their JSON schema (`aquilamed report --schema`, docs/summary.schema.json).

Stable: keys may be added, so readers ignore keys that they do not know; a key that goes or changes its meaning raises `schema`. A value
that was not measured is null. What a stage reports of itself stands there as it measured it; its keys may be absent.
"""

from typing import Any, Literal

from pydantic import Field

from aquilamed.report.schema_evaluations import Knowledge, KnowledgeComparison, Multiturn, Pairwise, SafetyProbe
from aquilamed.report.schema_part import ByLanguage, Interval, Measured, Part

VERSION = 1


class Stage(Part):
    """A stage of the recipe; counts only of data stages."""

    state: Literal["done", "running", "failed", "interrupted", "stale", "waiting"]
    """stale: what is shown was made by earlier code of ours, or nothing is."""
    why: str
    manifest: str | None
    """Where its manifest lies, relative to the workspace."""
    fingerprint: str | None
    seconds: float | None
    attempts: int | None
    records_in: int | None
    records_kept: int | None
    records_dropped: int | None
    reasons: dict[str, int] | None
    """Reason → records dropped for it."""


class Filter(Part):
    """A filter against truth: of the sample's records that reached it."""

    n: int
    true_positive: int
    false_positive: int
    false_negative: int
    precision: float | None
    recall: float | None
    defects: list[str]
    """What it should act on."""
    found: dict[str, tuple[int, int]]
    """Defect → [acted on, there]."""
    mistaken: dict[str, int]
    """What the false positives are."""
    auc: float | None = None
    """corpus/quality alone: how often a defective text scores below a clean one."""


class LossComparison(Part):
    """The model after a training against an earlier one on the same held-out documents or dialogues: paired bootstrap; nats per token."""

    lang: str
    against: str | None = None
    documents: int
    tokens: int
    first: float
    second: float
    difference: float
    interval: Interval
    noise: bool


class PackPerplexity(Part):
    """Perplexity of one pack's held-out documents, per token, by language."""

    before: ByLanguage
    after: ByLanguage
    intervals: dict[Literal["before", "after"], dict[str, Interval]] | None = None
    """95 %, bootstrap over documents."""
    documents: dict[str, int] | None = None
    comparisons: list[LossComparison] = Field(default_factory=list)


class PerplexitySets(Part):
    """base and stage1 are measured on pack1's held-out documents, stage2 on pack2's: only numbers of one set compare."""

    pack1: PackPerplexity | None
    pack2: PackPerplexity | None


class Perplexity(Part):
    """Held-out perplexity by model."""

    base: ByLanguage
    stage1: ByLanguage
    stage2: ByLanguage
    sets: PerplexitySets


class Training(Part):
    """A training's loss curve and cost."""

    loss: list[tuple[float, float | None]] | None
    """[step, nats], per token (align: per pair)."""
    steps: int | None
    tokens: int | None
    """Padding included."""
    tokens_per_second: float | None
    method: str | None


class Finetune(Part):
    """Validation loss of supervised fine-tuning, nats per token."""

    eval_loss: list[tuple[float, float | None]] | None
    first: float | None
    """Before the first step."""
    best: float | None
    best_step: int | None
    comparison: LossComparison | None = None
    """Of the saved model with the one before, over the validation dialogues."""
    rows: Measured


class Align(Part):
    """Direct preference optimisation: preference accuracy (a share) and margin before and after."""

    step0_loss: float | None
    """ln 2 when the reference is right."""
    before: Measured
    after: Measured
    comparison: Measured = None
    """{n, gained, lost, p, noise}: pairs moved towards the chosen answer and away from it, a sign test."""
    pairs: Measured
    measured_on: str | None


class Composition(Part):
    """The SFT set by kind, and the paper's."""

    counts: dict[str, int] | None
    shares: dict[str, float] | None
    paper: dict[str, float] | None
    kinds: Measured
    """Kind → {asked, available, not_diverse, taken}."""
    target: Any
    languages: Measured
    paper_languages: Measured
    thresholds: Measured
    histograms: Measured


class Annotation(Part):
    """What a stage's annotator or judge was asked; a panel's judges each."""

    stage: str
    kind: str | None
    name: str | None
    calls: int | None
    cached: int | None
    """Answered from the call store."""
    errors: Any
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    rubrics: dict[str, str] | None
    """Rubric → the hash of its prompt and answer form."""


class Summary(Part):
    """The numbers of a run, of the stages that its workspace's recipe has."""

    version: Literal[1] = Field(alias="schema")
    """The schema's version."""
    fingerprint: str
    """Of everything shown: equal means that the report is up to date."""
    recipe: str
    seed: int
    annotator: str
    stages: dict[str, Stage]
    filters: dict[str, Filter]
    """Precision and recall; {} without the built-in sample, whose truth alone is known (report/truth.py)."""
    agreement: dict[Literal["domain", "quality"], Measured]
    """{answered, equal, kappa, …} of two annotation rounds."""
    domain: Measured
    """The domain classifier: backend, f1, accuracy, confusion, threshold, calibration_error, labels, …"""
    domain_rounds: list[dict[str, Any]] | None
    """The labelling loop: {round, labels, f1}."""
    quality: Measured
    """The quality regressor: spearman, mae, threshold, histogram, …"""
    mixes: dict[Literal["mix1", "mix2"], Measured]
    packs: dict[Literal["pack1", "pack2"], Measured]
    contamination: dict[Literal["corpus", "instruct", "prefer"], Measured]
    """Benchmark → {questions, too_short, leaked_questions, leaked_share, documents_dropped}."""
    duplicates: dict[Literal["dedup", "questions"], Measured]
    """In the SFT set: exact, near, within, across; sources: what stays → what goes → count."""
    safety: Measured
    """What instruct/safety measured: certain, doubtful, judged, by kind, classifier, audit, masked."""
    perplexity: Perplexity
    trainings: dict[str, Training]
    sft: Finetune
    dpo: Align
    deita: Measured
    """Complexity × quality of the SFT set: scorer, scored_by, complexity, quality, deita, grid, regressor, …"""
    relevance: Measured
    """Context Relevance of turns: {n, mean, histogram}."""
    topics: Measured
    """Departments and diseases of the SFT set; before selection where that is not done."""
    composition: Composition
    preferences: dict[Literal["subjective", "objective", "select"], Measured]
    """select: {before, after} → kind → the audit; `human`: what doctors said and how far they agree."""
    knowledge: list[Knowledge]
    knowledge_comparisons: list[KnowledgeComparison]
    pairwise: list[Pairwise]
    multiturn: Multiturn
    safety_probe: SafetyProbe
    calibration: Measured = None
    """The judges against people: {pairs, judges, with_people, among, self_preference} (evaluate/calibration.py)."""
    annotations: list[Annotation]
    total_seconds: float
    """Of all finished stages."""
    versions: dict[str, str]
    """Library → version; several with " / " where stages were made with different ones."""


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of summary.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Summary.model_json_schema()}
