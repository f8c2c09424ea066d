"""Who visits the page, and what their browsers fetch: frames, masks, downloads. Nothing here touches the model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse

from x2sam.errors import X2SamError
from x2sam.results import export
from x2sam.serve import page_view as view
from x2sam.serve.page_examples import EXAMPLES, Gallery
from x2sam.serve.page_state import Page
from x2sam.serve.store import Store, Unknown
from x2sam.serve.web import passing_file


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
        return await passing_file(app, lambda folder: save(page, format, threshold, folder))

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
        return export.save_as_file(result, folder, format)
