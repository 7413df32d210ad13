"""The report: hostile text comes out escaped, numbers come from manifests, what is absent is said so."""

import html
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from scipy.stats import binomtest

from aquilamed import report
from aquilamed.records import write_json
from aquilamed.report import data_sections, panels
from aquilamed.workspace import Workspace
from report_run import METRICS, run


def rendered(tmp_path: Path, metrics: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    report.render(run(tmp_path, metrics), tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    return page, json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    page, _ = rendered(tmp_path, METRICS)
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>rules" not in page
    assert "&lt;script&gt;window.hit=1;alert(1)&lt;/script&gt;" in page
    assert "{{ 7*7 }}" in html.unescape(page)
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "long " * 40 in page
    assert "long " * 80 not in page


def test_the_page_reaches_for_nothing_outside(tmp_path: Path) -> None:
    page, _ = rendered(tmp_path, METRICS)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|\.\./|summary\.json")""", page)
    assert not re.search(r"@import|url\((?!#)", page.replace("url(http://evil.example/y)", ""))
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert page.count('role="img" aria-label="') - page.count("share kept") == page.count("<svg ") == 15


def test_numbers_come_from_the_manifests(tmp_path: Path) -> None:
    page, summary = rendered(tmp_path, METRICS)
    text = html.unescape(page)
    for shown in (
        *("1,234 in, 1,232 kept, 2 dropped", "-9.9 %", "-19.3 %", "2.625", "2.375", "50.0 % → 81.2 %"),
        *(
            "0.69315",
            "43.8 ± 5.2 % (n = 61)",
            "56.40 % (Aquila-Med-Chat-DPO)",
            "87.5 %",
            "0.742",
            "0.61 to 0.847",
            "3f9a1c77",
            "unsupported 3",
        ),
        *(
            "33.500 (30.000 to 37.500)",
            "-0.2142 (-0.2521 to -0.1702)",
            "a difference",
            "9,000",
            "1 of 2 differences in held-out",
        ),
        *("-0.2500 (-0.5000 to +0.0100), noise", "13 / 3, p = 0.021, a difference", "2.375 ≈", "(n = 16 pairs)"),
        *("31.0 to 56.0", "90.0 % (n = 11)", "34.0 % (n = 50)", "+1.6", "-8.0 to +11.0", "noise", "31.0 %"),
        *("37.5 (12.5 to 75.0)", "68.8 (44.0 to 93.8)", "none: only 8 scored pairs", "812 / 61", "4.50 (4.10 to 4.75)"),
        *("76 / 17.8 / 6.2", "9.9.9", "1:15", "two rule-based raters, not from an LLM", "Not a medical device"),
    ):
        assert shown in text, shown
    assert summary["perplexity"]["base"] == {"zh": 41.5, "en": 25.25}
    assert summary["perplexity"]["stage2"] is None
    assert summary["sft"]["best"] == 2.375
    assert summary["dpo"]["after"]["accuracy"] == 0.8125
    assert summary["knowledge"][1]["accuracy"] is None
    assert summary["stages"]["corpus/rules"]["reasons"] == {"rules.advert": 2}
    assert summary["total_seconds"] == 75.0 + 2.0 * len(METRICS)


def test_what_is_absent_is_said_and_never_made_up(tmp_path: Path) -> None:
    page, summary = rendered(tmp_path, {})
    assert "not measured" in page
    assert "corpus/dedup: failed" in page
    assert summary["filters"] == {}
    assert summary["dpo"]["step0_loss"] is None
    assert not re.search(r"NaN|\bNone\b", re.sub(r"<svg.*?</svg>", "", page, flags=re.S))


def test_figures_that_have_nothing_left_to_show_go_away(tmp_path: Path) -> None:
    rendered(tmp_path, METRICS)
    figures = tmp_path / "report" / "figures"
    names = {"overview", "composition", "losses", "perplexity", "pairwise", "rounds", "knowledge", "preference"}
    assert {f.stem for f in figures.iterdir()} == names
    first = {f.name: f.read_bytes() for f in figures.iterdir()}
    rendered(tmp_path, METRICS)
    assert {f.name: f.read_bytes() for f in figures.iterdir()} == first
    rendered(tmp_path, {})
    assert not list(figures.iterdir())


@pytest.mark.parametrize("value", [{}, {"perplexity": {}}, {"perplexity": {"before": {"en": 2.0}}}, {"loss": []}])
def test_half_written_metrics_are_tolerated(tmp_path: Path, value: dict[str, Any]) -> None:
    rendered(tmp_path, dict.fromkeys(METRICS, value))


def workspace(tmp_path: Path) -> Workspace:
    """A workspace of which one stage is done, its manifest written by hand at the place where the runner would."""
    from aquilamed.pipeline import states
    from aquilamed.recipe import load_recipe

    (tmp_path / "web.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    space = Workspace(tmp_path / "space")
    space.root.mkdir()
    recipe = {"name": "tiny", "sources": {"documents": {"sources": [{"name": "w", "path": "web.jsonl"}]}}, "sample": {}}
    recipe["data_root"] = str(tmp_path)
    (space.root / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    found = states(load_recipe(space.root / "recipe.yaml"), space)[0]
    assert (found.name, found.state) == ("sample", "waiting")
    assert found.fingerprint is not None
    folder = space.folder("sample", found.fingerprint)
    truth = {k: ["a"] for k in ("file", "origin", "defect", "of", "domain", "lang", "detail")} | {"record": [1]}
    folder.mkdir(parents=True)
    pl.DataFrame(truth).write_parquet(folder / "truth.parquet")
    manifest = {
        "fingerprint": found.fingerprint,
        "finished": "t",
        "seconds": 1.5,
        "attempts": 1,
        "metrics": {},
        "versions": {},
    }
    write_json(folder / "manifest.json", manifest)
    return space


def test_write_uses_the_recipes_artefacts_and_is_skipped_when_nothing_changed(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    page = report.write(space)
    assert page == space.root / "report" / "index.html"
    summary = json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))
    assert summary["stages"]["sample"]["state"] == "done"
    assert summary["stages"]["corpus/rules"]["state"] == "waiting"
    before = page.stat().st_mtime_ns
    code = (
        "import sys; from pathlib import Path; from aquilamed import report; from aquilamed.workspace import Workspace;"
        f"report.write(Workspace(Path({str(space.root)!r}))); print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert page.stat().st_mtime_ns == before
    manifest = next(space.root.glob("sample/*/manifest.json"))
    write_json(manifest, json.loads(manifest.read_text()) | {"finished": "later"})
    report.write(space)
    assert page.stat().st_mtime_ns > before


def test_the_domain_tables_show_the_loop_and_escape_what_is_uncertain() -> None:
    summary = {
        "quality": None,
        "domain_rounds": [{"round": 0, "labels": 300, "f1": 0.91}, {"round": 1, "labels": 330, "f1": 0.94}],
        "domain": {
            "backend": "sklearn",
            "f1": {"medical": 0.95, "general": 0.9},
            "threshold": 0.42,
            "calibration_error": {"raw": 0.1, "calibrated": 0.03},
            "confusion": {"medical": {"medical": 9, "general": 1}, "general": {"medical": 0, "general": 5}},
            "uncertain": [{"text": "knee\u202e pain", "label": "medical", "probability": 0.44}],
        },
    }
    tables = data_sections.classifiers(summary)
    cells = [cell for table in tables for row in table.rows for cell in row]
    assert {"95.0 %", "0.42", "0.1 → 0.03", "91.0 %", "330"} <= set(cells)
    assert not any("\u202e" in cell for cell in cells)


def test_preference_accuracy_has_an_exact_interval() -> None:
    below, above = panels._binomial([0.0, 0.4, 1.0], 5)
    for k, low, high in zip((0, 2, 5), below, above, strict=True):
        exact = binomtest(k, 5).proportion_ci()
        assert 20 * k - low == pytest.approx(100 * exact.low)
        assert 20 * k + high == pytest.approx(100 * exact.high)


def test_a_deita_stage_without_one_of_its_scores_has_no_figure(tmp_path: Path) -> None:
    spread = {"n": 3, "mean": 4.0, "histogram": [[1, 3]]}
    for told in ({"deita": spread}, {"deita": spread, "complexity": spread, "quality": {"n": 0}, "grid": [[3]]}):
        rendered(tmp_path, {"instruct/deita": told})
        assert not (tmp_path / "report" / "figures" / "deita.png").exists()


def test_long_names_leave_room_for_the_bars(tmp_path: Path) -> None:
    names = {"a name " * 40: 2, "flu": 1}
    told = {"departments": names, "no_department": 0, "diseases": names, "no_disease": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page, _ = rendered(tmp_path, {"instruct/topics": told})
    assert "a name a name a name a name a name …" in " ".join(page.split())
