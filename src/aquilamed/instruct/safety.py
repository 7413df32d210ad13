"""Stage instruct/safety: unsafe dialogues out, private information masked (paper, section 3, step 1).

Violence, bias, pornography and what is specific to medicine: advice to stop vital medication, dangerous doses, illegal
drugs, self-harm, refusing care, poison. Sexual-health and end-of-life content is medicine and stays.

Patterns give *certain* hits, which go, and *doubtful* ones (`advice.py`); a classifier that learned the certain hits adds
what looks most like them (`suspects.py`); of the doubtful the most suspicious are judged by the annotator in two rounds.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
from pydantic import Field

from aquilamed.annotate import SAFETY, SafetyLabel
from aquilamed.annotate.agreement import TwoRounds, agreement, two_rounds
from aquilamed.config import Config, StageFailed
from aquilamed.corpus.student import first_by_hash
from aquilamed.engine import Counts
from aquilamed.instruct import suspects
from aquilamed.instruct.advice import Doubt, certain, doubt
from aquilamed.instruct.masking import PiiMode, mask_dialogue
from aquilamed.instruct.presidio import PresidioConfig, ready
from aquilamed.instruct.suspects import SuspectsConfig, transcript
from aquilamed.records import read_parts, write_json, write_part
from aquilamed.stage import Context, Result

SOURCE = "instruct/decontaminate"
SAFE = "safe"


class SafetyConfig(Config):
    """Safety of the SFT set."""

    toxicity: bool = True
    """Drop dialogues that the toxicity rule calls toxic, whoever speaks."""
    advice: bool = True
    """Drop dialogues whose assistant gives dangerous advice."""
    suspects: SuspectsConfig | None = SuspectsConfig()
    """The classifier that looks for more like the certain hits; null does without."""
    max_judged: int = Field(default=2000, ge=0)
    """Most doubtful dialogues that the annotator judges, the most suspicious first; two calls each."""
    audit: int = Field(default=100, ge=0)
    """Dialogues without any doubt, drawn by seeded hash, that are judged too: how many of them are unsafe says what
    patterns and classifier miss."""
    doubt: Literal["drop", "keep"] = "drop"
    """What becomes of a dialogue whose two verdicts differ."""
    unjudged: Literal["drop", "keep"] = "keep"
    """What becomes of a doubtful dialogue without two verdicts: a call failed, or `max_judged` was reached."""
    max_failed: float = Field(default=0.1, ge=0, le=1)
    """Largest share of the judged without two verdicts; with more the stage fails."""
    pii: PiiMode = "kernels"
    """Who replaces private information by typed placeholders: the corpus' kernels, Microsoft Presidio with these and with
    recognisers for names and addresses (pip install "aquilamed[presidio]"), or nobody (none)."""
    presidio: PresidioConfig = PresidioConfig()
    """Presidio's language models."""


class Verdict(NamedTuple):
    """What becomes of a dialogue: `reason` drops it; `detail` says why it was looked at, also of one that is kept."""

    reason: str | None
    detail: str


def run(ctx: Context, config: SafetyConfig) -> Result:
    """Kept dialogues get `pii` (JSON counts of what was masked, null for nothing) and `doubt` (why they were looked at).

    Raises `Invalid` when Presidio or one of its models is asked for and not installed.
    """
    if config.pii == "presidio":
        ready(config.presidio)
    parts = ctx.inputs[SOURCE].kept_parts()
    path = ctx.work / "judged.json"
    if not path.exists():  # written once: parts that are masked later follow the same verdicts
        write_json(path, _judge_all(ctx, config, parts))
    writes = [(p, ctx.out, path, config) for p in parts]
    ctx.engine.run(_write, writes, ctx.work / "write", "safety: masking")
    metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    return Result(metrics | _masked(ctx))


