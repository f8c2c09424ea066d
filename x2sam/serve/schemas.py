"""What the interface takes and gives, as types: pydantic checks them, and the OpenAPI schema is made of them."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from x2sam.errors import InputError
from x2sam.examples import Example, example
from x2sam.masks import RLE
from x2sam.media.pictures import open_picture, to_frame
from x2sam.results.outlines import rings
from x2sam.results.result import Result
from x2sam.serve.limits import Limits
from x2sam.serve.uploads import TooLarge, Upload, embedded, judged
from x2sam.tasks import TASKS
from x2sam.types import FrameResult, Segment

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2, description="x, y in pixels of the medium")]
Box = Annotated[list[Number], Field(min_length=4, max_length=4, description="x0, y0, x1, y1")]
TaskName = Annotated[str, Field(description="A row of GET /v1/tasks", json_schema_extra={"enum": list(TASKS)})]
Counts = Annotated[str, StringConstraints(pattern=r"^([P-o]{0,6}[0-O])+$", max_length=4_000_000)]
"""Of a length that a run can have: longer codes would make numbers without end."""
MaskForm = Literal["rle", "polygon"]
MaskForms = Annotated[list[MaskForm], Field(max_length=2, description="Forms in which masks are given")]
MAX_STROKE = 10.0
"""Length of a scribble at most, in larger sides of the medium."""


class Strict(BaseModel):
    """What is not known is refused, so that a misspelt field is noticed."""

    model_config = ConfigDict(extra="forbid")


# --- what is taken ----------------------------------------------------------------------------------------------------


class RLEIn(Strict):
    """COCO's run lengths, compressed (text) or not (numbers)."""

    size: Annotated[list[Annotated[int, Field(ge=1, le=100_000)]], Field(min_length=2, max_length=2)]
    counts: Counts | Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=1_000_000)]


class RegionIn(Strict):
    """One of point, points, box, scribble, polygon, mask; to correct, negative points alone will do."""

    point: Point | None = None
    points: list[Point] | None = None
    negative: list[Point] | None = Field(default=None, description="Points that are not part of it")
    box: Box | None = None
    scribble: list[Point] | None = Field(default=None, description="A polyline")
    polygon: list[Point] | list[list[Point]] | None = None
    mask: RLEIn | str | None = Field(default=None, description="COCO run lengths, or a picture as base64 or data: URL")
    frame: int | None = Field(default=None, ge=0, le=10**6, description="Frame of the video that it is drawn on")
    id: int | None = Field(default=None, ge=1, le=65_535, description="Id that the object will have")
    name: str | None = Field(default=None, min_length=1, max_length=100)


class ExampleIn(RegionIn):
    """A region of another picture that shows what is meant."""

    media: str = Field(description="The picture, as base64 or data: URL")


class Options(Strict):
    """How sure, how many and how separate segments must be (`AnswerOptions`)."""

    threshold: Share | None = None
    mask_threshold: Share = 0.5
    overlap_threshold: Share = 0.8
    top_k: int | None = Field(default=None, ge=1, le=1000)
    max_objects: int | None = Field(default=None, ge=1, le=1000, description="Of each thing, the surest")
    min_area: int = Field(default=0, ge=0, le=2**31, description="Pixels")
    within: Box | None = Field(default=None, description="Nothing outside of this box is answered")
    overlap: Literal["allow", "forbid"] | None = None
    form: Literal["panoptic", "semantic", "instance"] = "panoptic"
    union_threshold: Share | None = None
    protocol: Literal["public", "released"] = "public"


class Asking(Strict):
    """What is asked of a medium."""

    prompt: str | None = Field(default=None, description="A phrase or a question")
    categories: list[str] | None = Field(default=None, description="Names; 'stuff: sky' has no instances")
    regions: list[RegionIn] | None = None
    like: list[ExampleIn] | None = Field(default=None, min_length=1, description="What to find, in other pictures")
    unlike: list[ExampleIn] = Field(default=[], description="What is not meant, likewise")
    same: Literal["kind", "object"] = Field(default="kind", description="All that are like it, or that very one")
    everything: bool = Field(default=False, description="Masks of all there is in a picture, without a prompt")
    task: TaskName | None = Field(default=None, description="Inferred if left out")
    options: Options = Options()
    tokens: int = Field(default=512, ge=1, le=100_000, description="Length of a spoken answer at most")


