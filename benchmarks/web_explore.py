"""The web app on ten million records: cold start, the first page in a browser, searches, a threshold's picture, memory.

    python benchmarks/web_explore.py [--records 10000000] [--workspace WORKSPACE]

Makes a stage of that many short records in a temporary folder, in parts of 2,000 as a run writes them, then starts
`aquilamed web` on it in a process of its own. With --workspace that workspace's cold start is measured too. Needs Chromium.
Prints one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import polars as pl
import psutil
import yaml

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from aquilamed.listening import listen
from aquilamed.pipeline import states
from aquilamed.recipe import load_recipe
from aquilamed.records import write_part
from aquilamed.workspace import Workspace
from browser import chromium

STAGE, ROWS, RARE = "corpus/quality", 2000, "zebra-striped"
PHRASES = [
    "高血压患者应定期测量血压",
    "the wound was dressed daily",
    "糖尿病足需要每日检查",
    "fever for three days",
    "多饮水并注意休息",
]
SOURCES = ["wards", "leaflets", "textbooks", "journals", "web"]


def build(root: Path, records: int) -> Workspace:
    """A workspace whose corpus/quality holds that many records, six in ten kept; one in a million has a rare word."""
    (root / "data.jsonl").write_text("{}\n")
    source = {"name": "wards", "path": str(root / "data.jsonl"), "license": "CC0-1.0"}
    recipe = {"name": "ten-million", "base_model": {"path": str(root)}, "annotator": {"kind": "offline"}}
    space = Workspace(root / "space")
    space.root.mkdir()
    (space.root / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"sources": {"documents": {"sources": [source]}}}))
    (space.root / "inputs.json").write_text("{}")
    loaded = load_recipe(space.root / "recipe.yaml")
    from aquilamed.workspace import HashCache

    HashCache(space.root / "inputs.json").get(root / "data.jsonl", compute=True)
    found = next(s for s in states(loaded, space) if s.name == STAGE)
    folder = space.folder(STAGE, str(found.fingerprint))
    rng, kept, dropped = np.random.default_rng(0), 0, 0
    for number, start in enumerate(range(0, records, ROWS)):
        frame = _part(rng, start, min(ROWS, records - start), records)
        good = frame.filter(pl.col("quality") >= 2.4)
        bad = frame.filter(pl.col("quality") < 2.4).with_columns(
            pl.lit("quality.below_threshold").alias("reason"),
            pl.format("quality {} is below 2.4", pl.col("quality").round(2)).alias("detail"),
        )
        write_part(folder / "kept" / f"part-{number:05d}.parquet", good)
        write_part(folder / "dropped" / f"part-{number:05d}.parquet", bad)
        kept, dropped = kept + good.height, dropped + bad.height
    counts = {"records_in": records, "records_kept": kept, "records_dropped": dropped}
    manifest = {
        "stage": STAGE,
        "fingerprint": found.fingerprint,
        "seconds": 1.0,
        "metrics": {"threshold": 2.4},
        **counts,
    }
    manifest["reasons"] = {"quality.below_threshold": dropped}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return space


def _part(rng: np.random.Generator, start: int, rows: int, records: int) -> pl.DataFrame:
    numbers = np.arange(start, start + rows)
    words = np.array(PHRASES)[rng.integers(0, len(PHRASES), (rows, 8))]
    texts = [
        " ".join(row) + f" {n}" + (f" {RARE}" if n % 1_000_000 == 999_999 else "")
        for n, row in zip(numbers, words, strict=True)
    ]
    source = SOURCES[start * len(SOURCES) // records]  # sources follow each other, as a run reads them
    return pl.DataFrame(
        {
            "id": [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in numbers.tolist()],
            "source": [source] * rows,
            "license": ["CC0-1.0"] * rows,
            "origin": [f"{source}.jsonl:{n}" for n in numbers],
            "text": texts,
            "lang": np.where(rng.random(rows) < 0.5, "zh", "en"),
            "quality": np.round(rng.uniform(0, 6, rows), 4),
        }
    )


class Server:
    """`aquilamed web` in a process of its own; `started` is the time until its first page came."""

    def __init__(self, workspace: Path) -> None:
        with listen("127.0.0.1", 0) as free:
            port = free.getsockname()[1]
        begun = time.perf_counter()
        command = [sys.executable, "-m", "aquilamed.cli", "web", str(workspace), "--port", str(port), "--no-browser"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.address = f"http://127.0.0.1:{port}"
        while True:
            try:
                with urlopen(f"{self.address}/en/", timeout=60) as answer:
                    answer.read()
                break
            except OSError:
                time.sleep(0.02)
        times = psutil.Process(self.process.pid).cpu_times()
        self.started = {"seconds": round(time.perf_counter() - begun, 2), "cpu": round(times.user + times.system, 2)}

    def memory(self) -> float:
        """Resident memory, GB."""
        return round(psutil.Process(self.process.pid).memory_info().rss / 1e9, 2)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)


def look(server: Server) -> dict[str, Any]:
    """What a person waits for, in seconds, and the memory after each."""
    found: dict[str, Any] = {}

    def timed(what: str, action: Any, appears: str) -> None:
        begun = time.perf_counter()
        action()
        shown.wait_for_selector(appears, timeout=300_000)
        found[what] = {"seconds": round(time.perf_counter() - begun, 2), "memory_gb": server.memory()}

    with chromium() as browser:
        shown = browser.new_page()
        timed("first page", lambda: shown.goto(f"{server.address}/en/explore?stage={STAGE}"), ".record")
        timed("next page", lambda: shown.get_by_role("button", name="Next page").click(), "#records :text('Page 2:')")
        shown.locator("#words textarea, #words input").first.fill(RARE)
        timed(
            "rare word, first two seconds' worth", lambda: shown.locator("#search").click(), "#records :text('Page 1:')"
        )
        shown.locator("#words textarea, #words input").first.fill("")
        shown.locator("#threshold button").first.click()
        timed("scores drawn", lambda: shown.locator("#threshold-draw").click(), "#histogram svg[role=img]")
        found["records with a score"] = shown.locator("#histogram [role=status]").inner_text()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--workspace", type=Path)
    args = parser.parse_args()
    result: dict[str, Any] = {"records": args.records, "cores": os.cpu_count()}
    if args.workspace:
        server = Server(args.workspace)
        result["cold start of the workspace"] = server.started
        server.stop()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        space = build(Path(folder), args.records)
        files = [f for f in space.root.rglob("*") if f.is_file()]
        result["made"] = {
            "seconds": round(time.perf_counter() - begun),
            "gb": round(sum(f.stat().st_size for f in files) / 1e9, 2),
        }
        server = Server(space.root)
        try:
            result |= {"cold start": server.started, "memory_gb": server.memory(), **look(server)}
        finally:
            server.stop()
    result["load"] = os.getloadavg()
    print(json.dumps(result, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
