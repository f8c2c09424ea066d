"""What lies behind the individuals: photos, cloudy noise, and named grounds (sky over grass, a wall over a road)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from x2sam.data.scenes.appearance import COLOURS
from x2sam.data.scenes.motion import Camera, rotation
from x2sam.data.scenes.photos import PHOTOS, crop, grey, luminance, noise, photo

MARGIN, STILL_MARGIN = 1.5, 1.12
"""Sides of a backdrop, in sides of the frame, for clips and for pictures."""
UPPER = {
    "sky": ((95, 150, 215), (190, 205, 220)), "wall": ((170, 80, 60), (205, 200, 185)),
    "water": ((40, 90, 130), (70, 140, 160)),
}  # fmt: skip
LOWER = {
    "grass": ((60, 115, 40), (120, 140, 70)), "water": ((35, 80, 120), (60, 130, 150)),
    "sand": ((205, 180, 130), (225, 205, 165)), "road": ((85, 85, 90), (120, 118, 115)),
    "snow": ((225, 230, 238), (240, 242, 245)), "gravel": ((130, 122, 112), (160, 155, 148)),
}  # fmt: skip
"""Named grounds, each between two colours."""
_SURFACE = {"grass": "grass.png", "wall": "brick.png", "gravel": "gravel.png"}


@dataclass(frozen=True)
class Backdrop:
    """A still picture larger than the frame."""

    image: Image.Image
    labels: Image.Image | None
    """Per pixel 1 + index of the name; 0 is nothing with a name."""
    names: tuple[str, ...]
    shows: tuple[str, ...] = ()
    """Categories that can be seen in it although nobody labelled them."""

    def view(self, camera: Camera, t: int, size: tuple[int, int]) -> tuple[Image.Image, NDArray[np.uint8] | None]:
        """Picture and labels of frame ``t``, of ``size`` (height, width)."""
        h, w = size
        inverse = rotation(-camera.turn[t]) / camera.zoom[t]
        offset = camera.position[t] * min(size) + np.array(self.image.size) / 2 - inverse @ np.array([w, h]) / 2
        (a, b), (d, e) = inverse.tolist()
        matrix = (a, b, float(offset[0]), d, e, float(offset[1]))
        image = self.image.transform((w, h), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        if self.labels is None:
            return image, None
        return image, np.asarray(self.labels.transform((w, h), Image.Transform.AFFINE, matrix))


def backdrop(size: tuple[int, int], rng: np.random.Generator, stuff: float, margin: float = MARGIN) -> Backdrop:
    """A random backdrop for frames of ``size`` (height, width); with probability ``stuff`` one of named grounds."""
    canvas = round(size[1] * margin), round(size[0] * margin)
    if rng.random() < stuff:
        return _grounds(canvas, rng)
    if rng.random() < 0.7:
        name = list(PHOTOS)[rng.integers(len(PHOTOS))]
        shows = PHOTOS[name]
        return Backdrop(crop(photo(name), canvas, rng), None, (), shows)
    return _clouds(canvas, rng)


def _clouds(canvas: tuple[int, int], rng: np.random.Generator) -> Backdrop:
    """Two colours mixed by noise, or by a gradient."""
    names = list(COLOURS)
    low, high = (np.array(COLOURS[names[i]]) * 0.7 + 38 for i in rng.integers(len(names), size=2))
    mix = (grey(noise(int(rng.integers(0, 6))), canvas, rng)[..., None] + 1) / 2
    return Backdrop(Image.fromarray((low + (high - low) * mix).astype(np.uint8)), None, ())


def _grounds(canvas: tuple[int, int], rng: np.random.Generator) -> Backdrop:
    w, h = canvas
    upper = str(rng.choice(list(UPPER)))
    lower = str(rng.choice([name for name in LOWER if name != upper]))
    columns = np.arange(w)
    horizon = h * rng.uniform(0.36, 0.6) + h * rng.uniform(0, 0.05) * np.sin(columns / w * rng.uniform(2, 14))
    horizon = horizon + (columns - w / 2) * rng.normal(0, 0.06)
    below = np.arange(h)[:, None] > horizon  # [H, W]
    top, bottom = _ground(upper, UPPER[upper], canvas, rng), _ground(lower, LOWER[lower], canvas, rng)
    image = np.where(below[..., None], bottom, top)
    return Backdrop(Image.fromarray(image), Image.fromarray(below.astype(np.uint8) + 1), (upper, lower))


def _ground(
    name: str,
    ends: tuple[tuple[int, int, int], tuple[int, int, int]],
    canvas: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    low, high = (np.array(end, dtype=np.float32) for end in ends)
    base = low + (high - low) * rng.random(dtype=np.float32) + rng.normal(0, 6, 3).astype(np.float32)
    if name in _SURFACE:
        relief = 0.45 * grey(luminance(_SURFACE[name]), canvas, rng)
    elif name == "sky":
        relief = 0.35 * np.maximum(grey(noise(4), canvas, rng), 0)
    else:
        coarse = {"water": 3, "sand": 0, "road": 0, "snow": 5}.get(name, 2)
        relief = 0.16 * grey(noise(coarse), canvas, rng)
    return np.clip(base * (1 + relief[..., None]), 0, 255).astype(np.uint8)
