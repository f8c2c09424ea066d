"""What the routes share: reading a request with a medium, waiting for a job, and saying why something is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.types import Receive, Scope, Send

from x2sam.errors import InputError, X2SamError
from x2sam.serve.fetch import fetch
from x2sam.serve.gate import error_parts
from x2sam.serve.jobs import Busy, Job, Stopped
from x2sam.serve.schemas import SegmentIn, SessionIn
from x2sam.serve.store import Unknown
from x2sam.serve.uploads import Data, TooLarge, Unsupported, Upload, embedded
from x2sam.serve.work import Conflict

M = TypeVar("M", SegmentIn, SessionIn)
T = TypeVar("T")
TEXTS = ("prompt", "task", "name", "media")
"""Fields of a form that are text; the others are JSON."""
STATUS: dict[type[X2SamError], int] = {
    Unknown: 404,
    Conflict: 409,
    TooLarge: 413,
    Unsupported: 415,
    Busy: 429,
    Stopped: 503,
}
"""Of errors; all others are 422."""


def status_of(error: X2SamError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 422)


def refusal(error: X2SamError) -> dict[str, Any]:
    """An error within a stream that has begun."""
    return {"error": {**error_parts(error), "status": status_of(error)}}


def invalid(errors: Any) -> InputError:
    """What pydantic says, as one of our errors: where, what, and not the input itself."""
    first = [f"{'.'.join(str(part) for part in e['loc'])[:200]}: {e['msg']}" for e in list(errors)[:3]]
    return InputError("Got a request that does not fit: " + "; ".join(first)[:1000], "the schema", "See /docs")


# --- reading requests -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def received(request: Request, model: type[M]) -> AsyncIterator[tuple[M, bytes | BinaryIO, str]]:
    """A request with a medium, as a form with a file or as JSON with the medium embedded: fields, medium, name."""
    limits, kind = request.app.state.limits, request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        body = _parse(model, await request.body())
        yield body, await medium_of(request, body.media), body.name
        return
    if kind != "multipart/form-data":
        raise Unsupported(f"Got a body of the type {kind[:80]!r}", "multipart/form-data or application/json")
    async with request.form(max_files=1, max_fields=32, max_part_size=limits.json_bytes) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        fields = {name: _field(name, value) for name, value in form.items() if isinstance(value, str)}
        if len(files) + ("media" in fields) != 1:
            raise InputError(f"Got a form with {len(files)} files", "one medium", "curl -F file=@photo.jpg")
        body = _parse(model, json.dumps({"media": "", **fields}).encode())
        if files:
            yield body, files[0].file, files[0].filename or body.name
        else:
            yield body, await medium_of(request, body.media), body.name


def _field(name: str, value: str) -> Any:
    if name in TEXTS:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _parse(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False, include_context=False)) from None


async def medium_of(request: Request, text: str) -> bytes:
    """The bytes that a field holds, or that its address leads to where addresses may be fetched."""
    if text[:8].lower().startswith(("http://", "https://")):
        return await aside(request, fetch, text, request.app.state.limits)
    return await aside(request, embedded, text)


@asynccontextmanager
async def passing(request: Request, data: Data, name: str) -> AsyncIterator[Upload]:
    """A medium for one request."""
    held = request.app.state.store.passing(data, name)
    upload = await aside(request, held.__enter__)
    try:
        yield upload
    finally:
        await aside(request, held.__exit__, None, None, None)


async def passing_file(app: FastAPI, save: Callable[[Path], Path]) -> FileResponse:
    """A file for one answer: ``save`` makes it in the folder that it gets, which is deleted when it was sent.

    The folder is no session's, so that the file is there even if the session is closed meanwhile.
    """
    folder = Path(tempfile.mkdtemp(prefix="download-", dir=app.state.store.folder))
    try:
        file = await run_sync(save, folder, limiter=app.state.decoders)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(file, filename=file.name, background=BackgroundTask(shutil.rmtree, folder, True))


# --- waiting for work -------------------------------------------------------------------------------------------------


async def aside(request: Request, function: Callable[..., T], *args: Any) -> T:
    """Run what decodes, draws or writes beside the worker; a few at a time."""
    return await run_sync(partial(function, *args), limiter=request.app.state.decoders)


async def outcome(request: Request, job: Job[T]) -> list[T]:
    """All results of a job, which is cancelled if the client goes away."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        job.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return [item async for item in job]
    finally:
        watcher.cancel()
        job.cancel()


class Events(StreamingResponse):
    """Server-sent events of a job, which is cancelled if the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], job: Job[Any], held: AsyncExitStack | None = None) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._job, self._held = job, held or AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            try:
                await super().__call__(scope, receive, send)
            finally:
                self._job.cancel()


def event(name: str, data: BaseModel | dict[str, Any], id: int | None = None) -> str:
    """One event as it is sent."""
    text = data.model_dump_json() if isinstance(data, BaseModel) else json.dumps(data)
    return (f"id: {id}\n" if id is not None else "") + f"event: {name}\ndata: {text}\n\n"
