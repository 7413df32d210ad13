"""Stage evaluate/calibration: the judges on pairs of answers that people have judged too.

Every judge compares both answers in both orders, as in the evaluation. Reported: how far each agrees with people (Cohen's κ)
beside how far the judges agree with each other, each judge's bias for a position, and whether it favours answers of its own.

The pairs are the preference pairs that reviewers decided, and those of `files`, one JSON object a line:

    {"prompt": "…", "answer_a": "…", "answer_b": "…", "verdict": "A", "rater": "dr.li", "by_a": "gpt-x", "by_b": "human"}

A verdict is A, B or tie; `rater` and who wrote the answers may be absent.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from aquilamed.annotate import Annotator
from aquilamed.annotate.both_orders import compare_in_both_orders
from aquilamed.config import Config, Invalid
from aquilamed.evaluate.contestants import dialogue_text
from aquilamed.evaluate.judging import open_judges
from aquilamed.evaluate.panel import UNSCORED, judges_agree, self_preference
from aquilamed.evaluate.tasks import by_hash
from aquilamed.evaluate.tasks.reading import Files, json_lines
from aquilamed.evaluate.verdicts import Judged, judged, position
from aquilamed.prefer.judgements import decide, text
from aquilamed.prefer.select import VERDICTS, human_votes
from aquilamed.records import Message, digest, read_parts, write_json
from aquilamed.stage import Context, Result

PEOPLE = "people"
_OUTCOME = {"chosen": "win", "rejected": "loss", "A": "win", "B": "loss", "tie": "tie"}
_MIRRORED = {"win": "loss", "loss": "win"}


class CalibrationConfig(Config):
    """The judges against people; `evaluate.calibration: {}` switches it on."""

    files: list[str] = []
    """Files of judged pairs (JSON lines, below data_root) beside the preference pairs that reviewers decided."""
    limit: int | None = Field(default=200, ge=1)
    """Pairs that the judges are asked about, chosen by seeded hash; null takes all."""


class JudgedPair(Config):
    """A line of `files`: two answers, and what one person says of them."""

    prompt: str = Field(min_length=1)
    """The question, or the dialogue before the answers."""
    answer_a: str = Field(min_length=1)
    """An answer."""
    answer_b: str = Field(min_length=1)
    """The other answer."""
    verdict: Literal["A", "B", "tie"]
    """The better answer."""
    rater: str = "somebody"
    """Who judged."""
    by_a: str = ""
    """The model that wrote answer A, by the name that a judge of it would have."""
    by_b: str = ""
    """The same for answer B."""


@dataclass(frozen=True)
class Pair:
    """A pair with what people decided: win, when they prefer the first answer."""

    id: str
    dialogue: str
    first: str
    second: str
    people: str
    by: tuple[str, str]


def run(ctx: Context, config: CalibrationConfig) -> Result:
    """Have the pairs judged and compare; `results.json` holds the figures, `pairs.json` what each judge said.

    Raises `Invalid` for a judgement that does not fit, as prefer/select does, or a line of `files` that is none.
    """
    judges = open_judges(ctx)
    found = {p.id: p for p in [*_reviewed(ctx, judges[0].name), *_from_files(ctx, config)]}
    pairs = sorted(found.values(), key=lambda p: by_hash(p.id, ctx.seed))[: config.limit]
    said = {judge.name: _judge(judge, pairs) for judge in judges}
    results = figures(pairs, said)
    write_json(ctx.out / "results.json", results)
    each = {name: [outcome for outcome, _, _ in verdicts] for name, verdicts in said.items()}
    rows = [{"id": p.id, PEOPLE: p.people, **{j: o[n] for j, o in each.items()}} for n, p in enumerate(pairs)]
    write_json(ctx.out / "pairs.json", rows)
    told = [{"kind": judge.kind, "name": judge.name, **judge.statistics()} for judge in judges]
    return Result({"judge": told[0], "panel": told[1:], **results})


def _judge(judge: Annotator, pairs: Sequence[Pair]) -> list[Judged]:
    sides = [p.dialogue for p in pairs], [p.first for p in pairs], [p.second for p in pairs]
    return [judged(said) for said in compare_in_both_orders(judge, *sides)] if pairs else []


def figures(pairs: Sequence[Pair], said: Mapping[str, Sequence[Judged]]) -> dict[str, Any]:
    """What the verdicts say of the judges.

    Returns `pairs`; `judges`: per judge its `unscored` pairs and its bias for a `position`; `with_people` and `among`: the
    agreement (`annotate/agreement.py`) of every judge with people, and of every two judges; `self_preference` of judges
    that wrote one of two answers, against people and the other judges (`panel.self_preference`).
    """
    outcomes = {judge: [outcome for outcome, _, _ in verdicts] for judge, verdicts in said.items()}
    scored = {j: [None if o == UNSCORED else o for o in found] for j, found in outcomes.items()}
    agree = judges_agree({PEOPLE: [p.people for p in pairs], **scored})
    return {
        "pairs": len(pairs),
        "judges": [
            {
                "judge": judge,
                "unscored": outcomes[judge].count(UNSCORED),
                "position": position([both for _, _, both in verdicts if both is not None]),
            }
            for judge, verdicts in said.items()
        ],
        "with_people": [a for a in agree if PEOPLE in a["judges"]],
        "among": [a for a in agree if PEOPLE not in a["judges"]],
        "self_preference": [p for judge in said if (p := _own(judge, pairs, outcomes))["n"]],
    }


def _own(judge: str, pairs: Sequence[Pair], outcomes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A judge's preference for its own answers, seen from the side that it wrote."""
    own = [(n, p.by[1] == judge) for n, p in enumerate(pairs) if (p.by[0] == judge) != (p.by[1] == judge)]
    everybody = {PEOPLE: [p.people for p in pairs], **outcomes}
    turned = {who: [_MIRRORED.get(o[n], o[n]) if second else o[n] for n, second in own] for who, o in everybody.items()}
    return self_preference(judge, turned, mirrored=False)


