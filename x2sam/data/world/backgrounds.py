"""What lies behind the things: photos, leaves upon leaves, noise, or named stuff (sky over grass, a road, a wall)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from x2sam.data.world.photos import PHOTOS, crop, grain, noise, palette, photo
from x2sam.data.world.vocabulary import STUFF

Palette = NDArray[np.uint8]


@dataclass(frozen=True)
class Backdrop:
    """A background larger than the frame where the camera moves."""

    image: Image.Image
    stuff: Image.Image | None = None
    """For every pixel 1 + the index in `STUFF`, or 0."""
    depicted: tuple[str, ...] = ()
    """Categories that a photo shows without being labelled."""
    photo: str | None = None


def backdrop(rng: np.random.Generator, width: int, height: int, stuff: float, words: tuple[str, ...]) -> Backdrop:
    """A background of this size; with probability ``stuff`` one of named regions, drawn from ``words``."""
    if rng.random() < stuff:
        return _layout(rng, width, height, words)
    kind = rng.random()
    if kind < 0.62:
        return _photo(rng, width, height)
    if kind < 0.85:
        return Backdrop(dead_leaves(rng, width, height))
    ramp = palette(rng, int(rng.integers(2, 6)))
    return Backdrop(Image.fromarray(ramp[noise(rng, width, height, int(rng.integers(2, 7)), rng.uniform(0.35, 0.75))]))


def _photo(rng: np.random.Generator, width: int, height: int) -> Backdrop:
    """A piece of a photo, sometimes with a second one inside a wavy part of the first."""
    names = [list(PHOTOS)[i] for i in rng.integers(len(PHOTOS), size=2 if rng.random() < 0.35 else 1)]
    image = crop(rng, width, height, names[0], (0.3, 1.0))
    if len(names) == 2:
        cut = noise(rng, width, height, 2, 0.3) > rng.integers(90, 165)
        image.paste(crop(rng, width, height, names[1], (0.3, 1.0)), mask=Image.fromarray(cut.astype(np.uint8) * 255))
    depicted = tuple(word for name in names for word in PHOTOS[name])
    return Backdrop(image, None, depicted, names[0])


def dead_leaves(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Overlapping leaves of all sizes: the simplest picture with the edge statistics of photos."""
    image = Image.fromarray(palette(rng, 3)[noise(rng, width, height)])
    draw = ImageDraw.Draw(image)
    count = int(rng.integers(60, 150))
    radius = 0.025 * min(width, height) * rng.uniform(0.06, 1, count) ** -0.9  # many small ones, few large
    colours = palette(rng, int(rng.integers(2, 6)))[rng.integers(256, size=count)]
    colours = (colours + rng.normal(0, 18, (count, 3))).clip(0, 255).astype(int)
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    for r, colour, x, y, turn, flat in zip(
        np.sort(radius)[::-1],
        colours,
        rng.uniform(0, width, count),
        rng.uniform(0, height, count),
        rng.uniform(0, 2 * np.pi, count),
        rng.uniform(0.3, 1, count),
        strict=True,
    ):
        a, b = r * np.cos(angles), r * flat * np.sin(angles)
        xs, ys = x + a * np.cos(turn) - b * np.sin(turn), y + a * np.sin(turn) + b * np.cos(turn)
        draw.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=tuple(colour.tolist()))
    light = noise(rng, width, height).astype(np.float32) / 640 + 0.8 + grain(rng, width, height) * rng.uniform(0, 0.25)
    return Image.fromarray((np.asarray(image) * light[..., None]).clip(0, 255).astype(np.uint8))


# --- stuff ------------------------------------------------------------------------------------------------------------