class SegmentIn(Asking):
    """One request about one medium."""

    media: str = Field(description="data: URL, base64, or (if the service allows it) an http address")
    name: str = Field(default="medium", max_length=200)
    masks: MaskForms = ["rle"]
    overlay: bool = Field(default=False, description="A picture of the result too; of a clip, a sheet of its frames")


class SessionIn(Strict):
    """A medium to open for several prompts."""

    media: str = Field(description="data: URL, base64, or (if the service allows it) an http address")
    name: str = Field(default="medium", max_length=200)


class PromptIn(Asking):
    """A prompt on an opened medium."""

    action: Literal["start", "add", "correct", "remove"] = Field(
        default="add", description="start: anew; add: follow more; correct, remove: of the object object_id"
    )
    object_id: int | None = Field(default=None, ge=0, le=2**31)
    frame: int | None = Field(default=None, ge=0, le=10**6, description="Where regions are drawn and following begins")
    backward: bool = False
    until: int = Field(default=0, ge=0, le=10**6, description="Backward down to this frame")
    identity: Literal["x2sam", "released"] = "x2sam"
    masks: MaskForms = ["rle"]


# --- what is given ----------------------------------------------------------------------------------------------------


class RLEOut(BaseModel):
    size: list[int]
    counts: str


class SegmentOut(BaseModel):
    label: str
    score: float
    object_id: int
    condition: int
    is_thing: bool
    box: list[float]
    area: int
    rle: RLEOut | None = None
    polygons: list[list[list[int]]] | None = Field(
        default=None, description="Rings of x, y, filled by the even-odd rule"
    )


class FrameOut(BaseModel):
    index: int
    time: float | None
    height: int
    width: int
    segments: list[SegmentOut]
    presence: dict[int, float] = Field(default={}, description="By condition, how sure it is that it is there")


class MediaOut(BaseModel):
    name: str
    kind: Literal["image", "video"]
    height: int
    width: int
    length: int | None = None


class Answer(BaseModel):
    """Text and masks."""

    task: str
    text: str
    found: bool
    labels: list[str]
    presence: dict[str, float] = Field(default={}, description="By name, how sure it is that the thing is there")
    media: MediaOut
    frames: list[FrameOut]
    warnings: list[str] = []
    overlay: str | None = Field(default=None, description="PNG in base64")


class SessionOut(BaseModel):
    id: str
    media: MediaOut
    idle_seconds: float = Field(description="After so long without use it is closed")
    task: str | None = Field(default=None, description="Of the running track")
    labels: list[str] = []
    position: int | None = Field(default=None, description="Last frame that is done")


class ErrorOut(BaseModel):
    got: str
    expected: str = ""
    hint: str = ""
    message: str


class Failure(BaseModel):
    """What every refusal says."""

    error: ErrorOut


# --- from one to the other --------------------------------------------------------------------------------------------


def words(asking: Asking, limits: Limits) -> Any:
    """The prompt as `X2Sam.segment` takes it: text, names or None."""
    if asking.prompt is not None and asking.categories is not None:
        raise InputError("Got a prompt and categories", "one of them")
    texts = [asking.prompt] if asking.prompt is not None else asking.categories or []
    if len(texts) > limits.prompts or any(len(text) > limits.text for text in texts):
        raise TooLarge("Got too much text", f"at most {limits.prompts} names of {limits.text} letters")
    return asking.prompt if asking.categories is None else asking.categories


def shapes(asking: Asking, upload: Upload, limits: Limits) -> list[dict[str, Any]] | None:
    """Regions as `X2Sam.segment` takes them; masks are checked against the medium before they are unpacked."""
    if asking.regions is None:
        return None
    if len(asking.regions) > limits.regions:
        raise TooLarge(f"Got {len(asking.regions)} regions", f"at most {limits.regions}")
    return [_shape(region, upload, limits) for region in asking.regions]


def examples(asking: Asking, limits: Limits) -> dict[str, Any]:
    """What is shown in other pictures, as `X2Sam.segment` takes it; nothing where nothing is."""
    if asking.like is None:
        if asking.unlike:
            raise InputError("Got what is not meant without what is", "like beside unlike")
        return {}
    if len(asking.like) + len(asking.unlike) > limits.regions:
        raise TooLarge(f"Got {len(asking.like) + len(asking.unlike)} examples", f"at most {limits.regions}")

    def one(given: ExampleIn) -> Example:
        with judged("the example"):
            picture = open_picture(embedded(given.media), "the example")
            if picture is None:
                raise InputError("Got an example that is no picture", "a PNG or JPEG as base64")
            with picture:
                if picture.width * picture.height > limits.picture_pixels:
                    raise TooLarge("Got an example of too many pixels", f"at most {limits.picture_pixels}")
                frame = to_frame(picture)
        held = _Held("the example", (frame.shape[0], frame.shape[1]), 1)
        shape = _shape(RegionIn(**given.model_dump(exclude={"media", "name"})), held, limits)  # type: ignore[arg-type]
        return example(frame, name=given.name, **shape)

    return {"like": [one(e) for e in asking.like], "unlike": [one(e) for e in asking.unlike], "same": asking.same}


