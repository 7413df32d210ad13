"""A preference set from public data, and its audit before and after selection: `python benchmarks/preference.py DATA`.

Three kinds of pairs, none from a benchmark:

- subjective: MedQuAD's questions that two of its sources answer; the second answer stands where a model's would, and the
  offline judge compares both in both orders. It shows the machinery; rules are no doctor.
- objective: Apollo's samples of exam and book questions, their key as truth.
- published: MedicalGPT's 600 pairs, as their authors chose.

Prints one JSON object per line: what was judged, then the audit by kind with and without the length balance.
"""

import argparse
import gzip
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from aquilamed import pipeline
from aquilamed.annotate import ANSWER, Answer
from aquilamed.annotate.offline import OfflineAnnotator
from aquilamed.engine.local import LocalEngine
from aquilamed.evaluate.contestants import dialogue_text
from aquilamed.prefer import decontaminate, select, subjective
from aquilamed.prefer.select import PreferSelectConfig
from aquilamed.prefer.subjective import SubjectiveConfig
from aquilamed.progress import Progress
from aquilamed.recipe import load_recipe
from aquilamed.records import DIALOGUE, read_parts, to_schema, write_parts
from aquilamed.stage import Context
from aquilamed.workspace import Artifact, Workspace

QUIET = Progress(quiet=True)
RECIPE = """\
name: preference
data_root: {data}
sources:
  preferences:
    sources:
      - {{name: medicalgpt-dpo-zh, path: preference/dpo_zh_500.jsonl, form: sharegpt_dpo, license: Apache-2.0}}
      - {{name: medicalgpt-reward, path: preference/medicalgpt_reward_test.json, form: reward_pairs, license: NC}}
prefer: {{subjective: null, objective: {{questions: [{{name: apollo-exam, path: "{exam}"}}]}}}}
finetune: null
align: null
evaluate:
  benchmarks:
    - {{task: mmlu, path: benchmarks/mmlu}}
    - {{task: ceval, path: benchmarks/ceval}}
    - {{task: cmb, path: benchmarks/cmb/cmb-single_2000.jsonl}}
    - {{task: medqa, path: benchmarks/medqa/phrases_no_exclude_test.jsonl}}
    - {{task: medmcqa, path: benchmarks/medmcqa/dev.json}}
    - {{task: huatuo, path: benchmarks/huatuo/huatuo26M_test.json}}
  knowledge: null
  pairwise: null
  multiturn: null
"""
_OPTIONS = re.compile(r"^\(?([A-E])\)?\. *(\S.*)$", re.MULTILINE)
_FORMS = (  # question, key, and what precedes the key in the answer
    (r"(?:问题|Question): (.*?)\n(?:选项|Options):\n", r"^(?:正确答案是|The correct answer is)\s*\(([A-E])\)"),
    (r"请回答下面选择题。\n\[[^\]]*\](.*?)\n(?=A\. )", r"所以答案是([A-E]+)。?\s*$"),
)


def exam(folder: Path) -> Iterator[dict[str, Any]]:
    """Apollo's multiple-choice questions in the exam form."""
    for file in sorted(folder.glob("Medical_Exam_*.json")) + sorted(folder.glob("Medical_Book_zh_*.json")):
        for number, pair in enumerate(json.loads(file.read_text("utf-8"))):
            for asks, answers in _FORMS if isinstance(pair, list) else ():
                question, key = re.search(asks, pair[0], re.DOTALL), re.search(answers, pair[1])
                if question is None or key is None:
                    continue
                options = dict(_OPTIONS.findall(pair[0][question.end() :]))
                if len(options) > 1 and set(key[1]) <= set(options) and list(options) == list("ABCDE"[: len(options)]):
                    shared = {
                        "id": f"{file.name}:{number}",
                        "lang": "zh" if "_zh_" in file.name else "en",
                        "split": "train",
                    }
                    rationale = pair[1][: key.start()].strip()[:300]
                    yield (
                        shared
                        | {"question": question[1].strip(), "options": options, "answer": key[1]}
                        | {"rationale": rationale}
                    )


