"""A scene: things in front of a background, drawn frame by frame together with what is exactly true about it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from x2sam.data.world.backgrounds import Backdrop, backdrop
from x2sam.data.world.casting import Allowed, Look, Recipe, cast
from x2sam.data.world.motion import Camera, camera, inverse, then
from x2sam.data.world.things import Thing
from x2sam.data.world.vocabulary import STUFF
from x2sam.types import Frame

MIN_VISIBLE = 12
"""Pixels; less of a thing counts as not visible."""


@dataclass(frozen=True)
class Scene:
    """The frames, and for every pixel whose it is."""

    frames: list[Frame]
    owners: NDArray[np.uint8]
    """``[T, H, W]``: 1 + the index of the thing that is seen there, or 0."""
    stuff: NDArray[np.uint8] | None
    """``[T, H, W]``: 1 + the index in `STUFF` of what is seen there, or 0."""
    things: list[Thing]
    """Far to near."""
    area: NDArray[np.int64]
    """``[T, N]``: pixels that each thing covers in the frame, seen or not."""
    whole: NDArray[np.float64]
    """``[T, N]``: pixels it would cover if the frame were endless."""
    hidden: NDArray[np.int64]
    """``[T, N, N]``: pixels of the second thing that the first one, being the nearest there so far, hides."""
    centre: NDArray[np.float64]
    """``[T, N, 2]``: the middle of each thing in pixels, in the frame or not."""
    depicted: frozenset[str]
    """Categories that the background shows without their being labelled."""
    still_camera: bool


def build(
    rng: np.random.Generator,
    recipe: Recipe,
    names: tuple[str, ...],
    allowed: Allowed,
    frames: int,
    size: tuple[int, int],
    looks: tuple[Look, ...] = (),
) -> Scene:
    """A random scene after a recipe, its frames of this (height, width).

    ``names`` are the categories it may show, things and stuff; ``looks`` things that it has to.
    """
    eye = camera(rng, frames, recipe.moves)
    far = 1.0 if eye.is_still else rng.uniform(0.4, 0.9)
    width, height = _reach(eye, far, size)
    behind = backdrop(rng, width, height, recipe.stuff, tuple(n for n in names if n in STUFF))
    shown = set(behind.depicted)
    nouns = tuple(n for n in names if n not in STUFF and n not in shown)
    things = cast(rng, recipe, nouns, allowed, frames, size, looks, behind.photo)
    return _draw(rng, eye, far, behind, things, size, frozenset(shown))


def _reach(eye: Camera, far: float, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height in pixels of a background that the camera never looks beyond."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float)
    most = np.array([width, height]) / 2
    for t in range(len(eye.zoom)):
        back = inverse(eye.matrix(t, size, far))
        seen = np.abs(corners @ back[:, :2].T + back[:, 2]).max(axis=0) * min(size)
        most = np.maximum(most, seen)
    out_width, out_height = (2 * np.ceil(most)).astype(int).tolist()
    return out_width, out_height


def _draw(
    rng: np.random.Generator,
    eye: Camera,
    far: float,
    behind: Backdrop,
    things: list[Thing],
    size: tuple[int, int],
    shown: frozenset[str],
) -> Scene:
    count, n = len(eye.zoom), len(things)
    owners = np.zeros((count, *size), dtype=np.uint8)
    stuff = np.zeros((count, *size), dtype=np.uint8) if behind.stuff is not None else None
    area, whole = np.zeros((count, n), dtype=np.int64), np.zeros((count, n))
    hidden, centre = np.zeros((count, n, n), dtype=np.int64), np.zeros((count, n, 2))
    finish = _Finish(rng, count, size)
    shadow = (
        (rng.uniform(-0.06, 0.06) * min(size), rng.uniform(0.01, 0.07) * min(size)) if rng.random() < 0.35 else None
    )
    shutter = rng.uniform(0.2, 1.0) if rng.random() < 0.4 else 0.0
    frames = []
    for t in range(count):
        view = eye.matrix(t, size, far)
        frame = _warp(behind.image, view, size, Image.Resampling.BILINEAR)
        if stuff is not None and behind.stuff is not None:
            stuff[t] = np.asarray(_warp(behind.stuff, view, size, Image.Resampling.NEAREST))
        for k, thing in enumerate(things):
            matrix = eye.matrix(t, size, thing.nearness)
            to_frame = then(thing.path.matrix(t), matrix)
            centre[t, k] = to_frame[:, 2]
            cutout = thing.cutout(t, matrix, size, shutter)
            whole[t, k] = abs(np.linalg.det(to_frame[:, :2])) * thing.solid
            if cutout is None:
                continue
            if shadow:
                soft = np.asarray(cutout.image.getchannel("A").filter(ImageFilter.BoxBlur(3)))
                where = (cutout.x + int(shadow[0]), cutout.y + int(shadow[1]))
                frame.paste((0, 0, 0), where, Image.fromarray(soft // 3))
            frame.paste(cutout.image, (cutout.x, cutout.y), cutout.image)
            mask = np.asarray(cutout.image)[..., 3] > 127
            below = owners[t, cutout.y : cutout.y + mask.shape[0], cutout.x : cutout.x + mask.shape[1]]
            covered = np.bincount(below[mask], minlength=n + 1)
            area[t, k], hidden[t, k] = covered.sum(), covered[1 : n + 1]
            below[mask] = k + 1
        frames.append(finish(frame, t))
    if stuff is not None:
        stuff[owners > 0] = 0
    return Scene(frames, owners, stuff, things, area, whole, hidden, centre, shown, eye.is_still)


def _warp(image: Image.Image, view: NDArray[np.float64], size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    """The part of a background, centred on the scene's middle, that the camera sees."""
    height, width = size
    if image.size == (width, height):  # of a camera that never moves
        return image.copy()
    back = inverse(view) * min(size)
    back[:, 2] += np.array(image.size) / 2
    return image.transform((width, height), Image.Transform.AFFINE, back.ravel().tolist(), how)


