"""Visual prompts: what a person points at, or a benchmark draws from a mask, becomes the pixels of a `Region`.

Coordinates are pixels of the medium at its own size, x to the right and y down. The point (x, y) is the pixel in
column x and row y; a box holds the columns x0 to x1 - 1 and the rows y0 to y1 - 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import InputError
from x2sam.masks import RLE, BoolMask
from x2sam.media.pictures import read_pixels
from x2sam.types import Region, RegionKind

POINT_RADIUS = 10 / 1024
"""Radius of the disc that stands for a point, as a share of the image's larger side."""
LINE_RADIUS = 5 / 1024
"""Half the width of a scribble, likewise."""
MIN_RADIUS = 2.0
MIN_COMPONENT = 5
"""Pieces of a mask with no more pixels than this get no synthetic prompt of their own."""

Size = tuple[int, int]
"""Height and width."""
Points = Sequence[Sequence[float]]
"""Some ``(x, y)``."""
MaskSource = str | Path | RLE | dict[str, Any] | NDArray[Any]
"""A picture file, COCO run lengths (as RLE or as json) or an array ``[H, W]`` or ``[H, W, 3 or 4]``."""


# --- what people give -------------------------------------------------------------------------------------------------


def from_points(positive: Points, size: Size, *, negative: Points = (), **about: Any) -> Region:
    """Discs around the positive points, less the discs around the negative ones.

    A negative point carves its disc out of the region: it says "not this part" where discs overlap. A model with a
    prompted head also sees it elsewhere (`Region.negative`); to the released one, a negative point away from every
    positive disc changes nothing.

    ``about``, here and in the constructors below: ``frame``, ``object_id`` and ``name`` of the `Region`.
    """
    radius = _radius(size, POINT_RADIUS)
    mask = _discs(_coordinates(positive, size, "point"), size, radius)
    left_out = _discs(_coordinates(negative, size, "negative point"), size, radius)
    about |= {"negative": RLE.encode(left_out)} if len(negative) else {}
    return _region(mask & ~left_out, "point", "the negative points cover every positive one", **about)


def from_box(box: Sequence[float], size: Size, **about: Any) -> Region:
    """All pixels of the box ``(x0, y0, x1, y1)``."""
    if len(box) != 4:
        raise InputError(f"Got a box of {len(box)} numbers", "four: x0, y0, x1, y1")
    (x0, y0), (x1, y1) = _coordinates([box[:2], box[2:]], size, "box corner")
    if x0 >= x1 or y0 >= y1:
        raise InputError(
            f"Got the box {_show(box)}, which has no area",
            "x0 < x1 and y0 < y1",
            "Give two corners, not width and height",
        )
    mask = np.zeros(size, dtype=bool)
    mask[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
    return _region(mask, "box", "the box is empty", **about)


def from_scribble(scribble: Points | str | Path, size: Size, **about: Any) -> Region:
    """A stroke through the points of a polyline, or the strokes drawn in a picture file (see `from_mask`)."""
    if isinstance(scribble, (str, Path)):
        return from_mask(scribble, size, kind="scribble", **about)
    stroke = _coordinates(scribble, size, "scribble point")
    return _region(_line(stroke, size, _radius(size, LINE_RADIUS)), "scribble", "the scribble has no points", **about)


def from_polygon(polygons: Points | Sequence[Points], size: Size, **about: Any) -> Region:
    """The inside of a polygon (its corners), or the union of several polygons."""
    several: list[Any] = [p for p in polygons if len(p)]
    if several and np.ndim(several[0][0]) == 0:
        several = [several]
    corners = [_coordinates(p, size, "polygon corner").ravel().tolist() for p in several]
    return _region(RLE.from_polygons(corners, *size), "mask", "the polygon holds no pixel", **about)


def from_mask(source: MaskSource, size: Size, *, kind: RegionKind = "mask", **about: Any) -> Region:
    """The pixels of a mask: a picture file, an array, or COCO run lengths.

    In a picture the mask is what is not transparent; without transparency every palette index but 0; without a
    palette what is at least half as bright as the brightest spot. So white on black, 1 on 0 and a drawing on a clear
    layer all work.
    """
    rle = source if isinstance(source, RLE) else _encode(source)
    _same_size((rle.height, rle.width), size, source)
    return _region(rle, kind, f"{_named(source)} is empty", **about)


def from_label_map(source: str | Path | NDArray[Any], size: Size, *, frame: int = 0) -> list[Region]:
    """One region per object of a map of ids (as in DAVIS, YouTube-VOS); they become the object ids, 0 is background."""
    ids = read_pixels(source)[0] if isinstance(source, (str, Path)) else np.asarray(source)
    if ids.ndim != 2:
        raise InputError(f"Got {_named(source)} of shape {ids.shape}", "object ids [height, width], or a palette PNG")
    _same_size(ids.shape, size, source)
    found = [int(i) for i in np.unique(ids) if i != 0]
    if not found:
        raise InputError(f"Got a region without pixels: {_named(source)} is empty", "at least one object id above 0")
    return [Region(RLE.encode(ids == i), frame=frame, object_id=i) for i in found]


# --- what the command line gives --------------------------------------------------------------------------------------


def parse_points(texts: Iterable[str]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """``"x,y"`` or ``"x,y,+"`` is a positive point, ``"x,y,-"`` a negative one; returns both lists."""
    lists: dict[str, list[tuple[float, float]]] = {"+": [], "-": []}
    for text in texts:
        *numbers, sign = [*text.split(","), "+"] if text.count(",") == 1 else text.split(",")
        if len(numbers) != 2 or sign.strip() not in lists:
            raise InputError(f"Got the point {text!r}", "x,y or x,y,- for a negative one", "For example: 320,240")
        x, y = (_number(number, text) for number in numbers)
        lists[sign.strip()].append((x, y))
    return lists["+"], lists["-"]


def parse_box(text: str) -> tuple[float, float, float, float]:
    """``"x0,y0,x1,y1"``."""
    numbers = tuple(_number(number, text) for number in text.split(","))
    if len(numbers) != 4:
        raise InputError(f"Got the box {text!r}", "x0,y0,x1,y1", "For example: 100,80,320,240")
    return numbers


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"Got {text!r} in {whole!r}", "a number of pixels") from None


def grown(boxes: BoolMask, share: float) -> BoolMask:
    """Filled boxes ``[H, W]``, each with ``share`` of its sides more at every side."""
    from scipy import ndimage  # slow to import; most who read regions need nothing of it

    out = np.zeros_like(boxes)
    for window in ndimage.find_objects(ndimage.label(boxes)[0]):
        margins = [round(share * (s.stop - s.start)) for s in window]
        out[tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(window, margins, strict=True))] = True
    return out


