"""Films made of photos: a camera that pans and zooms over one, and sometimes an object of another that moves across.

A few dozen clips teach what clips look like; tens of thousands of masks on photos teach what keeps together. As in the
static pre-training of mask propagation networks (STM, arXiv 1904.00607, section 3.4), with windows of the photo rather
than warps, so that nothing has to be made up at its edges.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from x2sam.data.photos.augment import COLOUR, Scene, coloured
from x2sam.data.photos.drawing import bounds
from x2sam.data.photos.folder import IdMap, Photo, Shape, mask_in
from x2sam.types import Frame

CROSSED = 0.6
"""How often an object of another photo moves across."""
DRIFT, ZOOM = 0.07, 0.08
"""How far the window moves from a frame to the next, as a part of its side, and how much it grows: deviations."""
FLIGHT = 0.12
"""How far the other object moves, as a part of the frame's side."""
SIZES = (0.15, 0.6)
"""Sides of the other object, as parts of the frame's."""
SIDE = 512
"""Longer sides are shrunk to this first: they would be in any case, and small pictures are quick to move."""


def filmed(photo: Photo, other: Photo, rng: np.random.Generator, count: int) -> Scene:
    """A film of ``count`` frames of a photo; ids are the photo's own, and a new one for the object of the other."""
    picture, ids = _shrunk(photo)
    windows = _windows(ids.shape, rng, count)
    flip = -1 if rng.random() < 0.5 else 1
    frames = [picture[rows, columns][:, ::flip] for rows, columns in windows]
    maps = [ids[rows, columns][:, ::flip] for rows, columns in windows]
    size = maps[0].shape
    frames = [_picture(np.ascontiguousarray(frame), size) for frame in frames]
    maps = [_map(ids, size) for ids in maps]
    if rng.random() < CROSSED:
        single = [s for s in other.shapes if s.single]
        if single:
            shape = single[rng.integers(len(single))]
            number = 1 + max(int(ids.max()), *(s.id for s in photo.shapes))
            _cross(frames, maps, _cutout(other, shape), number, rng)
            photo = replace(photo, shapes=(*photo.shapes, replace(shape, id=number)))
    jitter = rng.uniform(1 - COLOUR, 1 + COLOUR, 3)
    found, areas = np.unique(maps[0], return_counts=True)
    whole = {int(i): int(n) for i, n in zip(found, areas, strict=True)}
    return Scene(photo, tuple(coloured(frame, jitter) for frame in frames), tuple(maps), flip < 0, whole)


def _shrunk(photo: Photo) -> tuple[Frame, IdMap]:
    picture, ids = photo.frame(), photo.ids()
    scale = min(1.0, SIDE / max(ids.shape))
    size = (max(1, round(ids.shape[0] * scale)), max(1, round(ids.shape[1] * scale)))
    return _picture(picture, size), _map(ids, size)


def _windows(size: tuple[int, ...], rng: np.random.Generator, count: int) -> list[tuple[slice, slice]]:
    """Rows and columns that each frame shows: a walk of a window that stays inside."""
    side, centre = rng.uniform(0.5, 0.95), rng.uniform(0.3, 0.7, 2)
    drift, zoom = rng.normal(0, DRIFT, 2), rng.normal(0, ZOOM)
    windows = []
    for _ in range(count):
        lengths = [max(32, min(length, round(length * min(side, 1.0)))) for length in size]
        starts = [
            int(np.clip(middle * whole - part / 2, 0, whole - part))
            for middle, whole, part in zip(centre, size, lengths, strict=True)
        ]
        windows.append(tuple(slice(start, start + part) for start, part in zip(starts, lengths, strict=True)))
        centre = centre + (drift + rng.normal(0, DRIFT / 3, 2)) * side
        side = float(np.clip(side * np.exp(zoom + rng.normal(0, ZOOM / 3)), 0.4, 1.0))
    return [(rows, columns) for rows, columns in windows]


def _cutout(photo: Photo, shape: Shape) -> tuple[Frame, NDArray[np.bool_]]:
    """An object's pixels and mask, as large as its box."""
    mask = mask_in(photo.ids(), [shape.id])
    if not mask.any():
        return np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool)
    x0, y0, x1, y1 = bounds(mask)
    return photo.frame()[y0:y1, x0:x1], mask[y0:y1, x0:x1]


def _cross(
    frames: list[Frame],
    maps: list[IdMap],
    cutout: tuple[Frame, NDArray[np.bool_]],
    number: int,
    rng: np.random.Generator,
) -> None:
    """Lay an object over every frame, each time a little further, in place."""
    pixels, mask = cutout
    height, width = maps[0].shape
    scale = rng.uniform(*SIZES) * min(height, width) / max(mask.shape)
    centre = rng.uniform(0.15, 0.85, 2) * (height, width)
    step = rng.normal(0, FLIGHT / 2, 2).clip(-FLIGHT, FLIGHT) * (height, width)
    growth, turn, angle = rng.normal(0, 0.04), rng.normal(0, 4.0), rng.normal(0, 10.0)
    for t in range(len(frames)):
        size = tuple(max(4, round(n * scale * float(np.exp(growth * t)))) for n in mask.shape)
        small = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
        cover = Image.fromarray(mask.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BILINEAR)
        degrees = angle + turn * t
        turned = np.asarray(small.rotate(degrees, Image.Resampling.BILINEAR, expand=True), np.float32)
        soft = np.asarray(cover.rotate(degrees, Image.Resampling.BILINEAR, expand=True), np.float32)[..., None] / 255
        y, x = (int(c - n / 2) for c, n in zip(centre + step * t, soft.shape, strict=False))
        top, left = max(0, y), max(0, x)
        bottom, right = min(height, y + soft.shape[0]), min(width, x + soft.shape[1])
        if bottom <= top or right <= left:
            continue
        inside = (slice(top - y, bottom - y), slice(left - x, right - x))
        place = (slice(top, bottom), slice(left, right))
        frame, ids = frames[t].copy(), maps[t].copy()
        frame[place] = (frame[place] * (1 - soft[inside]) + turned[inside] * soft[inside]).round().astype(np.uint8)
        ids[place] = np.where(soft[inside][..., 0] > 0.5, number, ids[place])
        frames[t], maps[t] = frame, ids


def _picture(frame: Frame, size: tuple[int, ...]) -> Frame:
    """Pixels at another size."""
    return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _map(ids: IdMap, size: tuple[int, ...]) -> IdMap:
    """An id map at another size."""
    whole = Image.fromarray(ids.astype(np.int32)).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(whole).astype(np.uint16)
