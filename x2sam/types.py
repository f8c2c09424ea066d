"""The nouns that every part shares: small frozen data classes with no behaviour beyond reading themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from x2sam.masks import RLE, BoolMask

Frame = NDArray[np.uint8]
"""One picture: ``[height, width, 3]``, RGB, 0..255."""

RegionKind = Literal["point", "box", "scribble", "mask"]


@dataclass(frozen=True)
class Region:
    """A visual prompt: the pixels it covers on one frame of the medium, at the medium's own size."""

    rle: RLE = field(repr=False)
    kind: RegionKind = "mask"
    frame: int = 0
    object_id: int | None = None
    name: str | None = None
    negative: RLE | None = field(default=None, repr=False)
    """Pixels that are said not to belong to what is shown."""

    @cached_property
    def mask(self) -> BoolMask:
        """``[H, W]`` bool."""
        return self.rle.decode()


@dataclass(frozen=True)
class Shown:
    """What a thing is like by examples in other media, as one model has read them (`x2sam.tracking.exemplars`)."""

    name: str | None = None
    """What the user calls it."""
    words: str = ""
    """What it is put to the language side as: its name or the nearest one known; empty where regions speak for it."""
    embedding: Any = field(default=None, repr=False)
    """``[tokens, D_llm]``: stands where the region of the same medium would; None where ``words`` do."""
    look: Any = field(default=None, repr=False)
    """``[R]``: what it has beyond the average, to the recognition features; None where there are none."""
    details: Any = field(default=None, repr=False)
    """``[n, D]``: what each example looks like up close (`FrameFeatures.descriptors`)."""
    rivals: Any = field(default=None, repr=False)
    """``[k, R]``: looks of what is not meant."""
    rival_details: Any = field(default=None, repr=False)
    """``[k, D]``: the same up close."""


@dataclass(frozen=True)
class Condition:
    """What the decoder matches its queries against: a phrase, a region of the medium, or examples in other media."""

    text: str | None = None
    region: Region | None = None
    is_thing: bool = True
    """Things have instances; stuff (sky, grass) is one segment however many pieces it has."""
    example: Shown | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Prompt:
    """What is asked of one medium: conditions to segment, or free text (chat; empty for a grounded caption)."""

    conditions: tuple[Condition, ...] = ()
    text: str = ""
    history: tuple[tuple[str, str], ...] = ()
    """Chat only: questions and answers that came before."""

    @property
    def regions(self) -> tuple[Region, ...]:
        return tuple(c.region for c in self.conditions if c.region is not None)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each condition, for people."""
        return tuple(
            c.text or (c.region.name if c.region and c.region.name else f"{'region' if c.region else 'thing'} {i + 1}")
            for i, c in enumerate(self.conditions)
        )


@dataclass(frozen=True)
class Usage:
    """Tokens of one prompt, those that stand for pictures and markers included."""

    read: int = 0
    said: int = 0
    cut: bool = False
    """The answer ended because it was as long as allowed."""


@dataclass(frozen=True)
class ObjectTrack:
    """One annotated object (or stuff region) of a sample: its mask on every frame."""

    object_id: int
    condition: int
    """Index of the condition it belongs to: in the prompt, or, for grounded captions, of the answer's phrases."""
    masks: tuple[RLE | None, ...]
    """One per frame; None where it is not visible."""
    is_crowd: bool = False


@dataclass(frozen=True)
class Sample:
    """One annotated example, neutral to the model: no tokens, no tensors. An image is a clip of one frame."""

    sample_id: str
    task: str
    frames: Sequence[Frame]
    """Any sequence; families hand in lazy ones that read a frame when it is indexed."""
    prompt: Prompt
    objects: tuple[ObjectTrack, ...] = ()
    answer: str | None = None
    """Text to be spoken. Grounded phrases stand between ``<p>`` and ``</p>``; templates add the ``<SEG>``."""
    times: tuple[float, ...] | None = None
    """Seconds of every frame; None where unknown."""
    ignore: tuple[RLE | None, ...] | None = None
    """Pixels of every frame that nobody labelled (void)."""


@dataclass(frozen=True)
class Segment:
    """One mask of a result."""

    rle: RLE = field(repr=False)
    label: str
    score: float
    object_id: int
    """Stays the same through a clip; unique within a frame."""
    condition: int = 0
    frame: int = 0
    is_thing: bool = True

    @cached_property
    def mask(self) -> BoolMask:
        """``[H, W]`` bool, at the medium's own size."""
        return self.rle.decode()

    @property
    def area(self) -> int:
        """Pixels."""
        return self.rle.area

    @property
    def box(self) -> tuple[float, float, float, float]:
        """``(x0, y0, x1, y1)`` in pixels."""
        return self.rle.box


class Arrays:
    """What segments are, as arrays with a row for each; `FrameResult` and `Result` have them."""

    segments: Any
    """Of `Segment`."""

    @property
    def masks(self) -> BoolMask:
        """``[N, H, W]`` bool; unpacked anew each time."""
        height, width = self._size
        return (
            np.stack([s.rle.decode() for s in self.segments]) if self.segments else np.zeros((0, height, width), bool)
        )

    @property
    def boxes(self) -> NDArray[np.float32]:
        """``[N, 4]``: x0, y0, x1, y1 in pixels."""
        return np.array([s.box for s in self.segments], np.float32).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float32]:
        """``[N]``, 0 to 1."""
        return np.array([s.score for s in self.segments], np.float32)

    @property
    def labels(self) -> list[str]:
        """``N`` names."""
        return [s.label for s in self.segments]

    @property
    def ids(self) -> NDArray[np.int64]:
        """``[N]``: object ids."""
        return np.array([s.object_id for s in self.segments], np.int64)

    @property
    def _size(self) -> tuple[int, int]:
        raise NotImplementedError

    def _told(self) -> str:
        """The first few segments, for a line."""
        shown = [f"{s.label} {s.score:.2f}" for s in self.segments[:TOLD]]
        return ", ".join([*shown, f"and {len(self.segments) - TOLD} more"] if len(self.segments) > TOLD else shown)


TOLD = 5
"""Segments that a line about a result names at most."""


@dataclass(frozen=True, repr=False)
class FrameResult(Arrays):
    """The masks of one frame. No segments means: nothing of what was asked for is there."""

    index: int
    time: float | None
    """Seconds from the start; None for a picture or where the source does not say."""
    height: int
    width: int
    segments: tuple[Segment, ...] = ()
    presence: Mapping[int, float] = field(default_factory=dict, compare=False)
    """By condition, how sure it is that it is there (0 to 1), whether or not a segment was given. Masks are what is
    compared: formats that hold masks alone do not hold it."""

    @property
    def _size(self) -> tuple[int, int]:
        return self.height, self.width

    def __repr__(self) -> str:
        return f"<frame {self.index}, {self.width}x{self.height}: {self._told() or 'nothing found'}>"