def _judge_all(ctx: Context, config: SafetyConfig, parts: list[Path]) -> dict[str, Any]:
    """`verdicts` (id → reason, detail) of every dialogue that is certainly unsafe or doubtful, and the `metrics`."""
    looked = [ctx.work / "looked" / p.name for p in parts]
    jobs = [(p, q, config) for p, q in zip(parts, looked, strict=True)]
    ctx.engine.run(_look, jobs, ctx.work / "look", "safety: looking")
    found = pl.concat([pl.read_parquet(q, glob=False) for q in looked])
    sure, unsure = found.filter(pl.col("reason").is_not_null()), found.filter(pl.col("reason").is_null())
    doubts = {r["id"]: Doubt(r["suspicion"], r["kind"], r["detail"]) for r in unsure.iter_rows(named=True)}
    by_patterns = len(doubts)
    learned: dict[str, Any] = {"used": False, "why": "switched off"}
    if config.suspects is not None:
        sentences = dict(sure.select("id", "sentence").iter_rows())
        more, learned = suspects.find(ctx, config.suspects, parts, sentences, doubts)
        doubts |= more
    rest = suspects.ids_without(parts, {*doubts, *sure["id"].to_list()}) if config.max_judged else ()
    audit = first_by_hash(rest, config.audit, ctx.seed, "safety audit")
    verdicts, judging = _judged(ctx, config, parts, doubts, audit)
    certain_ones = {r["id"]: (r["reason"], r["detail"]) for r in sure.iter_rows(named=True)}
    metrics = {
        "certain": sure.height,
        "certain_by_kind": dict(sorted(Counter(sure["kind"].to_list()).items())),
        "doubtful": len(doubts),
        "doubtful_by_kind": dict(sorted(Counter(d.kind for d in doubts.values()).items())),
        "by_patterns": by_patterns,
        "classifier": learned,
        **judging,
    }
    return {"verdicts": certain_ones | verdicts, "metrics": metrics}


def _masked(ctx: Context) -> dict[str, Any]:
    kept = read_parts(ctx.out / "kept", ["pii"])["pii"].drop_nulls()
    masked: Counter[str] = Counter()
    for counts in kept.to_list():
        masked.update(json.loads(counts))
    return {"masked_dialogues": kept.len(), "masked": dict(sorted(masked.items()))}


def _look(job: tuple[Path, Path, SafetyConfig]) -> Counts:
    """Write down what patterns say of a part: id, reason (certain), and kind, detail, suspicion."""
    source, target, config = job
    rows: list[tuple[str, str | None, str, str, float, str]] = []
    frame = pl.read_parquet(source, columns=["id", "messages"], glob=False)
    for identity, dialogue in frame.iter_rows():
        if hit := certain(dialogue, config.toxicity, config.advice):
            rows.append((identity, f"safety.{hit.kind}", hit.kind, hit.detail, 1.0, hit.sentence))
        elif one := doubt(dialogue, config.toxicity, config.advice):
            rows.append((identity, None, one.kind, one.detail, one.suspicion, ""))
    names = ("id", "reason", "kind", "detail", "suspicion", "sentence")
    types = dict.fromkeys(names, pl.String()) | {"suspicion": pl.Float64()}
    write_part(target, pl.DataFrame(rows, schema=types, orient="row"))
    return {"looked": frame.height}


