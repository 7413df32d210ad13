"""The stage table: every stage with what it reads, in the order in which stages run. Which of them a recipe switches on."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from aquilamed.config import Config, Invalid
from aquilamed.corpus import (
    decontaminate,
    dedup,
    domain,
    domain_labels,
    language,
    mix,
    pack,
    pii,
    quality,
    rules,
    toxicity,
)
from aquilamed.evaluate import calibration, contamination, knowledge, multiturn, pairwise
from aquilamed.evaluate import safety as safety_probe
from aquilamed.instruct import clean, deita, relevance, safety, select, topics
from aquilamed.prefer import decontaminate as prefer_decontaminate
from aquilamed.prefer import objective, subjective
from aquilamed.prefer import select as prefer_select
from aquilamed.recipe import Recipe
from aquilamed.sample import generate
from aquilamed.sources import dialogues, documents, preferences
from aquilamed.stage import SAMPLE, Stage
from aquilamed.train import align, finetune, pretrain


def _benchmark_paths(recipe: Recipe) -> list[str]:
    return [path for b in recipe.evaluate.benchmarks for path in b.paths]


def _benchmarked(name: str, run: Any, source: str) -> Stage:
    return Stage(name, run, (source,), flow=(source,), uses=("evaluate.benchmarks",), files=_benchmark_paths)


MODELS = ("pretrain/stage1", "pretrain/stage2", "finetune", "align")
CONTESTANTS = ("evaluate.endpoints", "evaluate.inference")
PREFERENCES = ("prefer/subjective", "prefer/objective", "sources/preferences")

STAGES: tuple[Stage, ...] = (
    Stage("sample", generate.run, records=False),
    Stage("sources/documents", documents.run, files=lambda r: _source_paths(r.sources.documents)),
    Stage("corpus/language", language.run, ("sources/documents",), flow=("sources/documents",)),
    Stage("corpus/rules", rules.run, ("corpus/language",), flow=("corpus/language",)),
    Stage("corpus/pii", pii.run, ("corpus/rules",), flow=("corpus/rules",)),
    Stage(
        "corpus/toxicity",
        toxicity.run,
        ("corpus/pii",),
        flow=("corpus/pii",),
        files=lambda r: [r.corpus.toxicity.lexicon] if r.corpus.toxicity.lexicon else [],
    ),
    Stage("corpus/dedup", dedup.run, ("corpus/toxicity",), flow=("corpus/toxicity",)),
    _benchmarked("corpus/decontaminate", decontaminate.run, "corpus/dedup"),
    Stage("corpus/domain_labels", domain_labels.run, ("corpus/decontaminate",), uses=("annotator",)),
    Stage(
        "corpus/domain",
        domain.run,
        ("corpus/decontaminate", "corpus/domain_labels"),
        flow=("corpus/decontaminate",),
    ),
    Stage("corpus/quality_labels", quality.run_labels, ("corpus/domain",), uses=("annotator",)),
    Stage("corpus/quality", quality.run, ("corpus/domain", "corpus/quality_labels"), flow=("corpus/domain",)),
    Stage("sources/dialogues", dialogues.run, files=lambda r: _source_paths(r.sources.dialogues)),
    Stage("instruct/dedup", clean.run_dedup, ("sources/dialogues",), flow=("sources/dialogues",)),
    Stage("instruct/questions", clean.run_questions, ("instruct/dedup",), flow=("instruct/dedup",)),
    _benchmarked("instruct/decontaminate", clean.run_decontaminate, "instruct/questions"),
    Stage(
        "instruct/safety",
        safety.run,
        ("instruct/decontaminate",),
        flow=("instruct/decontaminate",),
        uses=("annotator",),
    ),
    Stage("corpus/mix1", mix.run_stage1, ("corpus/domain",), flow=("corpus/domain",)),
    Stage(
        "corpus/mix2",
        mix.run_stage2,
        ("corpus/quality",),
        optional=("instruct/safety",),
        flow=("corpus/quality", "instruct/safety"),
    ),
    Stage("corpus/pack1", pack.run, ("corpus/mix1",), records=False, uses=("base_model",)),
    Stage("corpus/pack2", pack.run, ("corpus/mix2",), records=False, uses=("base_model",)),
    Stage("pretrain/stage1", pretrain.run, ("corpus/pack1",), records=False, uses=("base_model",)),
    Stage(
        "pretrain/stage2",
        pretrain.run,
        ("corpus/pack2",),
        optional=("pretrain/stage1",),
        records=False,
        uses=("base_model",),
    ),
    Stage("instruct/topics", topics.run, ("instruct/safety",), flow=("instruct/safety",), uses=("annotator",)),
    Stage(
        "instruct/deita", deita.run, ("instruct/topics",), flow=("instruct/topics",), uses=("base_model", "annotator")
    ),
    Stage("instruct/relevance", relevance.run, ("instruct/deita",), flow=("instruct/deita",), uses=("base_model",)),
    Stage("instruct/select", select.run, ("instruct/relevance",), flow=("instruct/relevance",), uses=("base_model",)),
    Stage(
        "finetune",
        finetune.run,
        ("instruct/select",),
        optional=("pretrain/stage1", "pretrain/stage2"),
        records=False,
        uses=("base_model",),
    ),
    Stage(
        "prefer/subjective",
        subjective.run,
        ("instruct/select",),
        optional=("finetune",),
        uses=("base_model", "annotator"),
    ),
    Stage(
        "prefer/objective",
        objective.run,
        uses=("evaluate.benchmarks",),
        files=lambda r: [
            *(s.path for s in (r.prefer.objective.questions if r.prefer.objective else [])),
            *_benchmark_paths(r),
        ],
    ),
    Stage("sources/preferences", preferences.run, files=lambda r: _source_paths(r.sources.preferences)),
    Stage(
        "prefer/decontaminate",
        prefer_decontaminate.run,
        optional=PREFERENCES,
        any_of=PREFERENCES,
        flow=PREFERENCES,
        uses=("evaluate.benchmarks",),
        files=_benchmark_paths,
    ),
    Stage(
        "prefer/select",
        prefer_select.run,
        ("prefer/decontaminate",),
        flow=("prefer/decontaminate",),
        files=lambda r: [*r.prefer.select.verdicts, prefer_select.VERDICTS],
    ),
    Stage("align", align.run, ("prefer/select",), optional=("finetune",), records=False, uses=("base_model",)),
    Stage(
        "evaluate/contamination",
        contamination.run,
        optional=tuple(contamination.TRAINED_ON),
        any_of=tuple(contamination.TRAINED_ON),
        records=False,
        uses=("evaluate.benchmarks",),
        files=_benchmark_paths,
    ),
    Stage(
        "evaluate/knowledge",
        knowledge.run,
        optional=(*MODELS, "evaluate/contamination"),
        records=False,
        uses=("base_model", "evaluate.benchmarks", *CONTESTANTS),
        files=_benchmark_paths,
    ),
    Stage(
        "evaluate/pairwise",
        pairwise.run,
        optional=MODELS,
        records=False,
        uses=("base_model", "evaluate.benchmarks", "annotator", "evaluate.judges", *CONTESTANTS),
        files=_benchmark_paths,
    ),
    Stage(
        "evaluate/multiturn",
        multiturn.run,
        optional=MODELS,
        records=False,
        uses=("base_model", "evaluate.benchmarks", "annotator", "evaluate.judges", *CONTESTANTS),
        files=_benchmark_paths,
    ),
    Stage(
        "evaluate/safety",
        safety_probe.run,
        optional=(*MODELS, "evaluate/contamination"),
        any_of=MODELS,
        without=lambda r: bool(r.evaluate.endpoints),
        records=False,
        uses=("base_model", "annotator", *CONTESTANTS),
    ),
    Stage(
        "evaluate/calibration",
        calibration.run,
        optional=("prefer/decontaminate", "prefer/subjective"),
        records=False,
        uses=("annotator", "evaluate.judges", "prefer.select"),
        files=lambda r: calibration.files_read(r.prefer.select.verdicts, r.evaluate.calibration),
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}


def _source_paths(section: Any) -> list[str]:
    """The paths of a section's sources, and of the files with their answers."""
    sources = section.sources if section else []
    return [path for s in sources for path in (s.path, getattr(s, "answers", None)) if path]