class _Finish:
    """What a real camera adds: changing light, a colour cast, blur, sensor noise and compression."""

    def __init__(self, rng: np.random.Generator, frames: int, size: tuple[int, int]) -> None:
        t = np.arange(frames)
        gain = (
            1 + rng.uniform(-0.2, 0.2) + rng.uniform(0, 0.3) * (rng.random() < 0.3) * np.sin(t * rng.uniform(0.2, 1.2))
        )
        cast = 1 + rng.normal(0, 0.04, 3) * (rng.random() < 0.5)
        gamma = np.exp(rng.normal(0, 0.12))
        levels = 255 * (np.arange(256) / 255) ** gamma
        self.tables = [(g * cast[:, None] * levels).clip(0, 255).astype(int).ravel().tolist() for g in gain]
        self.blur = rng.uniform(0.3, 1.4) * max(1.0, min(size) / 256) if rng.random() < 0.35 else 0.0
        self.quality = int(rng.integers(28, 92)) if rng.random() < 0.5 else None
        self.noise: Image.Image | None = None
        if rng.random() < 0.5:
            grey = (
                (rng.standard_normal(size, dtype=np.float32) * rng.uniform(1, 10) + 128).clip(0, 255).astype(np.uint8)
            )
            apart = 37 if rng.random() < 0.6 else 0  # the same noise elsewhere on every channel, or grey noise
            self.noise = Image.fromarray(np.stack([np.roll(grey, apart * c, (0, 1)) for c in range(3)], axis=-1))
            self.shifts = rng.integers(0, min(size), (frames, 2)).tolist()

    def __call__(self, image: Image.Image, t: int) -> Frame:
        if self.blur:
            image = image.filter(ImageFilter.BoxBlur(self.blur))
        image = image.point(self.tables[t])
        if self.noise is not None:  # one draw for the clip, elsewhere on every frame
            image = ImageChops.add(image, ImageChops.offset(self.noise, *self.shifts[t]), offset=-128)
        if self.quality is not None:
            buffer = BytesIO()
            image.save(buffer, "JPEG", quality=self.quality)
            image = Image.open(buffer)
        return np.array(image)
