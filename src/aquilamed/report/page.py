"""The page: chapters of text, tables and figures in the order of reading, for a template that escapes everything."""

from dataclasses import dataclass, field
from typing import Any

from aquilamed.evaluate.parity import NOTE
from aquilamed.progress import duration
from aquilamed.report import data_sections as data
from aquilamed.report import dialogue_sections as dialogue
from aquilamed.report import headline, judge_words
from aquilamed.report import instruct_sections as sft
from aquilamed.report import preference_sections as prefer
from aquilamed.report import run_sections as whole
from aquilamed.report import selection_sections as selection
from aquilamed.report import training_sections as training
from aquilamed.report.calibration_sections import NOTE as CALIBRATED
from aquilamed.report.calibration_sections import calibration
from aquilamed.report.cells import Table
from aquilamed.report.gather import Run, examples
from aquilamed.report.html import fill
from aquilamed.report.knowledge_sections import knowledge
from aquilamed.report.probe_sections import probe, probe_text
from aquilamed.report.summary import TRAININGS


@dataclass
class Section:
    """A part of a chapter; `stages` are those whose manifests hold its numbers."""

    title: str
    stages: tuple[str, ...]
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figure: str = ""


@dataclass
class Chapter:
    """A part of the page, in the order in which it is read."""

    title: str
    sections: list[Section]


def anchor(title: str) -> str:
    """A heading's place in links."""
    return "".join(c if c.isalnum() else "-" for c in title.lower()).strip("-")


def page(run: Run, summary: dict[str, Any], figures: dict[str, list[str]]) -> str:
    """The whole report as HTML.

    Args:
        figures: name → panels as SVG text of figures.draw; the only text that is not escaped.
    """
    from markupsafe import Markup

    done = [s for s in run.stages if s.artifact is not None]
    return fill(
        "index.html.j2",
        run=run,
        summary=summary,
        state=f"{len(done)} of {len(run.stages)} stages are done",
        waiting=[s for s in run.stages if s.artifact is None],
        earlier=[s for s in done if s.state != "done"],
        links={s.name: f"../{s.manifest_file}" for s in done},
        anchor=anchor,
        by_model=headline.models(summary),
        by_model_text=headline.text(summary),
        records=headline.data(summary),
        funnel=_funnel(run),
        chapters=_chapters(run, summary),
        figures={name: [Markup(svg) for svg in panels] for name, panels in figures.items()},  # noqa: S704 - ours
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


def _chapters(run: Run, s: dict[str, Any]) -> list[Chapter]:
    both = "evaluate/pairwise", "evaluate/multiturn"
    return [
        Chapter(
            "Data",
            [
                Section("Filters against truth", ("sample",), data.filters_text(s), data.filters(s)),
                Section(
                    "Agreement between annotation rounds",
                    _named("corpus", "domain_labels", "quality_labels"),
                    [],
                    data.agreement(s),
                ),
                Section(
                    "Domain and quality classifiers",
                    _named("corpus", "domain", "quality"),
                    data.classifiers_text(s),
                    data.classifiers(s),
                    "quality",
                ),
                Section(
                    "Mixes, packing and contamination",
                    _named("corpus", "mix1", "mix2", "pack1", "pack2", "decontaminate"),
                    [],
                    data.mixes(s),
                ),
                Section(
                    "Duplicates in the SFT set",
                    _named("instruct", "dedup", "questions"),
                    selection.duplicates_text(s),
                    selection.duplicates(s),
                ),
                Section("Safety of the SFT set", ("instruct/safety",), selection.safety_text(s), selection.safety(s)),
                Section(
                    "Complexity and quality (Deita)", ("instruct/deita",), sft.deita_text(s), sft.deita(s), "deita"
                ),
                Section("Context Relevance", ("instruct/relevance",), sft.relevance_text(s), [], "relevance"),
                Section(
                    "Composition of the SFT set",
                    ("instruct/select",),
                    sft.composition_text(s),
                    sft.composition(s),
                    "composition",
                ),
                Section("Departments and diseases", ("instruct/topics",), sft.topics_text(s), sft.topics(s), "topics"),
                Section(
                    "The preference set",
                    _named("prefer", "subjective", "objective", "select"),
                    prefer.preferences_text(s),
                    prefer.preferences(s),
                ),
            ],
        ),
        Chapter(
            "Training",
            [
                Section("Loss and speed", TRAININGS, [], training.trainings(s), "losses"),
                Section(
                    "Held-out perplexity", TRAININGS[:2], [training.PERPLEXITY], training.perplexity(s), "perplexity"
                ),
                Section(
                    "Supervised fine-tuning and DPO",
                    TRAININGS[2:],
                    [],
                    [*training.sft(s), *training.dpo(s)],
                    "preference",
                ),
            ],
        ),
        Chapter("Knowledge", [Section("Knowledge", ("evaluate/knowledge",), [NOTE], knowledge(s), "knowledge")]),
        Chapter(
            "Dialogue",
            [
                Section(
                    "Answers judged in pairs",
                    both[:1],
                    [*judge_words.who_judged(run, both[0]), *judge_words.pairs(s)],
                    dialogue.pairwise(s),
                    "pairwise",
                ),
                Section(
                    "Multi-turn dialogues",
                    both[1:],
                    [*judge_words.who_judged(run, both[1]), *judge_words.rounds(s)],
                    dialogue.multiturn(s),
                    "rounds",
                ),
                *_judges(s),
            ],
        ),
        Chapter("Safety", [Section("Safety", ("evaluate/safety",), probe_text(run), probe(s))]),
        Chapter(
            "Provenance",
            [
                Section("Annotator", (), whole.annotator_text(s), whole.annotator(s)),
                Section(
                    "Time", (), [f"All finished stages took {duration(s['total_seconds'])} in all."], whole.times(s)
                ),
                Section("Code, settings and files", (), [whole.PROVENANCE], whole.provenance(run, s)),
                Section("Limitations", (), whole.limitations(s)),
            ],
        ),
    ]


def _named(group: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{group}/{name}" for name in names)


def _judges(s: dict[str, Any]) -> list[Section]:
    tables = calibration(s)
    return [Section("Judges against people", ("evaluate/calibration",), [CALIBRATED], tables)] if tables else []
