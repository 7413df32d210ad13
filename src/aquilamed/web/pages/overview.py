"""Overview: the pipeline as a picture, live while a run goes on, and what the next run would do."""

import gradio as gr

from aquilamed.config import Invalid, StageFailed
from aquilamed.web.pipeline_view import look
from aquilamed.web.planned import planned
from aquilamed.web.site import Page, Site

_EVERY = 3.0  # seconds between two looks


def build(site: Site) -> None:
    """The picture, a timer that redraws it, and the plan behind a button: it takes seconds."""
    shown = gr.HTML(elem_id="pipeline")
    gr.on(None, lambda: picture(site), None, shown, show_progress="hidden")
    gr.Timer(_EVERY).tick(lambda: picture(site), None, shown, show_progress="hidden", queue=True)
    button = gr.Button(site.text("overview.plan"), elem_id="plan-button")
    plan = gr.HTML(elem_id="plan")
    button.click(lambda: next_run(site), None, plan)


def picture(site: Site) -> str:
    """The stages as HTML, or why they cannot be shown."""
    try:
        lanes = look(site.workspace)
    except (Invalid, StageFailed) as error:
        return site.html("problem.html.j2", message=str(error))
    stages = [stage for lane in lanes for stage in lane.stages]
    return site.html(
        "pipeline.html.j2",
        lanes=lanes,
        done=sum(s.state == "done" for s in stages),
        total=len(stages),
        running=[s.name for s in stages if s.state == "running"],
        seconds=sum(s.seconds or 0 for s in stages),
    )


def next_run(site: Site) -> str:
    """What `aquilamed plan` says of the workspace's recipe, as HTML."""
    try:
        return site.html("plan.html.j2", plan=planned(site.workspace))
    except (Invalid, StageFailed) as error:
        return site.html("problem.html.j2", message=str(error))


PAGE = Page("", "overview.title", build)
