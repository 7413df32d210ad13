"""Two models side by side in a real Chromium: asked, voted on blind, exported, and in the next run's DPO."""

import json
from pathlib import Path
from typing import Any

import pytest
from pairs_workspace import make, run
from serving import served, set_longest

import tiny_model
from aquilamed.pipeline import states
from aquilamed.recipe import load_recipe
from aquilamed.records import read_parts
from aquilamed.review.hand_over import LINE
from aquilamed.review.store import ReviewStore
from aquilamed.workspace import Artifact, Workspace

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script> ${window.hacked = 1} **bold**'
RECIPE = """\
name: ward
base_model: {path: tiny}
sources:
  dialogues:
    sources: [{name: qa, path: qa.jsonl, form: qa, license: CC0-1.0}]
  preferences:
    sources:
    - {name: pairs, path: pairs.jsonl, form: trl_preference, license: CC0-1.0}
pretrain: {stage1: null, stage2: null}
finetune: {length: 128, batch: 4}
prefer: {subjective: null, objective: null, select: {refusals: false, language: false, near_identical: 1.0}}
align: {length: 512, batch: 4, epochs: 1, validation: 0}
evaluate: {knowledge: null, pairwise: null, multiturn: null, safety: null}
"""


def artifact(root: Path, stage: str) -> Artifact:
    found = {s.name: s.artifact for s in states(load_recipe(root / "recipe.yaml"), Workspace(root / "space"))}[stage]
    assert found is not None
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tiny_model.build(tmp_path / "tiny", ascii_only=True)  # answers that cleaning leaves as they are
    complaints = ("fever", "cough", "rash", "gout", "migraine", "a cold", "asthma", "anaemia")
    rows = [
        {
            "question": f"What helps against {what}, doctor?",
            "answer": f"Against {what}: rest, and see your doctor soon.",
        }
        for what in complaints
    ]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    make(tmp_path, pairs=8, recipe=RECIPE.replace("path: tiny", f"path: {tmp_path / 'tiny'}"))
    return tmp_path


@pytest.mark.slow
def test_from_a_prompt_to_the_next_runs_dpo(browser: Any, root: Path) -> None:
    before = artifact(root, "align").metrics["pairs"]["train"]
    with served(Workspace(root / "space")) as site:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{site}/en/compare")
        page.wait_for_function("document.querySelector('#second input')?.value === 'finetune'")
        set_longest(page, 32)
        for number in range(2):
            page.locator("#prompt textarea").fill(f"What helps against a headache, number {number}? {HOSTILE}")
            page.locator("#prompt textarea").press("Enter")
            page.wait_for_selector("#say-1:not([disabled])", timeout=120_000)
            assert page.locator("#item .answer").count() == 2
            assert "finetune" not in page.locator("#item").inner_text(), "blind"
            assert HOSTILE in page.locator("#item .user").inner_text()
            page.locator("#aspects").get_by_label("A", exact=True).first.check()
            page.keyboard.press("Escape")
            page.keyboard.press("1")
            page.get_by_text("The vote is kept.").wait_for()
            assert page.locator("#say-1").is_disabled()
        page.get_by_role("tab", name="Results").click()
        page.get_by_text("align – finetune").first.wait_for()
        page.locator("#export").click()
        page.get_by_text("2 pairs are in review/pairs.jsonl").wait_for()
        assert page.locator("#exported pre").inner_text().strip() == LINE
        assert page.evaluate("window.hacked") is None
        context.close()
    store = ReviewStore(root / "space")
    made = store.comparisons()
    votes = {v.item: v for v in store.verdicts("comparison")}
    assert [v.said["aspects"] for v in votes.values()] == [{"fluency": "A"}] * 2
    (root / "recipe.yaml").write_text(
        (root / "recipe.yaml").read_text("utf-8").replace("    sources:\n    -", f"    sources:\n    {LINE}\n    -")
    )
    run(root)
    rows = {
        r["chosen"][0]["content"]
        for r in read_parts(artifact(root, "prefer/select").kept).to_dicts()
        if r["source"] == "review"
    }
    assert len(rows) == 2
    for comparison in made:
        better = comparison.answers[votes[comparison.id].swapped]  # A was voted for
        assert better in rows
    assert artifact(root, "align").metrics["pairs"]["train"] == before + 2
