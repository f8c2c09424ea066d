"""Put a scene together: who is in it, how all move, what is seen of everyone on every frame, and how it was filmed."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from x2sam.data.scenes.appearance import COLOURS, TEXTURES, Appearance, Sprite, cutout, sprite
from x2sam.data.scenes.backgrounds import MARGIN, STILL_MARGIN, Backdrop, backdrop
from x2sam.data.scenes.catalog import BLOB, STUFF
from x2sam.data.scenes.motion import Camera, Track, camera, mesh, track
from x2sam.data.scenes.photos import CUTOUTS
from x2sam.data.scenes.shapes import Category, individual
from x2sam.masks import RLE
from x2sam.types import Frame

SLIVER = 12
"""Fewer visible pixels than this count as none."""


@dataclass(frozen=True)
class Recipe:
    """What kind of scene is wanted."""

    frames: int = 1
    stuff: float = 0.5
    """Probability of named grounds."""
    unnamed: float = 0.15
    """Share of individuals that wear a piece of a photo, so that their colour has no name."""
    twins: float = 0.4
    """Share of individuals that repeat a category already there."""
    cutouts: float = 0.04
    """Share of individuals that are cut out of a photo."""
    blobs: float = 0.05
    """Share of shapeless individuals."""


@dataclass(frozen=True)
class Entity:
    """One thing or ground of a scene, with what can be said of it. Shares are of the frame's sides or area."""

    object_id: int
    category: Category
    look: Appearance
    masks: tuple[RLE | None, ...]
    area: NDArray[np.float64]
    """``[T]``: visible share of the frame."""
    centre: NDArray[np.float64]
    """``[T, 2]``: middle of what is visible; NaN where nothing is."""
    depth: int
    """Higher is nearer."""
    way: Track | None
    whole: NDArray[np.float64]
    """``[T]``: the area that it would have with nothing in front."""

    @property
    def visible(self) -> NDArray[np.bool_]:
        """``[T]``."""
        return np.array([m is not None for m in self.masks])


@dataclass(frozen=True)
class Scene:
    """A finished scene. ``entities`` are those visible on some frame."""

    frames: tuple[Frame, ...]
    entities: tuple[Entity, ...]
    camera_still: bool
    shows: tuple[str, ...]
    """Categories that the backdrop may show without a label: not to be asked for, nor denied."""

    @property
    def things(self) -> tuple[Entity, ...]:
        return tuple(e for e in self.entities if e.category.is_thing)


@dataclass(frozen=True)
class _Actor:
    category: Category
    look: Appearance
    sprite: Sprite
    way: Track


def stage(recipe: Recipe, size: tuple[int, int], kinds: Kinds, rng: np.random.Generator) -> Scene:
    """A random scene of ``size`` (height, width) with individuals drawn from ``kinds``."""
    margin = MARGIN if recipe.frames > 1 else STILL_MARGIN
    behind = backdrop(size, rng, recipe.stuff, margin)
    view = camera(recipe.frames, rng)
    actors = _cast(recipe, size, kinds, behind, rng)
    shutter = float(rng.choice([0, 0.25, 0.6], p=[0.5, 0.3, 0.2])) if recipe.frames > 1 else 0.0
    frames, ids, whole = _film(actors, behind, view, recipe.frames, size, shutter)
    return Scene(tuple(_develop(frames, rng)), _entities(actors, behind, ids, whole), view.is_still, behind.shows)


PHOTOGRAPHED = Appearance(None, None)


class Kinds:
    """The categories and surfaces that may be drawn, weighed alike."""

    def __init__(self, categories: list[Category], allowed: set[tuple[str, str]] | None = None) -> None:
        self.categories = categories
        self.allowed = allowed

    def allows(self, category: Category, attribute: str) -> bool:
        """Whether individuals of ``category`` may have this colour or texture."""
        return self.allowed is None or (category.name, attribute) in self.allowed

    def draw(self, recipe: Recipe, category: Category, rng: np.random.Generator) -> Appearance:
        """A surface for one individual of ``category``."""
        if rng.random() < recipe.unnamed:
            return Appearance(None, None)
        colours = [c for c in COLOURS if self.allows(category, c)]
        textures = [t for t in TEXTURES if self.allows(category, t)]
        texture = None if rng.random() < 0.25 else "plain" if rng.random() < 0.3 else str(rng.choice(textures))
        return Appearance(str(rng.choice(colours)), texture)


def _cast(
    recipe: Recipe, size: tuple[int, int], kinds: Kinds, behind: Backdrop, rng: np.random.Generator
) -> list[_Actor]:
    """Individuals from the farthest to the nearest."""
    count = 2 + min(8, int(rng.gamma(2.2, 1.4)))
    choice = [c for c in kinds.categories if c.parts and c.name not in behind.shows]
    real = [c for c in choice if c.name in CUTOUTS]
    liveliness = float(rng.choice([0.0, 0.5, 1.0], p=[0.05, 0.35, 0.6]))
    base = rng.uniform(0.16, 0.5)
    actors: list[_Actor] = []
    for _ in range(count):
        category = choice[rng.integers(len(choice))]
        look: Appearance | None = None
        if actors and rng.random() < recipe.twins:
            twin = actors[rng.integers(len(actors))]
            category, look = twin.category, twin.look if rng.random() < 0.3 else None
        elif real and rng.random() < recipe.cutouts:
            category, look = real[rng.integers(len(real))], PHOTOGRAPHED
        elif rng.random() < recipe.blobs:
            category = BLOB
        look = look or kinds.draw(recipe, category, rng)
        length = float(np.clip(base * np.exp(rng.normal(0, 0.45)), 0.08, 0.85))
        start = rng.uniform(-0.5, 0.5, 2) * np.array(size[::-1]) / min(size) * 0.92
        way = track(recipe.frames, start, length, rng, liveliness)
        side = int(np.clip(float(way.scale.max()) * min(size) * 1.1, 24, 160))
        shot = look is PHOTOGRAPHED
        drawn = (
            cutout(category.name, side, rng)
            if shot
            else sprite(individual(category, rng), look, side, rng, behind.image)
        )
        actors.append(_Actor(category, look, drawn, way))
    return actors