def _layout(rng: np.random.Generator, width: int, height: int, words: tuple[str, ...]) -> Backdrop:
    """Regions of named stuff: one above the other, sometimes with a third between or a patch on the ground."""
    above = _pick(rng, ("sky", "wall", "forest"), words)
    below = _pick(rng, ("grass", "sand", "road", "water", "snow", "floor", "gravel", "soil"), words)
    layers = [(above, None), (below, _band(rng, width, height, rng.uniform(0.2, 0.62)))]
    if above == "sky" and "forest" in words and rng.random() < 0.3:
        layers.insert(1, ("forest", _band(rng, width, height, rng.uniform(0.1, 0.3))))
    if rng.random() < 0.35:
        patch = _pick(rng, tuple({"water", "road", "sand", "grass", "snow", "gravel"} - {below}), words)
        layers.append((patch, _pool(rng, width, height)))
    labels = Image.new("L", (width, height), 0)
    image = Image.new("RGB", (width, height))
    for name, outline in layers:
        mask = Image.new("L", (width, height), 0 if outline else 255)
        if outline:
            ImageDraw.Draw(mask).polygon(outline, fill=255)
        labels.paste(1 + STUFF.index(name), mask=mask)
        image.paste(Image.fromarray(_STUFF[name](rng, width, height)), mask=mask.filter(ImageFilter.BoxBlur(1)))
    return Backdrop(image, labels)


def _pick(rng: np.random.Generator, names: tuple[str, ...], words: tuple[str, ...]) -> str:
    known = sorted(name for name in names if name in words)
    return known[rng.integers(len(known))]


def _band(rng: np.random.Generator, width: int, height: int, top: float) -> list[tuple[float, float]]:
    """Everything below a wavy, slanted line."""
    x = np.linspace(0, width, 24)
    waves = sum(rng.normal(0, 0.03 / k) * np.sin(x / width * 2 * np.pi * k + rng.uniform(0, 6)) for k in range(1, 6))
    y = height * (top + rng.normal(0, 0.05) * (x / width - 0.5) + waves * (rng.random() < 0.7))
    return [*zip(x.tolist(), y.tolist(), strict=True), (width, height), (0, height)]


def _pool(rng: np.random.Generator, width: int, height: int) -> list[tuple[float, float]]:
    """A flat blob in the lower half."""
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    radius = 1 + sum(rng.normal(0, 0.25 / k) * np.cos(k * angles + rng.uniform(0, 6)) for k in range(2, 6))
    x = width * (rng.uniform(0.1, 0.9) + rng.uniform(0.15, 0.4) * radius * np.cos(angles))
    y = height * (rng.uniform(0.72, 0.95) + rng.uniform(0.06, 0.16) * radius * np.sin(angles))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _between(low: tuple[int, int, int], high: tuple[int, int, int]) -> Palette:
    return np.linspace(low, high, 256).astype(np.uint8)


def _near(rng: np.random.Generator, colour: tuple[int, int, int], spread: float = 14) -> tuple[int, int, int]:
    r, g, b = (np.array(colour) + rng.normal(0, spread, 3) + rng.normal(0, spread)).clip(0, 255).astype(int).tolist()
    return r, g, b


def _tiles(rng: np.random.Generator, width: int, height: int, name: str) -> NDArray[np.uint8]:
    """A photo of a material as brightness ``[H, W]``."""
    image = photo(name).convert("L")
    side = int(min(image.size) * rng.uniform(0.45, 0.98))
    x, y = (int(rng.integers(0, n - side + 1)) for n in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side)))


def _sky(rng: np.random.Generator, width: int, height: int) -> Palette:
    top, low = np.array(_near(rng, (80, 140, 215))), np.array(_near(rng, (185, 215, 240)))
    if rng.random() < 0.2:
        top, low = np.array(_near(rng, (60, 60, 110))), np.array(_near(rng, (235, 150, 105)))
    base = np.linspace(top, low, height, dtype=np.float32)[:, None]  # [H, 1, 3]
    share = ((np.arange(256, dtype=np.float32) / 255 - rng.uniform(0.45, 0.8)) * 2.2).clip(0, 0.77)
    return (base + (245 - base) * share[noise(rng, width, height, 3, 0.5)][..., None]).astype(np.uint8)


def _grass(rng: np.random.Generator, width: int, height: int) -> Palette:
    return _between(_near(rng, (25, 60, 15)), _near(rng, (140, 190, 80)))[_tiles(rng, width, height, "grass")]


