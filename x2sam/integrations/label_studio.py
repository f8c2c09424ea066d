"""Label Studio's ML-backend protocol as one more router of the service: ``x2sam serve --label-studio URL``.

Without anything drawn, the labels of the project are looked for in every task. With something drawn (keypoints of both
signs, a rectangle, a brush, words in a text area, a box in a film) that is answered.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from x2sam.errors import InputError, X2SamError
from x2sam.integrations.label_config import LabelConfig, read_config
from x2sam.integrations.label_studio_files import LabelStudioServer
from x2sam.integrations.label_studio_regions import (
    Item,
    box_of,
    film_region,
    film_regions,
    label_of,
    picture_regions,
    read_clicks,
    read_phrase,
    understood,
)
from x2sam.predictor import X2Sam
from x2sam.results.labelstudio import moving_box
from x2sam.results.result import Result
from x2sam.serve import schemas
from x2sam.serve.gate import client_of
from x2sam.serve.limits import Limits
from x2sam.serve.routes import prepare, segmenting
from x2sam.serve.store import Opened, Unknown
from x2sam.serve.uploads import TooLarge, Upload
from x2sam.serve.web import aside, outcome, passing
from x2sam.tracking.session import Session
from x2sam.types import FrameResult
from x2sam.version import __version__

router = APIRouter(tags=["label studio"])
MODEL_CLASS = "X2Sam"
OPEN_PICTURES = 4
"""Pictures that stay read while somebody clicks on them."""
CLIENT = "label-studio"
LOG = logging.getLogger(__name__)
TASKS = 1000
"""Tasks of one request."""


class Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Task(Loose):
    id: int | str | None = None
    data: dict[str, Any] = {}


class Context(Loose):
    result: list[dict[str, Any]] = Field(default=[], max_length=TASKS)
    frame: int | None = None


class Params(Loose):
    context: Context | None = None


class PredictIn(Loose):
    tasks: list[Task] = Field(max_length=TASKS)
    label_config: str = ""
    params: Params | None = None


class SetupIn(Loose):
    label_schema: str = Field(default="", alias="schema")
    access_token: str | None = None


def mount(app: FastAPI, server: LabelStudioServer) -> None:
    """Let an application of the service answer this Label Studio."""
    app.state.label_studio = server
    app.state.label_studio_open, app.state.label_studio_lock = {}, asyncio.Lock()
    app.include_router(router)


def version_of(request: Request) -> str:
    return f"x2sam-{__version__}-{request.app.state.predictor.name}"


@router.get("/health")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "UP", "model_class": MODEL_CLASS}


@router.post("/setup")
async def setup(request: Request, body: SetupIn) -> dict[str, str]:
    """A project is connected: its labelling interface is checked, and its token is kept for fetching media."""
    request.app.state.label_studio.hand_over(body.access_token)
    if body.label_schema.strip() not in ("", "<View></View>", "<View/>"):  # a new project has none yet
        read_config(body.label_schema)
    return {"model_version": version_of(request)}


@router.post("/webhook", status_code=201)
async def webhook(request: Request) -> dict[str, str]:
    """What happens in a project. Nothing is trained by it: `x2sam train finetune` takes what Label Studio exports."""
    await request.body()
    return {"status": "ok", "result": "nothing is trained from here"}


@router.post("/predict")
async def predict(request: Request, body: PredictIn) -> dict[str, Any]:
    """Predictions of tasks, or the answer to what was drawn on one.

    Of several tasks, one that cannot be answered gets no prediction (Label Studio asks for it again the next time) and
    ``errors`` says why; where it is the only one, it is refused.
    """
    config = read_config(body.label_config)
    drawn = body.params.context.result if body.params and body.params.context else []
    if len(body.tasks) == 1:
        (task,) = body.tasks
        try:
            found_one = await (answer(request, task, config, drawn) if drawn else prediction(request, task, config))
        except X2SamError as error:
            raise _noted(task, error) from None
        return {"results": [found_one]}
    if drawn:
        raise InputError(f"Got {len(body.tasks)} tasks with one drawing", "one task")
    places = asyncio.Semaphore(request.app.state.limits.batch)  # pictures that wait share a forward pass
    found = await asyncio.gather(*(_one_of_many(request, task, config, places) for task in body.tasks))
    errors = {str(task.id): each for task, each in zip(body.tasks, found, strict=True) if isinstance(each, str)}
    return {"results": [[] if isinstance(each, str) else each for each in found], "errors": errors}


async def _one_of_many(
    request: Request, task: Task, config: LabelConfig, places: asyncio.Semaphore
) -> dict[str, Any] | str:
    """A prediction, or why there is none."""
    try:
        async with places:
            return await prediction(request, task, config)
    except X2SamError as error:
        return str(_noted(task, error))


def _noted(task: Task, error: X2SamError) -> X2SamError:
    """The same error, told to whoever runs the service: Label Studio shows its users the status alone."""
    LOG.warning("task %s of Label Studio: %s", task.id, error)
    return error


def _prediction(request: Request, items: list[Item]) -> dict[str, Any]:
    scores = [item["score"] for item in items]
    score = sum(scores) / len(scores) if scores else 0.0
    return {"result": items, "score": score, "model_version": version_of(request)}


# --- without a drawing ------------------------------------------------------------------------------------------------


async def prediction(request: Request, task: Task, config: LabelConfig) -> dict[str, Any]:
    """Everything of the project's labels; of an interface without labels, what the model sees by itself."""
    names = [label for label in config.labels for _ in config.prompts[label]]
    asked = [prompt for label in config.labels for prompt in config.prompts[label]]
    least = [control.threshold for control in config.outputs if control.threshold is not None]
    options = schemas.Options(threshold=min(least)) if len(least) == len(config.outputs) else schemas.Options()
    body = schemas.Asking(categories=asked or None, options=options)
    async with medium(request, task, config) as upload:
        result = await _segment(request, upload, body)
        fps = await aside(request, _rate, upload)
    if config.kind == "image":
        return _prediction(request, picture_regions(result.segments, config, names))
    length = upload.length or len(result.frames)
    return _prediction(request, film_regions(result.frames, config, names, fps, length))


