"""The commands by which a model is talked to: in the terminal, over HTTP, in a browser."""

from typing import Annotated

import typer

WorkspacePath = Annotated[str, typer.Argument(metavar="WORKSPACE", help="A workspace folder or URL.")]
ModelTarget = Annotated[
    str,
    typer.Argument(
        metavar="WORKSPACE[:STAGE]|MODEL",
        help="A workspace (newest model, or a stage's), a folder, or a fetched model.",
    ),
]


def chat(
    model: ModelTarget,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Talk to a model in the terminal. Not a medical device."""
    from aquilamed.serve.chat import chat as talk

    talk(model, system=system, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)


def serve(
    model: ModelTarget,
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine need a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The variable with the API key. Default: AQUILAMED_API_KEY, if set."),
    ] = None,
    open_to_all: Annotated[bool, typer.Option("--open-to-all", help="Let other machines in without a key.")] = False,
    engine: Annotated[str, typer.Option(help="auto, vllm, llama.cpp or transformers.")] = "auto",
    name: Annotated[str | None, typer.Option(help="The model's name in the protocol. Default: of its folder.")] = None,
    max_context: Annotated[int | None, typer.Option(min=64, help="Tokens; default: the model's.")] = None,
    max_concurrency: Annotated[int, typer.Option(min=1, help="Answers at once.")] = 16,
    queue: Annotated[int, typer.Option(min=0, help="Answers that wait beyond those; more are told 429.")] = 64,
    max_body: Annotated[int, typer.Option(min=1024, help="Bytes of a request.")] = 1 << 20,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for a whole answer.")] = 600,
    grace: Annotated[int, typer.Option(min=0, help="Seconds for running answers after SIGTERM.")] = 30,
) -> None:
    """Serve a model over OpenAI's protocol: http://127.0.0.1:8000/v1. Not a medical device."""
    from aquilamed.serve.server import serve as run_server

    run_server(
        model,
        host=host,
        port=port,
        key_variable=api_key_env,
        open_to_all=open_to_all,
        engine=engine,
        name=name,
        max_context=max_context,
        max_concurrency=max_concurrency,
        queue=queue,
        max_body=max_body,
        timeout=timeout,
        grace=grace,
        say=typer.echo,
    )


def web(
    workspace: WorkspacePath,
    host: Annotated[
        str, typer.Option(help="The address to listen on; other than loopback people log in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Look into a workspace, talk to its models and review their answers in a browser. Not a medical device."""
    from aquilamed.web import serve

    serve(workspace, host, port, browser)