def _gravel(rng: np.random.Generator, width: int, height: int) -> Palette:
    return _between(_near(rng, (50, 48, 46)), _near(rng, (205, 200, 192)))[_tiles(rng, width, height, "gravel")]


def _wall(rng: np.random.Generator, width: int, height: int) -> Palette:
    dark, light = ((90, 40, 30), (205, 130, 105)) if rng.random() < 0.6 else ((80, 80, 82), (215, 212, 205))
    return _between(_near(rng, dark), _near(rng, light))[_tiles(rng, width, height, "brick")]


def _water(rng: np.random.Generator, width: int, height: int) -> Palette:
    ramp = _between(_near(rng, (15, 60, 105)), _near(rng, (120, 185, 205)))
    x = np.arange(width, dtype=np.float32)[None, :] / min(width, height)
    y = np.arange(height, dtype=np.float32)[:, None] / min(width, height)
    bend = noise(rng, width, height, 4, 0.5).astype(np.float32) / 40
    ripples = np.sin(60 / (0.3 + y) + 3.6 * np.sin(5 * x + bend) + bend)
    return ramp[(145 + 60 * ripples + 6 * bend).clip(0, 255).astype(np.uint8)]


def _sand(rng: np.random.Generator, width: int, height: int) -> Palette:
    grains = 120 + 50 * grain(rng, width, height) + 0.3 * noise(rng, width, height, 4)
    return _between(_near(rng, (170, 135, 85)), _near(rng, (245, 222, 170)))[grains.clip(0, 255).astype(np.uint8)]


def _soil(rng: np.random.Generator, width: int, height: int) -> Palette:
    clods = 0.8 * noise(rng, width, height, 14, 0.8) + 25 * grain(rng, width, height)
    return _between(_near(rng, (40, 26, 16)), _near(rng, (140, 98, 62)))[clods.clip(0, 255).astype(np.uint8)]


def _snow(rng: np.random.Generator, width: int, height: int) -> Palette:
    return _between(_near(rng, (190, 205, 225), 6), (252, 252, 254))[noise(rng, width, height, 3, 0.6)]


def _forest(rng: np.random.Generator, width: int, height: int) -> Palette:
    crowns = noise(rng, width, height, 12, 0.75)
    return _between(_near(rng, (8, 30, 14)), _near(rng, (90, 140, 60)))[crowns]


def _road(rng: np.random.Generator, width: int, height: int) -> Palette:
    tar = 100 + 28 * grain(rng, width, height) + 0.3 * noise(rng, width, height, 3)
    image = Image.fromarray(_between((40, 40, 44), (135, 133, 130))[tar.clip(0, 255).astype(np.uint8)])
    draw, x = ImageDraw.Draw(image), rng.uniform(0.3, 0.7) * width
    for i in range(12):
        top, bottom = height * (1 - 0.72**i), height * (1 - 0.72 ** (i + 0.55))
        draw.line([(x, height - top), (x, height - bottom)], (222, 220, 205), max(1, int(width * 0.02 * 0.72**i)))
    return np.asarray(image)


def _floor(rng: np.random.Generator, width: int, height: int) -> Palette:
    planks = int(rng.integers(6, 14))
    y = np.arange(height)[:, None] * planks / height
    rows = rng.integers(-35, 35, planks + 1)[y.astype(int)]
    veins = noise(rng, width, max(8, height // 8), 3, 0.8)
    veins = np.asarray(Image.fromarray(veins).resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    tone = (0.6 * veins + 50 + rows - 70 * (y % 1 < 0.07)).clip(0, 255).astype(np.uint8)
    return _between(_near(rng, (80, 48, 24)), _near(rng, (215, 165, 110)))[tone]


_STUFF: dict[str, Callable[[np.random.Generator, int, int], Palette]] = {
    "sky": _sky,
    "grass": _grass,
    "water": _water,
    "sand": _sand,
    "road": _road,
    "wall": _wall,
    "snow": _snow,
    "gravel": _gravel,
    "floor": _floor,
    "forest": _forest,
    "soil": _soil,
}
