"""Stage sources/preferences: every published form of pairs, what is no pair, and the real sets."""

import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from aquilamed import pipeline
from aquilamed.engine.local import LocalEngine
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.records import PREFERENCE, read_parts
from aquilamed.sources.preferences import PreferencesConfig, PreferenceSource, run, to_preference
from aquilamed.sources.raw import Misfit, RawRecord
from aquilamed.stage import Context
from aquilamed.stages import enabled
from aquilamed.workspace import Workspace

USER = {"role": "user", "content": "Does garlic cure flu?"}
GOOD = {"role": "assistant", "content": "No, but rest helps."}
BAD = {"role": "assistant", "content": "Yes."}
MADE = (["Does garlic cure flu?"], "No, but rest helps.", "Yes.")


def convert(form: str, value: Any, **options: Any) -> tuple[list[str], str, str]:
    made, _ = to_preference(PreferenceSource(name="s", path="p", form=form, **options), RawRecord("p:1", value))
    assert [m["role"] for m in (*made.chosen, *made.rejected)] == ["assistant", "assistant"]
    return [m["content"] for m in made.prompt], made.chosen[0]["content"], made.rejected[0]["content"]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("trl_preference", {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}),
        ("trl_preference", {"chosen": [USER, GOOD], "rejected": [USER, BAD]}),
        ("trl_preference", {"prompt": USER["content"], "chosen": [USER, GOOD], "rejected": [USER, BAD]}),
        ("trl_preference", {"prompt": USER["content"], "chosen": GOOD["content"], "rejected": BAD["content"]}),
        (
            "trl_preference",
            {"chosen": "Does garlic cure flu? No, but rest helps.", "rejected": "Does garlic cure flu? Yes."},
        ),
        (
            "trl_preference",
            {
                "chosen": "\n\nHuman: Does garlic cure flu?\n\nAssistant: No, but rest helps.",
                "rejected": "\n\nHuman: Does garlic cure flu?\n\nAssistant: Yes.",
            },
        ),
        (
            "ultrafeedback",
            {
                "prompt": USER["content"],
                "prompt_id": "0a",
                "chosen": [USER, GOOD],
                "rejected": [USER, BAD],
                "messages": [USER, GOOD],
                "score_chosen": 8.0,
                "score_rejected": 6,
            },
        ),
        (
            "aquilamed_rl",
            {"instruction": "问:Does garlic cure flu?", "input": "", "output": ["答:No, but rest helps.", "Yes."]},
        ),
        (
            "sharegpt_dpo",
            {
                "conversations": [{"from": "human", "value": "Does garlic cure flu?"}],
                "chosen": {"from": "gpt", "value": "No, but rest helps."},
                "rejected": "Yes.",
            },
        ),
        (
            "reward_pairs",
            {
                "question": "Does garlic cure flu?",
                "response_chosen": "No, but rest helps.",
                "response_rejected": "Yes.",
            },
        ),
    ],
)
def test_every_form_gives_the_same_pair(form: str, value: Any) -> None:
    assert convert(form, value) == MADE


