"""The commands around trainings on several machines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from aquilamed.config import Invalid
from aquilamed.progress import Progress

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML).")]


def join(
    workspace: Annotated[str, typer.Argument(metavar="WORKSPACE", help="The folder that all machines share.")],
    node: Annotated[
        int | None,
        typer.Option(
            envvar=["AQUILAMED_NODE", "SLURM_NODEID", "JOB_COMPLETION_INDEX"],
            min=1,
            help="Which machine this is, from 1; machine 0 runs `aquilamed run`.",
        ),
    ] = None,
) -> None:
    """Lend this machine to the trainings of a run that goes on elsewhere, until that run is through."""
    from aquilamed.launch import meeting
    from aquilamed.remote import is_url

    if node is None:
        raise Invalid("which machine is this? give --node 1, 2, … (machine 0 runs aquilamed run)")
    if is_url(workspace):
        raise Invalid(f"{workspace}: machines that train together share a folder; a URL is no folder")
    try:
        meeting.join(Path(workspace).resolve(), node, Progress())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def launch(
    scheduler: Annotated[Literal["slurm", "kubernetes"], typer.Argument(help="For which scheduler.")],
    recipe: RecipePath,
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="The folder that all machines share.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; repeatable.")
    ] = None,
    hours: Annotated[int, typer.Option(min=1, help="The job's time limit.")] = 72,
    image: Annotated[str, typer.Option(help="Kubernetes: the container image with aquilamed.")] = "aquilamed:latest",
    claim: Annotated[str, typer.Option(help="Kubernetes: the claim of the shared volume.")] = "aquilamed",
) -> None:
    """Print a job for a scheduler, with the machines and GPUs that the recipe's hardware asks for."""
    from aquilamed.launch.jobs import script
    from aquilamed.recipe import load_recipe

    typer.echo(
        script(scheduler, load_recipe(recipe, overrides), recipe, workspace, overrides or [], hours, image, claim)
    )