async def _segment(request: Request, upload: Upload, body: schemas.Asking) -> Result:
    state = request.app.state
    if (upload.length or 0) > state.limits.inline_frames:
        most = f"at most {state.limits.inline_frames}"
        raise TooLarge(f"Got a clip of {upload.length} frames", most, "Draw a box, or raise --limit inline_frames")
    asked = await aside(request, prepare, body, upload, state.limits)
    steps = segmenting(state.predictor, upload, asked, body, state.limits)
    *_, result = await outcome(request, state.worker.submit(client_of(request.scope), steps))
    return result


def _rate(upload: Upload) -> float:
    return (upload.open().fps if upload.kind == "video" else None) or 25.0


# --- with a drawing ---------------------------------------------------------------------------------------------------


async def answer(request: Request, task: Task, config: LabelConfig, drawn: list[Item]) -> dict[str, Any]:
    """What was pointed at or written."""
    phrase, label = read_phrase(drawn), label_of(drawn)
    if phrase and label is None:
        label = config.label_for(phrase)
    if config.kind == "video":
        films = [item for item in drawn if item.get("type") == "videorectangle"]
        if films or not phrase:
            return _prediction(request, await _follow(request, task, config, films))
        async with medium(request, task, config) as upload:
            result = await _segment(request, upload, schemas.Asking(prompt=phrase))
            fps = await aside(request, _rate, upload)
        return _prediction(request, film_regions(result.frames, config, [label], fps, upload.length or 0))
    opened = await _opened(request, task, config)
    region = await aside(request, read_clicks, drawn, opened.upload.size)
    if region is None and not phrase:
        return _prediction(request, [])
    asked: dict[str, Any] = {"prompt": phrase} if region is None else {"regions": [region], "threshold": 0.0}
    *_, result = await outcome(request, opened.change(_segmenting(opened.session, asked)))
    return _prediction(request, await aside(request, picture_regions, result.segments, config, [label]))


