"""`aquilamed report` and `aquilamed compare`: one workspace's numbers, and two workspaces side by side."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from aquilamed.config import Invalid
from aquilamed.places import opened
from aquilamed.terminal import print_json, table


def report(
    workspace: Annotated[str | None, typer.Argument(metavar="WORKSPACE", help="A workspace folder or URL.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of summary.json instead.")] = False,
) -> None:
    """Write report/index.html and report/summary.json from the manifests."""
    from aquilamed.report import write
    from aquilamed.report.schema import json_schema

    if schema:
        print_json(json_schema())
    elif workspace is None:
        raise Invalid("name a workspace: aquilamed report WORKSPACE")
    else:
        typer.echo(write(opened(workspace)[0]))


def compare(
    one: Annotated[str, typer.Argument(metavar="WORKSPACE", help="A workspace folder or URL.")],
    two: Annotated[str, typer.Argument(metavar="WORKSPACE", help="What it is compared with.")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Put two workspaces side by side: what changed in the recipe, and what it did to every number."""
    from aquilamed.printable import printable
    from aquilamed.records import write_atomic
    from aquilamed.report.compare import compare as put_together
    from aquilamed.report.compare_tables import page, parts, verdict

    found = put_together(opened(one)[0], opened(two)[0])
    if html:
        try:
            write_atomic(html, page(found).encode())
        except OSError as error:
            raise Invalid(
                f"--html {html}: cannot be written ({error.strerror}); name a file in a folder of yours"
            ) from error
        typer.echo(html)
    if as_json:
        print_json(asdict(found))
    if html or as_json:
        return
    for part in parts(found):
        typer.echo(f"\n{part.title}")
        for sentence in part.text:
            typer.echo(f"  {printable(sentence)}")  # names a judge
        for t in part.tables:
            table("", [dict(zip(t.headers, row, strict=True)) for row in t.rows])
    typer.echo(f"\n{verdict(found)}")
