"""What a preference set teaches beside medicine: length, language, near-identical answers, refusals.

DPO learns whatever tells chosen from rejected answers. `measure` looks at every pair, `audit` sums it up per kind.
"""

import math
import re
from typing import Any

import numpy as np
import polars as pl

from aquilamed.corpus.dedup import DedupConfig
from aquilamed.corpus.language import languages
from aquilamed.corpus.minhash import distinct_shingles, similarities
from aquilamed.prefer.judgements import text
from aquilamed.prefer.refusals import refusal, unsafe_request

OBJECTIVE = "objective"
_LEAST = 20
"""Characters of an answer below which its language is not judged: "B", "ibuprofen"."""
# Such a request may be answered in another language.
_OTHER_LANGUAGE = re.compile(
    r"\btranslat|\bin (?:chinese|english|french|german|spanish|japanese|latin)\b|翻译|译成|英文|英语|中文|拉丁|外语",
    re.I,
)

_CODE = re.compile(r"```.*?(?:```|$)", re.DOTALL)


def measure(frame: pl.DataFrame) -> pl.DataFrame:
    """The measures of each pair, in the frame's order.

    `chosen_chars`, `rejected_chars`: characters that are not blanks. `other_language`, `rejected_other_language`: the
    language of an answer that is not the prompt's, else null. `similarity`: Jaccard of the answers' shingles, as corpus/dedup
    compares texts. `refuses`, `rejected_refuses`: the refusing words, else null. `unsafe`: what makes a refusal right.
    """
    prompts = [text(m for m in p if m["role"] != "assistant") for p in frame["prompt"].to_list()]
    chosen, rejected = ([text(m) for m in frame[side].to_list()] for side in ("chosen", "rejected"))
    count = frame.height
    shingles, starts = distinct_shingles([*chosen, *rejected], DedupConfig())
    asked = languages(prompts)["lang"].to_list()
    refusing = [refusal(c) for c in chosen]
    return pl.DataFrame(
        {
            "chosen_chars": [_size(t) for t in chosen],
            "rejected_chars": [_size(t) for t in rejected],
            "other_language": _other_languages(prompts, asked, chosen),
            "rejected_other_language": _other_languages(prompts, asked, rejected),
            "similarity": similarities(np.arange(count), np.arange(count, 2 * count), shingles, starts),
            "refuses": refusing,
            "rejected_refuses": [refusal(t) for t in rejected],
            "unsafe": [unsafe_request(p) if words else None for p, words in zip(prompts, refusing, strict=True)],
        },
        schema={
            "chosen_chars": pl.Int64,
            "rejected_chars": pl.Int64,
            "other_language": pl.String,
            "rejected_other_language": pl.String,
            "similarity": pl.Float64,
            "refuses": pl.String,
            "rejected_refuses": pl.String,
            "unsafe": pl.String,
        },
    )


def audit(frame: pl.DataFrame, measures: pl.DataFrame, near_identical: float) -> dict[str, dict[str, Any]]:
    """The sums per kind, and of all pairs under "all".

    `chosen_longer` is a share in which answers of one length count half: 0.5 is no bias. `length_ratio` is the geometric
    mean of chosen / rejected characters. `margin_length_rho` is Spearman's correlation of the margin and the logarithm of that
    ratio; null where either does not vary.
    """
    table = frame.select("kind", "margin").hstack(measures)
    kinds = table["kind"].unique().sort().to_list()
    found = {kind: _sums(table.filter(pl.col("kind") == kind), near_identical) for kind in kinds}
    return found | {"all": _sums(table, near_identical)}


def _sums(table: pl.DataFrame, near_identical: float) -> dict[str, Any]:
    chosen, rejected = (table[f"{side}_chars"].cast(pl.Float64) for side in ("chosen", "rejected"))
    ratios = ((chosen + 1) / (rejected + 1)).log()
    rho = None
    if table.height > 2 and table["margin"].n_unique() > 1 and ratios.n_unique() > 1:
        rho = pl.select(pl.corr(table["margin"], ratios, method="spearman")).item()
    counted = {
        "chosen_other_language": table["other_language"].count(),
        "rejected_other_language": table["rejected_other_language"].count(),
        "near_identical": table.filter((pl.col("kind") != OBJECTIVE) & (pl.col("similarity") >= near_identical)).height,
        "chosen_refuses": table["refuses"].count(),
        "refuses_unsafe": table["unsafe"].count(),
        "rejected_refuses": table["rejected_refuses"].count(),
        "margin_not_positive": int((table["margin"] <= 0).sum()),
    }
    return {
        "pairs": table.height,
        "chosen_longer": _rounded(longer_share(chosen, rejected)),
        "length_ratio": _rounded(math.exp(ratios.mean())) if table.height else None,  # type: ignore[arg-type]
        "chosen_chars": _rounded(chosen.mean()),
        "rejected_chars": _rounded(rejected.mean()),
        "margin": _rounded(table["margin"].mean()),
        "margin_length_rho": _rounded(rho),
        **counted,
    }


def longer_share(chosen: pl.Series, rejected: pl.Series) -> float | None:
    """The share of pairs whose chosen answer is the longer one; equal lengths count half."""
    if not len(chosen):
        return None
    return (int((chosen > rejected).sum()) + 0.5 * int((chosen == rejected).sum())) / len(chosen)


def _rounded(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else round(float(value), 4)


def _size(answer: str) -> int:
    return len("".join(answer.split()))


def _other_languages(prompts: list[str], asked: list[str], answers: list[str]) -> list[str | None]:
    answers = [_CODE.sub("", answer) for answer in answers]
    spoken = languages(answers)["lang"].to_list()
    return [
        lang
        if _size(answer) >= _LEAST
        and "other" not in (lang, wanted)
        and _written(lang) != _written(wanted)
        and not _OTHER_LANGUAGE.search(prompt)
        else None
        for prompt, wanted, answer, lang in zip(prompts, asked, answers, spoken, strict=True)
    ]


def _written(lang: str) -> str:
    return "zh" if lang == "zh-Hant" else lang
