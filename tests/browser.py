"""A browser and a server for tests of the page: the system's Chromium, and uvicorn in a thread."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MISSING = "no Chromium on the PATH: install the package chromium to run the tests of the page"
PICTURES = os.environ.get("X2SAM_PICTURES", "")
"""A folder: the tests put screenshots there. ``X2SAM_PICTURES=docs/pictures pytest tests/test_page_browser.py``."""


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """Run an app on a free port; gives its address, and ends with it."""
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(timeout=15)
        listening.close()


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def screenshot(page: Any, name: str) -> None:
    """Keep a picture of the page, where they are wanted; few colours make small files."""
    if PICTURES:
        taken = Image.open(BytesIO(page.screenshot())).convert("RGB")
        taken.thumbnail((1000, 1000))
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        taken.quantize(128, Image.Quantize.MEDIANCUT, kmeans=2).save(Path(PICTURES) / f"{name}.png", optimize=True)