def _segmenting(session: Session, asked: dict[str, Any]) -> Generator[Any, None, Result]:
    """A picture's answer, step by step."""
    track = yield from session.tracking(**asked)
    yield from track
    return track.done


async def _follow(request: Request, task: Task, config: LabelConfig, films: list[Item]) -> list[Item]:
    """Boxes drawn on a film, followed from the newest of their key frames on; what is before it stays."""
    state, items = request.app.state, []
    async with medium(request, task, config) as upload:
        fps = await aside(request, _rate, upload)
        for film in films:
            value = film.get("value", {})
            with understood():
                sequence = sorted(value.get("sequence", []), key=lambda k: k["frame"])
                if not sequence:
                    continue
                first = sequence[-1]["frame"] - 1
                region = {"box": box_of(sequence[-1], upload.size), "id": 1}
            schemas.check_frame(first, upload)
            steps = _following(state.predictor, upload, region, first, state.limits)
            frames = await outcome(request, state.worker.submit(client_of(request.scope), steps))
            found = [segment for frame in frames for segment in frame.segments]
            moved = moving_box(frames, found, fps)
            kept = [{**key, "enabled": True} if key is sequence[-1] else key for key in sequence]
            label = label_of([film])
            score = sum(segment.score for segment in found) / len(found) if found else 0.0
            length = upload.length or value.get("framesCount") or len(frames)
            control = config.control_of(label)
            sequence = kept + [key for key in moved if key["frame"] > first + 1]
            items.append(film_region(control, sequence, label, fps, length, score, str(film.get("id", ""))))
    return items


def _following(
    predictor: X2Sam, upload: Upload, region: dict[str, Any], first: int, limits: Limits
) -> Iterator[FrameResult]:
    """The results of one object from frame ``first`` on, numbered as in the film."""
    clip = upload.open()
    frames = (frame for _, _, frame in islice(clip, first, first + limits.inline_frames))
    for frame in predictor.track(frames, regions=[region], fps=clip.fps, threshold=0.0):
        index = frame.index + first
        time = index / clip.fps if clip.fps else None
        segments = tuple(replace(segment, frame=index) for segment in frame.segments)
        yield replace(frame, index=index, time=time, segments=segments)


# --- media ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _fetched(request: Request, task: Task, config: LabelConfig) -> AsyncIterator[tuple[Path | bytes, str]]:
    """A task's medium and its name, for as long as this lasts."""
    state = request.app.state
    address = task.data.get(config.value)
    folder = Path(tempfile.mkdtemp(prefix="task-", dir=state.store.folder))
    try:
        data = await aside(request, state.label_studio.media, address, task.id, state.limits, folder / "medium")
        name = str(address).partition("?")[0].rpartition("/")[2] if str(address)[:5] != "data:" else "medium"
        yield data, name
    finally:
        await aside(request, shutil.rmtree, folder, True)


@asynccontextmanager
async def medium(request: Request, task: Task, config: LabelConfig) -> AsyncIterator[Upload]:
    """A task's medium for one request; it must be of the kind that the interface shows."""
    async with _fetched(request, task, config) as (data, name), passing(request, data, name) as upload:
        yield _checked(upload, config)


async def _opened(request: Request, task: Task, config: LabelConfig) -> Opened:
    """A task's picture as an open session, so that the next click on it need not read it again."""
    state = request.app.state
    known: dict[str, str] = state.label_studio_open
    address = str(task.data.get(config.value))
    async with state.label_studio_lock:  # so that two clicks do not open it twice
        try:
            opened = state.store.get(CLIENT, known.get(address, ""))
        except Unknown:
            async with _fetched(request, task, config) as (data, name):
                while len(known) >= OPEN_PICTURES:
                    await aside(request, state.store.close, known.pop(next(iter(known))))
                opened = await aside(request, state.store.open, CLIENT, data, name)
        known.pop(address, None)
        known[address] = opened.id  # the newest last
    _checked(opened.upload, config)
    return opened


def _checked(upload: Upload, config: LabelConfig) -> Upload:
    if upload.kind != config.kind:
        raise InputError(f"Got the {upload.kind} {upload.name} for an interface of {config.kind}s", f"a {config.kind}")
    return upload
