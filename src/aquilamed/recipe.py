"""The recipe: one YAML file, typed. Its keys mirror the stage names: `corpus.rules` configures stage corpus/rules.

Every section's model stands beside its stage; this file only composes them, loads YAML, and explains mistakes.
"""

import difflib
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, model_validator

from aquilamed.annotate import AnnotatorConfig
from aquilamed.config import Config, Invalid
from aquilamed.models import ModelConfig
from aquilamed.recipe_file import Layer, merged, place, read_layers
from aquilamed.recipe_sections import Corpus, Evaluate, Instruct, Prefer, Pretrain, Sources
from aquilamed.sample.generate import SampleConfig
from aquilamed.sources.licenses import license_table
from aquilamed.train.align import AlignConfig
from aquilamed.train.finetune import FinetuneConfig
from aquilamed.train.hardware import HardwareConfig


class Recipe(Config):
    """Everything a run needs."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The recipe's name; the workspace is workspaces/<name> unless told otherwise."""
    seed: int = 42
    """The seed of every sample, shuffle and training."""
    data_root: Path = Path()
    """Where relative paths of sources and benchmarks start; itself relative to the recipe's folder."""
    base_model: ModelConfig = ModelConfig(path="smollm2-135m")
    """The general model to start from."""
    annotator: AnnotatorConfig = AnnotatorConfig()
    """Who labels, scores, answers and judges."""
    hardware: HardwareConfig | None = None
    """The GPUs to plan the trainings for; null is this machine."""
    sample: SampleConfig | None = None
    """The built-in bilingual sample with known dirt, readable below sample://; null leaves it out."""
    sources: Sources
    """What is read."""
    corpus: Corpus = Corpus()
    """The CPT corpus."""
    pretrain: Pretrain = Pretrain()
    """Continued pre-training."""
    instruct: Instruct = Instruct()
    """The SFT set."""
    finetune: FinetuneConfig | None = FinetuneConfig()
    """Supervised fine-tuning; null skips it."""
    prefer: Prefer = Prefer()
    """The preference set."""
    align: AlignConfig | None = AlignConfig()
    """DPO; null skips it."""
    evaluate: Evaluate = Evaluate()
    """Evaluation."""

    _folder: Path = PrivateAttr(default_factory=Path)

    @model_validator(mode="after")
    def _panel(self) -> Self:
        names = [config.model or config.kind for config in (self.annotator, *self.evaluate.judges)]
        if again := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"evaluate.judges: {', '.join(sorted(again))} judges twice; its agreement with itself says nothing"
            )
        for endpoint in self.evaluate.endpoints:
            if self.annotator.budget is not None and endpoint.price is None:
                raise ValueError(
                    f"evaluate.endpoints: annotator.budget needs a price of {endpoint.model!r} in the endpoint's prices"
                )
        for config in self.evaluate.judges:
            if config.budget is not None:
                raise ValueError("evaluate.judges: the budget is annotator.budget, for all judges together")
            if self.annotator.budget is not None and config.kind == "openai" and config.price is None:
                raise ValueError(
                    f"evaluate.judges: annotator.budget needs a price of {config.model!r} in the judge's prices"
                )
        return self

    @model_validator(mode="after")
    def _licenses(self) -> Self:
        license_table(self)
        return self

    def data_folder(self) -> Path:
        """`data_root`, found from the recipe's folder."""
        return (self._folder / self.data_root).resolve()


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the YAML file; `extends: FILE` in it takes over another recipe.
        overrides: `a.b=value` strings (value in YAML), applied before checking.

    Raises:
        Invalid: every mistake with its key's path, its line, and the nearest right key.
    """
    layers = read_layers(path)
    values = merged(layers)
    for override in overrides or []:
        _override(values, override)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise Invalid(_explain(layers, error)) from error
    recipe._folder = path.parent
    return recipe


def save_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default spelled out, `data_root` absolute so that it can be loaded anywhere."""
    values = recipe.model_dump(mode="json") | {"data_root": str(recipe.data_folder())}
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise Invalid(f"--set {override!r}: write key.path=value")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError as error:
        raise Invalid(f"--set {override!r}: the value is not YAML: {error}") from error
    here: Any = values
    names = key.split(".")
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if isinstance(here, list):
            if not name.isdigit() or int(name) >= len(here):
                raise Invalid(f"--set {key}: {'.'.join(names[:position])} has {len(here)} items; index below that")
            if last:
                here[int(name)] = value
            else:
                here = here[int(name)]
        elif last:
            here[name] = value
        else:
            if not isinstance(here.get(name), dict | list):
                here[name] = {}
            here = here[name]


def _explain(layers: list[Layer], error: ValidationError) -> str:
    """One line per mistake: file:line: key: what is wrong, and the nearest key that exists."""
    messages = []
    for item in error.errors():
        location = tuple(part for part in item["loc"] if not (isinstance(part, str) and part.endswith("]")))
        key = ".".join(str(part) for part in location) or "(the recipe)"
        where = place(layers, location)
        if item["type"] == "extra_forbidden":
            known = _fields(Recipe, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"
            messages.append(f"{where}: {key}: unknown key{hint}")
        elif item["type"] == "missing":
            messages.append(f"{where}: {key}: this key is required")
        else:
            got = f" (got {item['input']!r})" if not isinstance(item["input"], dict | list | BaseModel) else ""
            messages.append(f"{where}: {key}: {item['msg']}{got}")
    return "\n".join(messages)


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the model found by walking a location from the recipe's root."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        inner = _model_of(field.annotation) if field else None
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The first model inside an annotation such as `list[X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_of(arg))), None)
