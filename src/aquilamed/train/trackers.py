"""Experiment trackers beside our own log (`report_to`): transformers' callbacks, with everything kept in the workspace.

Nothing leaves the machine unless `report_online` is on. A tracker is told the training arguments and the model's config,
which hold no secret; its own keys come from its environment variables.

WORKSPACE/tracking/<tracker>/      what it writes; the runs are named <stage>/<fingerprint>
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from aquilamed.config import Invalid
from aquilamed.stage import Context
from aquilamed.train import ranks

Tracker = Literal["none", "tensorboard", "trackio", "mlflow", "wandb"]


@contextmanager
def tracked(ctx: Context, trainer: Any, tracker: Tracker, online: bool) -> Iterator[None]:
    """Let a tracker follow a trainer within it.

    Raises `Invalid` when the tracker is not installed.
    """
    if tracker == "none":
        yield
        return
    if importlib.util.find_spec(tracker) is None:
        raise Invalid(f"report_to: {tracker} is not installed: pip install {tracker}, or report_to: none")
    from transformers.integrations import get_reporting_integration_callbacks

    folder, run = ctx.root.resolve() / "tracking" / tracker, ctx.out.relative_to(ctx.root).as_posix()
    args = trainer.args
    args.run_name, args.project = run, ctx.recipe.name
    if not online:
        args.trackio_space_id = None  # its default is a page on the hub
    changed = _settings(tracker, folder, run, ctx.recipe.name, online)
    before = {name: os.environ.get(name) for name in changed}
    if ranks.index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(changed)
    try:
        for callback in get_reporting_integration_callbacks([tracker]):
            trainer.add_callback(callback)
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _settings(tracker: Tracker, folder: Path, run: str, project: str, online: bool) -> dict[str, str]:
    """The environment variables that tell a tracker where to write, and to stay at home."""
    if tracker == "tensorboard":
        return {"TENSORBOARD_LOGGING_DIR": str(folder / run)}
    if tracker == "wandb":
        return {
            "WANDB_DIR": str(folder),
            "WANDB_PROJECT": os.environ.get("WANDB_PROJECT", project),
            "WANDB_SILENT": "true",
            **({} if online else {"WANDB_MODE": "offline"}),
        }
    if tracker == "mlflow":
        name = {"MLFLOW_EXPERIMENT_NAME": os.environ.get("MLFLOW_EXPERIMENT_NAME", project)}
        return name if online else {**name, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    return {"TRACKIO_DIR": str(folder)}
