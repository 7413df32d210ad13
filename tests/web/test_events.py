"""No click is lost, even where a new event's answer overtakes the word that the page's event stream ends."""

from pathlib import Path
from typing import Any

import pytest
from serving import served, set_longest

import release_workspace
import tiny_model

# A network that holds back the end of each event stream until one more event was joined: what a busy machine does at times.
LATE = """
const fetched = window.fetch.bind(window);
let answered = () => {};
window.held = 0;
window.fetch = async (resource, options) => {
  const response = await fetched(resource, options);
  const url = resource.url ?? resource;
  if (url.includes("/queue/join")) setTimeout(answered, 100);
  if (!url.includes("/queue/data")) return response;
  const late = new TransformStream({
    async transform(text, out) {
      const at = text.indexOf('data: {"msg":"close_stream"');
      if (at < 0) return out.enqueue(text);
      out.enqueue(text.slice(0, at));
      window.held += 1;
      await new Promise((resolve) => { answered = resolve; });
      out.enqueue(text.slice(at));
    },
  });
  const body = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(late).pipeThrough(new TextEncoderStream());
  return new Response(body, response);
};
"""


@pytest.fixture
def site(tmp_path: Path) -> Any:
    space = release_workspace.make(tmp_path, model=tiny_model.build(tmp_path / "tiny"))
    with served(space) as address:
        yield address


def test_answers_asked_for_at_once(browser: Any, site: str) -> None:
    context = browser.new_context()
    context.add_init_script(LATE)
    page = context.new_page()
    page.goto(f"{site}/en/chat")
    page.wait_for_function("document.querySelector('#model input')?.value === 'align'")
    set_longest(page, 16)
    page.locator("#said textarea").fill("What is a fever?")
    page.locator("#said textarea").press("Enter")
    said = ""
    for _ in range(3):
        page.wait_for_function(
            """(old) => { const said = document.querySelector('#log .assistant .said')?.innerText;
              return said && said !== old && !document.querySelector('#log .waiting'); }""",
            arg=said,
            timeout=120_000,
        )
        said = page.locator("#log .assistant .said").inner_text()
        page.locator("#again").click()
    assert page.evaluate("window.held") >= 3
    context.close()