# --- what benchmarks draw ---------------------------------------------------------------------------------------------


def synthesize(mask: BoolMask, kind: RegionKind, rng: np.random.Generator) -> BoolMask:
    """The prompt of one kind that a benchmark draws for an object with this mask ``[H, W]``; same size, never empty.

    Every connected piece of more than 5 pixels (of a mask of crumbs: the largest) gets a mark; the marks are joined: a
    *point* is a disc around a random pixel of the piece near its centroid; a *scribble* a shaky wave along a diagonal
    of the piece's box; a *box* the filled box, 0.9 to 1.1 times as large; a *mask* the piece, blurred and cut at the
    blur's mean.
    """
    from scipy import ndimage

    if kind not in get_args(RegionKind):
        raise InputError(f"Got the kind of region {kind!r}", f"one of: {', '.join(get_args(RegionKind))}")
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        raise InputError("Got an empty mask to draw a prompt from", "at least one pixel")
    areas = np.bincount(labels.ravel())[1:]
    out = np.zeros(mask.shape, dtype=bool)
    for index, window in enumerate(ndimage.find_objects(labels)):
        if areas[index] > MIN_COMPONENT or areas[index] == areas.max() <= MIN_COMPONENT:
            _SYNTHESIS[kind](out, window, labels[window] == index + 1, rng)
    return out


Window = tuple[slice, slice]


