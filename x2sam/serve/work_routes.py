"""The routes for a person who works on a medium, such as the page: its pictures, its objects, and what finds them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field

from x2sam.errors import InputError, X2SamError
from x2sam.masks import RLE
from x2sam.results.export import FORMATS, save_as_file
from x2sam.serve import desk as working
from x2sam.serve import schemas
from x2sam.serve.desk import LARGEST, Desk
from x2sam.serve.gate import client_of
from x2sam.serve.jobs import Job
from x2sam.serve.routes import EVENTS, length, opened_of
from x2sam.serve.schemas import Counts, FrameOut, SegmentOut, Share, Strict
from x2sam.serve.uploads import TooLarge
from x2sam.serve.web import Events, aside, event, outcome, passing_file, refusal
from x2sam.serve.work import FrameIndex, Mark, ObjectId, WorkIn, WorkOut, WorkSummary
from x2sam.types import FrameResult

router = APIRouter(tags=["work"])
Frame = Annotated[int, Path(ge=0, le=10**6)]
FormatName = Annotated[str, Field(json_schema_extra={"enum": list(FORMATS)})]


class MarkIn(Strict):
    """What shows one object on one frame."""

    frame: FrameIndex = 0
    marks: Annotated[list[Mark], Field(min_length=1, max_length=200)] = Field(
        description="In the order in which they were drawn; the newest box or scribble shows the object anew"
    )
    base: Counts | None = Field(default=None, description="Its mask before the marks, as COCO run lengths")


class MarkOut(BaseModel):
    segment: SegmentOut | None = Field(description="null: nothing is there")
    sure: Share = Field(description="A score from which an answer counts as found")


class AskIn(schemas.Asking):
    """Words to find something by; without any the medium is described. ``regions`` are for /mark."""

    frame: int | None = Field(default=None, ge=0, le=10**6, description="Look at this frame alone")


class Key(Strict):
    """An object as somebody has shown it."""

    id: ObjectId
    frame: FrameIndex
    counts: Counts


class FollowIn(Strict):
    keys: Annotated[list[Key], Field(min_length=1, max_length=5000)]
    first: FrameIndex = 0
    last: FrameIndex | None = Field(default=None, description="By default the last of the film")


class Revision(BaseModel):
    revision: int


class FormatOut(BaseModel):
    name: str
    description: str


# --- the work itself --------------------------------------------------------------------------------------------------


@router.get("/v1/work")
async def list_work(request: Request) -> list[WorkSummary]:
    """Your open sessions, and how much is made on each; the one used last comes first."""
    opened = sorted(request.app.state.store.of(client_of(request.scope)), key=lambda each: -each.used)
    return [
        WorkSummary(
            id=each.id,
            media=schemas.media_out(each.upload),
            objects=len(each.desk.work),
            marked=sum(cell.counts is not None for row in each.desk.work.cells.values() for cell in row.values()),
        )
        for each in opened
    ]


@router.get("/v1/sessions/{id}/work")
async def get_work(request: Request, id: str) -> WorkOut:
    """Everything that was made on a medium."""
    opened = opened_of(request, id)
    fps = opened.session.clip.fps if opened.upload.kind == "video" else None
    return await aside(request, opened.desk.work.document, schemas.media_out(opened.upload), fps)


@router.post("/v1/sessions/{id}/work")
async def change_work(request: Request, id: str, body: WorkIn) -> Revision:
    """Change it."""
    return Revision(revision=await aside(request, opened_of(request, id).desk.work.change, body))


@router.get("/v1/sessions/{id}/work/formats")
async def work_formats(request: Request, id: str) -> list[FormatOut]:
    """What it can be exported to."""
    kind = opened_of(request, id).upload.kind
    return [FormatOut(name=name, description=row.description) for name, row in FORMATS.items() if kind in row.media]


@router.get("/v1/sessions/{id}/work/export/{format}", response_class=FileResponse)
async def export_work(request: Request, id: str, format: FormatName) -> FileResponse:
    """The objects that are shown, in a format of `docs/formats.md`; formats that are folders come as zip."""
    opened = opened_of(request, id)

    def save(folder: FilePath) -> FilePath:
        return save_as_file(opened.desk.work.result(opened.upload.open(), format), folder, format)

    return await passing_file(request.app, save)


@router.get(
    "/v1/sessions/{id}/pictures/{frame}", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}}
)
async def picture(
    request: Request, id: str, frame: Frame, side: Annotated[int, Query(ge=16, le=LARGEST)] = 1920
) -> Response:
    """A frame as JPEG, its longer side at most so many pixels."""
    opened = opened_of(request, id)
    schemas.check_frame(frame, opened.upload)
    if opened.upload.kind == "image" and frame:
        raise InputError(f"Got frame {frame} of a picture", "0")
    content = await aside(request, opened.desk.picture, frame, side)
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400, immutable"})


# --- what finds -------------------------------------------------------------------------------------------------------


def checked_frame(frame: int | None, desk: Desk) -> None:
    """Raise InputError for a frame that the medium does not have."""
    if frame is not None and frame >= (desk.upload.length or 1):
        raise InputError(f"Got frame {frame} of {desk.upload.name}", f"0 to {(desk.upload.length or 1) - 1}")


def mask_of(counts: str | None, desk: Desk) -> RLE | None:
    """Run lengths as a mask of this medium."""
    return None if counts is None else RLE.from_coco({"size": desk.upload.size, "counts": counts})


@router.post("/v1/sessions/{id}/mark")
async def mark(request: Request, id: str, body: MarkIn) -> MarkOut:
    """The mask that clicks, boxes and scribbles on one frame show together. Nothing is remembered of it."""
    opened = opened_of(request, id)
    desk = opened.desk
    checked_frame(body.frame, desk)
    base = await aside(request, mask_of, body.base, desk)
    for each in body.marks:
        shape = {"scribble": each.points} if each.tool == "scribble" else {"points": each.points[:2]}
        region = schemas.RegionIn.model_validate(shape)
        await aside(request, schemas.shapes, schemas.Asking(regions=[region]), desk.upload, desk.limits)

    def steps() -> Any:
        yield desk.mark(body.frame, body.marks, base)

    *_, segment = await outcome(request, opened.run(steps()))
    sure = desk.sure(working.pointing(desk.upload.kind))
    return MarkOut(segment=None if segment is None else schemas.segment_out(segment, ["rle"]), sure=sure)


@router.post("/v1/sessions/{id}/ask", status_code=200, response_class=Events, responses=EVENTS)
async def ask(request: Request, id: str, body: AskIn) -> Events:
    """What words find, as server-sent events: ``begin``, ``text`` ..., ``frame`` ..., then ``done``, or ``error``.

    ``begin`` has the task, and the score from which an answer counts as found: answers below it come, too. Nothing is
    remembered of it. The work stops when the reader goes away.
    """
    opened, limits = opened_of(request, id), request.app.state.limits
    desk = opened.desk
    checked_frame(body.frame, desk)
    if body.regions is not None:
        raise InputError("Got regions to ask by", "words", "Send marks to /mark")
    prompt = schemas.words(body, limits)
    task = await aside(request, desk.task_of, prompt, body.task)
    if task.is_chat:
        raise InputError(f"Got the task {task.name}", "a segmentation task", "For text use /v1/chat/completions")
    options = {"max_new_tokens": length(body, limits), "form": body.options.form}

    begin = {"task": task.name, "title": task.title, "sure": desk.sure(task)}
    job = opened.run(desk.ask(prompt, task, body.frame, options))
    return Events(_events(request, job, begin), job)


@router.post("/v1/sessions/{id}/follow", status_code=200, response_class=Events, responses=EVENTS)
async def follow(request: Request, id: str, body: FollowIn) -> Events:
    """Objects in the frames around those where they were shown: ``begin``, ``frame`` ..., then ``done``, or ``error``.

    Forward from every key up to the object's next one, backward from its first. A ``frame`` says which objects were
    looked for (``looked``). Nothing is remembered of it. The work stops when the reader goes away.
    """
    opened = opened_of(request, id)
    desk, length = opened.desk, opened.upload.length or 1
    last = length - 1 if body.last is None else min(body.last, length - 1)
    if opened.upload.kind == "image":
        raise InputError("Got a picture to follow something in", "a film")
    if len({key.id for key in body.keys}) > desk.limits.regions * 8:
        raise TooLarge("Got too many objects to follow", f"at most {desk.limits.regions * 8}")
    keys: working.Keys = {}
    for key in body.keys:
        checked_frame(key.frame, desk)
        rle = await aside(request, mask_of, key.counts, desk)
        if rle is None or not rle.area:
            raise InputError(f"Got an empty mask of object {key.id}", "at least one pixel")
        keys.setdefault(key.frame, []).append((key.id, rle))
    job = opened.run(desk.follow(keys, body.first, last))
    return Events(_events(request, job, {"frames": last - body.first + 1}), job)


async def _events(request: Request, job: Job[Any], begin: dict[str, Any]) -> AsyncIterator[str]:
    """Pieces of text, frames, and frames with the ids that were looked for."""
    yield event("begin", {"place": job.place, **begin})
    try:
        async for item in job:
            if isinstance(item, str):
                yield event("text", {"text": item})
            elif item is not None:
                found, looked = (item, None) if isinstance(item, FrameResult) else item
                out: FrameOut = await aside(request, schemas.frame_out, found, ["rle"])
                yield event("frame", {**out.model_dump(mode="json"), "looked": looked}, found.index)
    except X2SamError as error:
        yield event("error", refusal(error))
        return
    yield event("done", {})
