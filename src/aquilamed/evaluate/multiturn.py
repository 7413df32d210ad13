"""Stage evaluate/multiturn: the model continues dialogues round by round (paper, section 5: CMtMedQA, CMB-Clin).

Every round is judged from 1 to 5 on fluency, relevance, completeness and proficiency; averages per round and over all,
with intervals over dialogues. A round whose judgement failed is unscored and counted, never given a number.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import polars as pl
from pydantic import Field

from aquilamed.annotate import ASPECTS, TURN, Annotator, CallError, TurnScores
from aquilamed.config import Config
from aquilamed.evaluate.contestants import Answers, asked_endpoints, contestants, dialogue_text
from aquilamed.evaluate.judging import open_judges
from aquilamed.evaluate.panel import judges_agree, mean_scores
from aquilamed.evaluate.statistics import interval
from aquilamed.evaluate.tasks import read_dialogues
from aquilamed.records import Dialogue, Message, write_json, write_part
from aquilamed.stage import Context, Result

Row = dict[str, Any]
Turn = tuple[int, int, list[Message], str | CallError]
"""(dialogue, round from 1, history, answer)."""
Answer = Callable[[Sequence[list[Message]], str], list[str | CallError]]
"""What answers conversations (`Answers.get`)."""


class MultiturnConfig(Config):
    """Multi-turn judging; the benchmarks are those of kind "multi" in `evaluate.benchmarks`."""

    limit: int | None = Field(default=None, ge=1)
    """Dialogues per benchmark, chosen by seeded hash; null takes all."""
    history: Literal["own", "gold"] = "own"
    """What stands before a round: the model's own earlier answers, or the reference answers."""
    rounds: int | None = Field(default=None, ge=1)
    """Judge at most so many rounds; null judges all."""
    models: list[str] = ["finetune", "align"]
    """Whose answers are judged: base, pretrain, finetune, align, and names of `evaluate.endpoints`."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Length of a generated answer."""
    batch_size: int = Field(default=8, ge=1)
    """Conversations generated together."""


def run(ctx: Context, config: MultiturnConfig) -> Result:
    """Generate every round, judge it, average; answers and scores go to answers/."""
    judges = open_judges(ctx)
    benchmarks = [b for b in ctx.recipe.evaluate.benchmarks if b.kind == "multi"]
    items = [(b.task, d) for b in benchmarks for d in read_dialogues(ctx, b, config.limit)]
    rows: list[Row] = []
    by_judge: dict[str, list[Row]] = {judge.name: [] for judge in judges}
    writers = {
        name: Answers(ctx, c, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)
        for name, c in contestants(ctx, config.models).items()
    }
    for name, writer in writers.items():
        answered = converse(writer.get, [d for _, d in items], config)
        places = [
            {"model": name, "benchmark": items[i][0], "id": items[i][1].id, "round": number, "answer": _text(answer)}
            for i, number, _, answer in answered
        ]
        for judge in judges:
            scores = _judge(judge, answered)
            by_judge[judge.name] += [place | _scores(said) for place, said in zip(places, scores, strict=True)]
        given = [found[-len(places) :] for found in by_judge.values()] if places else []
        rows += [_panel(list(each)) for each in zip(*given, strict=True)]
    models = {m: _told(m, rows, by_judge) for m in dict.fromkeys(r["model"] for r in rows)}
    write_json(ctx.out / "results.json", models)
    if rows:
        schema = dict.fromkeys(ASPECTS, pl.Int64 if len(judges) == 1 else pl.Float64) | {
            "error": pl.String,
            "answer": pl.String,
        }
        write_part(ctx.out / "answers" / "part-00000.parquet", pl.DataFrame(rows, schema_overrides=schema))
    told = [{"kind": judge.kind, "name": judge.name, **judge.statistics()} for judge in judges]
    agree = {
        a: judges_agree({j: [row[a] for row in found] for j, found in by_judge.items()}, weighted=True) for a in ASPECTS
    }
    panel = {"agreement": agree} if len(judges) > 1 else {}
    return Result(
        {
            "judge": told[0],
            "panel": told[1:],
            "history": config.history,
            "models": models,
            **panel,
            **asked_endpoints(writers),
        }
    )


