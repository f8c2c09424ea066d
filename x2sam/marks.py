"""What a caller gives for regions -> regions: whatever holds it becomes plain first, and is then judged by its shape.

Arrays, tensors, pandas rows, PIL images, generators and single numbers of any library are told apart no more once they
are plain. What an array then means:

========================= =============================================================
``[H, W]`` of the frame    a mask; of several ids, one region for each; of logits, what is above 0
``[N, H, W]``              N masks (also ``[N, 1, H, W]``, as SAM gives them)
``[H, W, 3 or 4]``         a picture of a mask
``[2]``, ``[N, 2]``        a point, or N points that are N regions
``[4]``, ``[N, 4]``        a box ``x0, y0, x1, y1``, or N boxes
``[1, N, P, 2]``           as SAM's users nest them: N regions of P points each (also ``[N, P, 2]``, also uneven)
``[1, N, 4]``              N boxes
``[0]``, ``[0, 4]``        no region: nothing was found
========================= =============================================================
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from x2sam import regions as shapes
from x2sam import sam_prompts as sam
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.media.pictures import as_array, read_pixels
from x2sam.types import Region

FORMS = "a point (x, y), a box (x0, y0, x1, y1), a mask of the frame's size, or a dict"
SEVERAL = "For several points of one object write {'points': [...]}"
MOST_IDS = 64
"""A map of bytes with more ids than this is taken for shades of grey."""
DARK = 128
"""Bytes below which all numbers of a map must stay to be ids."""

ALIASES = {
    "point_coords": "points",
    "input_points": "points",
    "point_labels": "labels",
    "input_labels": "labels",
    "input_boxes": "box",
    "boxes": "box",
}
"""Names that SAM's libraries have for the same."""

Size = tuple[int, int]


def read_regions(regions: Any, size: Size) -> list[Region]:
    """Regions in any of the forms that the module describes, for a medium of this height and width; None: no region."""
    if regions is None:
        return []
    given = plain(regions)
    if isinstance(given, list):
        if sam.is_nest(given, size):
            return _nested({"points": given}, size)
        if sam.is_nest(given, size, leaf=4) and len(given) == 1:
            return _nested({"box": given}, size)
        return [region for item in given for region in _judged(_inner(item), size)]
    return _judged(given, size)


def plain(value: Any) -> Any:
    """A `Region`, run lengths, a dict, a path, an array, or a list of such (not yet plain) values."""
    if isinstance(value, (Region, RLE)):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    if isinstance(value, (Image.Image, memoryview)) or hasattr(value, "__array__"):
        array = as_array(value)
        return array if array.dtype != object else plain(array.tolist())
    if isinstance(value, Real):
        return np.asarray(value)
    if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray)):
        raise InputError(f"Got {_kind(value)} for a region", FORMS)
    items = list(value)
    scalars = [_scalar(item) for item in items]
    return items if any(s is None for s in scalars) else np.array(scalars, dtype=float)


def whole(value: Any, what: str) -> int:
    """A whole number of any library; 2.0 is one, text and True are none."""
    try:
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            value = int(value)
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"Got {value!r:.80} for {what}", "a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise InputError(f"Got {number} for {what}", "a number of at most 63 bits")
    return number


def _scalar(value: Any) -> float | None:
    """A single number, of Python or of another library; None if it is none."""
    if isinstance(value, (str, bytes, bool, Mapping)):
        return None
    if isinstance(value, Real) or (hasattr(value, "__array__") and getattr(value, "ndim", None) == 0):
        return float(value)
    return None


def _inner(item: Any) -> Any:
    """One of several, plain; lists of points are no region."""
    given = plain(item)
    if isinstance(given, list):
        raise InputError(f"Got {item!r:.120} for a region", FORMS, SEVERAL)
    return given


def _judged(given: Any, size: Size) -> list[Region]:
    if isinstance(given, Region):
        return [given]
    if isinstance(given, dict) and "counts" not in given:
        return _of_dict(given, size)
    if isinstance(given, np.ndarray):
        return _of_array(given, size)
    return _masks(given, size)


def _of_array(array: NDArray[Any], size: Size) -> list[Region]:
    """By shape; the table stands above."""
    if array.shape == size:
        return _masks(array, size)
    if array.ndim <= 2 and array.size == 0:
        return []
    if sam.is_nest(array, size):
        return _nested({"points": array}, size)
    if array.ndim == 3 and array.shape[0] == 1 and array.shape[2] == 4 and array.shape[:2] != size:
        array = array[0]
    if array.ndim == 4 and 1 in array.shape[:2]:
        array = array.reshape(-1, *array.shape[2:])
    if array.ndim == 3 and array.shape[1:] == size:
        return [region for mask in array for region in _masks(mask, size)]
    if array.ndim == 3 and array.shape[2] in (3, 4):
        return [shapes.from_mask(array, size)]
    rows = array[None] if array.ndim == 1 else array
    if rows.ndim == 2 and rows.shape[1] in (2, 4) and rows.dtype.kind in "iuf":
        make = _point if rows.shape[1] == 2 else shapes.from_box
        return [make(row, size) for row in rows.astype(float).tolist()]
    if rows.ndim == 2 and 4 < rows.shape[1] <= 8:
        hint = "Of a detector's rows take the four columns of the box: rows[:, :4]"
        raise InputError(f"Got numbers of shape {list(array.shape)} for regions", FORMS, hint)
    if rows.ndim == 2 and min(array.shape) > 8:
        return [shapes.from_mask(array, size)]  # says which size it should have
    raise InputError(f"Got numbers of shape {list(array.shape)} for a region", FORMS, SEVERAL)


def _point(point: Any, size: Size, **about: Any) -> Region:
    return shapes.from_points([point], size, **about)


