"""A workspace whose every text tries to run a script or to say who somebody is."""

from pathlib import Path
from typing import Any

import polars as pl

from aquilamed.records import parts, write_parts
from aquilamed.workspace import Workspace
from release_workspace import change, make, usual

ATTACK = (
    "<script>window.hit=1</script><img src=x onerror=window.hit=1>\"'><svg onload=window.hit=1> "
    "</textarea></details><iframe srcdoc='<script>parent.hit=1</script>'></iframe> ${window.hit=1} {{ 7*7 }} "
    "<a href=javascript:window.hit=1>x</a> \u202e\x00\x1b[2J"
)
PHONE, MAIL = "13812345678", "li.wei@example.com"
PRIVATE = f"电话 {PHONE}，邮箱 {MAIL}。"
KEPT_ID = "00000000000000aa"


def workspace(root: Path) -> Workspace:
    """Every stage done; corpus/dedup, corpus/rules and instruct/deita with records of ours, kept and dropped."""
    space = make(root)
    documents = usual("corpus/rules").with_columns(
        pl.lit(f"{ATTACK} {PRIVATE}").alias("text"), pl.lit(ATTACK).alias("license"), pl.lit(ATTACK).alias("origin")
    )
    reason = [pl.lit(f"rules.{ATTACK}").alias("reason"), pl.lit(f"{ATTACK} {PHONE}").alias("detail")]
    put(space, "corpus/rules", documents, documents.with_columns(pl.format("x{}", "id").alias("id"), *reason))
    kept = documents.head(3).with_columns(pl.Series("id", [KEPT_ID, "b", "c"]), pl.lit("which stays").alias("text"))
    copy = [pl.lit("dedup.near").alias("reason"), pl.lit(f"copy of {KEPT_ID}, Jaccard 0.91").alias("detail")]
    put(space, "corpus/dedup", kept, documents.head(1).with_columns(*copy))
    said = [{"role": "user", "content": ATTACK}, {"role": ATTACK, "content": PRIVATE}]
    dialogues = usual("instruct/deita").with_columns(
        pl.Series("messages", [said] * 40),
        pl.Series("deita", [n / 10 for n in range(40)]),
        pl.lit(ATTACK).alias("kind"),
    )
    put(space, "instruct/deita", dialogues, dialogues.head(0).with_columns(pl.lit("").alias("reason")))
    return space


def put(space: Workspace, stage: str, kept: pl.DataFrame, dropped: pl.DataFrame, rows: int = 12) -> None:
    """Make these the records of a finished stage."""
    folder = next((space.root / stage).glob("*/manifest.json")).parent
    for part in (*parts(folder / "kept"), *parts(folder / "dropped")):
        part.unlink()
    write_parts(folder / "kept", kept, rows)
    write_parts(folder / "dropped", dropped, rows)
    reasons = dict(dropped["reason"].value_counts().iter_rows()) if dropped.height else {}

    def edit(manifest: dict[str, Any]) -> None:
        manifest |= {"records_in": kept.height + dropped.height, "records_kept": kept.height}
        manifest |= {"records_dropped": dropped.height, "reasons": reasons}

    change(space, stage, edit)
