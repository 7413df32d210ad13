"""Explore and Results in a real Chromium, on records that attack it."""

from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hostile import KEPT_ID, PHONE
from playwright.sync_api import expect
from test_access import ask

from aquilamed.pipeline import states
from aquilamed.recipe import load_recipe
from aquilamed.web.pages import PAGES
from aquilamed.web.pages.threshold import recipe_lines
from aquilamed.workspace import Workspace

ADDRESSES = [*(page.path for page in PAGES), *(f"explore?stage={name}" for name in ("corpus/dedup", "instruct/deita"))]


@pytest.mark.parametrize("address", ADDRESSES)
def test_attacks_stay_text(browser: Any, site: str, workspace: Workspace, address: str) -> None:
    report = workspace.root / "report" / "index.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<p>Report</p><script>parent.hit=1;top.hit=1</script><img src=x onerror=parent.hit=1>")
    context = browser.new_context()
    shown = context.new_page()
    shown.goto(f"{site}/en/{address}")
    if address.startswith("explore"):
        shown.wait_for_selector(".record", state="attached")
        expect(shown.get_by_label("Kept" if "deita" in address else "Dropped")).to_be_checked()
        for summary in shown.locator(".record summary").all()[:3]:
            summary.click()
        assert "<script>window.hit=1</script>" in shown.locator("#records").inner_text()
        assert PHONE not in shown.content()
    shown.wait_for_timeout(800)
    assert shown.evaluate("window.hit") is None
    assert shown.locator("img[src=x]").count() == 0
    assert shown.locator("#records script, #records iframe, #records svg, #pipeline script").count() == 0
    context.close()


def test_a_duplicate_beside_its_copy_and_pages(browser: Any, site: str) -> None:
    shown = browser.new_page()
    shown.goto(f"{site}/en/explore?stage=corpus/dedup")
    shown.wait_for_selector(".beside", state="attached")
    shown.locator(".record summary").first.focus()
    shown.keyboard.press("Enter")  # the keyboard opens a record
    expect(shown.locator(".beside")).to_contain_text("which stays")
    expect(shown.locator(".beside")).to_contain_text(KEPT_ID)
    shown.goto(f"{site}/en/explore?stage=corpus/rules")
    shown.wait_for_selector("#record-xcorpus000", state="attached")
    shown.get_by_role("button", name="Next page").click()
    shown.wait_for_selector("#record-xcorpus020", state="attached")
    shown.get_by_role("button", name="Previous page").click()
    shown.wait_for_selector("#record-xcorpus000", state="attached")
    shown.get_by_label("Words in the text").fill(PHONE)  # what is masked is not found either
    shown.keyboard.press("Enter")
    expect(shown.locator("#records [role=status]")).to_contain_text("Page 1: 0 records")
    shown.get_by_label("Words in the text").fill("电话")
    shown.get_by_role("button", name="Search").click()
    shown.wait_for_selector("#record-xcorpus000", state="attached")
    shown.close()


def test_a_threshold_and_its_recipe_line(browser: Any, site: str, workspace: Workspace) -> None:
    shown = browser.new_page()
    shown.goto(f"{site}/zh/explore?stage=instruct/deita")
    shown.wait_for_selector("#records [role=status]")
    shown.get_by_role("button", name="选择阈值").click()
    shown.get_by_role("button", name="绘制分数分布").click()
    slider = shown.locator("#threshold-value input[type=number]")
    slider.fill("2.5")
    slider.press("Enter")
    expect(shown.locator("#histogram")).to_contain_text("有分数的 40 条记录中，15 条（37.5 %）的 deita ≥ 2.5。")
    expect(shown.locator("#threshold-line textarea")).to_have_value("instruct:\n  select:\n    deita_threshold: 2.5")
    shown.close()
    recipe = load_recipe(workspace.root / "recipe.yaml")
    share = recipe.corpus.quality.model_copy(update={"keep_share": 0.5}) if recipe.corpus.quality else None
    changed = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"quality": share})})
    assert recipe_lines(changed, "corpus.quality.threshold", 4.25).endswith("threshold: 4.25\n    keep_share: null")


def test_a_failed_stages_error_and_a_run_that_goes_on(browser: Any, site: str, workspace: Workspace) -> None:
    """The picture follows the workspace without a reload."""
    shown = browser.new_page()
    shown.goto(f"{site}/en/")
    shown.wait_for_selector("#stage-align.done")
    folder = next(workspace.root.glob("align/*/manifest.json")).parent
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    try:
        (folder / ".work").mkdir(parents=True)
        (folder / ".work" / "error.txt").write_text("ValueError: <img src=x onerror=window.hit=1>")
        shown.wait_for_selector("#stage-align.failed")
        expect(shown.locator("#stage-align")).to_contain_text("<img src=x onerror=window.hit=1>")
        shown.get_by_role("button", name="What would the next run do?").click()
        expect(shown.locator("#plan")).to_contain_text("1 stages would run", timeout=60_000)
        assert shown.evaluate("window.hit") is None
    finally:
        (folder / ".work" / "error.txt").unlink()
        (folder / ".work").rmdir()
        folder.rmdir()
        hidden.rename(folder)
    shown.wait_for_selector("#stage-align.done")
    shown.close()


def test_results_are_fixed_documents(site: str, workspace: Workspace, tmp_path: Path) -> None:
    report = workspace.root / "report" / "index.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<p>Report</p>")
    status, headers, body = ask(site, "/results/report/index.html")
    assert (status, body) == (200, b"<p>Report</p>")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "sandbox" in headers["content-security-policy"]
    for path in (
        "report/../../recipe.yaml",
        "corpus/rules/../../recipe.yaml",
        "corpus/rules/../dedup/manifest.json",
        "corpus/no_stage/0123456789abcdef/manifest.json",
        "report%2f..%2f..%2frecipe.yaml",
        "recipe.yaml",
        "compare?with=..",
        "compare?with=%2e%2e%2f",
        "compare?with=/etc",
    ):
        assert ask(site, f"/results/{path}")[0] == 404, path
    found = next(workspace.root.glob("corpus/rules/*/manifest.json"))
    assert ask(site, f"/results/{found.relative_to(workspace.root)}")[2] == found.read_bytes()
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    report.unlink()
    report.symlink_to(secret)
    assert ask(site, "/results/report/index.html")[0] == 404
    report.unlink()
    assert all(s.state == "done" for s in states(load_recipe(workspace.root / "recipe.yaml"), workspace))


def test_two_workspaces_compared(site: str, workspace: Workspace, browser: Any) -> None:
    import shutil

    other = workspace.root.with_name("other")
    shutil.copytree(workspace.root, other, symlinks=True)
    try:
        shown = browser.new_page()
        shown.goto(f"{site}/en/results")
        shown.get_by_role("button", name="Compare").click()
        frame = shown.frame_locator("#comparison iframe")
        expect(frame.locator("h1")).to_contain_text("space and other", timeout=30_000)
        shown.close()
        with urlopen(f"{site}/results/compare?with=other") as answer:
            assert b"Two workspaces side by side" in answer.read()
    finally:
        shutil.rmtree(other)
