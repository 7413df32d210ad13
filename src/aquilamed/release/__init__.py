"""Publishing what a workspace made: `aquilamed release WORKSPACE --what instruct|preference|corpus|model`.

The result is a folder that a hub takes as it is: data (or weights), a card whose numbers come from manifests, licences,
figures, Croissant metadata, the recipe, fingerprints and checksums. The same workspace gives the same bytes.
"""

from pathlib import Path
from typing import Any, Literal, get_args

from aquilamed.config import Invalid
from aquilamed.workspace import Workspace

What = Literal["instruct", "preference", "corpus", "model"]


def release(
    workspace: Workspace,
    what: str,
    out: Path | None = None,
    *,
    include_restricted: bool = False,
    stage: str | None = None,
    repository: str | None = None,
) -> Path:
    """Write a release and return its folder (WORKSPACE/release/<what> unless `out` names another).

    Args:
        include_restricted: also records whose licence does not allow passing them on; the card says so loudly.
        stage: of a model, the training whose model it is; None takes the recipe's last.
        repository: OWNER/NAME for the card's links.

    Raises:
        Invalid: nothing to release, a stage that is not done, or a folder in the way that is no release of ours.
        StageFailed: the workspace's files are not what their manifests say.
    """
    from aquilamed.release import dataset, facts, folder, model
    from aquilamed.release.page import PLACE

    if what not in get_args(What):
        raise Invalid(f"--what {what}: choose one of {', '.join(get_args(What))}")
    if stage is not None and what != "model":
        raise Invalid("--stage goes with --what model only")
    if include_restricted and what == "model":
        raise Invalid("--include-restricted is about records; a model's release holds none")
    found = facts.read(workspace)
    target = out or workspace.root / "release" / what
    where = repository or PLACE
    with folder.building(target) as new:
        if what == "model":
            told = model.build(new, found, stage, where)
        else:
            told = dataset.build(new, found, what, include_restricted, where)  # type: ignore[arg-type]
        sums: dict[str, str] = told.pop("sha256")
        folder.write_marker(new, told)
        folder.check_secrets(new, secret_names(found.recipe))
        folder.write_sums(new, sums)
    return target


def secret_names(recipe: Any) -> list[str]:
    """Environment variables that hold secrets: the hub's, and those that the recipe names (`…_env`)."""
    found = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(v for k, v in value.items() if str(k).endswith("_env") and isinstance(v, str))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(recipe.model_dump(mode="json"))
    return found
