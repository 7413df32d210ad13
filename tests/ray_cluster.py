"""A Ray cluster of two nodes on this machine; the engine joins it, and one node dies in the middle. Run by a test."""

import os
import sys
import threading
import time
from pathlib import Path

import polars as pl
from ray.cluster_utils import Cluster

from aquilamed.engine import Counts, open_engine
from aquilamed.progress import Progress
from aquilamed.records import parts, write_part, write_parts


def slowly(item: tuple[Path, Path]) -> Counts:
    """Take a while, so that a node dies under it."""
    source, target = item
    time.sleep(0.4)
    frame = pl.read_parquet(source)
    write_part(target, frame.with_columns(pl.col("n") * 2))
    return {"rows": frame.height}


def main(folder: Path) -> None:
    """Print the counts and the sum of what was written."""
    small = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False}, connect=False)
    second = cluster.add_node(**small)
    os.environ["RAY_ADDRESS"] = cluster.address
    write_parts(folder / "in", pl.DataFrame({"id": [f"{n:03d}" for n in range(120)], "n": range(120)}), rows=10)
    sources = parts(folder / "in")
    engine = open_engine("ray", Progress(quiet=True), 0, folder)
    threading.Timer(6, cluster.remove_node, (second, False)).start()
    counts: Counts = {"rows": 0}
    for again in range(3):
        items = [(p, folder / f"out{again}" / p.name) for p in sources]
        for name, n in engine.run(slowly, items, folder / f"done{again}", "test").items():
            counts[name] += n
    engine.close()
    total = sum(int(pl.read_parquet(p)["n"].sum()) for again in range(3) for p in parts(folder / f"out{again}"))
    sys.stdout.write(f"{counts['rows']} {total} {len(list(folder.glob('.seen-*')))}\n")
    sys.stdout.flush()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
