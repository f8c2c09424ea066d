"""What the surface of an individual looks like: a named colour, a named texture or a piece of a photo, and shading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from x2sam.data.scenes.photos import CUTOUTS, PHOTOS, crop, grey, luminance, noise, photo
from x2sam.data.scenes.shapes import Part

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 35, 35), "orange": (240, 130, 25), "yellow": (240, 215, 50), "green": (50, 155, 60),
    "turquoise": (50, 195, 190), "blue": (45, 80, 205), "purple": (130, 50, 170), "pink": (240, 140, 185),
    "brown": (125, 78, 42), "black": (32, 32, 34), "white": (238, 238, 236), "grey": (132, 134, 138),
}  # fmt: skip
TEXTURES = ("plain", "striped", "dotted", "checkered", "speckled", "fading")

ROLES: dict[str, tuple[float, tuple[int, int, int]]] = {
    "hole": (0, (0, 0, 0)), "main": (1, (0, 0, 0)), "dark": (0.6, (0, 0, 0)), "light": (0.5, (120, 120, 120)),
    "black": (0.08, (22, 22, 24)), "white": (0.06, (225, 225, 225)), "grey": (0.1, (130, 132, 136)),
    "brown": (0.12, (98, 62, 34)), "gold": (0.1, (215, 150, 30)), "glass": (0.12, (130, 165, 190)),
    "green": (0.12, (40, 120, 45)), "red": (0.1, (180, 35, 35)),
    "skin": (0.08, (205, 150, 115)),
}  # fmt: skip
"""A part's share of the surface below it, and the colour added to that."""
_INDEX = {role: i for i, role in enumerate(ROLES)}
_GAIN = np.array([gain for gain, _ in ROLES.values()], dtype=np.float32)
_OFFSET = np.array([offset for _, offset in ROLES.values()], dtype=np.float32)


@dataclass(frozen=True)
class Appearance:
    """The names of a surface. None: not to be put in a word (a photo)."""

    colour: str | None
    texture: str | None


@dataclass(frozen=True)
class Sprite:
    """A drawn individual."""

    pixels: Image.Image
    """RGBX; the fourth band is how much it covers. Colours reach beyond its outline: resampling leaves no fringe."""


def sprite(parts: list[Part], look: Appearance, side: int, rng: np.random.Generator, behind: Image.Image) -> Sprite:
    """Draw parts within -1..1 on a square of ``side`` pixels (with a margin of a tenth).

    ``behind`` is the backdrop: now and then a surface without a name is cut from it, and hard to tell from it.
    """
    roles = Image.new("L", (side, side))
    pen = ImageDraw.Draw(roles)
    for role, outline in parts:
        pen.polygon([tuple(p) for p in (outline * 0.45 + 0.5) * side], fill=_INDEX[role])
    index = np.asarray(roles)
    cover = (index > 0).astype(np.uint8) * 255
    index = np.maximum(index, 1)
    colours = surface(look, side, rng, behind)
    colours *= (_GAIN[index] * (shade := _shade(Image.fromarray(cover), rng)))[..., None]
    colours += _OFFSET[index] * shade[..., None]  # [S, S, 3]
    np.clip(colours, 0, 255, out=colours)
    return Sprite(Image.fromarray(np.dstack([colours.astype(np.uint8), cover]), "RGBX"))


def cutout(name: str, side: int, rng: np.random.Generator) -> Sprite:
    """One of `photos.CUTOUTS`, at the size and with the margin of a drawn `sprite`."""
    file, corners = CUTOUTS[name]
    outline = np.array(corners, dtype=float).reshape(-1, 2)
    low, high = outline.min(axis=0), outline.max(axis=0)
    origin, extent = (low + high) / 2 - (high - low).max() / 1.8, (high - low).max() / 0.9
    cover = Image.new("L", (side, side))
    ImageDraw.Draw(cover).polygon([tuple(p) for p in (outline - origin) * side / extent], fill=255)
    scale = extent / side
    matrix = (scale, 0.0, float(origin[0]), 0.0, scale, float(origin[1]))
    colours = photo(file).transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    pixels = Image.merge("RGBX", (*colours.split(), cover))
    return Sprite(pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else pixels)


