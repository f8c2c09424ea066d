"""The routes of the interface; chat in the form of others is in `openai.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from prometheus_client import generate_latest

from x2sam import requests as asking
from x2sam.errors import InputError, X2SamError
from x2sam.predictor import X2Sam
from x2sam.results.export import FORMATS, save_as_file
from x2sam.results.result import Result
from x2sam.serve import schemas
from x2sam.serve.gate import client_of, failure
from x2sam.serve.jobs import Job, Together
from x2sam.serve.limits import Limits
from x2sam.serve.schemas import Answer, MaskForm, PromptIn, SegmentIn, SessionIn, SessionOut
from x2sam.serve.store import Opened, through, walked, whole
from x2sam.serve.uploads import TooLarge, Upload
from x2sam.serve.web import Events, aside, event, outcome, passing, passing_file, received, refusal
from x2sam.tasks import TASKS
from x2sam.tracking.session import Session
from x2sam.tracking.track import Track

router = APIRouter()
EVENT = {"type": "object", "properties": {name: {"type": "string"} for name in ("event", "data", "id")}}
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": EVENT}}}}
Masks = Annotated[list[MaskForm], Query(max_length=2, description="Forms in which masks are given")]


def body_of(model: type[SegmentIn | SessionIn]) -> dict[str, Any]:
    """How a route documents that it takes a form with a file, or JSON."""
    fields = model.model_json_schema(ref_template="#/components/schemas/{model}")["properties"]
    form = {name: field for name, field in fields.items() if name != "media"}
    form["file"] = {"type": "string", "format": "binary"}
    json_body = {"$ref": f"#/components/schemas/{model.__name__}"}
    form_body = {"type": "object", "properties": form, "required": ["file"], "additionalProperties": False}
    content = {"application/json": {"schema": json_body}, "multipart/form-data": {"schema": form_body}}
    return {"requestBody": {"required": True, "content": content}}


# --- the service itself -----------------------------------------------------------------------------------------------


@router.get("/healthz", tags=["service"])
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/readyz", tags=["service"], responses={503: {"model": schemas.Failure, "description": "Stopping"}})
async def readyz(request: Request) -> Any:
    """The model is loaded, and requests are taken."""
    if request.app.state.worker.alive:
        return {"status": "ok", "model": request.app.state.predictor.name}
    return failure(X2SamError("Got a request while the service stops"), 503)


@router.get("/metrics", tags=["service"], response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Counters in the text form of Prometheus."""
    return PlainTextResponse(generate_latest(request.app.state.metrics.registry))


@router.get("/v1/tasks", tags=["service"])
async def tasks() -> list[dict[str, Any]]:
    """The rows of the task table."""
    return [asdict(task) for task in TASKS.values()]


# --- one request ------------------------------------------------------------------------------------------------------


@router.post("/v1/segment", tags=["segment"], openapi_extra=body_of(SegmentIn))
async def segment(request: Request) -> Answer:
    """Segment a picture or a short clip."""
    state = request.app.state
    async with received(request, SegmentIn) as (body, data, name), passing(request, data, name) as upload:
        if (upload.length or 0) > state.limits.inline_frames:
            raise TooLarge(
                f"Got a clip of {upload.length} frames", f"at most {state.limits.inline_frames}", "Open a session"
            )
        shown = await aside(request, schemas.examples, body, state.limits)
        if shown or body.everything:
            steps = whole(showing(state.predictor, upload, body, shown, state.limits))
        else:
            asked = await aside(request, prepare, body, upload, state.limits)
            steps = segmenting(state.predictor, upload, asked, body, state.limits)
        *_, result = await outcome(request, state.worker.submit(client_of(request.scope), steps))
        return await aside(request, schemas.answer_out, result, upload, body.masks, body.overlay)


def prepare(body: schemas.Asking, upload: Upload, limits: Limits) -> asking.Request:
    """The request that a body makes of a medium; mistakes are found before anything is queued."""
    regions = schemas.shapes(body, upload, limits)
    return asking.make_request(upload, schemas.words(body, limits), regions, body.task)  # type: ignore[arg-type]


def length(body: schemas.Asking, limits: Limits) -> int:
    """Tokens that an answer may have."""
    return min(body.tokens, limits.tokens)