@dataclass(frozen=True)
class _Held:
    """As much of an upload as regions are checked against."""

    name: str
    size: tuple[int, int]
    length: int


def check_frame(frame: int | None, upload: Upload) -> None:
    """Raise InputError for a frame that the medium does not have."""
    if frame is not None and upload.length is not None and frame >= upload.length:
        raise InputError(f"Got frame {frame} of {upload.name}", f"0 to {upload.length - 1}")


def _shape(region: RegionIn, upload: Upload, limits: Limits) -> dict[str, Any]:
    given = {name: value for name, value in region if value is not None}
    check_frame(region.frame, upload)
    height, width = upload.size
    for name in ("points", "negative", "scribble", "polygon"):
        if _count(given.get(name, ())) > limits.points:
            raise TooLarge(f"Got more than {limits.points} points in a region", "fewer points")
    line = np.array(given.get("scribble") or [[0, 0]])
    if np.linalg.norm(np.diff(line, axis=0), axis=1).sum() > MAX_STROKE * max(height, width):
        raise TooLarge("Got a scribble that is too long", f"at most {MAX_STROKE:g} times the medium's larger side")
    if "mask" in given:
        given["mask"] = _mask(given["mask"], upload.size)
    return given


def _count(points: Any) -> int:
    return sum(_count(p) for p in points) if points and isinstance(points[0], list) else 1 if points else 0


def _mask(mask: RLEIn | str, size: tuple[int, int]) -> Any:
    if isinstance(mask, RLEIn):
        if tuple(mask.size) != size:
            raise InputError(f"Got a mask of size {mask.size}", f"{list(size)}, height and width of the medium")
        return RLE.from_coco(mask.model_dump())
    name = "the mask"
    with judged(name):
        picture = open_picture(embedded(mask), name)
        if picture is None:
            raise InputError("Got a mask that is no picture", "a PNG as base64, or COCO run lengths")
        with picture:
            if picture.size != size[::-1]:
                raise InputError(f"Got a mask of {picture.width}x{picture.height}", f"{size[1]}x{size[0]} pixels")
            pixels = np.asarray(picture) if picture.mode in ("P", "1", "LA", "RGBA") else to_frame(picture)
        pixels = pixels[..., -1] if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else pixels
        return (pixels > 0).any(axis=2) if picture.mode == "P" and pixels.ndim == 3 else pixels


def media_out(upload: Upload) -> MediaOut:
    height, width = upload.size
    return MediaOut(name=upload.name, kind=upload.kind, height=height, width=width, length=upload.length)


def frame_out(frame: FrameResult, masks: list[MaskForm]) -> FrameOut:
    """A frame's segments, with their masks in the forms that were asked for."""
    segments = [segment_out(segment, masks) for segment in frame.segments]
    size = {"height": frame.height, "width": frame.width}
    return FrameOut(index=frame.index, time=frame.time, **size, segments=segments, presence=dict(frame.presence))


def segment_out(segment: Segment, masks: list[MaskForm]) -> SegmentOut:
    """A segment, with its mask in the forms that were asked for."""
    code = segment.rle.to_coco() if "rle" in masks else None
    return SegmentOut(
        label=segment.label,
        score=segment.score,
        object_id=segment.object_id,
        condition=segment.condition,
        is_thing=segment.is_thing,
        box=list(segment.box),
        area=segment.area,
        rle=None if code is None else RLEOut(**code),
        polygons=[ring.tolist() for ring in rings(segment.mask)] if "polygon" in masks else None,
    )


def answer_out(result: Result, upload: Upload, masks: list[MaskForm], overlay: bool = False) -> Answer:
    """A result for sending."""
    return Answer(
        task=result.task,
        text=result.text,
        found=result.found,
        labels=list(result.prompt.labels),
        presence=result.presence,
        media=media_out(upload),
        frames=[frame_out(frame, masks) for frame in result.frames],
        warnings=list(result.clip.warnings),
        overlay=b64encode(result._repr_png_() or b"").decode() if overlay and result.frames else None,
    )