def _masks(source: Any, size: Size, **about: Any) -> list[Region]:
    """A mask, or a map of ids: one region for each."""
    pixels, indexed = source, False
    if isinstance(source, Path):
        pixels, indexed = read_pixels(source)
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape != size:
        return [shapes.from_mask(source, size, **about)]
    ids = _ids(pixels, indexed)
    if not ids:
        return [shapes.from_mask(source if isinstance(source, Path) else _shown(pixels), size, **about)]
    if about.get("object_id") is not None:
        raise InputError(f"Got one id for a map of {len(ids)} objects", "no id: the map has them")
    return [Region(RLE.encode(pixels == i), **{**about, "object_id": i}) for i in ids]


def _shown(pixels: NDArray[Any]) -> NDArray[Any]:
    """Logits as the mask that they mean; other numbers as they are."""
    negative = pixels.dtype.kind in "if" and pixels.size and np.isfinite(pixels).all() and pixels.min() < 0
    return pixels > 0 if negative else pixels


def _ids(pixels: NDArray[Any], indexed: bool) -> list[int]:
    """The ids of a map of objects, if it is one; empty for what is a mask, whose numbers mean how bright it is."""
    if pixels.dtype.kind not in "iu" or not pixels.size or pixels.min() < 0:
        return []
    found = [int(i) for i in np.unique(pixels) if i]
    if len(found) < 2:
        return []
    most = found[-1]
    bytes_ = most <= 255 and not indexed
    if most == 65535 or (bytes_ and (len(found) > MOST_IDS or most >= DARK)):
        return []
    return found


def _of_dict(item: dict[str, Any], size: Size) -> list[Region]:
    """One shape, and what is said about it; in SAM's form perhaps several."""
    item = {ALIASES.get(key, key): value for key, value in item.items()}
    if "labels" in item or sam.depth(item.get("points", ())) > 2 or sam.depth(item.get("box", ())) > 1:
        return _nested(item, size)
    frame, ident = item.pop("frame", 0), item.pop("id", item.pop("object_id", None))
    name = item.pop("name", None)
    about = {
        "frame": whole(frame, "the frame of a region"),
        "object_id": None if ident is None else whole(ident, "the id of a region"),
        "name": None if name is None else str(name),
    }
    negative = _rows(item.pop("negative", ()))
    makers = {
        "points": lambda v: [shapes.from_points(_rows(v), size, negative=negative, **about)],
        "point": lambda v: [shapes.from_points(_rows([v]), size, negative=negative, **about)],
        "box": lambda v: [shapes.from_box(_row(v), size, **about)],
        "scribble": lambda v: [shapes.from_scribble(v if _is_path(v) else _rows(v), size, **about)],
        "polygon": lambda v: [shapes.from_polygon(_polygons(v), size, **about)],
        "mask": lambda v: _masks(_mask(v), size, **about),
    }
    shape = [key for key in item if key in makers]
    if len(shape) != 1 or len(item) != 1:
        raise InputError(
            f"Got a region with {', '.join(map(str, item)) or 'nothing'}",
            f"exactly one of {', '.join(makers)}, and perhaps frame, id, name, negative",
        )
    return makers[shape[0]](item[shape[0]])


def _nested(item: dict[str, Any], size: Size) -> list[Region]:
    """Points with labels, or boxes, of one object or several; an ``id`` for each of several may be a list."""
    given = dict(item)
    if "points" in given:
        objects = sam.objects_of(given.pop("points"), given.pop("labels", None))
        found: list[dict[str, Any]] = [
            {"points": positive, **({"negative": negative} if negative else {})} for positive, negative in objects
        ]
    else:
        found = [{"box": box} for box in sam.boxes_of(given.pop("box", ()))]
    ids = given.pop("id", given.pop("object_id", None))
    several = sam.listed(ids)
    each = several if isinstance(several, list) else [ids] * (len(found) if ids is None else 1)
    if len(each) != len(found):
        raise InputError(f"Got the id {ids!r:.60} for {len(found)} objects", "an id for each")
    return [
        region
        for shape, i in zip(found, each, strict=True)
        for region in _of_dict({**given, **shape, **({} if i is None else {"id": i})}, size)
    ]


def _mask(value: Any) -> Any:
    """A mask that a dict holds, plain."""
    given = plain(value)
    if isinstance(given, list):
        return as_array(value)
    if isinstance(given, np.ndarray) and given.ndim in (3, 4) and 1 in given.shape[: given.ndim - 2]:
        return given.reshape(given.shape[-2:]) if given[..., 0, 0].size == 1 else given
    return given


def _row(value: Any) -> list[float]:
    """Some numbers of any library."""
    given = plain(value)
    if isinstance(given, np.ndarray) and given.dtype.kind in "iuf":
        return given.reshape(-1).tolist()
    raise InputError(f"Got {value!r:.80} for a box", "four numbers: x0, y0, x1, y1")


def _rows(value: Any) -> Any:
    """Points of any library as lists of numbers; whoever makes a shape of them says what is wrong."""
    given = plain(value)
    if isinstance(given, np.ndarray):
        return given.tolist()
    if not isinstance(given, list):
        raise InputError(f"Got {value!r:.80} for points", "pairs of numbers (x, y)")
    return [v.tolist() if isinstance(v, np.ndarray) else v for v in map(plain, given)]


def _polygons(value: Any) -> Any:
    """Corners, or several lists of them, as lists of numbers."""
    given = plain(value)
    if isinstance(given, list):
        return [_rows(v) for v in given]
    return given.tolist() if isinstance(given, np.ndarray) else _rows(given)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _kind(value: Any) -> str:
    return f"{type(value).__name__} ({value!r:.60})"