def segmenting(
    predictor: X2Sam, upload: Upload, asked: asking.Request, body: schemas.Asking, limits: Limits
) -> Iterator[Any]:
    """The steps that answer one request; the last item is the result, others are text as it is spoken."""
    options = body.options.model_dump()
    if upload.kind == "image" and not asked.task.generates and not asked.nothing:
        return _together(predictor, upload, asked, options)

    def run() -> Generator[Any, None, Result]:
        session, tokens = predictor.open(upload.open()), length(body, limits)
        if asked.task.is_chat:
            return (yield from session.chatting(asked.prompt.text, max_new_tokens=tokens, **options))
        return (yield from segmented(session, asked, max_new_tokens=tokens, **options))

    return whole(run())


def showing(
    predictor: X2Sam, upload: Upload, body: schemas.Asking, shown: dict[str, Any], limits: Limits
) -> Generator[Any, None, Result]:
    """The steps that answer by examples, or with everything."""
    session, options = predictor.open(upload.open()), body.options.model_dump()
    words, regions = schemas.words(body, limits), schemas.shapes(body, upload, limits)
    if body.everything:
        yield from ()
        return session.segment(words, regions, body.task, everything=True, **shown, **options)
    track = yield from session.tracking(words, regions, body.task, **shown, **options)
    return (yield from through(track))


def segmented(session: Session, asked: asking.Request, **options: Any) -> Generator[Any, None, Result]:
    """The answer of a session to a request; one that marks nothing has nothing in it."""
    given: dict[str, Any] = {"regions": []} if asked.nothing else {"prompt": asked.prompt}
    track = yield from session.tracking(**given, task=asked.task.name, **options)
    return (yield from through(track))


def _together(predictor: X2Sam, upload: Upload, asked: asking.Request, options: dict[str, Any]) -> Iterator[Any]:
    """Pictures of one task that wait at the same time share a forward pass."""

    def run(items: list[tuple[Upload, Any]]) -> list[Result]:
        clips = [each.open() for each, _ in items]
        return predictor.segment_batch(clips, [prompt for _, prompt in items], asked.task.name, **options)

    yield (yield Together((asked.task.name, json.dumps(options)), (upload, asked.prompt), run))


# --- sessions ---------------------------------------------------------------------------------------------------------


def done(track: Track) -> Generator[Any, None, Result]:
    """What is done of a track, as a step of the worker."""
    yield from ()
    return track.done


def describe(opened: Opened) -> SessionOut:
    """A session for sending."""
    track = opened.track
    return SessionOut(
        id=opened.id,
        media=schemas.media_out(opened.upload),
        idle_seconds=opened.limits.idle_seconds,
        task=track.done.task if track else None,
        labels=list(track.prompt.labels) if track else [],
        position=track.position if track else None,
    )


def opened_of(request: Request, id: str) -> Opened:
    """The client's session with this id."""
    return request.app.state.store.get(client_of(request.scope), id)


def running(opened: Opened) -> Track:
    """The track that prompts, frames and exports are about."""
    if opened.track is None:
        raise InputError("Got no prompt for this session so far", "a prompt first", "POST .../prompts")
    return opened.track


@router.post("/v1/sessions", tags=["sessions"], status_code=201, openapi_extra=body_of(SessionIn))
async def open_medium(request: Request) -> SessionOut:
    """Open a medium for several prompts; it is yours until you delete it or leave it alone for long."""
    async with received(request, SessionIn) as (_, data, name):
        return describe(await aside(request, request.app.state.store.open, client_of(request.scope), data, name))


@router.get("/v1/sessions", tags=["sessions"])
async def list_sessions(request: Request) -> list[SessionOut]:
    """Your open sessions."""
    return [describe(opened) for opened in request.app.state.store.of(client_of(request.scope))]


@router.get("/v1/sessions/{id}", tags=["sessions"])
async def get_session(request: Request, id: str) -> SessionOut:
    """What is known of a session."""
    return describe(opened_of(request, id))


@router.delete("/v1/sessions/{id}", tags=["sessions"], status_code=204)
async def delete_session(request: Request, id: str) -> None:
    """Stop what runs on it and delete its files."""
    await aside(request, request.app.state.store.close, opened_of(request, id).id)


