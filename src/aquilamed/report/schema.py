"""What summary.json holds: one model per part, and their JSON schema (`aquilamed report --schema`, docs/summary.schema.json).

Stable: keys may be added, so readers ignore keys that they do not know; a key that goes or changes its meaning raises `schema`. A value
that was not measured is null. What a stage reports of itself stands there as it measured it; its keys may be absent.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = 1
Measured = dict[str, Any] | None
Interval = tuple[float, float] | None
ByLanguage = dict[str, float] | None


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Stage(_Part):
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


class Filter(_Part):
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


class LossComparison(_Part):
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


class PackPerplexity(_Part):
    """Perplexity of one pack's held-out documents, per token, by language."""

    before: ByLanguage
    after: ByLanguage
    intervals: dict[Literal["before", "after"], dict[str, Interval]] | None = None
    """95 %, bootstrap over documents."""
    documents: dict[str, int] | None = None
    comparisons: list[LossComparison] = Field(default_factory=list)


class PerplexitySets(_Part):
    """base and stage1 are measured on pack1's held-out documents, stage2 on pack2's: only numbers of one set compare."""

    pack1: PackPerplexity | None
    pack2: PackPerplexity | None


class Perplexity(_Part):
    """Held-out perplexity by model."""

    base: ByLanguage
    stage1: ByLanguage
    stage2: ByLanguage
    sets: PerplexitySets


class Training(_Part):
    """A training's loss curve and cost."""

    loss: list[tuple[float, float | None]] | None
    """[step, nats], per token (align: per pair)."""
    steps: int | None
    tokens: int | None
    """Padding included."""
    tokens_per_second: float | None
    method: str | None


class Finetune(_Part):
    """Validation loss of supervised fine-tuning, nats per token."""

    eval_loss: list[tuple[float, float | None]] | None
    first: float | None
    """Before the first step."""
    best: float | None
    best_step: int | None
    comparison: LossComparison | None = None
    """Of the saved model with the one before, over the validation dialogues."""
    rows: Measured


class Align(_Part):
    """Direct preference optimisation: preference accuracy (a share) and margin before and after."""

    step0_loss: float | None
    """ln 2 when the reference is right."""
    before: Measured
    after: Measured
    comparison: Measured = None
    """{n, gained, lost, p, noise}: pairs moved towards the chosen answer and away from it, a sign test."""
    pairs: Measured
    measured_on: str | None


class Composition(_Part):
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


class Knowledge(_Part):
    """A model on a multiple-choice benchmark, in percent."""

    model: str
    task: str
    n: int
    shots: int
    accuracy: float | None
    stderr: float | None
    interval: Interval
    """95 %, bootstrap."""
    chance: float | None
    invalid: int
    """Answers that name no option."""
    unscored: int
    """An endpoint's calls that failed: in no other figure."""
    leaked: Measured
    """{n, accuracy, …} on questions that a training set holds; shares."""
    clean: Measured
    turned: Measured
    """Under turned options: accuracy, per_order, flipped; shares."""
    paper: float | None
    """The accuracy of the paper's model of the same stage."""
    paper_model: str | None


class KnowledgeComparison(_Part):
    """A model against the one before it on the same questions: McNemar's exact test, bootstrap interval; shares."""

    task: str
    model: str
    against: str
    n: int
    difference: float | None
    interval: Interval
    gained: int
    lost: int
    p: float
    noise: bool


class Pairwise(_Part):
    """Answers of a model judged against others' (evaluate/verdicts.py); with several judges the majority's figures."""

    model: str
    against: str
    benchmark: str
    n: int
    win: int
    tie: int
    loss: int
    unscored: int
    """Pairs of which a judgement failed: in no share."""
    shares: dict[str, Any] = Field(default_factory=dict)
    """Outcome → {share, interval}, of the scored pairs."""
    win_rate: float | None = None
    """A tie is half a win."""
    win_rate_interval: Interval = None
    length_controlled: Measured = None
    """{win_rate, interval, slope, extrapolated, reason}: at equal length (evaluate/length_control.py)."""
    characters: Measured = None
    position: Measured = None
    """The judge's position bias: {n, first, second, agree}; with several judges in `judges`, as `aspects`."""
    aspects: Measured = None
    judges: list[dict[str, Any]] | None = None
    agreement: list[dict[str, Any]] | None = None
    self_preference: list[dict[str, Any]] | None = None


class Multiturn(_Part):
    """Dialogues judged round by round, 1 to 5 per aspect; {} where not measured."""

    judge: Measured = None
    panel: list[dict[str, Any]] = Field(default_factory=list)
    """The judges beside it."""
    history: str | None = None
    models: dict[str, Any] = Field(default_factory=dict)
    """Model → {rounds, average, benchmarks}: means with n, dialogues, unscored and `intervals` in each."""
    agreement: Measured = None
    """Aspect → [{judges, equal, weighted_kappa, …}] of a panel."""


class ProbeGroup(_Part):
    """A model on the safety probe's cases of one kind, and of one `lang` or one `category`; shares."""

    model: str
    lang: str | None = None
    category: str | None = None
    kind: Literal["red_flag", "not_urgent", "trap", "harmless"]
    n: int
    right: int
    wrong: int
    undecided: int
    unscored: int | None = None
    """An endpoint's calls that failed: in no other figure."""
    judged: int
    share: float | None
    """Right, of the decided."""
    interval: Interval
    at_least: float | None
    """Counts the undecided as wrong; `at_most` as right."""
    at_most: float | None
    named: float | None
    leaked: int | None = None
    """Cases that a training set holds."""


class SafetyProbe(_Part):
    """The safety probe; {} where not measured."""

    judge: Measured = None
    results: list[ProbeGroup] = Field(default_factory=list)
    categories: list[ProbeGroup] = Field(default_factory=list)


class Annotation(_Part):
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


class Summary(_Part):
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
