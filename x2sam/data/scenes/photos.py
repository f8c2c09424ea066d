"""The photos that scikit-image ships in its wheel, as material for surfaces and backdrops; read once per process.

Their origins and terms stand with the functions of ``skimage.data``; only pictures in the public domain, under CC0
or without known restrictions are listed.
"""

from __future__ import annotations

import importlib.util
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from x2sam.errors import MissingExtraError

PHOTOS: dict[str, tuple[str, ...]] = {
    "astronaut.png": ("person", "rocket"), "chelsea.png": ("cat",), "coffee.png": ("cup", "spoon", "table"),
    "rocket.jpg": ("rocket",), "hubble_deep_field.jpg": ("star",), "retina.jpg": (), "ihc.png": (),
    "brick.png": ("wall",), "grass.png": ("grass",), "gravel.png": ("gravel",), "camera.png": ("person",),
    "coins.png": ("coin",),
}  # fmt: skip
"""File, and the categories that can be seen in it (so that a scene on it does not deny them)."""


CUTOUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "cup": ("coffee.png", (
        172, 95, 185, 50, 240, 20, 290, 17, 350, 28, 395, 62, 408, 105, 395, 160,
        370, 210, 340, 252, 300, 262, 256, 245, 252, 265,
        235, 300, 210, 308, 196, 290, 205, 255, 215, 230, 195, 200, 178, 150,
    )),
    "cat": ("chelsea.png", (
        34, 22, 52, 0, 322, 0, 360, 45, 360, 112, 364, 150,
        345, 184, 315, 202, 311, 255, 285, 278, 247, 281, 172, 278, 97, 225, 45, 180, 34, 105,
    )),
    "person": ("astronaut.png", (
        154, 90, 160, 45, 211, 18, 275, 23, 302, 77, 294, 128, 275, 166, 301, 230, 358, 294, 358, 346,
        282, 435, 275, 511, 26, 511,
        26, 320, 51, 262, 115, 218, 122, 192, 154, 154,
    )),
    "rocket": ("astronaut.png", (
        399, 38, 412, 6, 429, 6, 442, 51, 454, 77, 454, 230, 384, 230, 358, 218, 384, 166, 384, 90,
    )),
}  # fmt: skip
"""Things in the photos, with their outlines as ``x, y, ...`` in pixels."""


@lru_cache(maxsize=1)
def _folder() -> Path:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise MissingExtraError("scikit-image", "train")
    return Path(spec.origin).parent / "data"


@cache
def photo(name: str) -> Image.Image:
    """One of `PHOTOS` in RGB."""
    return Image.open(_folder() / name).convert("RGB")


@cache
def luminance(name: str) -> Image.Image:
    """Its brightness with the slow changes taken out, about 128: a surface to be tinted."""
    grey = np.asarray(photo(name).convert("L").resize((320, 320)), dtype=np.float32)
    slow = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize((5, 5)).resize((320, 320), 3), dtype=np.float32)
    detail = grey - slow
    return Image.fromarray(np.clip(128 + detail * 40 / (detail.std() + 1), 0, 255).astype(np.uint8))


@cache
def noise(octave: int) -> Image.Image:
    """Cloudy grey noise 256 x 256, coarser with a higher ``octave`` (0..5)."""
    rng = np.random.default_rng(1000 + octave)
    total = np.zeros((256, 256), dtype=np.float32)
    for level in range(octave + 2):
        side = max(2, 256 >> (octave + 1 - level) if octave else 256 >> level)
        grain = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).resize((256, 256), 3)
        total += np.asarray(grain, dtype=np.float32) / (1.6**level)
    total -= total.mean()
    return Image.fromarray(np.clip(128 + total * 45 / total.std(), 0, 255).astype(np.uint8))


def crop(image: Image.Image, size: tuple[int, int], rng: np.random.Generator, least: float = 0.2) -> Image.Image:
    """A random window of at least the share ``least`` of the image, at ``size`` (width, height), maybe mirrored."""
    w, h = image.size
    share = rng.uniform(least, 0.98)
    side = share * min(w, h)
    cw, ch = side * min(1, size[0] / size[1]), side * min(1, size[1] / size[0])
    x, y = rng.uniform(0, w - cw), rng.uniform(0, h - ch)
    piece = image.resize(size, Image.Resampling.BILINEAR, box=(x, y, x + cw, y + ch), reducing_gap=1.5)
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece


def grey(
    image: Image.Image, size: tuple[int, int], rng: np.random.Generator, least: float = 0.2
) -> NDArray[np.float32]:
    """`crop` of a grey image as numbers of -1..1, ``[H, W]``."""
    return np.asarray(crop(image, size, rng, least), dtype=np.float32) / np.float32(128) - np.float32(1)
