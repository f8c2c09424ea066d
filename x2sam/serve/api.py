"""The service as an ASGI application: its routes, its refusals, the gate before it and the page on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from x2sam.errors import X2SamError
from x2sam.predictor import X2Sam
from x2sam.serve import openai, routes, work_routes
from x2sam.serve import page as own_page
from x2sam.serve.gate import Gate, Metrics, failure
from x2sam.serve.jobs import Worker
from x2sam.serve.limits import Limits
from x2sam.serve.schemas import Failure, SegmentIn, SessionIn
from x2sam.serve.store import Store
from x2sam.serve.uploads import TooLarge
from x2sam.serve.web import invalid, status_of
from x2sam.version import __version__

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": text}
    for status, text in {
        400: "It cannot be read",
        401: "The token is missing or wrong",
        403: "It comes from elsewhere",
        404: "It does not exist",
        405: "The method is wrong",
        408: "It stopped coming",
        409: "It was changed elsewhere",
        413: "It is too large",
        415: "It is no medium",
        422: "It cannot be used",
        429: "There is no room",
    }.items()
}
EXPIRY_SECONDS = 15.0


def create_app(
    predictor: X2Sam,
    limits: Limits | None = None,
    token: str | None = None,
    local: bool = True,
    origins: tuple[str, ...] = (),
    folder: Path | None = None,
    page: bool = True,
    extensions: Sequence[Callable[[FastAPI], None]] = (),
) -> FastAPI:
    """The service; ``app.state`` has its predictor, worker, store and limits.

    Args:
        predictor: the model.
        limits: bounds.
        token: what clients must show; None: nothing.
        local: without a token, only requests that name this machine as their host are answered.
        origins: web pages of other places whose scripts may ask; none by default.
        folder: where uploads are kept; by default where the system keeps passing files.
        page: answer with the page, too.
        extensions: each is given the application, to add routes of other tools' protocols.
    """
    limits = limits or Limits()
    worker = Worker(limits)
    store = Store(predictor, worker, limits, folder)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        expiry = asyncio.create_task(_expire(store))
        yield
        expiry.cancel()
        await anyio.to_thread.run_sync(shutdown, app)

    app = FastAPI(title="x2sam", version=__version__, lifespan=lifespan, responses=REFUSALS)
    app.state.predictor, app.state.worker, app.state.store, app.state.limits = predictor, worker, store, limits
    app.state.metrics, app.state.decoders = Metrics(store), anyio.CapacityLimiter(limits.decoders)
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    for kind, handler in (
        (X2SamError, _refuse),
        (HTTPException, _refuse_http),
        (RequestValidationError, _refuse_form),
        (ClientDisconnect, _refuse_half),
        (RecursionError, _refuse_depth),
        (MemoryError, _refuse_size),
        (torch.OutOfMemoryError, _refuse_size),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(Gate, limits, token, local and not token, tuple(origins), app.state.metrics)
    app.include_router(routes.router)
    app.include_router(openai.router)
    app.include_router(work_routes.router)
    for extend in extensions:
        extend(app)
    if page:
        app.include_router(own_page.router)
    return app


def shutdown(app: FastAPI) -> None:
    """Let what runs finish for a while, refuse the rest, delete all files."""
    app.state.worker.stop()
    app.state.store.close_all()


async def _expire(store: Store) -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        await anyio.to_thread.run_sync(store.expire)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The schema, with the bodies that come as a form or as JSON."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary="Masks from words", routes=app.routes)
        known = schema["components"]["schemas"]
        for model in (SegmentIn, SessionIn):
            own = model.model_json_schema(ref_template="#/components/schemas/{model}")
            known.update(own.pop("$defs", {}))
            known[model.__name__] = own
        refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
        for operation in (each for path in schema["paths"].values() for each in path.values()):
            for status in filter(lambda status: status >= "400", operation["responses"]):
                operation["responses"][status]["content"] = refusal  # whatever the type of the answer
        app.openapi_schema = schema
    return app.openapi_schema


# --- refusals ---------------------------------------------------------------------------------------------------------


async def _refuse(_: Request, error: X2SamError) -> JSONResponse:
    return failure(error, status_of(error))


async def _refuse_http(_: Request, error: HTTPException) -> JSONResponse:
    answer = failure(X2SamError(str(error.detail)), error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _refuse_form(_: Request, error: RequestValidationError) -> JSONResponse:
    return failure(invalid(error.errors()), 422)


async def _refuse_half(_: Request, error: ClientDisconnect) -> JSONResponse:
    return failure(X2SamError("Got half a request"), 400)


async def _refuse_depth(_: Request, error: RecursionError) -> JSONResponse:
    return failure(X2SamError("Got a request that is nested too deeply", "the schema", "See /docs"), 422)


async def _refuse_size(_: Request, error: Exception) -> JSONResponse:
    return failure(TooLarge("Got a request that does not fit into memory", "a smaller medium"), 413)