def surface(look: Appearance, side: int, rng: np.random.Generator, behind: Image.Image) -> NDArray[np.float32]:
    """The colours ``[side, side, 3]``, about 0..255."""
    if look.colour is None:
        source = behind if rng.random() < 0.2 else photo(list(PHOTOS)[rng.integers(len(PHOTOS))])
        return np.array(crop(source, (side, side), rng, 0.15), dtype=np.float32)
    tint = np.array(COLOURS[look.colour]) * rng.uniform(0.88, 1.1) + rng.normal(0, 7, 3)
    base = tint.astype(np.float32)
    if look.texture is None:
        name = list(PHOTOS)[rng.integers(len(PHOTOS))]
        relief = 1 + np.float32(rng.uniform(0.2, 0.5)) * grey(luminance(name), (side, side), rng)
        return base * relief[..., None]
    grain = 1 + np.float32(rng.uniform(0, 0.1)) * grey(noise(int(rng.integers(0, 5))), (side, side), rng)
    share = _PATTERNS[look.texture](side, rng)[..., None]
    return (base + (_partner(base, look.texture, rng) - base) * share) * grain[..., None]


def _partner(base: NDArray[np.float32], texture: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """The second colour of a pattern: light on dark ground, dark on light ground, now and then the other way."""
    bright = base.mean() > 110
    if texture == "fading":
        return base * 0.3 if bright else base * 0.4 + 140
    if rng.random() < 0.3:
        bright = base.mean() > 60
    return base * 0.25 if bright else np.full(3, 235, dtype=np.float32)


def _axes(side: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates of every pixel along two axes at a random angle, about -1..1."""
    line = np.linspace(-1, 1, side, dtype=np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return line * c + line[:, None] * s, line[:, None] * c - line * s


def _plain(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return np.zeros((side, side), dtype=np.float32)


def _striped(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    u, _ = _axes(side, rng)
    return (np.sin(u * rng.uniform(9, 20) + rng.uniform(0, 6)) > rng.uniform(0.0, 0.35)).astype(np.float32)


def _dotted(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    u, v = _axes(side, rng)
    pitch = rng.uniform(9, 17)
    return (np.sin(u * pitch) + np.sin(v * pitch) > rng.uniform(0.75, 1.15)).astype(np.float32)


def _checkered(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    u, v = _axes(side, rng)
    pitch = rng.uniform(7, 13)
    return (np.sin(u * pitch) * np.sin(v * pitch) > 0).astype(np.float32) * 0.9


def _speckled(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    coarse = rng.uniform(12, 26)
    grain = grey(noise(0), (side, side), rng, 0.25) if coarse > 19 else grey(noise(1), (side, side), rng, 0.25)
    return (grain > rng.uniform(0.1, 0.3)).astype(np.float32) * 0.8


def _fading(side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    u, _ = _axes(side, rng)
    return np.clip(0.5 + u * rng.uniform(0.5, 0.8), 0, 1)


_PATTERNS = {
    "plain": _plain, "striped": _striped, "dotted": _dotted, "checkered": _checkered, "speckled": _speckled,
    "fading": _fading,
}  # fmt: skip


def _shade(alpha: Image.Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """Light from one side, and a darker rim."""
    side = alpha.size[0]
    u, _ = _axes(side, rng)
    small = alpha.resize((24, 24), Image.Resampling.BOX).resize((side, side), Image.Resampling.BILINEAR)
    rim = 1 - np.asarray(small, dtype=np.float32) / np.float32(255)
    return (1 + np.float32(rng.uniform(0, 0.2)) * u) * (1 - np.float32(rng.uniform(0, 0.35)) * rim)
