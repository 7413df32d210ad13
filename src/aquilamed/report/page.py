"""The page: sections of text, tables and figures, handed to one Jinja template that escapes everything."""

from dataclasses import dataclass, field
from typing import Any

from aquilamed.evaluate.parity import NOTE
from aquilamed.progress import duration
from aquilamed.report import data_sections as data
from aquilamed.report import instruct_sections as sft
from aquilamed.report import model_sections as models
from aquilamed.report import preference_sections as prefer
from aquilamed.report import run_sections as whole
from aquilamed.report import selection_sections as selection
from aquilamed.report.cells import Table
from aquilamed.report.gather import Run, examples
from aquilamed.report.html import fill
from aquilamed.report.knowledge_sections import knowledge
from aquilamed.report.probe_sections import probe, probe_text


@dataclass
class Section:
    """A part of the page."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figure: str = ""
    alt: str = ""

    @property
    def anchor(self) -> str:
        """The section's place in links."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")


def page(run: Run, summary: dict[str, Any], figures: dict[str, str]) -> str:
    """The whole report as HTML.

    Args:
        figures: name → SVG text of figures.draw; the only text that is not escaped.
    """
    from markupsafe import Markup

    done = sum(s.artifact is not None for s in run.stages)
    return fill(
        "index.html.j2",
        run=run,
        summary=summary,
        state=f"{done} of {len(run.stages)} stages are done",
        waiting=[s for s in run.stages if s.artifact is None],
        headline=whole.headline(summary),
        funnel=_funnel(run),
        sections=_sections(run, summary, figures),
        figures={name: Markup(svg) for name, svg in figures.items()},  # noqa: S704 - drawn by us from numbers
    )


def _funnel(run: Run) -> list[dict[str, Any]]:
    """Every finished data stage with its counts, and its reasons with examples."""
    rows = []
    for stage in run.stages:
        if stage.artifact is None or stage.manifest.get("records_in") is None:
            continue
        shown = examples(stage.artifact)
        reasons = [
            {"name": name, "count": count, "examples": shown.get(name, [])}
            for name, count in sorted(stage.manifest.get("reasons", {}).items(), key=lambda item: (-item[1], item[0]))
        ]
        rows.append({"name": stage.name, "reasons": reasons, **{k: stage.manifest[k] for k in _COUNTS}})
    return rows


_COUNTS = ("records_in", "records_kept", "records_dropped")


def _sections(run: Run, s: dict[str, Any], figures: dict[str, str]) -> list[Section]:
    found = [
        Section("Filters against truth", data.filters_text(s), data.filters(s)),
        Section("Agreement between annotation rounds", [], data.agreement(s)),
        Section("Domain and quality classifiers", data.classifiers_text(s), data.classifiers(s), "quality"),
        Section("Mixes, packing and contamination", [], data.mixes(s)),
        Section("Duplicates in the SFT set", selection.duplicates_text(s), selection.duplicates(s)),
        Section("Safety of the SFT set", selection.safety_text(s), selection.safety(s)),
        Section("Complexity and quality (Deita)", sft.deita_text(s), sft.deita(s), "deita"),
        Section("Context Relevance", sft.relevance_text(s), [], "relevance"),
        Section("Composition of the SFT set", sft.composition_text(s), sft.composition(s), "composition"),
        Section("Departments and diseases", sft.topics_text(s), sft.topics(s), "topics"),
        Section("The preference set", prefer.preferences_text(s), prefer.preferences(s)),
        Section("Trainings", [], models.trainings(s), "losses"),
        Section("Held-out perplexity", [models.PERPLEXITY], models.perplexity(s), "perplexity"),
        Section("Supervised fine-tuning and DPO", [], [*models.sft(s), *models.dpo(s)]),
        Section("Answers judged in pairs", models.judge_text(run, "evaluate/pairwise"), models.pairwise(s), "pairwise"),
        Section("Multi-turn dialogues", models.judge_text(run, "evaluate/multiturn"), models.multiturn(s), "rounds"),
        Section("Knowledge", [NOTE], knowledge(s), "knowledge"),
        Section("Safety of the models", probe_text(run), probe(s)),
        Section("Annotator", whole.annotator_text(s), whole.annotator(s)),
        Section("Time", [f"All finished stages took {duration(s['total_seconds'])} in all."], whole.times(s)),
        Section("Provenance", [whole.PROVENANCE], whole.provenance(run, s)),
        Section("Limitations", whole.limitations(s)),
    ]
    for section in found:
        if section.figure not in figures:
            section.figure = ""
        section.alt = f"{section.title}: the numbers are in the tables of this section"
    return found