def stage_config(recipe: Recipe, name: str) -> Config | None:
    """A stage's section of the recipe: the keys mirror the stage names."""
    config: Config | None = attrgetter(name.replace("/", "."))(recipe)
    return config


def enabled(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The stages that the recipe asks for, in order, each with its inputs.

    A stage is on when its section is not null, all inputs it needs are on, and one of its `any_of`
    (or the recipe is one that goes `without`).
    """
    on: dict[str, tuple[str, ...]] = {}
    for stage in STAGES:
        wants_sample = any(p.startswith(SAMPLE) for p in stage.files(recipe))
        needed = (*stage.inputs, *(("sample",) if wants_sample else ()))
        if wants_sample and recipe.sample is None:
            raise Invalid(f"{stage.name.replace('/', '.')}: a sample:// path needs a `sample:` section in the recipe")
        if stage_config(recipe, stage.name) is None or not all(name in on for name in needed):
            continue
        if stage.any_of and not any(name in on for name in stage.any_of) and not stage.without(recipe):
            continue
        on[stage.name] = (*needed, *(name for name in stage.optional if name in on))
    if not on:
        raise Invalid("the recipe switches every stage off: give it `sources.documents` or `sources.dialogues`")
    return on


def choose(on: Mapping[str, Sequence[str]], until: str | None, only: str | None) -> list[str]:
    """The stages to run for --until and --only; each names a stage or a group ("corpus")."""
    names, wanted = list(on), only or until
    if wanted is None:
        return names
    hits = [n for n in names if n == wanted or n.startswith(f"{wanted}/")]
    if not hits:
        raise Invalid(f"no stage {wanted!r} in this recipe; it has: {', '.join(names)}")
    if only:
        return hits
    needed = set(hits)
    for name in reversed(names):
        needed.update(on[name] if name in needed else ())
    return [n for n in names if n in needed]
