"""The web page: Gradio on the service's FastAPI app, around one stage for pictures, masks and marks.

What a visitor has is in `page_state`, what they may do in `page_actions`, what their browser gets in `page_view` and
`page_routes`, how it is laid out in `page_layout`, how it is drawn in ``page*.js``. This module joins them: events in,
updates out.
"""

from __future__ import annotations

import asyncio
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
from fastapi import FastAPI, Request, Response

from x2sam.errors import InputError, X2SamError
from x2sam.serve import page_actions as actions
from x2sam.serve import page_view as view
from x2sam.serve.gate import failure
from x2sam.serve.jobs import Job, Stopped
from x2sam.serve.page_examples import EXAMPLES, Gallery
from x2sam.serve.page_layout import HERE, build
from x2sam.serve.page_marks import read_mark
from x2sam.serve.page_routes import Pages, add_routes
from x2sam.serve.page_state import Page, Viewer
from x2sam.serve.store import Opened, Store

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
    sent = store.folder / "page"
    os.environ["GRADIO_TEMP_DIR"] = str(sent)  # what the browser sends goes with everything else
    add_routes(app, pages, gallery)
    blocks = build(Actions(pages, gallery, app.state.decoders), store.predictor.name, round(store.limits.idle_seconds))
    take_uploads_only(blocks, sent.resolve())
    gr.mount_gradio_app(
        app,
        blocks,
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
    mounted: Any = app.routes[-1]
    mounted.app.add_exception_handler(KeyError, _unknown)
    return app


def take_uploads_only(blocks: gr.Blocks, sent: Path) -> None:
    """No input of any event may name a file that was not sent here, or an address: Gradio would open or fetch it."""

    async def uploaded(path: str) -> str:
        if not Path(path).resolve().is_relative_to(sent):
            raise InputError("Got a file that was not sent", "an upload", "Open it with the page")
        return path

    for block in blocks.blocks.values():
        block.async_move_resource_to_block_cache = uploaded  # type: ignore[method-assign, assignment]


async def _unknown(_: Request, error: KeyError) -> Response:
    return failure(InputError("Got a call that the page does not make", "one of its own"), 404)


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
        index = (number(event, "index") or 0) % len(EXAMPLES)
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
            steps: Callable[[], actions.Steps] = lambda: actions.chat(page, text)  # noqa: E731
        else:
            steps = lambda: actions.find(page, text, task, form, add)  # noqa: E731
        async for update in run(page, steps):
            yield update

    async def mark(self, event: gr.EventData, request: gr.Request) -> AsyncIterator[Update]:
        page = self.pages.of(request)

        def steps() -> actions.Steps:
            return actions.mark(page, *read_mark(about(event), page.session.size, page.length))

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
            page.rename(chosen, str(about(event).get("name", "")))
        return shown(page)

    async def cancel(self, request: gr.Request) -> Update:
        page = self.pages.of(request)
        await stop(page)
        page.note = actions.summary(page) if page.results else "Stopped."
        return shown(page)


def about(event: gr.EventData) -> dict[str, Any]:
    """What the browser says of an event; whatever else comes is nothing."""
    return event._data if isinstance(event._data, dict) else {}


def number(event: gr.EventData, name: str = "object") -> int | None:
    """The object that an event of the stage is about."""
    chosen = about(event).get(name)
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


async def run(page: Page, function: Callable[[], actions.Steps]) -> AsyncIterator[Update]:
    """Do something with the medium as a job, and say how it goes; what ran before is ended."""
    job: Job[Any] | None = None
    try:
        await stop(page)
        page.error, page.halt, page.clock = "", False, None
        page.session  # noqa: B018 - says so where nothing is open
        assert page.opened is not None
        job = page.job = page.opened.change(function())
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
