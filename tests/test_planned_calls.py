"""The plan of the annotator's calls: counts, tokens, cost, what is stored already, and the refusal over the budget."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquilamed import pipeline
from aquilamed.annotate import DOMAIN
from aquilamed.annotate.estimate import text_tokens
from aquilamed.config import Invalid
from aquilamed.known import BOUND
from aquilamed.planned_calls import PlannedCalls, call_table, check_budget, planned_calls, spent
from aquilamed.planned_questions import ANNOTATING
from aquilamed.progress import Progress
from aquilamed.recipe import Recipe, load_recipe
from aquilamed.stages import STAGES
from aquilamed.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent / "annotate"))
from chat_server import Server, completion

DOCUMENTS = 24
WORDS = ("knee", "hand", "chest", "shoulder", "stomach", "ankle", "neck")
SENTENCES = [
    "A patient with fever and breathlessness needs a careful examination of the chest.",
    "Hypertension is a chronic rise of arterial pressure that strains the heart and the kidneys.",
    "In gout, crystals of urate settle in a joint and set off a sudden and painful inflammation.",
    "Iron is lost with every bleeding, and its lack shows as fatigue long before anaemia does.",
    "The thyroid gland sets the pace at which nearly every tissue of the body burns its fuel.",
    "Most kidney stones pass on their own when the patient drinks enough and the pain is treated.",
    "A stroke that is recognised within the first hours can often be treated by opening the vessel.",
    "Vaccination against measles protects those who cannot be vaccinated themselves as well.",
    "Asthma narrows the small airways in attacks; inhaled steroids make these attacks rarer.",
    "Diabetes harms the nerves of the feet, so that small wounds are not felt and heal badly.",
]
RECIPE = """\
name: priced
annotator:
  kind: openai
  model: judge
  base_url: {url}
  api_key_env: TEST_JUDGE_KEY
  prices: {{judge: {{input: 2, output: 10}}}}
  budget: {budget}
sources:
  documents: {{sources: [{{name: web, path: web.jsonl}}]}}
  dialogues: {{sources: [{{name: qa, path: qa.jsonl, form: qa}}]}}
corpus:
  domain_labels: {{seeds: 10, rounds: 0, languages: [en]}}
  quality_labels: {{samples: 5}}
instruct:
  deita: {{scorer: annotator}}
prefer:
  subjective: {{prompts: 100}}
evaluate:
  benchmarks: [{{task: dialogues_multi, path: multi.jsonl}}]
  safety: {{languages: [en], limit: 1}}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TEST_JUDGE_KEY", "sk-none")
    running = Server(lambda n, r: completion('{"domain": "medical"}'))
    yield running
    running.http.shutdown()
    running.http.server_close()


def prepared(folder: Path, server: Server, budget: float = 5.0) -> Recipe:
    draw = random.Random(5)
    lines = [
        json.dumps({"text": " ".join(draw.sample(SENTENCES, 4 + n % 3)) + f" Case {n}."}) for n in range(DOCUMENTS)
    ]
    (folder / "web.jsonl").write_text("\n".join(lines))
    pairs = [json.dumps({"question": f"Why does my {w} hurt?", "answer": f"Rest the {w}."}) for w in WORDS]
    (folder / "qa.jsonl").write_text("\n".join(pairs))
    turns = [{"role": r, "content": f"{r} says {n}"} for n in range(3) for r in ("user", "assistant")]
    (folder / "multi.jsonl").write_text(json.dumps({"lang": "en", "messages": turns}) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE.format(url=server.url, budget=budget))
    return load_recipe(folder / "recipe.yaml")


def plan(recipe: Recipe, root: Path) -> dict[tuple[str, str], PlannedCalls]:
    rows = planned_calls(recipe, pipeline.states(recipe, Workspace(root)), root)
    return {(r.stage, r.rubric): r for r in rows}


def test_every_stage_that_asks_is_planned() -> None:
    assert {s.name for s in STAGES if "annotator" in s.uses} == set(ANNOTATING)


