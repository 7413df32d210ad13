"""The few files of a workspace that the app hands out: fixed names, never a path that somebody sends."""

from pathlib import Path

from starlette.responses import PlainTextResponse, Response

# For documents that we wrote as files: they bring their look along and run nothing, whatever got into them.
DOCUMENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox allow-popups"
)


def inside(root: Path, name: str) -> Path | None:
    """A regular file of the workspace; None when it is absent, or a link (its own or a folder's) leads out of the workspace."""
    path = (root / name).resolve()
    return path if path.is_relative_to(root.resolve()) and path.is_file() else None


def handed_out(root: Path, name: str, media_type: str) -> Response:
    """A file of the workspace as an answer; 404 where `inside` finds none."""
    path = inside(root, name)
    if path is None:
        return PlainTextResponse("Not found.", 404)
    return document(path.read_bytes(), media_type)


def document(content: bytes | str, media_type: str = "text/html") -> Response:
    """An answer that may show itself, and nothing more."""
    headers = {"Content-Security-Policy": DOCUMENT_POLICY, "Cache-Control": "no-store"}
    return Response(content, media_type=media_type, headers=headers)