def _reviewed(ctx: Context, annotator: str) -> list[Pair]:
    """The preference pairs that reviewers decided; where the annotator wrote the new answers, they are its own."""
    if "prefer/decontaminate" not in ctx.inputs:
        return []
    config = ctx.recipe.prefer.select
    rows = {r["id"]: r for r in read_parts(ctx.inputs["prefer/decontaminate"].kept).to_dicts()}
    votes, _ = human_votes(ctx, config, rows.values())
    subjective = ctx.inputs.get("prefer/subjective")
    wrote = subjective is not None and subjective.manifest["params"]["config"]["answers"] == "annotator"
    found = []
    for pair, given in sorted(votes.items()):
        decision, row = decide(given, config.adjudicators), rows[pair]
        if decision is None or decision.verdict is None:
            continue
        by = ("", "")
        if wrote and row.get("verdicts"):
            new = json.loads(row["verdicts"])[0]["winner"] == "answer"
            by = (annotator, "") if new else ("", annotator)
        sides = text(row["chosen"]), text(row["rejected"])
        found.append(Pair(pair, dialogue_text(row["prompt"]), *sides, _OUTCOME[decision.verdict], by))
    return found


def _from_files(ctx: Context, config: CalibrationConfig) -> list[Pair]:
    """The pairs of `files` on which more than half of the raters agree."""
    files: Files = [named for pattern in config.files for named in ctx.files(pattern)]
    lines: dict[str, list[JudgedPair]] = defaultdict(list)
    raters: dict[tuple[str, str], str] = {}
    for name, path in files:
        for number, row in json_lines(path):
            origin = f"{name}:{number}"
            try:
                line = JudgedPair.model_validate(row)
            except ValidationError as error:
                told = "; ".join(f"field {'.'.join(map(str, e['loc']))!r}: {e['msg']}" for e in error.errors())
                raise Invalid(f"{origin}: {told}") from error
            pair = digest([line.prompt, line.answer_a, line.answer_b])[:16]
            if before := raters.get((pair, line.rater)):
                raise Invalid(f"{origin}: {line.rater!r} judged this pair before, at {before}; remove one of the lines")
            raters[pair, line.rater] = origin
            lines[pair].append(line)
    found = []
    for pair, given in lines.items():
        verdicts = [line.verdict for line in given]
        most = max(sorted(set(verdicts)), key=verdicts.count)
        if 2 * verdicts.count(most) > len(verdicts):
            one = given[0]
            asked: list[Message] = [{"role": "user", "content": one.prompt}]
            by = (one.by_a, one.by_b)
            found.append(Pair(pair, dialogue_text(asked), one.answer_a, one.answer_b, _OUTCOME[most], by))
    return found


def files_read(verdicts: Sequence[str], config: CalibrationConfig | None) -> list[str]:
    """The paths that count in the stage's fingerprint."""
    return [*verdicts, VERDICTS, *(config.files if config else [])]
