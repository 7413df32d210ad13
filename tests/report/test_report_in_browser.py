"""The report in a real Chromium: nothing in a record runs or loads, and the page reads well at three widths, in light, dark and print."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from aquilamed import report
from aquilamed.report.compare import compare
from aquilamed.report.compare_tables import page as comparison
from browser import outside
from release_workspace import change, make
from report_run import HOSTILE, METRICS, run

WIDTHS = (360, 768, 1280)
ACTIVE = "script, iframe, frame, object, embed, img, link, base, form, input, audio, video, meta[http-equiv=refresh]"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with hostile text wherever text gets in."""
    folder = tmp_path_factory.mktemp("hostile")
    metrics = json.loads(json.dumps(METRICS))
    metrics["corpus/domain"] = {"uncertain": [{"text": HOSTILE, "label": HOSTILE, "probability": 0.5}], "f1": 0.5}
    metrics["evaluate/pairwise"]["judge"] = {"kind": "openai", "name": HOSTILE, "rubrics": {HOSTILE: HOSTILE}}
    metrics["instruct/safety"] = {"classifier": {"used": False, "why": HOSTILE}, "certain_by_kind": {HOSTILE: 3}}
    label = HOSTILE.partition("发")[0]  # matplotlib's own font, which only PNG files show, has no Chinese
    metrics["instruct/topics"] = {
        "departments": {label: 2},
        "no_department": 1,
        "diseases": {label: 2},
        "no_disease": 1,
    }
    metrics["prefer/select"] = {"before": {HOSTILE: {}}, "after": {}, "human": {"pairs_judged": 0}}
    report.render(run(folder, metrics), folder / "report")
    return folder / "report" / "index.html"


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


def opened(context: Any, file: Path) -> Any:
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    return page


def harmless(context: Any, file: Path) -> str:
    """Assert that the page ran, loaded and links to nothing of the records'; return its words."""
    asked, alarms = outside(context), []
    context.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
    context.on("console", lambda message: alarms.append(message.text))
    page = opened(context, file)
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") is None
    assert asked == []
    assert alarms == [], "no dialog, and no script, style or image that the page's policy had to stop"
    assert page.locator(ACTIVE).count() == 0
    assert (
        page.locator("style").evaluate_all("all => all.filter(s => s.textContent.includes('display:none')).length") == 0
    )
    links = page.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert [a for a in links if not a.startswith(("#", "../")) and a != "summary.json"] == []
    attributes = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on')).map(a => a.name)"
    )
    assert attributes == []
    words = str(page.locator("body").text_content())
    assert not set(words) & {"\x1b", "\u202e"}
    return words


@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_records_are_only_words(context: Any, hostile: Path) -> None:
    words = harmless(context, hostile)
    for part in (
        "<script>window.hit=1;alert(1)</script>",
        "onerror=window.hit=2",
        "{{ 7*7 }}{% raw %}",
        "javascript:alert(1)",
    ):
        assert words.count(part) > 5, part
    assert "发热是指体温高于正常范围" in words


def test_a_hostile_comparison_is_only_words(context: Any, tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b", annotator={"kind": "offline", "model": HOSTILE})
    change(two, "corpus/rules", lambda m: m.update(reasons={HOSTILE: 3}))
    (tmp_path / "compare.html").write_text(comparison(compare(one, two)), "utf-8")
    assert "<script>window.hit=1;alert(1)</script>" in harmless(context, tmp_path / "compare.html")


@pytest.mark.skipif(
    not shutil.which("fc-list") or not subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True).stdout,
    reason="no font here has Chinese",
)
def test_chinese_is_drawn(context: Any, hostile: Path) -> None:
    drawn = """() => [...'发热是'].map(c => {
        const board = document.createElement('canvas'), pen = board.getContext('2d');
        pen.font = '40px ' + getComputedStyle(document.body).fontFamily; pen.fillText(c, 20, 60); return board.toDataURL(); })"""
    assert len(set(opened(context, hostile).evaluate(drawn))) == 3, "characters without a glyph are all the same box"


# Luminance and contrast as in WCAG 2.
CONTRAST = """element => { const s = getComputedStyle(element), b = getComputedStyle(document.body);
    const light = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= .04 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const [x, y] = [light(s.color), light(b.backgroundColor)].sort((p, q) => q - p); return (x + .05) / (y + .05); }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_reads_well_on_every_screen(browser: Any, hostile: Path, tmp_path: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(hostile.as_uri())
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page itself never scrolls sideways"
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "not with everything unfolded either"
    table = page.locator("#headline table").first
    assert table.is_visible()
    boxes = [cell.bounding_box() for cell in table.locator("thead th").all()]
    assert all(a["x"] + a["width"] <= b["x"] + 0.5 for a, b in pairwise(boxes))
    rows = [row.bounding_box() for row in table.locator("tbody tr").all()]
    assert all(a["y"] + a["height"] <= b["y"] + 0.5 for a, b in pairwise(rows))
    assert rows[0]["x"] >= 0
    for name, least in (("body", 7), ("#headline td", 7), ("nav a", 4.5), (".soft", 4.5), ("svg text", 7)):
        assert (
            page.locator(name).first.evaluate(CONTRAST if name != "svg text" else CONTRAST.replace("s.color", "s.fill"))
            >= least
        )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 27)"
    )
    sizes = page.locator("figure svg").evaluate_all(
        "all => all.map(s => s.getBoundingClientRect().width / s.viewBox.baseVal.width)"
    )
    assert len(sizes) >= 10
    assert min(sizes) > 0.85, "a figure's unit is a point: its text of 8 to 10 points stays readable"
    page.close()


def test_it_prints_black_on_white_without_what_only_screens_need(context: Any, hostile: Path) -> None:
    page = context.new_page()
    page.emulate_media(media="print", color_scheme="dark")
    page.goto(hostile.as_uri())
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("body").evaluate(CONTRAST) > 15
    assert page.locator(".scroll").first.evaluate("s => getComputedStyle(s).overflowX") == "visible"
    pdf = page.pdf(format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "12mm"))
    assert pdf.startswith(b"%PDF")
    assert 2 < pdf.count(b"/Type /Page\n") < 40


def test_every_number_of_the_headline_leads_to_its_manifest(context: Any, tmp_path: Path) -> None:
    space = make(tmp_path)
    change(space, "instruct/deita", lambda m: m.update(metrics={}))
    for folder in space.root.glob("*/*/*/dropped"):  # its rows have no reason
        shutil.rmtree(folder)
    page = opened(context, report.write(space))
    cells = page.locator("#headline td.n").evaluate_all(
        "all => all.map(c => [c.textContent, c.parentNode.firstElementChild.textContent, c.querySelector('a')?.href])"
    )
    linked = {href for text, what, href in cells if href}
    assert not [what for text, what, href in cells if text and not href and "paper" not in what and "Time" not in what]
    assert len(linked) >= 6
    for href in [*linked, *page.locator("a[href^='../']").evaluate_all("all => all.map(a => a.href)")]:
        file = Path(unquote(urlsplit(href).path))
        assert json.loads(file.read_text("utf-8"))["stage"] in str(file)


def test_the_page_is_of_a_size_that_can_be_sent(hostile: Path) -> None:
    assert hostile.stat().st_size < 1_000_000