def test_margins_systems_and_earlier_rounds() -> None:
    source = PreferenceSource(name="s", path="p", form="ultrafeedback")
    value = {"chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 8.0, "score_rejected": 6}
    made, _ = to_preference(source, RawRecord("p:1", value))
    assert (made.margin, made.kind, made.lang, made.license) == (2.0, "published", "en", "MIT")
    first = [{"role": "system", "content": "Be kind."}, USER, GOOD, {"role": "user", "content": "Sure?"}]
    shared = {"chosen": [*first, {"role": "assistant", "content": "Yes, sure."}], "rejected": [*first, BAD]}
    assert convert("trl_preference", shared) == ([m["content"] for m in first], "Yes, sure.", "Yes.")
    rounds = {"question": "Q2?", "history": [["Q1?", "A1."]], "response_chosen": "A.", "response_rejected": "B."}
    assert convert("reward_pairs", rounds)[0] == ["Q1?", "A1.", "Q2?"]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("equal", {"prompt": "Q?", "chosen": "Same.", "rejected": "Same. "}),
        ("equal", {"prompt": "Q?", "chosen": "<p>Same.</p>", "rejected": "Same."}),
        ("no_prompt", {"prompt": " ", "chosen": "A.", "rejected": "B."}),
        ("no_prompt", {"prompt": [], "chosen": [GOOD], "rejected": [BAD]}),
        ("no_prompt", {"chosen": "A.", "rejected": "B."}),
        ("no_prompt", {"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "Other?"}, BAD]}),
        ("no_answer", {"prompt": "Q?", "chosen": "", "rejected": "B."}),
        ("empty", {"prompt": "Q?", "chosen": "<br>", "rejected": "B."}),
        ("echo", {"prompt": "Q?", "chosen": "A.", "rejected": "Q?"}),
        ("roles", {"prompt": [USER, GOOD], "chosen": [GOOD], "rejected": [BAD]}),
        ("roles", {"prompt": [USER], "chosen": [GOOD, USER, GOOD], "rejected": [BAD]}),
        ("wrong_type", {"prompt": "Q?", "chosen": 3, "rejected": "B."}),
        ("wrong_type", {"chosen": [USER, GOOD], "rejected": "B."}),
        ("wrong_type", ["chosen", "rejected"]),
    ],
)
def test_what_is_no_pair(rule: str, value: Any) -> None:
    with pytest.raises(Misfit) as error:
        convert("trl_preference", value)
    assert error.value.rule == rule


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("aquilamed_rl", {"instruction": "Q?", "output": ["A."]}),
        ("aquilamed_rl", {"instruction": "Q?", "output": "A."}),
        ("ultrafeedback", {"chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": "8", "score_rejected": 1}),
        (
            "ultrafeedback",
            {"chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": float("nan"), "score_rejected": 1},
        ),
        ("sharegpt_dpo", {"chosen": "A", "rejected": "B"}),
    ],
)
def test_what_does_not_fit_its_form(form: str, value: Any) -> None:
    with pytest.raises(Misfit) as error:
        convert(form, value)
    assert error.value.rule == "wrong_type"


def test_the_stage_feeds_the_preference_set(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"instruction": "高血压能喝酒吗？", "input": "", "output": ["不建议。", "可以随便喝。"]}\n'
        '{"instruction": "高血压能喝酒吗？", "input": "", "output": ["不建议。", "不建议。"]}\n{"instruction": \n',
        encoding="utf-8",
    )
    recipe = {
        "name": "t",
        "data_root": str(tmp_path),
        "sources": {"preferences": {"max_bad_share": 1, "sources": [{"name": "rl", "path": "p.jsonl", "form": "aquilamed_rl"}]}},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    assert {"sources/preferences", "prefer/decontaminate", "align"} <= set(enabled(loaded))
    done = pipeline.run(
        loaded, Workspace(tmp_path / "ws"), Progress(quiet=True), until="prefer/decontaminate", workers=1
    )
    by_stage = {a.stage: a for a in done}
    source, clean = by_stage["sources/preferences"], by_stage["prefer/decontaminate"]
    assert read_parts(source.kept).columns == PREFERENCE.names
    assert read_parts(source.dropped)["reason"].to_list() == ["sources.equal", "sources.malformed"]
    assert clean.manifest["records_in"] == clean.manifest["records_kept"] == 1


def test_real_sets(tmp_path: Path, public_data: Path) -> None:
    config = PreferencesConfig(
        sources=[
            {"name": "dpo", "path": "preference/dpo_zh_500.jsonl", "form": "sharegpt_dpo", "license": "Apache-2.0"},
            {
                "name": "reward",
                "path": "preference/medicalgpt_reward_test.json",
                "form": "reward_pairs",
                "license": "NC",
            },
        ]
    )
    quiet = Progress(quiet=True)
    recipe = types.SimpleNamespace(data_folder=lambda: public_data)
    ctx = Context(tmp_path, tmp_path / ".work", {}, LocalEngine(quiet, workers=1), quiet, 42, tmp_path, recipe)
    result = run(ctx, config)
    kept = read_parts(tmp_path / "kept")
    assert dict(kept["source"].value_counts().iter_rows()) == {"dpo": 500, "reward": 100}
    assert set(kept["lang"]) <= {"zh", "en"}
    assert kept.filter(kept["source"] == "dpo")["prompt"].list.len().max() == 2  # 84 begin with a system text
    assert result.metrics["licenses"]["NC"]["redistribute"] is False
