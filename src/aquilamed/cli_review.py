"""The commands of `aquilamed review`: pairs out to doctors, their verdicts in, and how far they agree."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from aquilamed.places import opened
from aquilamed.terminal import print_json, table

review_app = typer.Typer(help="Doctors review preference pairs.", no_args_is_help=True)

WorkspacePath = Annotated[str, typer.Argument(metavar="WORKSPACE", help="A workspace folder or URL.")]
Formats = Literal["jsonl", "argilla", "label-studio"]


@review_app.command("export")
def export(
    workspace: WorkspacePath,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    format: Annotated[
        Formats, typer.Option(help="JSON lines of ours, Argilla records, or Label Studio tasks.")
    ] = "jsonl",
    limit: Annotated[int | None, typer.Option(min=1, help="Most pairs; a seeded draw.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="A kind of pairs; repeatable. Default: all but objective.")
    ] = None,
) -> None:
    """Write pairs for doctors to judge, the answers as A and B in an order that hides the model's choice."""
    from aquilamed.prefer import review

    space, loaded = opened(workspace)
    count, files = review.export(loaded, space, out, format, limit, kind)
    typer.echo(f"{count:,} pairs: {', '.join(map(str, files))}")


@review_app.command("import")
def import_(
    workspace: WorkspacePath,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Filled-in files.", exists=True, dir_okay=False)],
    format: Annotated[Formats | None, typer.Option(help="Default: found from the file.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="A rater's other verdict of a pair gives way.")] = False,
) -> None:
    """Keep doctors' verdicts in the workspace; the next run applies them."""
    from aquilamed.prefer import review
    from aquilamed.remote import Remote, is_url

    space, loaded = opened(workspace)
    counts = review.import_files(loaded, space, files, format, replace)
    if is_url(workspace):
        Remote(workspace).up_review()
    typer.echo(", ".join(f"{count:,} {name}" for name, count in counts.items()))


@review_app.command("pairs")
def pairs(workspace: WorkspacePath) -> None:
    """Write review/pairs.jsonl: the pairs that votes on comparisons and corrected answers make."""
    from aquilamed.review.hand_over import LINE, hand_over_pairs, reads_pairs
    from aquilamed.review.store import ReviewStore

    space, loaded = opened(workspace)
    count = hand_over_pairs(loaded, space, ReviewStore(space.root))
    typer.echo(f"{count:,} pairs")
    if not reads_pairs(loaded):
        typer.echo(f"The recipe does not read them yet; below sources.preferences.sources:\n  {LINE}")


@review_app.command("agreement")
def agreement(
    workspace: WorkspacePath, as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False
) -> None:
    """How far doctors agree with each other and with the model's judge."""
    from aquilamed.prefer import review

    space, loaded = opened(workspace)
    found = review.agreement(loaded, space)
    if as_json:
        print_json(found)
        return
    rows = [{"what": name, "value": found[name]} for name in ("pairs_judged", "skipped", "fleiss_kappa", "alpha")]
    rows += [{"what": f"alpha of {name}", "value": value} for name, value in found["aspects"].items()]
    table("Agreement of raters", rows)
    two = [
        {"raters": " and ".join(t["raters"]), **{k: t[k] for k in ("pairs", "equal", "kappa")}} for t in found["two"]
    ]
    table(
        "Two raters, and the raters with the model's judge", [*two, {"raters": "all and the judge", **found["model"]}]
    )