@router.post("/v1/sessions/{id}/prompts", tags=["sessions"])
async def prompt(request: Request, id: str, body: PromptIn) -> Answer:
    """Start, add, correct or remove; the answer has the frames that are done and changed by it."""
    opened, limits = opened_of(request, id), request.app.state.limits
    schemas.check_frame(body.frame, opened.upload)
    words, regions = schemas.words(body, limits), await aside(request, schemas.shapes, body, opened.upload, limits)
    if body.everything:
        raise InputError("Got everything for a session", "a prompt", "POST /v1/segment")
    shown = await aside(request, schemas.examples, body, limits)
    steps = change_track(opened, body, words, regions, length(body, limits), shown)
    *_, (track, frames) = await outcome(request, opened.change(steps))
    result = replace(track.done, frames=tuple(frames))
    return await aside(request, schemas.answer_out, result, opened.upload, body.masks)


def change_track(
    opened: Opened, body: PromptIn, words: Any, regions: Any, tokens: int, shown: dict[str, Any]
) -> Generator[Any, None, tuple[Track, Any]]:
    """Do what a prompt says; returns the track, and the frames that are done and changed."""
    if body.action == "start" or (body.action == "add" and opened.track is None):
        if regions is not None and body.frame is not None:
            regions = [{"frame": body.frame, **region} for region in regions]
        track = yield from opened.session.tracking(
            words,
            regions,
            body.task,
            identity=body.identity,
            max_new_tokens=tokens,
            **shown,
            **body.options.model_dump(),
        )
        opened.track = track
        return track, (yield from through(track)).frames if opened.upload.kind == "image" else ()
    track = running(opened)
    if body.action == "add":
        own = body.options.model_dump(exclude_unset=True)
        changes = yield from track.adding(
            words, regions, body.task, body.frame, body.backward, body.until, max_new_tokens=tokens, **shown, **own
        )
        return track, (yield from walked(changes))
    if body.object_id is None:
        raise InputError(f"Got no object_id for {body.action}", "the id of an object")
    if body.action == "remove":
        track.remove(body.object_id)
        return track, ()
    if not regions:
        raise InputError("Got no region to correct with", "a click, a box, a scribble or a mask")
    shown = regions[0] if len(regions) == 1 else regions
    return track, (yield from walked(track.correct(body.object_id, shown, body.frame, body.backward, body.until)))


@router.get("/v1/sessions/{id}/frames", tags=["sessions"], status_code=200, response_class=Events, responses=EVENTS)
async def frames(
    request: Request,
    id: str,
    first: Annotated[int, Query(ge=0, le=10**6, description="Leave out what is before this frame")] = 0,
    count: Annotated[int, Query(ge=1, le=10**6, description="So many frames at most")] = 10**6,
    masks: Masks = ["rle"],  # noqa: B006
) -> Events:
    """Results as they are done, as server-sent events: ``frame`` ..., then ``done``, or ``error``.

    One reader at a time: a new one takes over. The work stops when the reader goes away.
    """
    job = opened_of(request, id).follow(running(opened_of(request, id)))
    return Events(_frames(request, job, first, count, masks), job)


async def _frames(request: Request, job: Job[Any], first: int, count: int, masks: list[MaskForm]) -> AsyncIterator[str]:
    sent = 0
    yield event("queue", {"place": job.place})
    try:
        async for frame in job:
            if frame.index >= first:
                yield event("frame", await aside(request, schemas.frame_out, frame, masks), frame.index)
                sent += 1
            if sent >= count:
                break
    except X2SamError as error:
        yield event("error", refusal(error))
        return
    yield event("done", {"frames": sent})


@router.get("/v1/sessions/{id}/export/{format}", tags=["sessions"], response_class=FileResponse)
async def export(
    request: Request, id: str, format: Annotated[str, schemas.Field(json_schema_extra={"enum": list(FORMATS)})]
) -> FileResponse:
    """What is done so far, in a format of `docs/formats.md`; formats that are folders come as zip."""
    opened = opened_of(request, id)
    track = running(opened)
    *_, result = await outcome(request, opened.change(done(track)))
    if not result.frames:
        raise InputError("Got nothing that is done so far", "a frame", "Read .../frames first")

    def save(folder: Path) -> Path:
        clip = opened.upload.open()  # of its own: the session's is the worker's
        return save_as_file(replace(result, clip=clip), folder, format)

    return await passing_file(request.app, save)