def _judge(judge: Annotator, answered: Sequence[Turn]) -> list[TurnScores | CallError]:
    """A judge's scores of every round; of one without an answer, why there is none."""
    requests = [
        {"dialogue": dialogue_text(history), "answer": answer}
        for _, _, history, answer in answered
        if isinstance(answer, str)
    ]
    scores = iter(judge.annotate(TURN, requests) if requests else [])
    return [
        CallError(answer.kind, f"no answer: {answer.detail}") if isinstance(answer, CallError) else next(scores)
        for *_, answer in answered
    ]


def _text(answer: str | CallError) -> str | None:
    return answer if isinstance(answer, str) else None


def _scores(said: TurnScores | CallError) -> Row:
    """One judge's scores of a round, or why there are none."""
    if isinstance(said, CallError):
        return {**dict.fromkeys(ASPECTS), "error": f"{said.kind}: {said.detail}"}
    return {**{a: getattr(said, a) for a in ASPECTS}, "error": None}


def _panel(given: list[Row]) -> Row:
    """One round's row from its judges' rows: the only judge's, or the mean with what each of several said."""
    if len(given) == 1:
        return given[0]
    means = mean_scores([None if row["error"] else row for row in given])
    failed = "; ".join(row["error"] for row in given if row["error"])
    each = json.dumps([{k: row[k] for k in (*ASPECTS, "error")} for row in given], ensure_ascii=False)
    return given[0] | (means or dict.fromkeys(ASPECTS)) | {"error": None if means else failed, "judges": each}


def _told(model: str, rows: list[Row], by_judge: dict[str, list[Row]]) -> Row:
    """A model's averages, and with several judges each one's over all rounds."""
    told = summarise([r for r in rows if r["model"] == model])
    if len(by_judge) == 1:
        return told
    each = {j: summarise([r for r in found if r["model"] == model])["average"] for j, found in by_judge.items()}
    return told | {"judges": each}


def converse(answer: Answer, dialogues: list[Dialogue], config: MultiturnConfig) -> list[Turn]:
    """Every round, all dialogues of a round answered together.

    Where a round has no answer, the rounds after it have none either when they would stand on it.
    """
    histories: list[list[Message]] = [[] for _ in dialogues]
    broken: dict[int, CallError] = {}
    result: list[Turn] = []
    most = max((len(d.messages) // 2 for d in dialogues), default=0)
    for number in range(1, min(most, config.rounds or most) + 1):
        active = [i for i, d in enumerate(dialogues) if len(d.messages) >= 2 * number]
        for i in active:
            histories[i] = [*histories[i], dialogues[i].messages[2 * number - 2]]
        asked = [i for i in active if i not in broken]
        answers = dict(zip(asked, answer([histories[i] for i in asked], f"round {number}"), strict=True))
        for i in active:
            said = answers[i] if i in answers else broken[i]
            result.append((i, number, histories[i], said))
            if config.history == "gold":
                said = dialogues[i].messages[2 * number - 1]["content"]
            if isinstance(said, CallError):
                broken.setdefault(i, CallError("no_history", f"round {number} has no answer ({said.kind})"))
            else:
                histories[i] = [*histories[i], {"role": "assistant", "content": said}]
    return result


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Averages per round, over all rounds, and per benchmark; None where nothing was scored.

    `intervals` holds the 95 % bootstrap interval of every aspect, drawn over dialogues: rounds of one dialogue share their
    patient and, with `history: own`, the model's earlier mistakes. `n` counts scored rounds, `dialogues` what they come from.
    """

    def average(part: list[dict[str, Any]]) -> dict[str, Any]:
        scored = [r for r in part if r["error"] is None]
        dialogues = [(r["benchmark"], r["id"]) for r in scored]
        means = {a: sum(r[a] for r in scored) / len(scored) if scored else None for a in ASPECTS}
        intervals = {a: interval([r[a] for r in scored], clusters=dialogues, bounds=(1, 5)) for a in ASPECTS}
        counts = {"n": len(scored), "dialogues": len(set(dialogues)), "unscored": len(part) - len(scored)}
        return counts | means | {"intervals": intervals}

    def told(part: list[dict[str, Any]]) -> dict[str, Any]:
        numbers = sorted({r["round"] for r in part})
        rounds = [{"round": number, **average([r for r in part if r["round"] == number])} for number in numbers]
        return {"rounds": rounds, "average": average(part)}

    tasks = sorted({r["benchmark"] for r in rows})
    return told(rows) | {"benchmarks": {task: told([r for r in rows if r["benchmark"] == task]) for task in tasks}}
