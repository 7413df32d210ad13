"""The commands, nothing else: each parses its arguments, calls one function, and prints what came back.

Exit codes: 0 done, 1 failed, 2 the recipe or an input is wrong, 130 interrupted and resumable.
"""

import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from aquilamed import __version__, cli_launch, cli_serve
from aquilamed.cli_report import compare, report
from aquilamed.cli_review import review_app
from aquilamed.config import Invalid, StageFailed
from aquilamed.places import mirrored, opened, workspace_at
from aquilamed.progress import Progress
from aquilamed.terminal import excerpt, print_json, table

app = typer.Typer(
    name="aquilamed",
    help="Turn a general LLM into a bilingual medical one: one recipe, one command.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold corpus text or keys
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipe_app = typer.Typer(help="Look at recipes.", no_args_is_help=True)
app.add_typer(recipe_app, name="recipe")
app.add_typer(review_app, name="review")
for command in (report, compare, cli_serve.chat, cli_serve.serve, cli_serve.web, cli_launch.join, cli_launch.launch):
    app.command()(command)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML).")]
WorkspacePath = Annotated[str, typer.Argument(metavar="WORKSPACE", help="A workspace folder or URL.")]
WorkspaceOption = Annotated[
    str | None, typer.Option("--workspace", "-w", help="A folder or URL. Default: workspaces/<recipe's name>.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"aquilamed {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # Nothing reaches for the network unless a command is asked to; libraries would otherwise look for updates.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@app.command()
def run(
    recipe: RecipePath,
    workspace: WorkspaceOption = None,
    until: Annotated[
        str | None, typer.Option(help="Run only this stage or group and what it needs, e.g. corpus.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Run this stage or group alone; its inputs must be done.")] = None,
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(help="Worker processes; 0 is one per core.", min=0)] = 0,
    engine: Annotated[str, typer.Option(help="Where data stages run: local, ray or ray://host:port.")] = "local",
) -> None:
    """Run a recipe: skip what is done, continue what was interrupted, write the report."""
    from aquilamed import pipeline, report
    from aquilamed.launch import check_place
    from aquilamed.launch.meeting import end
    from aquilamed.planned_trainings import check_hardware
    from aquilamed.recipe import load_recipe
    from aquilamed.review.hand_over import hand_over

    loaded = load_recipe(recipe, overrides)
    check_hardware(loaded)
    space, remote = workspace_at(workspace or f"workspaces/{loaded.name}")
    check_place(loaded, remote is not None)
    progress = Progress()
    finished = remote.up if remote else None
    try:
        with remote.hold() if remote else nullcontext():
            if remote:
                remote.down(progress)
            hand_over(loaded, space)
            pipeline.run(
                loaded, space, progress, until=until, only=only, workers=workers, engine=engine, finished=finished
            )
            if only is None:
                progress.say(f"Report: {report.write(space)}")
            if remote:
                remote.up_top()
            end(space.root)
    except KeyboardInterrupt:  # caught here because typer would turn it into a bare "Aborted."
        progress.say("Interrupted: run the same command again to continue.")
        raise typer.Exit(130) from None


@app.command()
def plan(
    recipe: RecipePath, workspace: WorkspaceOption = None, overrides: Overrides = None, as_json: AsJson = False
) -> None:
    """Say what a run would do, and why, without doing it; exit 2 when its calls or trainings exceed budget or hardware."""
    from aquilamed import pipeline
    from aquilamed import planned_trainings as training
    from aquilamed.planned_calls import call_table, check_budget, planned_calls, spent
    from aquilamed.planning import estimates
    from aquilamed.recipe import load_recipe

    loaded = load_recipe(recipe, overrides)
    training.check_hardware(loaded)
    space = mirrored(workspace or f"workspaces/{loaded.name}")
    states = pipeline.states(loaded, space)
    rows = [
        {"stage": s.name, "action": "skip" if s.state == "done" else "run", "why": s.why or s.state} for s in states
    ]
    numbers = estimates(loaded)
    trainings = training.planned_trainings(loaded, states)
    calls, paid = planned_calls(loaded, states, space.root), spent(space.root)
    if as_json:
        money = {"budget": loaded.annotator.budget, "spent": paid, "currency": loaded.annotator.currency}
        about = {"recipe": loaded.name, "workspace": str(space.root), "stages": rows, "estimates": numbers}
        asked, trained = [asdict(c) for c in calls], [training.as_json(t) for t in trainings]
        print_json(about | {"trainings": trained, "calls": asked, "money": money})
    else:
        table(f"Plan of {loaded.name} in {space.root}", rows)
        table("Estimates", [{"what": key, "value": value} for key, value in numbers.items()])
        training.print_trainings(trainings)
        title = f"Calls of services and judges (annotator: {loaded.annotator.model or loaded.annotator.kind}, {loaded.annotator.mode})"
        if calls:
            table(title, call_table(loaded, calls))
    check_budget(loaded, calls, paid)


@app.command()
def status(workspace: WorkspacePath, as_json: AsJson = False) -> None:
    """Every stage of a workspace: state, counts, duration."""
    from aquilamed import pipeline

    space, loaded = opened(workspace)
    rows = []
    for s in pipeline.states(loaded, space):
        m = s.artifact.manifest if s.artifact else {}
        keys = ("records_in", "records_kept", "records_dropped", "seconds")
        rows.append({"stage": s.name, "state": s.state, "why": s.why} | {k: m.get(k) for k in keys})
    if as_json:
        print_json(rows)
    else:
        table(str(space.root), rows)


@app.command()
def dropped(
    workspace: WorkspacePath,
    stage: Annotated[str, typer.Argument(help="A data stage, e.g. corpus/rules.")],
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    limit: Annotated[int, typer.Option(help="How many to show.", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    """Browse what a stage rejected, and why."""
    from aquilamed.browse import dropped_records

    space, loaded = opened(workspace)
    rows = dropped_records(loaded, space, stage, reason, limit)
    if as_json:
        for row in rows:
            print_json(row, indent=None)
        return
    shown = [{"origin": r["origin"], "reason": r["reason"], "detail": r["detail"], "text": excerpt(r)} for r in rows]
    table(f"{stage}: dropped records", shown)


@app.command("release")
def release_command(
    workspace: WorkspacePath,
    what: Annotated[str, typer.Option(help="instruct, preference, corpus or model.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write. Default: WORKSPACE/release/<what>.")] = None,
    stage: Annotated[
        str | None, typer.Option(help="Of a model: the training whose model it is. Default: the last.")
    ] = None,
    include_restricted: Annotated[
        bool, typer.Option("--include-restricted", help="Also records whose licence does not allow passing them on.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload to the Hugging Face hub (token in $HF_TOKEN).")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make the pushed repository public.")] = False,
) -> None:
    """Write a folder ready for a hub: data or weights, card, licences, figures, checksums."""
    from aquilamed.release import push as hub
    from aquilamed.release import release

    if push:
        hub.check(push)
    elif public:
        raise Invalid("--public goes with --push OWNER/NAME")
    space, _ = opened(workspace)
    folder = release(space, what, out, include_restricted=include_restricted, stage=stage, repository=push)
    typer.echo(folder)
    if push:
        typer.echo(hub.push(folder, push, Progress(), public))


@app.command("export")
def export_command(
    model: cli_serve.ModelTarget,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; it must not exist yet.")],
    to: Annotated[str, typer.Option(help="safetensors, gguf, ollama or vllm.")],
    kind: Annotated[
        str | None,
        typer.Option("--type", help="Of the weights: f32, f16, bf16, and q8_0 for gguf and ollama."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt for Ollama's Modelfile.")] = None,
) -> None:
    """Write a model as transformers, llama.cpp, Ollama or vLLM take it."""
    from aquilamed.release.export import export

    typer.echo(export(model, out, to, kind, system))


@app.command()
def fetch(
    what: Annotated[
        str,
        typer.Argument(metavar="RECIPE|MODEL", help="A recipe, smollm2-135m, a hub id, or gguf-converter."),
    ],
    overrides: Overrides = None,
) -> None:
    """Download what a recipe needs, or one model, and check it by hash. The only command that uses the network unasked."""
    from aquilamed.fetch import fetch as get
    from aquilamed.needs import fetch_recipe
    from aquilamed.recipe import load_recipe

    if Path(what).suffix in (".yaml", ".yml"):
        folders = fetch_recipe(load_recipe(Path(what), overrides), Progress())
        typer.echo(
            "\n".join(map(str, folders)) or "Nothing to fetch: the recipe names no model or data set of the hub."
        )
    else:
        typer.echo(get(what, Progress()))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at this machine: versions, cores, memory, disk, GPU, extras, models; and what to do where something is wrong."""
    from aquilamed.doctor import advice, machine

    found = machine()
    said = advice(found)
    if as_json:
        print_json(found | {"advice": said})
    else:
        table("This machine", [{"what": k, "value": v} for k, v in found.items()])
        typer.echo("\n".join(f"- {line}" for line in said) or "All is well.")


@recipe_app.command("schema")
def recipe_schema() -> None:
    """Print the JSON schema of recipes: every key with its meaning, type and default."""
    from aquilamed.recipe import Recipe

    print_json(Recipe.model_json_schema())


@recipe_app.command("show")
def recipe_show(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Print a recipe with every default spelled out."""
    from aquilamed.recipe import load_recipe, save_recipe

    typer.echo(save_recipe(load_recipe(recipe, overrides)))


def _terminated(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: turns our two exceptions into messages and exit codes."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(standalone_mode=True)
    except Invalid as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except StageFailed as error:
        typer.echo(f"failed: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