def _film(
    actors: list[_Actor], behind: Backdrop, view: Camera, count: int, size: tuple[int, int], shutter: float
) -> tuple[list[Image.Image], list[NDArray[np.uint8]], NDArray[np.float64]]:
    """Pictures, maps of ids (grounds first, then actors; 0 is neither), and each actor's uncovered share ``[A, T]``.

    ``shutter`` is the part of the time between frames for which it is open: who moves is smeared.
    """
    frames, ids = [], []
    whole = np.zeros((len(actors), count))
    first = 1 + len(behind.names)
    for t in range(count):
        if t == 0 or not view.rests(t):
            ground, labels = behind.view(view, t, size)
        picture = ground.copy()
        owner = Image.new("L", size[::-1]) if labels is None else Image.fromarray(labels)
        for i, actor in enumerate(actors):
            placed = mesh(actor.way, view, t, actor.sprite.pixels.size[0], size)
            if placed is None:
                continue
            box, cells = placed
            extent = (box[2] - box[0], box[3] - box[1])
            pixels = actor.sprite.pixels.transform(extent, Image.Transform.MESH, cells, Image.Resampling.BILINEAR)
            if shutter and (smear := actor.way.step(t) * (shutter * min(size) / 2)).max() > 0.7:
                pixels = pixels.filter(ImageFilter.BoxBlur(smear.tolist()))
            alpha = pixels.getchannel("X")
            picture.paste(pixels.convert("RGB"), box[:2], alpha)
            solid = alpha.point(_SOLID)
            owner.paste(first + i, box, solid)
            whole[i, t] = solid.histogram()[255] / (size[0] * size[1])
        frames.append(picture)
        ids.append(np.asarray(owner))
    return frames, ids, whole


_SOLID = [0] * 128 + [255] * 128


def _entities(
    actors: list[_Actor], behind: Backdrop, ids: list[NDArray[np.uint8]], whole: NDArray[np.float64]
) -> tuple[Entity, ...]:
    cast = [(STUFF[name], Appearance(None, None), None) for name in behind.names]
    everyone: list[tuple[Category, Appearance, Track | None]] = [*cast, *((a.category, a.look, a.way) for a in actors)]
    total, frames = len(everyone), len(ids)
    masks: list[list[RLE | None]] = [[None] * frames for _ in everyone]
    area, centre = np.zeros((total, frames)), np.full((total, frames, 2), np.nan)
    for t, owner in enumerate(ids):
        h, w = owner.shape
        counts = np.bincount(owner.ravel(), minlength=total + 1)[1:]
        seen = np.flatnonzero(counts >= SLIVER)
        sideways = np.ascontiguousarray(owner.T)  # the coder walks down columns
        stack = (sideways[None] == (seen + 1).astype(np.uint8)[:, None, None]).transpose(0, 2, 1)
        area[seen, t] = counts[seen] / (h * w)
        xs, ys = stack.sum(axis=1) @ (np.arange(w) + 0.5) / w, stack.sum(axis=2) @ (np.arange(h) + 0.5) / h
        centre[seen, t] = np.stack([xs, ys], axis=1) / counts[seen, None]
        for index, rle in zip(seen, RLE.encode_many(stack) if len(seen) else [], strict=True):
            masks[index][t] = rle
    first = len(cast)
    return tuple(
        Entity(
            i + 1, category, look, tuple(masks[i]), area[i], centre[i], i, way,
            whole[i - first] if i >= first else area[i],
        )
        for i, (category, look, way) in enumerate(everyone)
        if any(m is not None for m in masks[i])
    )  # fmt: skip


def _develop(frames: list[Image.Image], rng: np.random.Generator) -> list[Frame]:
    """Light that changes, a lens that blurs, grain, and lossy storage."""
    count = len(frames)
    light = rng.normal(1, 0.12) + rng.normal(0, 0.08) * np.linspace(-1, 1, count)
    tint = 1 + rng.normal(0, 0.04, 3)
    lift = rng.uniform(-12, 12)
    blur = rng.uniform(0.4, 1.3) if rng.random() < 0.25 else 0.0
    grain = rng.uniform(2, 10) if rng.random() < 0.3 else 0.0
    quality = int(rng.integers(25, 90)) if rng.random() < 0.35 else 0
    out = []
    for t, picture in enumerate(frames):
        if blur:
            picture = picture.filter(ImageFilter.GaussianBlur(blur))
        table = np.clip(np.arange(256)[None] * (light[t] * tint)[:, None] + lift, 0, 255).astype(np.uint8)
        picture = picture.point(table.ravel().tolist())
        if grain:
            values = np.asarray(picture).astype(np.int16) + _grain(picture.size, grain, rng)
            picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
        if quality:
            store = io.BytesIO()
            picture.save(store, "JPEG", quality=quality)
            picture = Image.open(store).convert("RGB")
        out.append(np.array(picture))
    return out


def _grain(size: tuple[int, int], strength: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Noise ``[H, W, 1]``: the mean of four bytes of randomness is normal enough."""
    raw = np.frombuffer(rng.bytes(size[0] * size[1] * 2), dtype=np.int8).reshape(2, size[1], size[0])
    noise = (raw[0].astype(np.int16) + raw[1]) * (strength / 105)
    return noise.astype(np.int16)[..., None]
