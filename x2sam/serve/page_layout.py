"""How the page is laid out, in Gradio's components, and which of its events call what."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from x2sam.serve import page_view as view
from x2sam.serve.page_examples import EXAMPLES
from x2sam.tasks import TASKS

HERE = Path(__file__).parent
SCRIPTS = ("page.show.js", "page.marks.js", "page.js")


def build(act: Any, model: str, idle_seconds: int) -> gr.Blocks:
    """The layout and its wiring."""
    with gr.Blocks(title="x2sam", analytics_enabled=False, delete_cache=(60, idle_seconds), fill_width=True) as blocks:
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>x2sam</h1><p>Any segmentation in pictures and videos · {html.escape(model)}</p>")
            files = gr.UploadButton(
                "Open a picture or a video", file_types=["image", "video"], elem_id="open", variant="primary", size="md"
            )
        with gr.Row(elem_id="body"):
            with gr.Column(scale=3, min_width=300, elem_id="main"):
                with gr.Row(elem_id="line"):
                    mode = gr.Radio(["Find", "Talk"], value="Find", show_label=False, container=False, elem_id="mode")
                    text = gr.Textbox(
                        placeholder="the red car · What can fly? · car, tree, sky · or nothing: describe it",
                        label="What to find, or to talk about",
                        show_label=False,
                        container=False,
                        lines=1,
                        max_lines=1,
                        elem_id="words",
                    )
                    go = gr.Button("Go", variant="primary", elem_id="go", scale=0, min_width=70)
                stage = gr.HTML(
                    {"key": None},
                    html_template=(HERE / "page.html").read_text("utf-8"),
                    js_on_load="".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
                    apply_default_css=False,
                    elem_id="stage",
                )
            with gr.Column(scale=1, min_width=260, elem_id="side"):
                talk = gr.HTML(view.conversation(()), elem_id="talk", apply_default_css=False)
                with gr.Accordion("Examples", open=True, elem_id="examples"):
                    examples = gr.HTML(
                        example_buttons(), js_on_load=EXAMPLE_CLICKS, apply_default_css=False, elem_id="gallery"
                    )
                with gr.Accordion("Camera", open=False, elem_id="camera"):
                    photo = gr.Image(sources=["webcam"], type="filepath", label="Picture", height=200)
                    film = gr.Video(sources=["webcam"], label="Clip", height=200)
                    # as it was sent: to mirror and mute it, Gradio would need an ffmpeg on the path
                    film.preprocess = lambda payload: payload and payload.path
                with gr.Accordion("More", open=False, elem_id="more"):
                    task = gr.Dropdown(tasks(), value="", label="Task", elem_id="task")
                    form = gr.Radio(["panoptic", "instance", "semantic"], value="panoptic", label="Form of categories")
                    add = gr.Checkbox(label="Add to what was found", value=False)
        said, seen = [text, mode, task, form, add], [stage, talk]
        quiet: dict[str, Any] = {
            "show_progress": "hidden",
            "concurrency_limit": None,
            "trigger_mode": "multiple",
            "api_visibility": "private",
        }
        for event in (text.submit, go.click):
            event(act.say, said, seen, **quiet)
        for event, source in ((files.upload, files), (photo.input, photo), (film.change, film)):
            event(act.open, source, seen, **quiet)
        examples.open(act.example, None, [*seen, text], **quiet)
        stage.mark(act.mark, None, seen, **quiet)
        stage.resume(act.resume, None, seen, **quiet)
        stage.drop(act.drop, None, seen, **quiet)
        stage.choose(act.choose, None, seen, **quiet)
        stage.rename(act.rename, None, seen, **quiet)
        stage.cancel(act.cancel, None, seen, **quiet)
        blocks.unload(act.pages.leave)
    return blocks


def tasks() -> list[tuple[str, str]]:
    """What may be chosen for words; each stands for the image row and the video row."""
    rows = [t for t in TASKS.values() if t.media == "image" and not t.is_chat and t.conditions != "regions"]
    return [("Inferred from what you say", ""), *((t.title.removeprefix("Image ").capitalize(), t.name) for t in rows)]


def example_buttons() -> str:
    """A button with a picture for every example."""
    buttons = "".join(
        f'<button type="button" data-index="{i}" title="{html.escape(example.prompt)}">'
        f'<img src="page-examples/{i}" alt="" loading="lazy">{html.escape(example.title)}</button>'
        for i, example in enumerate(EXAMPLES)
    )
    return f'<div class="gallery">{buttons}</div>'


EXAMPLE_CLICKS = """
for (const button of element.querySelectorAll('button'))
  button.addEventListener('click', () => trigger('open', { index: +button.dataset.index }));
"""
