"""What things look like: surfaces in a named colour and texture, or cut out of photos, and light on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from x2sam.data.world.photos import crop, noise
from x2sam.data.world.vocabulary import COLOURS

Surface = NDArray[np.uint8]
"""``[H, W, 3]``."""
Field = NDArray[np.float32]
"""``[H, W]``, 0..1: where a pattern's second colour lies."""


def surface(rng: np.random.Generator, width: int, height: int, unit: float, colour: str, texture: str) -> Surface:
    """A surface in a named colour and texture; ``unit`` is half the thing's longer side in pixels."""
    base = _shift(rng, COLOURS[colour])
    if texture == "rough":
        bumps = np.asarray(crop(rng, width, height).convert("L"))
        spread = 2 * max(float(bumps.std()), 4.0)
        ramp = base * (1 + 0.45 * ((np.arange(256) - bumps.mean()) / spread).clip(-1, 1))[:, None]
        return ramp.clip(0, 255).astype(np.uint8)[bumps]
    field = _PATTERNS[texture](rng, *_coordinates(rng, width, height, unit))
    share = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    ramp = (base + (_second(rng, base, texture) - base) * share).clip(0, 255).astype(np.uint8)
    return ramp[(field * 255).astype(np.uint8)]


def photo_surface(rng: np.random.Generator, width: int, height: int, name: str | None = None) -> Surface:
    """A surface cut out of a photo, or now and then of coloured noise."""
    if name is None and rng.random() < 0.15:
        ramp = np.linspace(rng.uniform(0, 255, 3), rng.uniform(0, 255, 3), 256)
        return ramp.astype(np.uint8)[noise(rng, width, height, int(rng.integers(2, 8)), 0.7)]
    return np.asarray(crop(rng, width, height, name))


def accent(rng: np.random.Generator, base: str | None, light: bool) -> NDArray[np.float32]:
    """The flat colour of a thing's dark or light details; it differs from a black or white thing's own."""
    level = rng.uniform(205, 245) if light else rng.uniform(28, 70)
    if light and base == "white":
        level = rng.uniform(140, 175)
    if not light and base == "black":
        level = rng.uniform(90, 120)
    return (level + rng.uniform(-12, 12, 3)).astype(np.float32)


def relief(mask: NDArray[np.bool_], light: tuple[float, float], strength: float) -> Field:
    """Brightness ``[H, W]`` of a cushion-like body under light from one direction; 1 is neutral."""
    small = (max(2, mask.shape[1] // 2), max(2, mask.shape[0] // 2))  # smooth, so computed at half size
    reach = max(1.0, 0.12 * max(small))
    swollen = Image.fromarray(mask.astype(np.uint8) * 255).resize(small, Image.Resampling.NEAREST)
    for _ in range(2):
        swollen = swollen.filter(ImageFilter.BoxBlur(reach))
    down, right = np.gradient(np.asarray(swollen, dtype=np.float32) * (reach / 255))
    bright = (1 + strength * (light[0] * right + light[1] * down)).clip(0.45, 1.5).astype(np.float32)
    return np.asarray(Image.fromarray(bright).resize(mask.shape[::-1], Image.Resampling.BILINEAR))


def _shift(rng: np.random.Generator, colour: tuple[int, int, int]) -> NDArray[np.float32]:
    rgb = np.array(colour, dtype=np.float32)
    spread = 0.10 if rgb.max() - rgb.min() > 30 else 0.02  # greys must not pick up a hue
    return (rgb * rng.uniform(0.88, 1.08) * (1 + rng.uniform(-spread, spread, 3))).clip(0, 255).astype(np.float32)


def _second(rng: np.random.Generator, base: NDArray[np.float32], texture: str) -> NDArray[np.float32]:
    """A pattern's other colour: nearly white or nearly black, so that no second colour's name fits."""
    brightness = float(base.mean())
    white = brightness < 90 or (brightness < 190 and rng.random() < 0.6)
    if brightness > 215:  # on white: mid grey rather than black, which would be as much its colour
        return np.full(3, rng.uniform(95, 130), dtype=np.float32)
    if brightness < 50:
        return np.full(3, rng.uniform(125, 165), dtype=np.float32)
    target, share = (250.0, 0.85) if white else (12.0, 0.78)
    if texture == "shaded":
        share *= 0.8
    return (base + share * (target - base)).astype(np.float32)


# --- patterns -------------------------------------------------------------------------------------------------------

Pattern = Callable[[np.random.Generator, Field, Field], Field]


def _coordinates(rng: np.random.Generator, width: int, height: int, unit: float) -> tuple[Field, Field]:
    """Coordinates along and across the pattern, in half sizes of the thing."""
    angle = rng.uniform(0, np.pi)
    x = np.arange(width, dtype=np.float32)[None, :] / np.float32(unit)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(unit)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _soft(signed: Field) -> Field:
    """A step made a little soft, so that patterns do not alias."""
    return (signed * 6 + 0.5).clip(0, 1)


def _plain(rng: np.random.Generator, u: Field, v: Field) -> Field:
    return np.zeros_like(u)


def _striped(rng: np.random.Generator, u: Field, v: Field) -> Field:
    period = rng.uniform(0.3, 0.55)
    return _soft(np.sin(u * (2 * np.pi / period)) - np.float32(rng.uniform(0.0, 0.35)))


def _dotted(rng: np.random.Generator, u: Field, v: Field) -> Field:
    period = rng.uniform(0.32, 0.5)
    a, b = u / period % 1 - 0.5, v / period % 1 - 0.5
    radius: Field = np.hypot(a, b)
    return _soft((np.float32(rng.uniform(0.27, 0.34)) - radius) * 2)


def _checkered(rng: np.random.Generator, u: Field, v: Field) -> Field:
    period = rng.uniform(0.42, 0.7)
    return _soft(np.sin(u * (2 * np.pi / period)) * np.sin(v * (2 * np.pi / period)))


def _speckled(rng: np.random.Generator, u: Field, v: Field) -> Field:
    height, width = u.shape
    cells = rng.random((max(3, height // 3), max(3, width // 3)), dtype=np.float32)
    smooth: Field = np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC))
    return _soft(smooth - 0.72)


def _wavy(rng: np.random.Generator, u: Field, v: Field) -> Field:
    period = rng.uniform(0.34, 0.55)
    bend = 0.16 * np.sin(v * np.float32(rng.uniform(6, 9)))
    return _soft(np.sin((u + bend) * (2 * np.pi / period)) - np.float32(0.2))


def _shaded(rng: np.random.Generator, u: Field, v: Field) -> Field:
    low, high = float(u.min()), float(u.max())
    return ((u - low) / (high - low)) ** 1.5


_PATTERNS: dict[str, Pattern] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checkered": _checkered,
    "speckled": _speckled,
    "wavy": _wavy,
    "shaded": _shaded,
}
