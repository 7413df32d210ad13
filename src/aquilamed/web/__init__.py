"""The web app: `aquilamed web WORKSPACE` (extra `[web]`). What a doctor, a lab head or a data engineer opens in a browser.

One Gradio app per language, mounted at /en and /zh by a Starlette-style server that stands guard before it (`guard.py`).
A page is one short file in `pages/`; what people read is in `strings.yaml`, escaped HTML in `templates/`.
"""

import importlib.util
import os
from pathlib import Path

from aquilamed.config import Invalid

EXTRA = "the web app needs the extra [web]: pip install 'aquilamed[web]'"


def serve(place: str, host: str, port: int, browser: bool) -> None:
    """Serve a workspace's web app until it is stopped (Ctrl-C or SIGTERM; open requests get a few seconds).

    Args:
        place: the workspace, a folder or a URL.
        host: the address to bind. Anything but loopback needs tokens (`access.read_tokens`).
        port: 0 takes a free one.
        browser: open a browser window once the server listens.

    Raises `Invalid` when the extra is not installed, the place is no workspace, or tokens are missing or badly kept.
    """
    if importlib.util.find_spec("gradio") is None:
        raise Invalid(EXTRA)
    from aquilamed.listening import is_loopback, listen
    from aquilamed.places import opened
    from aquilamed.web.access import Settings, read_tokens
    from aquilamed.web.server import run

    space, _ = opened(place)
    tokens = read_tokens(space.root, os.environ)
    if not is_loopback(host) and not tokens:
        raise Invalid(
            f"--host {host} can be reached from other machines, so people must log in: put names and tokens into "
            f"{Path(space.root) / 'web-tokens'} (one `name token` a line, mode 0600) or into $AQUILAMED_WEB_TOKENS"
        )
    with listen(host, port) as socket:  # an address in use is found out before the slow imports
        run(space, Settings(host=host, tokens=tokens), socket, browser)
