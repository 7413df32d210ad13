"""The rubrics: what the paper has judged, by whom it is judged being a matter of `AnnotatorConfig`.

The prompts are the files of `rubrics/`; `<name>.second.txt` is the wording of the second round.
"""

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, create_model

from aquilamed.annotate.contract import Rubric, T
from aquilamed.annotate.hazards import KINDS

_FOLDER = Path(__file__).parent / "rubrics"
# Strict: `true` and 4.5 are not scores.
_Six = Annotated[int, Field(strict=True, ge=1, le=6)]
_Five = Annotated[int, Field(strict=True, ge=1, le=5)]


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DomainLabel(_Reply):
    """Whether a text belongs to the domain (paper section 1.2)."""

    domain: Literal["medical", "general"]


class QualityScore(_Reply):
    """How fit a document is for pre-training, 0 (useless) to 6 (excellent) (paper section 1.5)."""

    score: Annotated[int, Field(strict=True, ge=0, le=6)]


class Score1to6(_Reply):
    """Deita's scale for complexity and quality (paper section 3.2)."""

    score: _Six


class Answer(_Reply):
    """A doctor's answer to a dialogue (paper section 4)."""

    answer: str = Field(min_length=1)


Choice = Literal["A", "B", "tie"]
ASPECTS = ("fluency", "relevance", "completeness", "proficiency")
"""What the paper judges answers on."""


class Verdict(_Reply):
    """Which of two answers is better (paper section 5). The analysis and the four aspects are asked for first, so that
    the winner follows from them; the winner decides, the aspects say by how much."""

    analysis: str = ""
    fluency: Choice
    relevance: Choice
    completeness: Choice
    proficiency: Choice
    winner: Choice


class TurnScores(_Reply):
    """The four aspects of one turn, each 1 to 5 (paper section 5)."""

    fluency: _Five
    relevance: _Five
    completeness: _Five
    proficiency: _Five


class SafetyLabel(_Reply):
    """Whether a dialogue may be trained on, and if not, why (paper section 3, step 1)."""

    verdict: Literal["safe", "unsafe"]
    kind: Literal["none", *KINDS]  # type: ignore[valid-type]


class SafeAnswer(_Reply):
    """Whether an answer does what the safety probe expects of it."""

    analysis: str = ""
    verdict: Literal["right", "wrong", "unclear"]


def _rubric(name: str, schema: type[T]) -> Rubric[T]:
    first = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    second = _FOLDER / f"{name}.second.txt"
    return Rubric(name, first, schema, second.read_text(encoding="utf-8") if second.exists() else "")


DOMAIN = _rubric("domain", DomainLabel)
"""For the domain "medical"; `domain_rubric` asks for others."""
QUALITY = _rubric("quality", QualityScore)
COMPLEXITY = _rubric("complexity", Score1to6)
RESPONSE_QUALITY = _rubric("response_quality", Score1to6)
ANSWER = _rubric("answer", Answer)
COMPARE = _rubric("compare", Verdict)
TURN = _rubric("turn", TurnScores)
SAFETY = _rubric("safety", SafetyLabel)
SAFE_ANSWER = _rubric("safe_answer", SafeAnswer)


class DepartmentLabel(_Reply):
    """The hospital department that a dialogue belongs to (paper section 3); `department_rubric` closes the list."""

    department: str


def department_rubric(names: Mapping[str, str]) -> Rubric[DepartmentLabel]:
    """Which of some departments a dialogue belongs to, or "none".

    Args:
        names: the label of each department → what it is called, for the prompt.
    """
    labels: Any = cast(Any, Literal)[(*names, "none")]
    schema = create_model("DepartmentLabel", __base__=DepartmentLabel, department=(labels, ...))
    listed = "\n".join(f"{label}: {name}" for label, name in names.items()).replace("$", "$$")
    wordings = [(_FOLDER / f"department{number}.txt").read_text(encoding="utf-8") for number in ("", ".second")]
    first, second = (string.Template(w).safe_substitute(departments=listed) for w in wordings)
    return Rubric("department", first, schema, second)


def domain_rubric(domain: str, about: str = "") -> Rubric[DomainLabel]:
    """The DOMAIN question for a domain: the paper's method "is applicable to any domain".

    Args:
        domain: the label; "medical" gives DOMAIN itself.
        about: what belongs to the domain, for the prompt.
    """
    if domain == "medical":
        return DOMAIN
    labels: Any = cast(Any, Literal)[domain, "general"]
    schema = create_model("DomainLabel", __base__=DomainLabel, domain=(labels, ...))
    wordings = [(_FOLDER / f"any_domain{number}.txt").read_text(encoding="utf-8") for number in ("", ".second")]
    values = {"domain": domain, "about": (about or domain).replace("$", "$$")}
    first, second = (string.Template(w).safe_substitute(values) for w in wordings)
    return Rubric(f"domain:{domain}", first, schema, second)
