"""What happens when a page is opened. (`gr.on(None, …)` would also run whenever one of the inputs changes.)"""

from collections.abc import Callable
from typing import Any

from gradio.context import Context


def on_opening(fn: Callable[..., Any], inputs: Any, outputs: Any) -> None:
    """Run a function when the page that is being built is opened, and only then."""
    page = Context.root_block
    assert page is not None, "a page is built inside a Blocks"
    page.load(fn, inputs, outputs, concurrency_limit=None, show_progress="hidden")
