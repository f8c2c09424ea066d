"""The web page: Gradio on the service's FastAPI app, around one stage for pictures, masks and marks.

What a visitor has is in `page_state`, what they may do in `page_actions`, what their browser gets in `page_view` and
`page_routes`, how it is drawn in ``page.js``. This module lays the page out and joins them: events in, updates out.
"""

from __future__ import annotations

import asyncio
import html
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI

from x2sam.errors import X2SamError
from x2sam.serve import page_actions as actions
from x2sam.serve import page_view as view
from x2sam.serve.jobs import Job, Stopped
from x2sam.serve.page_examples import EXAMPLES, Gallery
from x2sam.serve.page_marks import read_mark
from x2sam.serve.page_routes import Pages, add_routes
from x2sam.serve.page_state import Page, Viewer
from x2sam.serve.store import Opened, Store
from x2sam.tasks import TASKS

HERE = Path(__file__).parent
BEAT = 0.12
"""Seconds between two updates of the browser, at least."""
log = logging.getLogger(__name__)
Update = tuple[dict[str, Any], str]
"""The stage's value and the conversation."""


def mount(app: FastAPI, path: str = "/") -> FastAPI:
    """Put the page on an app whose ``state`` has the store."""
    store: Store = app.state.store
    pages = Pages(store)
    gallery = Gallery(store.folder / "examples")
    os.environ["GRADIO_TEMP_DIR"] = str(store.folder / "page")  # what the browser sends goes with everything else
    add_routes(app, pages, gallery)
    return gr.mount_gradio_app(
        app,
        build(Actions(pages, gallery, app.state.decoders), store.predictor.name, round(store.limits.idle_seconds)),
        path,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=store.limits.upload_bytes,
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css_paths=[HERE / "page.css"],
        ssr_mode=False,
        mcp_server=False,
    )


# --- what happens -----------------------------------------------------------------------------------------------------


class Actions:
    """Events of the browser; each yields updates of the stage and the conversation."""

    def __init__(self, pages: Pages, gallery: Gallery, decoders: CapacityLimiter) -> None:
        self.pages, self.gallery, self.decoders = pages, gallery, decoders

    async def open(self, path: str | None, request: gr.Request) -> AsyncIterator[Update]:
        """A file that Gradio took in."""
        if path:
            async for update in self._open(self.pages.of(request), Path(path)):
                yield update
            with suppress(OSError):
                Path(path).unlink()

    async def example(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        index = int(event._data["index"]) % len(EXAMPLES)
        path = await run_sync(self.gallery.file, index, limiter=self.decoders)
        async for update in self._open(self.pages.of(request), path):
            yield (*update, EXAMPLES[index].prompt)

    async def _open(self, page: Page, path: Path) -> AsyncIterator[Update]:
        page.error, page.note = "", "Opening …"
        yield shown(page)
        store, old = self.pages.store, page.opened
        await stop(page)
        try:
            page.take(*await run_sync(self._decode, page.client, path, limiter=self.decoders))
            if old is not None:
                store.close(old.id)
        except Exception as error:
            page.fail(sentence(error))
        yield shown(page)

    def _decode(self, client: str, path: Path) -> tuple[Opened, Viewer]:
        opened = self.pages.store.open(client, path, path.name)
        return opened, Viewer(opened.upload.open())

    async def say(
        self, text: str, mode: str, task: str, form: actions.Form, add: bool, request: gr.Request
    ) -> AsyncIterator[Update]:
        page = self.pages.of(request)
        text = text[: self.pages.store.limits.text]
        if mode == "Talk":
            steps: Callable[[], Any] = lambda: actions.chat(page, text)  # noqa: E731
        else:
            steps = lambda: actions.find(page, text, task, form, add)  # noqa: E731
        async for update in run(page, steps):
            yield update

    async def mark(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[Update]:
        page = self.pages.of(request)

        def steps() -> None:
            actions.mark(page, *read_mark(event._data, page.session.size, page.length))

        async for update in run(page, steps):
            yield update

    async def resume(self, request: gr.Request) -> AsyncIterator[Update]:
        page = self.pages.of(request)
        async for update in run(page, lambda: actions.go_on(page)):
            yield update

    async def drop(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[Update]:
        page, chosen = self.pages.of(request), number(event)
        if chosen is not None:
            async for update in run(page, lambda: actions.drop(page, chosen)):
                yield update

    async def choose(self, event: gr.EventData, request: gr.Request) -> Update:
        page = self.pages.of(request)
        page.selected, page.error = number(event), ""
        return shown(page)

    async def rename(self, event: gr.EventData, request: gr.Request) -> Update:
        page, chosen = self.pages.of(request), number(event)
        if chosen is not None:
            page.rename(chosen, str(event._data.get("name", "")))
        return shown(page)

    async def cancel(self, request: gr.Request) -> Update:
        page = self.pages.of(request)
        await stop(page)
        page.note = actions.summary(page) if page.results else "Stopped."
        return shown(page)


def number(event: gr.EventData) -> int | None:
    """The object that an event of the stage is about."""
    chosen = event._data.get("object")
    return chosen if isinstance(chosen, int) else None


def shown(page: Page) -> Update:
    return view.stage(page), view.conversation(page.talk)


def sentence(error: Exception) -> str:
    """What the visitor reads of an error; what is not theirs to mend goes to the log."""
    if isinstance(error, X2SamError):
        return str(error)
    log.error("the page's request failed", exc_info=error)
    return f"Something went wrong here ({type(error).__name__}). Try again; the server's log says more."


async def stop(page: Page) -> None:
    """End what runs and wait until it has ended: after its frame, so that it can go on, or else at once."""
    job = page.job
    if job is None or job.ended:
        return
    page.halt = True
    if not page.following:
        job.cancel()
    while not job.ended:
        await asyncio.sleep(0.02)


async def run(page: Page, function: Callable[[], Any]) -> AsyncIterator[Update]:
    """Do something with the medium as a job, and say how it goes; what ran before is ended."""
    job: Job[Any] | None = None
    try:
        await stop(page)
        page.error, page.halt, page.clock = "", False, None
        page.session  # noqa: B018 - says so where nothing is open
        assert page.opened is not None
        job = page.job = page.opened.change(function)
        async for _ in beats(job):
            yield shown(page)
    except Stopped:
        pass
    except Exception as error:
        page.fail(sentence(error))
    finally:
        if job is not None and not job.ended:
            job.cancel()
    yield shown(page)


async def beats(job: Job[Any]) -> AsyncIterator[None]:
    """A beat now and then while a job runs, whether or not it has results, so that text and progress are seen."""
    items = aiter(job)
    pending = asyncio.ensure_future(anext(items, job))
    try:
        last = 0.0
        while True:
            done, _ = await asyncio.wait({pending}, timeout=BEAT)
            if done:
                if pending.result() is job:
                    return
                pending = asyncio.ensure_future(anext(items, job))
            now = time.monotonic()
            if now - last >= BEAT:
                last = now
                yield
    finally:
        pending.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await pending


# --- the page ---------------------------------------------------------------------------------------------------------


def build(act: Actions, model: str, idle_seconds: int) -> gr.Blocks:
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
                    js_on_load=(HERE / "page.js").read_text("utf-8"),
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
        for event, source in ((files.upload, files), (photo.input, photo), (film.input, film)):
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
