"""The service from its first moment on: alive at once, ready when the model is loaded. Imports nothing that is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from x2sam.errors import X2SamError
from x2sam.serve.gate import failure

if TYPE_CHECKING:
    from fastapi import FastAPI


class Front:
    """An ASGI application that says that it lives while the real one is made in a thread, and then is that one.

    make: loads the model; returns the service.
    ready: called when requests are answered.
    failed: called when ``make`` has raised ``error``.
    """

    def __init__(self, make: Callable[[], FastAPI], ready: Callable[[], None], failed: Callable[[], None]) -> None:
        self.app: FastAPI | None = None
        self.error: BaseException | None = None
        self._make, self._ready, self._failed = make, ready, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self.app is not None:
            await self.app(scope, receive, send)
        elif scope["path"] == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        else:
            loading = X2SamError("Got a request while the model is loaded", "a service that is ready", "Try again soon")
            await failure(loading, 503)(scope, receive, send)

    def stop(self) -> None:
        """Take no more work; see `Worker.stop`."""
        if self.app is not None:
            self.app.state.worker.stop()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        over = asyncio.Event()
        running = asyncio.create_task(self._run(over))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        over.set()
        await running
        await send({"type": "lifespan.shutdown.complete"})

    async def _run(self, over: asyncio.Event) -> None:
        """One task from the beginning to the end, as what the service holds open wants it."""
        try:
            app = await asyncio.to_thread(self._make)
            async with app.router.lifespan_context(app):
                self.app = app
                self._ready()
                await over.wait()
        except BaseException as error:
            self.error = error
            self._failed()
