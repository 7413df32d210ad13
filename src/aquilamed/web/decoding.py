"""The controls of decoding, alike on every page that asks a model."""

import gradio as gr

from aquilamed.web.text import Text


def decoding(text: Text) -> tuple[gr.Slider, gr.Slider, gr.Slider, gr.Number]:
    """Temperature, top-p, longest answer and seed, in a row."""
    with gr.Row():
        return (
            gr.Slider(0, 2, 0.7, step=0.1, label=text("decoding.temperature"), min_width=200),
            gr.Slider(0.05, 1, 0.95, step=0.05, label=text("decoding.top_p"), min_width=200),
            gr.Slider(16, 2048, 512, step=16, label=text("decoding.longest"), min_width=200, elem_id="longest"),
            gr.Number(0, label=text("decoding.seed"), precision=0, minimum=0, min_width=200, elem_id="seed"),
        )
