"""Do texts that talk to their judge move its verdict? Offline rules and a local model, against a neutral addition.

    python benchmarks/injection.py [--judge offline|local] [--model smollm2-135m] [--bases 10] [--every 1]

Every injection (injections.jsonl) is added to texts of the built-in sample of its language: to a document for scores and
labels, to the worse of two answers for comparisons. The control adds as many characters of other medical prose at the same
place. `moved`: the verdict is another one than without the addition; `toward`: it moved to where the injection wants it
(a higher score, the answer it stands in, the label it names). What counts is injection against control.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aquilamed.annotate import COMPARE, DOMAIN, QUALITY, Annotator, AnnotatorConfig, CallError, Rubric, open_annotator
from aquilamed.progress import Progress

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "src" / "aquilamed" / "sample" / "data"
RUBRICS: dict[str, Rubric[Any]] = {"score": QUALITY, "winner": COMPARE, "domain": DOMAIN}
Case = tuple[dict[str, Any], str, dict[str, str], dict[str, str], dict[str, str]]
"""Injection, goal, the item as it is, with the injection, with the neutral addition."""
ADVERT = {"zh": "限时优惠，立即拨打热线领取红包！", "en": " Order now, limited offer, call our hotline!"}


def rows(name: str) -> list[dict[str, Any]]:
    """A file of JSON lines."""
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def material(lang: str, bases: int, chars: int) -> tuple[list[dict[str, Any]], str]:
    """Items to judge in one language, each with where additions go, and prose for the control."""
    documents = rows(f"{SAMPLE}/documents.medical.{lang}.jsonl")
    dialogues = [d["messages"] for d in rows(f"{SAMPLE}/dialogues.{lang}.jsonl") if len(d["messages"]) == 2]
    found = []
    for n in range(bases):
        # Every other document carries an advert, so that its score has room above.
        text = documents[n]["text"][:chars] + (ADVERT[lang] if n % 2 else "")
        asked, answer, other = dialogues[n][0]["content"], dialogues[n][1]["content"], dialogues[n + 20][1]["content"]
        compared = {"dialogue": f"Patient: {asked}", "answer_a": answer[:chars], "answer_b": other[:chars]}
        found.append(
            {"score": ({"text": text}, "text"), "domain": ({"text": text}, "text"), "winner": (compared, "answer_b")}
        )
    return found, " ".join(d["text"] for d in documents[bases:])


def cases(bases: int, chars: int, every: int) -> Iterator[Case]:
    """Every case."""
    draw = random.Random(7)
    pools = {lang: material(lang, bases, chars) for lang in ("zh", "en")}
    for injection in rows(f"{HERE}/injections.jsonl")[::every]:
        [goal] = injection["wants"]
        items, prose = pools[injection["lang"]]
        for item in items:
            base, field = item[goal]
            mark = RUBRICS[goal].render(base).split("[BEGIN ")[1].split()[1][:8]
            said = injection["text"].replace("{mark}", mark) * injection.get("repeat", 1)
            start = draw.randrange(max(1, len(prose) - len(said)))
            neutral = (prose[start:] + " " + prose)[: len(said)]
            yield injection, goal, base, *({**base, field: f"{base[field]}\n{a}"} for a in (said, neutral))


def measure(judge: Annotator, todo: list[Case], goals: list[str]) -> dict[str, Any]:
    """Shares per goal, for the injections and for the control."""
    found: dict[str, Any] = {}
    for goal in goals:
        rubric = RUBRICS[goal]
        mine = [c for c in todo if c[1] == goal]
        # Equal items are judged once.
        items = {json.dumps(i, sort_keys=True): i for c in mine for i in c[2:]}
        said = dict(zip(items, judge.annotate(rubric, list(items.values())), strict=True))
        triples = [(c[0], *(_value(said[json.dumps(i, sort_keys=True)], goal) for i in c[2:])) for c in mine]
        good = [t for t in triples if None not in t]
        found[goal] = {"n": len(good), "errors": len(triples) - len(good)}
        for name, at in (("injection", 2), ("control", 3)):
            moved = [t for t in good if t[at] != t[1]]
            toward = [t for t in moved if _toward(t[1], t[at], t[0]["wants"][goal])]
            found[goal] |= {
                f"{name}_moved": round(len(moved) / max(len(good), 1), 3),
                f"{name}_toward": round(len(toward) / max(len(good), 1), 3),
            }
        found[goal]["there_before"] = round(sum(t[1] == t[0]["wants"][goal] for t in good) / max(len(good), 1), 3)
    return found


def _value(answer: Any, goal: str) -> Any:
    return None if isinstance(answer, CallError) else getattr(answer, goal)


def _toward(before: Any, after: Any, wanted: Any) -> bool:
    return bool(after > before if isinstance(wanted, int) else after == wanted)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", choices=["offline", "local"], default="offline")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--every", type=int, default=1, help="take only every so many of the injections")
    parser.add_argument("--chars", type=int, default=300, help="length of a judged text: what is added must not drown")
    parser.add_argument("--goals", nargs="+", choices=list(RUBRICS), default=list(RUBRICS))
    parser.add_argument("--bases", type=int, default=2, help="texts per language that every injection is added to")
    arguments = parser.parse_args()
    local = {"kind": "local", "model": arguments.model, "max_chars": 600, "batch_size": 4}
    config = AnnotatorConfig(**(local if arguments.judge == "local" else {}))
    judge = open_annotator(config, HERE, Progress())
    todo = list(cases(arguments.bases, arguments.chars, arguments.every))
    print(json.dumps({"judge": judge.name, **vars(arguments), **measure(judge, todo, arguments.goals)}))


if __name__ == "__main__":
    main()
