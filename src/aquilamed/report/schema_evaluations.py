"""What summary.json holds of the evaluations; see schema.py."""

from typing import Any, Literal

from pydantic import Field

from aquilamed.report.schema_part import Interval, Measured, Part


class Knowledge(Part):
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


class KnowledgeComparison(Part):
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


class Pairwise(Part):
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


class Multiturn(Part):
    """Dialogues judged round by round, 1 to 5 per aspect; {} where not measured."""

    judge: Measured = None
    panel: list[dict[str, Any]] = Field(default_factory=list)
    """The judges beside it."""
    history: str | None = None
    models: dict[str, Any] = Field(default_factory=dict)
    """Model → {rounds, average, benchmarks}: means with n, dialogues, unscored and `intervals` in each."""
    agreement: Measured = None
    """Aspect → [{judges, equal, weighted_kappa, …}] of a panel."""


class ProbeGroup(Part):
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


class SafetyProbe(Part):
    """The safety probe; {} where not measured."""

    judge: Measured = None
    results: list[ProbeGroup] = Field(default_factory=list)
    categories: list[ProbeGroup] = Field(default_factory=list)