def test_counts_lengths_and_cost_before_anything_ran(server: Server, tmp_path: Path) -> None:
    recipe = prepared(tmp_path, server)
    rows = plan(recipe, tmp_path / "ws")
    assert not (tmp_path / "ws" / "calls.sqlite").exists()
    counts = {key: row.calls for key, row in rows.items()}
    assert counts == {
        ("corpus/domain_labels", "domain"): 20,
        ("corpus/quality_labels", "quality"): 10,
        ("instruct/safety", "safety"): 14,
        ("instruct/deita", "complexity"): 7,  # the file's seven dialogues of one round
        ("instruct/deita", "response_quality"): 7,
        ("prefer/subjective", "answer"): 7,
        ("prefer/subjective", "compare"): 14,
        ("evaluate/multiturn", "turn"): 6,  # three rounds of two models
        ("evaluate/safety", "safe_answer"): 12,  # three models, a case of each kind
    }
    domain = rows["corpus/domain_labels", "domain"]
    texts = [json.loads(line)["text"].strip() for line in (tmp_path / "web.jsonl").read_text().splitlines()]
    prompts = [text_tokens(DOMAIN.render({"text": t})) for t in texts]
    assert domain.tokens_in == pytest.approx(20 * sum(prompts) / len(prompts), rel=0.01)
    assert domain.lengths == "a sample of the source files"
    assert domain.cost == pytest.approx((domain.tokens_in * 2 + domain.tokens_out * 10) / 1e6)  # type: ignore[operator]
    table = call_table(recipe, list(rows.values()))
    assert table[-1]["calls at most"] == 97
    assert server.requests == []
    # Without the files only the bound is known, and of the dialogues not even their number.
    for name in ("qa.jsonl", "web.jsonl"):
        (tmp_path / name).write_text("")
    (tmp_path / "multi.jsonl").unlink()
    rows = plan(recipe, tmp_path / "ws")
    assert rows["corpus/domain_labels", "domain"].lengths == BOUND
    assert rows["instruct/deita", "complexity"].calls is None
    assert call_table(recipe, list(rows.values()))[-1]["stage"] == "all that are known"


def test_stored_answers_are_not_planned_again(server: Server, tmp_path: Path) -> None:
    recipe = prepared(tmp_path, server)
    root = tmp_path / "ws"
    before = plan(recipe, root)["corpus/domain_labels", "domain"]
    pipeline.run(recipe, Workspace(root), Progress(quiet=True), until="corpus/domain_labels", workers=1)
    assert len(server.requests) == before.calls
    after = plan(recipe, root)
    assert ("corpus/domain_labels", "domain") not in after
    assert after["corpus/quality_labels", "quality"].lengths == "corpus/decontaminate"
    assert spent(root) == pytest.approx(20 * (100 * 2 + 10 * 10) / 1e6)
    # More seeds: the stage is to be done again, the first answers are there, and their tokens say what more will cost.
    wider = {n: load_recipe(tmp_path / "recipe.yaml", [f"corpus.domain_labels.seeds={n}"]) for n in (15, 999)}
    more = plan(wider[15], root)["corpus/domain_labels", "domain"]
    assert (more.calls, more.stored) == (10, 20)
    assert (more.tokens_in, more.tokens_out, more.lengths) == (1000, 100, "stored calls")
    # No more than the documents that were counted.
    assert plan(wider[999], root)["corpus/domain_labels", "domain"].calls == 2 * DOCUMENTS - 20


