"""A run for the report's tests, written by hand: every part that the report shows, with hostile text where text gets in."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from jsonschema import Draft202012Validator

from aquilamed.records import write_parts
from aquilamed.report.gather import Run, StageView
from aquilamed.workspace import Artifact

PUBLISHED = Path(__file__).parents[1] / "docs" / "summary.schema.json"
HOSTILE = (
    "<script>window.hit=1;alert(1)</script><img src=x onerror=window.hit=2> \x1b[2J\u202e & \"quotes\" 'and' {{ 7*7 }}{% raw %} "
    "</script></style></title><svg onload=window.hit=3><style>body{display:none}</style> <a href=javascript:window.hit=4>javascript:alert(1)</a> "
    "<iframe src=http://evil.example/></iframe><link rel=stylesheet href=http://evil.example/x.css> }; body{background:url(http://evil.example/y)} "
    "发热是指体温高于正常范围。"
)
LOSS = {"loss": [[1, 3.25], [2, 2.125]], "steps": 2, "tokens": 512, "tokens_per_second": 61.5, "method": "full"}
METRICS: dict[str, dict[str, Any]] = {
    "corpus/domain_labels": {
        "agreement": {"answered": 90, "equal": 0.875, "kappa": 0.7421, "kappa_interval": [0.61, 0.8472]},
        "annotator": {
            "kind": "offline",
            "name": "<b>rules</b>",
            "calls": 181,
            "errors": {"unsupported": 3},
            "rubrics": {"<i>domain": "3f9a1c77"},
        },
    },
    "corpus/mix1": {"tokens": 777, "tokens_by_source": {HOSTILE: 777}},
    "pretrain/stage1": {
        **LOSS,
        "perplexity": {
            "before": {"zh": 41.5, "en": 25.25},
            "after": {"zh": 33.5, "en": 22.75},
            "intervals": {"before": {"zh": [38.0, 45.5], "en": None}, "after": {"zh": [30.0, 37.5], "en": None}},
            "documents": {"zh": 40, "en": 1},
            "comparisons": [
                {"against": "base", "lang": "zh", "documents": 40, "tokens": 9000, "first": 3.7257, "second": 3.5115}
                | {"difference": -0.2142, "interval": [-0.2521, -0.1702], "noise": False},
                {"against": "base", "lang": "en", "documents": 1, "tokens": 200, "first": 3.2288, "second": 3.1246}
                | {"difference": -0.1042, "interval": None, "noise": True},
            ],
        },
    },
    "finetune": {**LOSS, "eval_loss": [[0, 2.625], [4, 2.375]], "best_step": 4, "rows": {"train": 93}}
    | {
        "comparison": {
            "lang": "all",
            "documents": 9,
            "tokens": 700,
            "first": 2.625,
            "second": 2.375,
            "difference": -0.25,
            "interval": [-0.5, 0.01],
            "noise": True,
        }
    },
    "align": {
        **LOSS,
        "step0_loss": 0.69315,
        "before": {"accuracy": 0.5, "margin": 0.0},
        "after": {"accuracy": 0.8125, "margin": 0.0123},
        "pairs": {"train": 40, "validation": 16},
        "comparison": {"n": 16, "gained": 13, "lost": 3, "p": 0.0213, "noise": False},
        "measured_on": "validation",
    },
    "instruct/select": {
        "composition": {"single_turn_QA_zh": 3, "multi_turn_QA_en": 1},
        "composition_share": {"single_turn_QA_zh": 0.75, "multi_turn_QA_en": 0.25},
        "paper_share": {"single_turn_QA_zh": 0.272},
    },
    "evaluate/knowledge": {
        "results": [
            {
                "model": "align",
                "task": "mmlu",
                "n": 61,
                "shots": 3,
                "accuracy": 0.4375,
                "stderr": 0.0521,
                "interval": [0.31, 0.56],
                "chance": 0.25,
                "invalid": 2,
                "leaked": {"n": 11, "accuracy": 0.9},
                "clean": {"n": 50, "accuracy": 0.34},
                "turned": {"accuracy": 0.4, "per_order": [0.4375, 0.36], "flipped": 0.31},
            },
            {"model": "base", "task": "cmb", "n": 0, "shots": 3, "accuracy": None, "stderr": None, "chance": None}
            | {"interval": None, "invalid": 0, "leaked": {"n": 0}, "clean": {"n": 0}},
        ],
        "comparisons": [
            {
                "task": "mmlu",
                "model": "align",
                "against": "base",
                "n": 61,
                "difference": 0.0164,
                "interval": [-0.08, 0.11],
            }
            | {"gained": 4, "lost": 3, "p": 1.0, "noise": True}
        ],
    },
    "evaluate/pairwise": {
        "judge": {"kind": "offline", "name": "rules", "rubrics": {"compare": "r"}},
        "comparisons": [
            {
                "model": "align",
                "against": "reference",
                "benchmark": "huatuo",
                "n": 9,
                "win": 4,
                "tie": 3,
                "loss": 1,
                "unscored": 1,
                "shares": {o: {"share": 0.375, "interval": [0.125, 0.75]} for o in ("win", "tie", "loss")},
                "win_rate": 0.6875,
                "win_rate_interval": [0.44, 0.9375],
                "length_controlled": {
                    "win_rate": None,
                    "interval": None,
                    "reason": "only 8 scored pairs, 20 are needed",
                },
                "characters": {"answer": 812.5, "other": 61},
                "position": {"n": 8} | {k: {"share": 0.25, "interval": None} for k in ("first", "second", "agree")},
            }
        ],
    },
    "evaluate/multiturn": {
        "judge": {"kind": "offline", "name": "rules", "rubrics": {"compare": "r"}},
        "models": {
            "align": {
                "rounds": [
                    {
                        "round": 1,
                        "n": 2,
                        "unscored": 1,
                        "fluency": 4.5,
                        "relevance": 3,
                        "completeness": 2,
                        "proficiency": None,
                    }
                ],
                "average": {
                    "n": 2,
                    "unscored": 1,
                    "fluency": 4.5,
                    "relevance": 3,
                    "completeness": 2,
                    "proficiency": None,
                    "intervals": {"fluency": [4.1, 4.75], "relevance": None},
                },
            }
        },
    },
}


def rules(folder: Path) -> Artifact:
    """A data stage that dropped hostile records."""
    dropped = {"id": ["x", "y"], "origin": [HOSTILE, "b:2"], "text": [HOSTILE, "long " * 500]}
    reasons = {"reason": ["rules.advert", "rules.advert"], "detail": [HOSTILE, "3 of 4 lines"]}
    write_parts(folder / "dropped", pl.DataFrame(dropped | reasons))
    counts = {"records_in": 1234, "records_kept": 1232, "records_dropped": 2, "reasons": {"rules.advert": 2}}
    manifest = {
        "fingerprint": "f" * 16,
        "seconds": 75.0,
        "attempts": 2,
        "metrics": {},
        "versions": {"polars": "9.9.9"},
        **counts,
    }
    return Artifact("corpus/rules", folder, manifest)


def run(tmp_path: Path, metrics: dict[str, dict[str, Any]]) -> Run:
    views = [StageView("corpus/rules", "done", "", rules(tmp_path / "rules"))]
    for name, values in metrics.items():
        manifest = {"fingerprint": "a" * 16, "seconds": 2.0, "attempts": 1, "metrics": values, "versions": {}}
        views.append(StageView(name, "done", "", Artifact(name, tmp_path / "none", manifest)))
    views.append(StageView("corpus/dedup", "failed", f"ValueError: {HOSTILE}", None))
    return Run("tiny", 42, "offline", tuple(views))


def schema_mistakes(summary: dict[str, Any], strict: bool = True) -> list[str]:
    """What is wrong in a summary by the published schema; with `strict` also keys that it does not name."""
    schema = json.loads(PUBLISHED.read_text("utf-8"))
    if strict:
        for part in (schema, *schema["$defs"].values()):
            part["additionalProperties"] = False
    found = Draft202012Validator(schema).iter_errors(json.loads(json.dumps(summary)))
    return [f"{list(e.absolute_path)}: {e.message}" for e in found]
