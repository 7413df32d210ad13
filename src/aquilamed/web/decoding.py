"""What an answer is asked with, alike on every page that asks a model."""

import gradio as gr

from aquilamed.web.text import Text

LONGEST = 20_000
"""Characters of a message."""


def decoding(text: Text) -> tuple[gr.Textbox, gr.Slider, gr.Slider, gr.Slider, gr.Number]:
    """System prompt, temperature, top-p, longest answer and seed, folded away."""
    with gr.Accordion(text("chat.settings"), open=False, elem_id="settings"):
        system = gr.Textbox("", label=text("chat.system"), lines=2, max_lines=8, max_length=LONGEST, elem_id="system")
        row = gr.Row()
    with row:
        return (
            system,
            gr.Slider(0, 2, 0.7, step=0.1, label=text("decoding.temperature"), min_width=200),
            gr.Slider(0.05, 1, 0.95, step=0.05, label=text("decoding.top_p"), min_width=200),
            gr.Slider(16, 2048, 512, step=16, label=text("decoding.longest"), min_width=200, elem_id="longest"),
            gr.Number(0, label=text("decoding.seed"), precision=0, minimum=0, min_width=200, elem_id="seed"),
        )