def test_a_plan_over_the_budget_is_refused(server: Server, tmp_path: Path) -> None:
    prepared(tmp_path, server, budget=0.03)
    command = [sys.executable, "-m", "aquilamed.cli", "plan", "recipe.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "domain" in done.stdout, "the table is shown all the same"
    assert "annotator.budget: the calls that are left cost about 0.17" in done.stderr
    assert (
        "raise the budget or lower prefer.subjective.prompts, evaluate.safety.limit, corpus.domain_labels.seeds, "
        in done.stderr
    )
    batch = ["--json", "--set", "annotator.mode=batch", "--set", "annotator.budget=1"]
    done = subprocess.run([*command, *batch], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["money"] == {"budget": 1, "spent": 0.0, "currency": "USD"}
    [domain] = [c for c in told["calls"] if c["rubric"] == "domain"]
    assert domain["cost"] == pytest.approx((domain["tokens_in"] * 2 + domain["tokens_out"] * 10) / 2e6)


def test_what_was_spent_counts_and_an_unpriced_model_says_so(server: Server, tmp_path: Path) -> None:
    recipe = prepared(tmp_path, server, budget=5)
    rows = list(plan(recipe, tmp_path / "ws").values())
    check_budget(recipe, rows, 4.8)
    with pytest.raises(Invalid, match=r"4\.99 is spent, and the budget is 5"):
        check_budget(recipe, rows, 4.99)
    unpriced = {"prices": {}, "budget": None}
    recipe = recipe.model_copy(update={"annotator": recipe.annotator.model_copy(update=unpriced)})
    rows = list(plan(recipe, tmp_path / "ws").values())
    assert call_table(recipe, rows)[-1]["cost, USD"] == "no price"
    check_budget(recipe, rows, 1e9)


def test_every_judge_of_a_panel_is_planned_at_its_own_price(server: Server, tmp_path: Path) -> None:
    recipe = prepared(tmp_path, server)
    alone = plan(recipe, tmp_path / "ws")["evaluate/multiturn", "turn"]
    judge = "{kind: openai, model: dear, prices: {dear: {input: 20, output: 100}}}"
    recipe = load_recipe(tmp_path / "recipe.yaml", [f"evaluate.judges=[{judge}]"])
    rows = plan(recipe, tmp_path / "ws")
    assert rows["evaluate/multiturn", "turn"] == alone
    dear = rows["evaluate/multiturn", "turn (dear)"]
    assert (dear.calls, dear.cost) == (alone.calls, pytest.approx(10 * (alone.cost or 0)))
    assert not any("dear" in rubric for stage, rubric in rows if stage != "evaluate/multiturn")
    with pytest.raises(Invalid, match=r"annotator\.budget"):
        check_budget(recipe, list(rows.values()), 4.8)


FAR = """\
name: far
annotator: {{budget: {budget}}}
sources: {{}}
evaluate:
  benchmarks:
    - {{task: exam, path: exam.jsonl, shots: 1}}
    - {{task: dialogues_single, path: single.jsonl}}
    - {{task: dialogues_multi, path: multi.jsonl}}
  endpoints:
    - {{name: far, model: m, base_url: {url}, api_key_env: TEST_JUDGE_KEY, prices: {{m: {{input: 1000, output: 4000}}}}}}
  knowledge: {{models: [far], turns: true}}
  pairwise: {{models: [far], against: [reference], max_new_tokens: 40}}
  multiturn: {{models: [far], max_new_tokens: 40}}
  safety: {{models: [far], languages: [en], limit: 1, max_new_tokens: 40}}
"""


def far(folder: Path, server: Server, *overrides: str, budget: str = "null") -> Recipe:
    """A recipe that evaluates one endpoint."""
    options = {"A": "heart", "B": "water", "C": "air"}
    exam = [
        {"id": f"q{n}", "lang": "en", "topic": "t", "question": f"item {n}?", "answer": "A", "split": "test"}
        | {"options": options, "rationale": ""}
        for n in range(8)
    ]
    said = [{"role": r, "content": f"{r} says {n}"} for n in range(3) for r in ("user", "assistant")]
    single = [{"lang": "en", "messages": [{"role": "user", "content": q}, said[1]]} for q in ("fever?", "cough?")]
    files = {"exam": exam, "single": single, "multi": [{"lang": "en", "messages": said}]}
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "far.yaml").write_text(FAR.format(url=server.url, budget=budget))
    return load_recipe(folder / "far.yaml", list(overrides))


def echoed(request: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
    text = request["prompt"]
    logprobs = {"tokens": [text[:-2], text[-2:], "."], "token_logprobs": [None, -1.0, -1.0]}
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
    choice = {"index": 0, "text": text, "finish_reason": "length", "logprobs": logprobs}
    return (
        200,
        {},
        {"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage},
    )


def test_calls_of_endpoints_are_those_that_the_run_makes(server: Server, tmp_path: Path) -> None:
    server.plan = lambda n, r: echoed(r) if "prompt" in r else completion("Rest, and drink water.")
    recipe, root = far(tmp_path, server), tmp_path / "ws"
    rows = plan(recipe, root)
    answers = {stage: row for (stage, rubric), row in rows.items() if rubric == "answers of far"}
    assert {stage: row.calls for stage, row in answers.items()} == {
        "evaluate/knowledge": 3 * 3 * 3 + 1,  # three questions, letters and orders, and the probe
        "evaluate/pairwise": 2,
        "evaluate/multiturn": 3,
        "evaluate/safety": 4,
    }
    pair = answers["evaluate/pairwise"]
    assert (pair.tokens_in, pair.tokens_out, pair.lower) == (4, 80, "evaluate.pairwise.limit")
    assert pair.cost == pytest.approx((4 * 1000 + 80 * 4000) / 1e6)
    # The last round's prompt holds two answers as long as they may be.
    assert 2 * 40 < (answers["evaluate/multiturn"].tokens_in or 0) - 40 < 2 * 40 + 60
    assert ("evaluate/pairwise", "compare") in rows, "the judge reads the endpoint's answers"
    assert server.requests == []
    for stage in answers:
        before = len(server.requests)
        pipeline.run(recipe, Workspace(root), Progress(quiet=True), only=stage, workers=1)
        assert len(server.requests) - before == answers[stage].calls, stage
        assert (stage, "answers of far") not in plan(recipe, root)
    # Other settings, the same calls: all answers are there, and of longer ones none.
    told = plan(far(tmp_path, server, "evaluate.knowledge.limit=2", "evaluate.multiturn.max_new_tokens=50"), root)
    short, longer = told["evaluate/knowledge", "answers of far"], told["evaluate/multiturn", "answers of far"]
    assert (short.calls, short.stored, short.cost) == (0, 2 * 3 * 3 + 1, 0)
    assert (longer.calls, longer.stored, longer.tokens_out) == (3, 0, 150)


def test_endpoints_count_in_the_budget_and_without_files_are_not_known(server: Server, tmp_path: Path) -> None:
    recipe = far(tmp_path, server, budget="0.5")
    rows = list(plan(recipe, tmp_path / "ws").values())
    with pytest.raises(Invalid, match=r"annotator\.budget: .*lower evaluate\.knowledge\.limit"):
        check_budget(recipe, rows, 0.0)
    (tmp_path / "single.jsonl").unlink()
    found = plan(recipe, tmp_path / "ws")["evaluate/pairwise", "answers of far"]
    assert (found.calls, found.cost) == (None, None)
    assert call_table(recipe, [found])[0]["calls at most"] == "not known yet"
