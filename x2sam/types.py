"""The nouns that every part shares: small frozen data classes with no behaviour beyond reading themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from x2sam.masks import RLE, BoolMask

Frame = NDArray[np.uint8]
"""One picture: ``[height, width, 3]``, RGB, 0..255."""

RegionKind = Literal["point", "box", "scribble", "mask"]


@dataclass(frozen=True)
class Region:
    """A visual prompt: the pixels it covers on one frame of the medium, at the medium's own size."""

    rle: RLE
    kind: RegionKind = "mask"
    frame: int = 0
    object_id: int | None = None
    name: str | None = None
    negative: RLE | None = None
    """Pixels that are said not to belong to what is shown."""

    @cached_property
    def mask(self) -> BoolMask:
        """``[H, W]`` bool."""
        return self.rle.decode()


@dataclass(frozen=True)
class Condition:
    """What the decoder matches its queries against: a phrase (category, expression, question) or a region."""

    text: str | None = None
    region: Region | None = None
    is_thing: bool = True
    """Things have instances; stuff (sky, grass) is one segment however many pieces it has."""


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
            c.text or (c.region.name if c.region and c.region.name else f"region {i + 1}")
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

    rle: RLE
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


@dataclass(frozen=True)
class FrameResult:
    """The masks of one frame. No segments means: nothing of what was asked for is there."""

    index: int
    time: float | None
    """Seconds from the start; None for a picture or where the source does not say."""
    height: int
    width: int
    segments: tuple[Segment, ...] = ()
