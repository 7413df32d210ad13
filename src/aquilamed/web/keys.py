"""Keyboard shortcuts: a key presses a button or box of the page, unless somebody is typing."""

import json
from collections.abc import Mapping

_SCRIPT = """() => {
  if (window.aquilaKeys) return;
  const keys = window.aquilaKeys = KEYS;
  const typing = (e) => e && (e.tagName === "TEXTAREA" || e.isContentEditable ||
    (e.tagName === "INPUT" && !["radio", "checkbox", "range", "button"].includes(e.type)));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (event.key === "Escape" && typing(document.activeElement)) return document.activeElement.blur();
    if (typing(document.activeElement) || !(event.key in keys)) return;
    const found = document.querySelector(keys[event.key]);
    if (!found || found.disabled || !found.getClientRects().length) return;
    event.preventDefault();
    found.matches("textarea") ? found.focus() : found.click();
  });
}"""


def script(keys: Mapping[str, str]) -> str:
    """JavaScript that makes keys work.

    Args:
        keys: key → CSS selector of what it presses, or of the text field that it goes to. Escape leaves a text field.
    """
    return _SCRIPT.replace("KEYS", json.dumps(dict(keys)))