def _judged(
    ctx: Context, config: SafetyConfig, parts: list[Path], doubts: dict[str, Doubt], audit: list[str]
) -> tuple[dict[str, Verdict], dict[str, Any]]:
    """A verdict for every doubtful dialogue and those of the audit, and the figures of the judging."""
    order = sorted(doubts, key=lambda i: (-doubts[i].suspicion, _hash(ctx.seed, i)))
    asked, rest = order[: config.max_judged] + audit, order[config.max_judged :]
    doubts = doubts | {i: Doubt(0.0, "audit", "drawn for the audit") for i in audit}
    annotator = ctx.annotator()
    dialogues = suspects.fetch(parts, asked)
    items = [{"dialogue": transcript(dialogues[i])} for i in asked]
    rounds = two_rounds(annotator, SAFETY, items, _label) if items else []
    failed = [r.failed for r in rounds if r.failed is not None]
    if len(failed) > config.max_failed * len(rounds):
        raise StageFailed(
            f"{len(failed)} of {len(rounds)} doubtful dialogues got no verdict in both rounds (most allowed: "
            f"{config.max_failed:.0%}), first: {failed[0]}; the answers that came are stored, run again"
        )
    verdicts = {i: _verdict(config, doubts[i], r) for i, r in zip(asked, rounds, strict=True)}
    verdicts |= {i: _not_judged(config, doubts[i], f"max_judged ({config.max_judged}) was reached") for i in rest}
    # Kinds may differ between rounds; agreement is about whether it may stay.
    plain = [TwoRounds(_safe(r.first), _safe(r.second), r.failed) for r in rounds]
    both = [r for r in rounds if r.first not in (None, SAFE) and r.second not in (None, SAFE)]
    return verdicts, {
        "judged": sum(r.failed is None for r in rounds),
        "judged_safe": sum(r.first == r.second == SAFE for r in rounds),
        "judged_unsafe": len(both),
        "unsafe_by_kind": dict(sorted(Counter(str(r.first) for r in both).items())),
        "disagreement": sum(r.failed is None and (r.first == SAFE) != (r.second == SAFE) for r in rounds),
        "failed_calls": len(failed),
        "over_budget": len(rest),
        "audited": len(audit),
        "audited_unsafe": sum(i in verdicts and verdicts[i].reason is not None for i in audit),
        "agreement": agreement(plain),
        "annotator": {"kind": annotator.kind, "name": annotator.name, **annotator.statistics()},
    }


def _label(answer: SafetyLabel) -> str:
    return SAFE if answer.verdict == SAFE else ("other" if answer.kind == "none" else answer.kind)


def _safe(label: str | None) -> bool | None:
    return None if label is None else label == SAFE


def _verdict(config: SafetyConfig, found: Doubt, rounds: TwoRounds[str]) -> Verdict:
    if rounds.failed is not None:
        return _not_judged(config, found, rounds.failed)
    said = f"{found.detail}; round 1 says {rounds.first}, round 2 says {rounds.second}"
    unsafe = [label for label in (rounds.first, rounds.second) if label != SAFE]
    if len(unsafe) == 2:
        return Verdict(f"safety.{unsafe[0]}", said)
    if unsafe and config.doubt == "drop":
        return Verdict("safety.disagreement", said)
    return Verdict(None, said)


def _not_judged(config: SafetyConfig, found: Doubt, why: str) -> Verdict:
    return Verdict("safety.unjudged" if config.unjudged == "drop" else None, f"{found.detail}; not judged: {why}")


def _hash(seed: int, identity: str) -> str:
    return hashlib.blake2b(f"{seed}\0safety\0{identity}".encode(), digest_size=8).hexdigest()


def _write(job: tuple[Path, Path, Path, SafetyConfig]) -> Counts:
    """Write a part's kept and dropped dialogues, private information masked in both."""
    source, out, path, config = job
    verdicts: dict[str, list[str | None]] = json.loads(path.read_text(encoding="utf-8"))["verdicts"]
    frame = pl.read_parquet(source, glob=False)
    mine = [verdicts.get(i, [None, None]) for i in frame["id"].to_list()]
    rows = frame.select("messages", "lang").iter_rows()
    masked = [mask_dialogue(messages, lang, config.pii, config.presidio) for messages, lang in rows]
    frame = frame.with_columns(
        pl.Series("messages", [m for m, _ in masked], frame.schema["messages"]),
        pl.Series("pii", [counts for _, counts in masked], pl.String),
        pl.Series("reason", [reason for reason, _ in mine], pl.String),
        pl.Series("detail", [detail for _, detail in mine], pl.String),
    )
    kept = frame.filter(pl.col("reason").is_null()).drop("reason").rename({"detail": "doubt"})
    dropped = frame.filter(pl.col("reason").is_not_null())
    write_part(out / "dropped" / source.name, dropped)
    write_part(out / "kept" / source.name, kept)
    return {"dialogues": frame.height}
