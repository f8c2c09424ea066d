"""Functions for CVAT, loaded by ``cvat-cli --function-module x2sam.integrations.cvat`` (docs/integrations/cvat.md).

``-p kind=str:detect`` (the default) finds labels in every image of a task, ``track`` carries shapes on through a film,
``interact`` answers clicks and boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from x2sam.errors import InputError, MissingExtraError
from x2sam.integrations.pushing import show
from x2sam.masks import RLE
from x2sam.predictor import X2Sam
from x2sam.results.outlines import outlines
from x2sam.tracking.session import Session
from x2sam.tracking.track import Track
from x2sam.types import Frame, Segment

try:
    import cvat_sdk.auto_annotation as cvat
    from cvat_sdk.masks import decode_mask, encode_mask
    from cvat_sdk.models import AttributeValRequest
except ImportError:
    raise MissingExtraError("cvat-sdk", "cvat") from None

SHAPES = ("mask", "polygon", "rectangle", "tag")


def create(
    kind: str = "detect",
    labels: str = "",
    prompts: str = "",
    shape: str = "mask",
    model: str = "auto",
    device: str = "auto",
    threshold: float | None = None,
) -> Detector | Tracker | Interactor:
    """What ``cvat-cli -p NAME=TYPE:VALUE`` sets.

    Args:
        kind: detect, track or interact.
        labels: for detect, the names of CVAT's labels, with commas between them.
        prompts: what to look for under each of them, in the same order; by default their names.
        shape: for detect: mask, polygon, rectangle or tag.
        model, device: as in `X2Sam.from_pretrained`.
        threshold: score that an object needs, unless CVAT says otherwise.
    """
    if kind not in ("detect", "track", "interact"):
        raise InputError(f"Got kind={kind!r}", "detect, track or interact")
    names = [name.strip() for name in labels.split(",") if name.strip()]
    asked = [text.strip() for text in prompts.split(",") if text.strip()] or names
    if kind == "detect" and (not names or len(asked) != len(names) or shape not in SHAPES):
        got = f"Got labels={labels!r}, prompts={prompts!r}, shape={shape!r}"
        raise InputError(got, f"names, as many prompts or none, a shape of: {', '.join(SHAPES)}")
    predictor = X2Sam.from_pretrained(model, device=device)
    if kind == "detect":
        return Detector(predictor, names, asked, shape, threshold)
    return Tracker(predictor) if kind == "track" else Interactor(predictor)


def pixels(image: Image.Image) -> Frame:
    """``[H, W, 3]``, of the size that CVAT counts in: nothing is turned."""
    return np.asarray(image.convert("RGB"))


class Detector:
    """A detection function: every label in every image."""

    def __init__(
        self, predictor: X2Sam, labels: Sequence[str], prompts: Sequence[str], shape: str, threshold: float | None
    ) -> None:
        self.predictor, self.prompts, self.shape, self.threshold = predictor, list(prompts), shape, threshold
        self.spec = cvat.DetectionFunctionSpec(
            labels=[cvat.label_spec(name, i, type=shape) for i, name in enumerate(labels)]
        )

    def detect(self, context: cvat.DetectionFunctionContext, image: Image.Image) -> list[cvat.DetectionAnnotation]:
        """What is there, in the shape that was chosen."""
        threshold = self.threshold if context.conf_threshold is None else context.conf_threshold
        result = self.predictor.segment(pixels(image), self.prompts, threshold=threshold)
        shape = "polygon" if self.shape == "mask" and context.conv_mask_to_poly else self.shape
        if shape == "tag":
            return [cvat.tag(label) for label in sorted({segment.condition for segment in result.segments})]
        return [drawn for segment in result.segments for drawn in _shapes(segment, shape)]


def _shapes(segment: Segment, shape: str) -> Iterator[Any]:
    """A segment; in polygons each of its pieces."""
    label, mask = segment.condition, segment.mask
    if not mask.any():
        return
    if shape == "mask":
        yield cvat.mask(label, encode_mask(mask))
    elif shape == "rectangle":
        yield cvat.rectangle(label, list(segment.box))
    else:
        for corners in outlines(mask):
            yield cvat.polygon(label, corners.ravel().tolist())


class Interactor:
    """An interaction function: clicks of both signs, and perhaps a box."""

    spec = cvat.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0, min_bounding_boxes=0)

    def __init__(self, predictor: X2Sam) -> None:
        self.predictor = predictor

    def preprocess_image(self, context: cvat.InteractionFunctionContext, image: Image.Image) -> Session:
        """The picture, opened; it is read at the first click, and once."""
        return self.predictor.open(pixels(image))

    def detect(
        self, context: cvat.InteractionFunctionContext, pp_image: Session, prompts: cvat.InteractionPrompts
    ) -> list[cvat.InteractionResultShape]:
        """The mask of the one object that is meant."""
        region: dict[str, Any] = {"negative": list(prompts.neg_points)} if prompts.neg_points else {}
        if prompts.pos_points:
            region["points"] = list(prompts.pos_points)
        elif prompts.bounding_box:
            (x0, y0), (x1, y1) = prompts.bounding_box
            region["box"] = (x0, y0, x1, y1)
        result = pp_image.segment(regions=[region], threshold=0.0)
        return [_answer(segment) for segment in result.segments[:1] if segment.area]


def _answer(segment: Segment) -> cvat.InteractionResultShape:
    sure = AttributeValRequest(spec_id=int(cvat.InteractionResultAttributes.CONFIDENCE), value=f"{segment.score:.4f}")
    return cvat.InteractionResultShape(type="mask", points=encode_mask(segment.mask), attributes=[sure])


@dataclass
class Picture:
    """An image of a film; shapes that are shown on the same one are followed by one session, which reads it once."""

    frame: Frame
    session: Session | None = None


@dataclass
class State:
    """One shape on its way."""

    track: Track
    shape: str


class Tracker:
    """A tracking function: masks, polygons and boxes, followed as `X2Sam.live` follows what it is shown."""

    spec = cvat.TrackingFunctionSpec(supported_shape_types={"mask", "polygon", "rectangle"})

    def __init__(self, predictor: X2Sam) -> None:
        self.predictor = predictor

    def preprocess_image(self, context: cvat.TrackingFunctionContext, image: Image.Image) -> Picture:
        return Picture(pixels(image))

    def init_tracking_state(
        self, context: cvat.TrackingFunctionShapeContext, pp_image: Picture, shape: cvat.TrackableShape
    ) -> State:
        """Show a shape on an image."""
        if pp_image.session is None:
            pp_image.session = self.predictor.live()
            show(pp_image.session, pp_image.frame)
        region = _region(shape, pp_image.frame.shape[:2])
        return State(pp_image.session.track(regions=[region], keep=False), shape.type)

    def track(
        self, context: cvat.TrackingFunctionShapeContext, pp_image: Picture, state: State
    ) -> cvat.TrackableShape | None:
        """Where the shape is on the next image; None where it is not to be seen."""
        found = [segment for segment in state.track.step(pp_image.frame).segments if segment.area]
        return _tracked(found[0].rle, state.shape) if found else None


def _region(shape: cvat.TrackableShape, size: tuple[int, ...]) -> dict[str, Any]:
    height, width = size
    if shape.type == "mask":
        return {"mask": decode_mask(shape.points, image_width=width, image_height=height)}
    numbers = np.asarray(shape.points, dtype=float).reshape(-1, 2).clip(0, (width, height))
    return {"box": numbers.ravel()} if shape.type == "rectangle" else {"polygon": numbers}


def _tracked(rle: RLE, shape: str) -> cvat.TrackableShape:
    """A mask as a shape of CVAT; a polygon is its largest piece."""
    if shape == "mask":
        return cvat.TrackableShape(type=shape, points=encode_mask(rle.decode()))
    if shape == "rectangle":
        return cvat.TrackableShape(type=shape, points=list(rle.box))
    largest = max(outlines(rle.decode()), key=lambda ring: np.ptp(ring[:, 0]) * np.ptp(ring[:, 1]))
    return cvat.TrackableShape(type=shape, points=largest.ravel().tolist())