def two_answers(path: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """MedQuAD's questions with two answers: dialogues with the one, and the other by the dialogue as a judge reads it."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            record = json.loads(line)
            if answer := record.get("answer", "").strip():
                found[" ".join(record["question"].split()).lower().rstrip(" ?")].setdefault(answer, number)
    rows, others = [], {}
    for question, answers in sorted(found.items()):
        for turn, (one, two) in enumerate(zip(list(answers)[::2], list(answers)[1::2], strict=False)):
            asked: list[Any] = [{"role": "user", "content": question + "?" + " " * turn}]
            others[dialogue_text(asked)] = two
            origin = f"medquad:{answers[one]}"
            common = {"id": origin, "source": "medquad", "license": "CC-BY-4.0", "origin": origin}
            messages = [*asked, {"role": "assistant", "content": one}]
            rows.append({**common, "kind": "single_turn_QA_en", "lang": "en", "messages": messages})
    return pl.DataFrame(rows, schema=to_schema(DIALOGUE), orient="row"), others


class Judge(OfflineAnnotator):
    """The offline judge; "answers" with MedQuAD's other answer."""

    kind = "table and rules"  # type: ignore[assignment]

    def __init__(self, others: dict[str, str]) -> None:
        super().__init__(QUIET)
        self.others = others

    def annotate(self, rubric: Any, items: Any, round: int = 1) -> list[Any]:
        if rubric is ANSWER:
            return [Answer(answer=self.others[item["dialogue"]]) for item in items]
        return super().annotate(rubric, items, round)


@dataclass(frozen=True)
class Judged(Context):
    """A context whose annotator is ours."""

    judge: Any = None

    def annotator(self) -> Any:
        return self.judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of public data")
    data = parser.parse_args().data.resolve()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        lines = [json.dumps(q, ensure_ascii=False) for q in exam(data / "text" / "apollo")]
        (root / "exam.jsonl").write_text("\n".join(lines), encoding="utf-8")
        (root / "recipe.yaml").write_text(RECIPE.format(data=data, exam=root / "exam.jsonl"), encoding="utf-8")
        recipe = load_recipe(root / "recipe.yaml")
        done = {a.stage: a for a in pipeline.run(recipe, Workspace(root / "ws"), QUIET, until="prefer/select")}
        dialogues, others = two_answers(data / "text" / "medquad.jsonl.gz")

        def context(out: str, inputs: dict[str, Artifact]) -> Judged:
            (root / out / ".work").mkdir(parents=True)
            place = root / out
            engine = LocalEngine(QUIET, workers=1)
            return Judged(place, place / ".work", inputs, engine, QUIET, recipe.seed, root, recipe, Judge(others))

        write_parts(root / "sft" / "kept", dialogues)
        ctx = context("subjective", {"instruct/select": Artifact("instruct/select", root / "sft", {})})
        metrics = subjective.run(ctx, SubjectiveConfig()).metrics
        print(json.dumps({"judged": {k: v for k, v in metrics.items() if k != "judge"}}))
        inputs = {k: done[k] for k in ("prefer/objective", "sources/preferences")}
        ctx = context("clean", {"prefer/subjective": Artifact("prefer/subjective", ctx.out, {}), **inputs})
        decontaminate.run(ctx, recipe.prefer.decontaminate)
        clean = Artifact("prefer/decontaminate", ctx.out, {})
        for balance in (None, 0.05):
            ctx = context(f"select-{balance}", {"prefer/decontaminate": clean})
            found = select.run(ctx, PreferSelectConfig(balance_length=balance)).metrics
            reasons = dict(sorted(read_parts(ctx.out / "dropped")["reason"].value_counts().iter_rows()))
            print(json.dumps({"balance_length": balance, "dropped": reasons}))
            for when in ("before", "after") if balance is None else ("after",):
                for kind, sums in found[when].items():
                    print(json.dumps({when: kind, **sums}))


if __name__ == "__main__":
    main()
