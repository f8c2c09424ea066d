"""Photos and noise: the raw material of surfaces and backgrounds.

The photos are those that scikit-image ships inside its wheel and that its documentation declares free:

* CC0: brick, grass, gravel (CC0Textures), camera (Lav Varshney), chelsea (Stefan van der Walt), coffee (Rachel
  Michetti), retina (Hackstroem, Wikimedia);
* public domain: astronaut (NASA), hubble (NASA), rocket (SpaceX), text (Wikipedia);
* no known copyright restrictions: coins (Brooklyn Museum), immunohistochemistry (CMMI).

Its other pictures state no such terms and are not used. Photos are read once per process.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

PHOTOS: dict[str, tuple[str, ...]] = {
    "astronaut": ("person", "flag", "rocket"),
    "chelsea": ("cat",),
    "coffee": ("cup", "spoon", "table"),
    "rocket": ("rocket", "sky"),
    "hubble_deep_field": ("star", "sky"),
    "retina": ("circle",),
    "immunohistochemistry": (),
    "camera": ("person", "grass", "sky"),
    "brick": ("wall",),
    "grass": ("grass",),
    "gravel": ("gravel",),
    "coins": ("circle",),
    "text": (),
}
"""Name in ``skimage.data``, and what the picture shows: a scene that shows it must not claim the contrary."""


@lru_cache(maxsize=len(PHOTOS))
def photo(name: str) -> Image.Image:
    """The photo, RGB, its longer side at most 640 pixels."""
    from skimage import data  # slow to import

    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    image.thumbnail((640, 640))
    return image


def is_grey(name: str) -> bool:
    """Whether a photo has no colours of its own."""
    return name in ("camera", "brick", "grass", "gravel", "coins", "text")


def crop(
    rng: np.random.Generator, width: int, height: int, name: str | None = None, span: tuple[float, float] = (0.12, 0.6)
) -> Image.Image:
    """A random piece of a photo: ``span`` of its shorter side, turned, mirrored, in other colours."""
    name = name or list(PHOTOS)[rng.integers(len(PHOTOS))]
    image = photo(name)
    share = rng.uniform(*span) * min(image.width / width, image.height / height)
    w, h = share * width, share * height
    x, y = rng.uniform(0, image.width - w), rng.uniform(0, image.height - h)
    piece = image.resize((width, height), Image.Resampling.BILINEAR, box=(x, y, x + w, y + h))
    if rng.random() < 0.5:
        piece = ImageOps.mirror(piece)
    if is_grey(name) and rng.random() < 0.7:
        dark, light = rng.integers(0, 110, 3), rng.integers(120, 256, 3)
        return Image.fromarray(np.linspace(dark, light, 256).astype(np.uint8)[np.asarray(piece.convert("L"))])
    return recolour(rng, piece)


def recolour(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Another saturation, hue, contrast and brightness, by one colour matrix."""
    turn = rng.normal(0, 0.4) if rng.random() < 0.7 else rng.uniform(-np.pi, np.pi)
    cos, sin = np.cos(turn), np.sin(turn) / np.sqrt(3)
    third = np.full((3, 3), 1 / 3)
    hue = cos * np.eye(3) + (1 - cos) * third + sin * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    saturation = rng.uniform(0.3, 1.6)
    gain = rng.uniform(0.65, 1.3)
    matrix = gain * (saturation * hue + (1 - saturation) * third)
    offset = np.full((3, 1), rng.uniform(-25, 25) + 128 * (1 - gain) * 0.6)
    return image.convert("RGB", tuple(np.hstack([matrix, offset]).ravel().tolist()))


def noise(
    rng: np.random.Generator, width: int, height: int, coarse: int = 3, roughness: float = 0.55
) -> NDArray[np.uint8]:
    """Fractal noise ``[H, W]``, 0..255: octaves from ``coarse`` cells upwards, each ``roughness`` as strong."""
    half = (max(2, width // 2), max(2, height // 2))  # computed at half size: the finest octave is soft anyway
    total = np.zeros(half[::-1], dtype=np.float32)
    strength, cells = 1.0, coarse
    while cells < max(half) and strength > 0.05:
        shape = (max(2, cells * height // max(width, height)), max(2, cells * width // max(width, height)))
        grid = Image.fromarray(rng.standard_normal(shape, dtype=np.float32))
        total += strength * np.asarray(grid.resize(half, Image.Resampling.BILINEAR))
        strength, cells = strength * roughness, cells * 3
    low, high = float(total.min()), float(total.max())
    grey = Image.fromarray(((total - low) * (255 / max(high - low, 1e-6))).astype(np.uint8))
    return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))


def grain(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    """Fine noise ``[H, W]`` of about -1..1, cheap enough for every surface."""
    return rng.random((height, width), dtype=np.float32) * 2 - 1


def palette(rng: np.random.Generator, stops: int) -> NDArray[np.uint8]:
    """A smooth colour map ``[256, 3]`` through some random colours, mostly muted ones as in photos."""
    colours = rng.uniform(10, 245, (stops, 3))
    colours += (colours.mean(axis=1, keepdims=True) - colours) * rng.beta(2, 1)
    at = np.linspace(0, stops - 1, 256)
    return np.stack([np.interp(at, range(stops), colours[:, c]) for c in range(3)], axis=1).astype(np.uint8)
