"""The sections of a recipe: what stands beside its stages, composed."""

from typing import Self

from pydantic import model_validator

from aquilamed.annotate import AnnotatorConfig
from aquilamed.config import Config
from aquilamed.corpus.decontaminate import DecontaminateConfig
from aquilamed.corpus.dedup import DedupConfig
from aquilamed.corpus.domain import DomainConfig
from aquilamed.corpus.domain_labels import DomainLabelsConfig
from aquilamed.corpus.language import LanguageConfig
from aquilamed.corpus.mix import Mix1Config, Mix2Config
from aquilamed.corpus.pack import PackConfig
from aquilamed.corpus.pii import PiiConfig
from aquilamed.corpus.quality import QualityConfig, QualityLabelsConfig
from aquilamed.corpus.rules import RulesConfig
from aquilamed.corpus.toxicity import ToxicityConfig
from aquilamed.evaluate.backends import InferenceConfig
from aquilamed.evaluate.calibration import CalibrationConfig
from aquilamed.evaluate.contamination import ContaminationConfig
from aquilamed.evaluate.contestants import check_names
from aquilamed.evaluate.endpoint_calls import EndpointConfig
from aquilamed.evaluate.knowledge import KnowledgeConfig
from aquilamed.evaluate.multiturn import MultiturnConfig
from aquilamed.evaluate.pairwise import PairwiseConfig
from aquilamed.evaluate.safety import SafetyProbeConfig
from aquilamed.evaluate.tasks import BenchmarkConfig
from aquilamed.instruct.clean import InstructDecontaminateConfig, InstructDedupConfig, QuestionsConfig
from aquilamed.instruct.deita import DeitaConfig
from aquilamed.instruct.relevance import RelevanceConfig
from aquilamed.instruct.safety import SafetyConfig
from aquilamed.instruct.select import SelectConfig
from aquilamed.instruct.topics import TopicsConfig
from aquilamed.prefer.decontaminate import PreferDecontaminateConfig
from aquilamed.prefer.objective import ObjectiveConfig
from aquilamed.prefer.select import PreferSelectConfig
from aquilamed.prefer.subjective import SubjectiveConfig
from aquilamed.sources.dialogues import DialoguesConfig
from aquilamed.sources.documents import DocumentsConfig
from aquilamed.sources.preferences import PreferencesConfig
from aquilamed.train.pretrain import Stage1Config, Stage2Config


class Sources(Config):
    """What is read. Without documents there is no pre-training, without dialogues no fine-tuning."""

    documents: DocumentsConfig | None = None
    """The raw pre-training corpus."""
    dialogues: DialoguesConfig | None = None
    """The public SFT sets."""
    preferences: PreferencesConfig | None = None
    """Published preference sets, taken into the preference set beside the pairs that `prefer` makes."""


class Corpus(Config):
    """The CPT corpus (paper, section 1)."""

    language: LanguageConfig = LanguageConfig()
    """Language by script and words."""
    rules: RulesConfig = RulesConfig()
    """The rule-based quality filter."""
    pii: PiiConfig = PiiConfig()
    """Private information: dropped, masked or reported."""
    toxicity: ToxicityConfig = ToxicityConfig()
    """Toxic content."""
    dedup: DedupConfig = DedupConfig()
    """Exact and near duplicates."""
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    """Overlap with the benchmarks of `evaluate`."""
    domain_labels: DomainLabelsConfig = DomainLabelsConfig()
    """The seed sample and its two-round domain annotation."""
    domain: DomainConfig = DomainConfig()
    """The domain classifier."""
    quality_labels: QualityLabelsConfig = QualityLabelsConfig()
    """The two-round 0–6 quality annotation."""
    quality: QualityConfig = QualityConfig()
    """The quality regressor and its threshold."""
    mix1: Mix1Config = Mix1Config()
    """Stage 1: rule-filtered domain and general text."""
    mix2: Mix2Config = Mix2Config()
    """Stage 2: quality-filtered domain text and SFT data as text."""
    pack1: PackConfig = PackConfig()
    """Packing of stage 1's tokens."""
    pack2: PackConfig = PackConfig()
    """Packing of stage 2's tokens."""


class Pretrain(Config):
    """Continued pre-training (paper, section 2)."""

    stage1: Stage1Config | None = Stage1Config()
    """Stage 1; null skips it."""
    stage2: Stage2Config | None = Stage2Config()
    """Stage 2; null skips it."""


class Instruct(Config):
    """The SFT set (paper, section 3)."""

    dedup: InstructDedupConfig = InstructDedupConfig()
    """Duplicate dialogues."""
    questions: QuestionsConfig = QuestionsConfig()
    """Duplicate questions."""
    decontaminate: InstructDecontaminateConfig = InstructDecontaminateConfig()
    """Overlap with the benchmarks."""
    safety: SafetyConfig = SafetyConfig()
    """Unsafe dialogues; private information masked."""
    topics: TopicsConfig = TopicsConfig()
    """Department and disease labels."""
    deita: DeitaConfig = DeitaConfig()
    """Complexity and quality scores."""
    relevance: RelevanceConfig = RelevanceConfig()
    """Context Relevance of every turn, equations 1–3."""
    select: SelectConfig = SelectConfig()
    """Thresholds and composition."""


class Prefer(Config):
    """The preference set (paper, section 4)."""

    subjective: SubjectiveConfig | None = SubjectiveConfig()
    """Judged answers; null skips them."""
    objective: ObjectiveConfig | None = None
    """Truth against a wrong option; needs questions."""
    decontaminate: PreferDecontaminateConfig = PreferDecontaminateConfig()
    """Pairs that hold a benchmark's question are dropped."""
    select: PreferSelectConfig = PreferSelectConfig()
    """Human verdicts, audit and filters."""


class Evaluate(Config):
    """Evaluation (paper, section 5)."""

    benchmarks: list[BenchmarkConfig] = []
    """The benchmarks, multiple choice and dialogue; the corpus, SFT and preference sets are decontaminated against all."""
    judges: list[AnnotatorConfig] = []
    """Judges beside the recipe's annotator, for pairwise and multiturn: with some, what most of them say counts."""
    endpoints: list[EndpointConfig] = []
    """Models behind OpenAI-compatible endpoints, evaluated where `models` or `against` name them."""
    inference: InferenceConfig = InferenceConfig()
    """What runs the recipe's own models: transformers or vLLM."""
    contamination: ContaminationConfig | None = ContaminationConfig()
    """Questions that the training sets still hold, told apart in the scores; null skips it."""
    knowledge: KnowledgeConfig | None = KnowledgeConfig()
    """Multiple-choice accuracy; null skips it."""
    pairwise: PairwiseConfig | None = PairwiseConfig()
    """Single-turn answers, judged in pairs; null skips it."""
    multiturn: MultiturnConfig | None = MultiturnConfig()
    """Multi-turn dialogues, every round judged on four aspects; null skips it."""
    safety: SafetyProbeConfig | None = SafetyProbeConfig()
    """Red flags, dangerous doses and harmless questions; null skips it."""
    calibration: CalibrationConfig | None = None
    """The judges against people on pairs that both judge; null skips it."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        sections = {"knowledge": self.knowledge, "pairwise": self.pairwise, "multiturn": self.multiturn}
        on = {k: section for k, section in (sections | {"safety": self.safety}).items() if section is not None}
        wanted = {f"{k}.models": section.models for k, section in on.items()}
        if self.pairwise is not None:
            wanted["pairwise.against"] = [n for n in self.pairwise.against if n != "reference"]
        check_names(wanted, self.endpoints)
        return self
