"""The web page: Gradio on the service's FastAPI app, around one stage for pictures, masks and marks.

What happens to a medium is in `page_state`, what the browser gets in `page_view`, how it is drawn in ``page.js``; this
module joins them: who is who, events in, updates out, and the routes from which the stage fetches frames and masks.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from x2sam import export
from x2sam.errors import X2SamError
from x2sam.serve import page_view as view
from x2sam.serve.jobs import Job, Stopped
from x2sam.serve.page_examples import EXAMPLES, Gallery
from x2sam.serve.page_state import Form, Page, Viewer, read_mark
from x2sam.serve.store import Opened, Store, Unknown
from x2sam.tasks import TASKS

HERE = Path(__file__).parent
BEAT = 0.12
"""Seconds between two updates of the browser, at least."""
log = logging.getLogger(__name__)
Update = tuple[dict[str, Any], str]
"""The stage's value and the conversation."""


class Pages:
    """The visitors of one service, by browser session; a page goes with its tab, or when it was idle for long."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._pages: dict[str, Page] = {}

    def of(self, request: gr.Request) -> Page:
        """This visitor's page."""
        self.expire()
        session = str(request.session_hash)
        page = self._pages.setdefault(session, Page(f"page {session}"))
        page.touched = time.monotonic()
        if page.opened is not None:
            try:
                self.store.get(page.client, page.opened.id)
            except X2SamError:
                page.lose("It was closed because nobody used it for long. Open it again.")
        return page

    def by_key(self, key: str) -> Page:
        """The page whose browser asks; nobody else knows the key."""
        for page in list(self._pages.values()):
            if page.key == key and page.viewer is not None:
                return page
        raise Unknown("Got the key of a page that is closed", "the key of an open one", "Load the page again")

    def leave(self, request: gr.Request) -> None:
        """The tab was closed."""
        self._close(str(request.session_hash))

    def expire(self) -> None:
        old = time.monotonic() - self.store.limits.idle_seconds
        for session, page in list(self._pages.items()):
            if page.touched < old and (page.job is None or page.job.ended):
                self._close(session)

    def _close(self, session: str) -> None:
        page = self._pages.pop(session, None)
        if page is not None and page.opened is not None:
            self.store.close(page.opened.id)


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


# --- what the stage fetches -------------------------------------------------------------------------------------------


def add_routes(app: FastAPI, pages: Pages, gallery: Gallery) -> None:
    """Frames, masks, downloads and the examples' thumbnails. They never touch the model."""

    @app.get("/page/{key}/frames/{index}", include_in_schema=False)
    def frame(key: str, index: int) -> Response:
        viewer = pages.by_key(key).viewer
        assert viewer is not None
        content = view.jpeg(viewer.frame(index))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @app.get("/page/{key}/masks/{index}", include_in_schema=False)
    def masks(key: str, index: int) -> Response:
        found = view.masks(pages.by_key(key).frame(index))
        return Response(json.dumps(found), media_type="application/json", headers={"Cache-Control": "no-store"})

    @app.get("/page/{key}/download/{format}", include_in_schema=False)
    async def download(key: str, format: str, threshold: float | None = None) -> Response:
        page = pages.by_key(key)
        folder = Path(tempfile.mkdtemp(prefix="download-", dir=pages.store.folder))
        try:
            file = await run_sync(save, page, format, threshold, folder, limiter=app.state.decoders)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return FileResponse(file, filename=file.name, background=BackgroundTask(shutil.rmtree, folder, True))

    @app.get("/page-examples/{index}", include_in_schema=False)
    def example(index: int) -> Response:
        if not 0 <= index < len(EXAMPLES):
            raise Unknown(f"Got the example {index}", f"0 to {len(EXAMPLES) - 1}")
        return FileResponse(gallery.thumbnail(index))


def save(page: Page, format: str, threshold: float | None, folder: Path) -> Path:
    """One export of what is seen; formats that are folders are zipped."""
    result = page.result(threshold)
    assert page.viewer is not None
    with page.viewer.lock:
        path = export.save(result, folder / export.default_name(result.clip, format), format)
    if path.is_dir():
        return Path(shutil.make_archive(str(path), "zip", path))
    return path


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
        except X2SamError as error:
            page.note, page.error = "", str(error)
        yield shown(page)

    def _decode(self, client: str, path: Path) -> tuple[Opened, Viewer]:
        opened = self.pages.store.open(client, path, path.name)
        return opened, Viewer(opened.upload.open())

    async def say(
        self, text: str, mode: str, task: str, form: Form, add: bool, request: gr.Request
    ) -> AsyncIterator[Update]:
        page = self.pages.of(request)
        text = text[: self.pages.store.limits.text]
        if mode == "Talk":
            steps: Callable[[], Any] = lambda: page.chat(text)  # noqa: E731
        else:
            steps = lambda: page.find(text, task, form, add)  # noqa: E731
        async for update in run(page, steps):
            yield update

    async def mark(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[Update]:
        page = self.pages.of(request)

        def steps() -> None:
            page.mark(*read_mark(event._data, page.session.size, page.length))

        async for update in run(page, steps):
            yield update

    async def resume(self, request: gr.Request) -> AsyncIterator[Update]:
        page = self.pages.of(request)
        async for update in run(page, page.go_on):
            yield update

    async def drop(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[Update]:
        page, chosen = self.pages.of(request), number(event)
        if chosen is not None:
            async for update in run(page, lambda: page.drop(chosen)):
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
        page.note = page.summary() if page.results else "Stopped."
        return shown(page)


def number(event: gr.EventData) -> int | None:
    """The object that an event of the stage is about."""
    chosen = event._data.get("object")
    return chosen if isinstance(chosen, int) else None


def shown(page: Page) -> Update:
    return view.stage(page), view.conversation(page.talk)


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
    except X2SamError as error:
        page.fail(str(error))
    except Exception as error:
        log.exception("the page's request failed")
        page.fail(f"Something went wrong here ({type(error).__name__}). Try again; the server's log says more.")
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