def _synthesize_point(out: BoolMask, window: Window, piece: BoolMask, rng: np.random.Generator) -> None:
    pixels = np.argwhere(piece)[:, ::-1]  # [N, 2] as x, y
    distance = np.linalg.norm(pixels - pixels.mean(axis=0), axis=1)
    near = np.argsort(distance, kind="stable")[: max(1, len(pixels) // 10)]
    point = pixels[rng.choice(near)] + (window[1].start, window[0].start)
    _stamp(out, point[None], _radius(out.shape, POINT_RADIUS))


def _synthesize_scribble(out: BoolMask, window: Window, piece: BoolMask, rng: np.random.Generator) -> None:
    low = np.array([window[1].start, window[0].start], dtype=float)
    extent = np.array([piece.shape[1], piece.shape[0]], dtype=float) - 1
    along = np.linspace(0, 1, 24)[:, None]
    shares = np.hstack([along, along if rng.random() < 0.5 else 1 - along])  # a diagonal, in shares of the box
    wave = 0.1 * np.sin(2 * np.pi * (rng.uniform(1, 2) * along + rng.random()))
    shares = shares + wave * [1, np.sign(shares[0, 1] - shares[1, 1])] + rng.normal(0, 0.02, shares.shape)
    out |= _line(low + shares.clip(0, 1) * extent, out.shape, _radius(out.shape, LINE_RADIUS))


def _synthesize_box(out: BoolMask, window: Window, piece: BoolMask, rng: np.random.Generator) -> None:
    half = np.array(piece.shape) / 2
    centre = np.array([s.start for s in window]) + half
    half = np.maximum(half * rng.uniform(0.9, 1.1), 0.5)
    (y0, x0), (y1, x1) = np.rint(centre - half).astype(int).clip(0), np.rint(centre + half).astype(int)
    out[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = True


def _synthesize_mask(out: BoolMask, window: Window, piece: BoolMask, rng: np.random.Generator) -> None:
    from scipy import ndimage

    sigma, reach = 2.0, 8  # beyond 4 sigma the blur is cut off, so a crop with this margin equals the whole frame
    y0, x0 = (max(s.start - reach, 0) for s in window)
    y1, x1 = (min(s.stop + reach, side) for s, side in zip(window, out.shape, strict=True))
    crop = np.zeros((y1 - y0, x1 - x0))
    crop[window[0].start - y0 : window[0].stop - y0, window[1].start - x0 : window[1].stop - x0] = piece
    blurred = ndimage.gaussian_filter(crop, sigma, mode="constant", radius=reach)
    out[y0:y1, x0:x1] |= blurred >= min(blurred.sum() / out.size, blurred.max())


_SYNTHESIS: dict[str, Callable[[BoolMask, Window, BoolMask, np.random.Generator], None]] = {
    "point": _synthesize_point,
    "scribble": _synthesize_scribble,
    "box": _synthesize_box,
    "mask": _synthesize_mask,
}


# --- pixels -----------------------------------------------------------------------------------------------------------


def _radius(size: tuple[int, ...], share: float) -> float:
    return max(MIN_RADIUS, share * max(size))


def _discs(points: NDArray[np.float64], size: Size, radius: float) -> BoolMask:
    mask = np.zeros(size, dtype=bool)
    _stamp(mask, points, radius)
    return mask


def _stamp(mask: BoolMask, points: NDArray[Any], radius: float) -> None:
    """Set every pixel within ``radius`` of one of the points ``[N, 2]``."""
    for x, y in points:
        top, left = max(0, math.ceil(y - radius)), max(0, math.ceil(x - radius))
        window = mask[top : math.floor(y + radius) + 1, left : math.floor(x + radius) + 1]
        rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
        window |= (rows + (top - y)) ** 2 + (columns + (left - x)) ** 2 <= radius**2


def _line(points: NDArray[np.float64], size: Size, radius: float) -> BoolMask:
    """A polyline as thick as two radii: discs so close together that the edge is smooth to less than a pixel."""
    steps = [points[:1]]
    for start, end in itertools.pairwise(points):
        count = math.ceil(math.dist(start, end) / max(1.0, radius / 4))
        steps.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return _discs(np.concatenate(steps), size, radius)


def _encode(source: str | Path | dict[str, Any] | NDArray[Any]) -> RLE:
    if isinstance(source, (str, Path)):
        return RLE.encode(_binary(*read_pixels(source), _named(source)))
    if not isinstance(source, dict):
        return RLE.encode(_binary(np.asarray(source), False, _named(source)))
    try:
        rle = RLE.from_coco(source)
        rle.decode()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Got run lengths that cannot be read ({error})", 'COCO\'s {"size": [height, width], "counts": ...}'
        ) from None
    return rle


def _binary(pixels: NDArray[Any], indexed: bool, named: str) -> BoolMask:
    """What counts as mask in a picture; the rule stands in `from_mask`."""
    if pixels.dtype.kind not in "buif" or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise InputError(f"Got {named} of shape {pixels.shape} and type {pixels.dtype}", "a mask [height, width]")
    if not np.isfinite(pixels).all():
        raise InputError(f"Got {named} with numbers that are not finite", "a mask of finite numbers")
    if pixels.ndim == 3:
        seen_through = pixels.shape[2] == 4 and (pixels[..., 3] < pixels[..., 3].max(initial=0)).any()
        pixels = pixels[..., 3] if seen_through else pixels[..., :3].max(axis=2)
    return (pixels > 0) & (indexed | (pixels >= pixels.max(initial=0) / 2))


def _coordinates(points: Any, size: Size, what: str) -> NDArray[np.float64]:
    """The points as an array ``[N, 2]``, each checked to be finite and on the frame."""
    try:
        array = np.asarray(points, dtype=float).reshape(len(points), 2)
    except (TypeError, ValueError):
        raise InputError(f"Got {points!r} for a {what}", "pairs of numbers (x, y)") from None
    height, width = size
    for x, y in array:
        if not (0 <= x <= width and 0 <= y <= height):  # also false for NaN
            raise InputError(
                f"Got the {what} {_show((x, y))} outside the frame",
                f"0 <= x <= {width} and 0 <= y <= {height}",
                "Give pixels of the medium at its own size, x before y",
            )
    return array


def _same_size(got: tuple[int, ...], size: Size, source: object) -> None:
    if tuple(got) != tuple(size):
        raise InputError(
            f"Got {_named(source)} of {got[1]}x{got[0]} pixels for a frame of {size[1]}x{size[0]}",
            "a mask of the frame's size",
            "Make the mask on the frame itself, or resize it without smoothing",
        )


def _region(pixels: BoolMask | RLE, kind: RegionKind, if_empty: str, **about: Any) -> Region:
    rle = pixels if isinstance(pixels, RLE) else RLE.encode(pixels)
    if rle.area == 0:
        raise InputError(f"Got a region without pixels: {if_empty}", "at least one pixel")
    return Region(rle, kind, **about)


def _named(source: object) -> str:
    return f"the mask {str(source)!r}" if isinstance(source, (str, Path)) else "a mask"


def _show(numbers: Iterable[float]) -> str:
    return "(" + ", ".join(f"{n:g}" for n in numbers) + ")"
