"""One thing of a scene: its outline, its surfaces and its path, and how it is drawn on a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from x2sam.data.world.appearance import Surface, relief
from x2sam.data.world.motion import CLIP, Affine, Path, inverse, then
from x2sam.data.world.shapes import HOLE, Part, posed

MARGIN = 0.07
"""Room around a sprite, in half sizes."""
OVERSIZE = 1.15
"""A sprite has this many pixels for each pixel on the frame, so that warping smooths its edges."""
BASE_CODE = 1
MESH = 3
"""Cells along each side of the grid by which outlines bend."""


@dataclass(frozen=True)
class Cutout:
    """A thing as it is pasted on a frame."""

    image: Image.Image
    """RGBA."""
    x: int
    y: int


@dataclass
class Thing:
    """A thing; ``category``, ``colour`` and ``texture`` are None where no word fits."""

    category: str | None
    colour: str | None
    texture: str | None
    parts: tuple[Part, ...]
    path: Path
    nearness: float
    """How much of the camera's motion it shows."""
    surfaces: list[Surface] = field(default_factory=list)
    """Base, dark and light, each larger than the sprite where the surface slides."""
    light: tuple[float, float] = (0.0, 0.0)
    gloss: float = 0.0
    """Strength of the relief."""

    def __post_init__(self) -> None:
        solid = [p for p in self.parts if p.material != HOLE]
        poses = [p.points for p in solid if not p.swing]
        poses += [posed(p, pose) for p in solid if p.swing for pose in (0.0, 0.25, 0.5, 0.75)]
        points = np.concatenate(poses)
        self.low, self.high = points.min(axis=0) - MARGIN, points.max(axis=0) + MARGIN
        self.swings = any(p.swing for p in self.parts)
        self.solid = float((np.asarray(self._index(0.0, (48, 48))) > 0).mean() * np.prod(self.high - self.low))
        """Its area, in units of the unit box's coordinates."""
        self._planes: dict[int, Image.Image] = {}
        self._still: Image.Image | None = None

    def canvas(self, side: float) -> tuple[int, int]:
        """Width and height of its sprite in pixels on a frame whose shorter side is ``side``."""
        unit = OVERSIZE * float(np.clip(self.path.scale.max(), 0.03, 0.45)) * side
        width, height = np.maximum(8, (self.high - self.low) * unit).astype(int).tolist()
        return width, height

    def sprite(self, t: int, size: tuple[int, int]) -> Image.Image:
        """The thing upright, by itself: RGBA of this (width, height)."""
        slides = bool(self.path.drift.any())
        if self._still is not None and not (self.swings or slides):
            return self._still
        index = np.asarray(self._index(float(self.path.pose[t]), size))
        if not self._planes:
            self._planes = self._lit(index > 0)
        room = np.array(self._planes[BASE_CODE].size) - size
        x, y = ((0.5 + 0.5 * np.tanh(self.path.drift * t / CLIP * 2)) * room).astype(int).tolist()
        window = (x, y, x + size[0], y + size[1])
        image = self._planes[BASE_CODE].crop(window)
        for code, plane in self._planes.items():
            if code != BASE_CODE:
                image.paste(plane.crop(window) if slides else plane, mask=Image.fromarray(index == code))
        image.putalpha(Image.fromarray((index > 0) * np.uint8(255)))
        self._still = image
        return image

    def _lit(self, mask: NDArray[np.bool_]) -> dict[int, Image.Image]:
        """The surfaces that are needed, by code, in the light or in the shade of the far side."""
        planes = {}
        light = relief(mask, self.light, self.gloss)[..., None] if self.gloss and not self.path.drift.any() else None
        for code in sorted({BASE_CODE, *map(_code, self.parts)} - {0}):
            pixels = self.surfaces[(code - 1) // 2]
            if light is not None:
                pixels = np.minimum(pixels * light, 255).astype(np.uint8)
            if code % 2 == 0:
                pixels = (pixels * np.float32(0.7)).astype(np.uint8)
            planes[code] = Image.fromarray(np.ascontiguousarray(pixels))
        return planes

    def _index(self, pose: float, size: tuple[int, int]) -> Image.Image:
        """What is painted where, by `_code`."""
        image = Image.new("L", size, 0)
        draw = ImageDraw.Draw(image)
        scale = size / (self.high - self.low)
        for part in self.parts:
            corners = (posed(part, pose) - self.low) * scale
            draw.polygon(corners.ravel().tolist(), fill=_code(part))
        return image

    def cutout(self, t: int, camera: Affine, size: tuple[int, int], blur: float) -> Cutout | None:
        """The thing on frame ``t`` of this (height, width), or None if it is outside.

        ``blur`` is the share of the time between frames during which the shutter is open.
        """
        affine = then(self.path.matrix(t), camera)  # the thing's unit box to pixels
        bounds = np.array([[x, y] for x in (self.low[0], self.high[0]) for y in (self.low[1], self.high[1])])
        corners = bounds @ affine[:, :2].T + affine[:, 2]
        x0, y0 = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int).tolist()
        x1, y1 = np.minimum(np.ceil(corners.max(axis=0)), [size[1], size[0]]).astype(int).tolist()
        if x0 >= x1 or y0 >= y1:
            return None
        canvas = self.canvas(min(size))
        sprite = self.sprite(t, canvas)
        scale = np.array(canvas) / (self.high - self.low)
        # Pixels of the cutout to pixels of the sprite.
        back = then(then(np.array([[1.0, 0, x0], [0, 1, y0]]), inverse(affine)), np.diag(scale) @ _offset(-self.low))
        where = (x1 - x0, y1 - y0)
        if self.path.wobble:
            image = sprite.transform(
                where, Image.Transform.MESH, self._mesh(t, where, back, canvas), Image.Resampling.BILINEAR
            )
        else:
            image = sprite.transform(where, Image.Transform.AFFINE, back.ravel().tolist(), Image.Resampling.BILINEAR)
        smear = np.minimum(np.abs(self._velocity(t, camera)) * blur / 2, 6)
        if smear.max() > 0.7:
            image = image.filter(ImageFilter.BoxBlur((float(smear[0]), float(smear[1]))))
        return Cutout(image, x0, y0)

    def _velocity(self, t: int, camera: Affine) -> NDArray[np.float64]:
        """Pixels per frame."""
        other = t + 1 if t + 1 < len(self.path.centre) else t - 1
        step = self.path.centre[other] - self.path.centre[t] if other >= 0 else np.zeros(2)
        return camera[:, :2] @ step

    def _mesh(
        self, t: int, where: tuple[int, int], back: Affine, canvas: tuple[int, int]
    ) -> list[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
        """The bending as PIL wants it: target rectangles and the source corners of each."""
        xs, ys = (np.linspace(0, n, MESH + 1).astype(int) for n in where)
        grid = np.stack(np.meshgrid(xs, ys), axis=-1)  # [MESH+1, MESH+1, 2]
        source = grid @ back[:, :2].T + back[:, 2]
        unit = max(canvas) / 2
        waves = source / unit @ self.path.wave.T * 2 + 3 * self.path.pose[t] * np.array([1.7, 2.3])
        source = source + self.path.wobble * unit * np.sin(waves)
        cells = []
        for row, column in np.ndindex(MESH, MESH):
            box = (int(xs[column]), int(ys[row]), int(xs[column + 1]), int(ys[row + 1]))
            if box[0] < box[2] and box[1] < box[3]:
                quad = [
                    source[row, column],
                    source[row + 1, column],
                    source[row + 1, column + 1],
                    source[row, column + 1],
                ]
                cells.append((box, tuple(np.concatenate(quad).tolist())))
        return cells


def _code(part: Part) -> int:
    """0 for a hole, else 1 + 2 * material + (1 on the far side)."""
    return 0 if part.material == HOLE else 1 + 2 * part.material + (part.shade < 1)


def _offset(by: NDArray[np.float64]) -> Affine:
    return np.array([[1.0, 0.0, by[0]], [0.0, 1.0, by[1]]])
