"""LLM as annotator: one interface, three kinds (rules, a service, a local model).

annotator = ctx.annotator()
labels = annotator.annotate(DOMAIN, [{"text": "…"}], round=1)  # DomainLabel or CallError, in order
"""

from pathlib import Path

from aquilamed.annotate.catalog import (
    ANSWER,
    ASPECTS,
    COMPARE,
    COMPLEXITY,
    DOMAIN,
    QUALITY,
    RESPONSE_QUALITY,
    SAFE_ANSWER,
    SAFETY,
    TURN,
    Answer,
    DepartmentLabel,
    DomainLabel,
    QualityScore,
    SafeAnswer,
    SafetyLabel,
    Score1to6,
    TurnScores,
    Verdict,
    department_rubric,
    domain_rubric,
)
from aquilamed.annotate.contract import Annotator, AnnotatorConfig, CallError, Rubric
from aquilamed.progress import Progress

__all__ = [
    "ANSWER",
    "ASPECTS",
    "COMPARE",
    "COMPLEXITY",
    "DOMAIN",
    "QUALITY",
    "RESPONSE_QUALITY",
    "SAFETY",
    "SAFE_ANSWER",
    "TURN",
    "Annotator",
    "AnnotatorConfig",
    "Answer",
    "CallError",
    "DepartmentLabel",
    "DomainLabel",
    "QualityScore",
    "Rubric",
    "SafeAnswer",
    "SafetyLabel",
    "Score1to6",
    "TurnScores",
    "Verdict",
    "department_rubric",
    "domain_rubric",
    "open_annotator",
]


def open_annotator(config: AnnotatorConfig, root: Path, progress: Progress) -> Annotator:
    """The annotator that the config asks for.

    Args:
        root: the workspace's folder; a service's answers are stored in `root/calls.sqlite`.

    Raises `Invalid` when the key's environment variable is not set.
    """
    if config.kind == "openai":
        from aquilamed.annotate.openai import OpenAIAnnotator

        return OpenAIAnnotator(config, root, progress)
    if config.kind == "local":
        from aquilamed.annotate.local import LocalAnnotator

        return LocalAnnotator(config, progress)
    from aquilamed.annotate.offline import OfflineAnnotator

    return OfflineAnnotator(progress)
