"""Answers that need no model: what any model should beat, scored by the same code (`Split.trivial` names them).

Each is a mask for a condition, from what is drawn and from the picture, shown on every frame; ``largest`` knows the
truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from x2sam.data.photos.drawing import bounds
from x2sam.evaluate.answers import VIEWS, Answer, View
from x2sam.masks import RLE, BoolMask
from x2sam.types import Frame, Region, Sample, Segment

DISC = 0.04
"""Area of a disc around a click, as a part of the picture."""
CELLS = {"scale": 300, "sigma": 0.8, "min_size": 200}
"""Of Felzenszwalb's segmentation."""
TEXTS = {"person": "A photo of a person."}
"""Descriptions that do not look."""


@dataclass(frozen=True)
class _Look:
    """A sample, and what several conditions share."""

    sample: Sample

    @cached_property
    def frame(self) -> Frame:
        """The frame that is drawn on."""
        regions = self.sample.prompt.regions
        return self.sample.frames[regions[0].frame if regions else 0]

    @cached_property
    def size(self) -> tuple[int, int]:
        return self.frame.shape[0], self.frame.shape[1]

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """``[H, W]``: the number of the segment that every pixel is in."""
        from skimage.segmentation import felzenszwalb

        return felzenszwalb(self.frame, **CELLS)

    @cached_property
    def largest(self) -> int:
        """The condition that most annotated pixels belong to."""
        areas = [0] * len(self.sample.prompt.conditions)
        for track in self.sample.objects:
            areas[track.condition] += sum(mask.area for mask in track.masks if mask is not None)
        return int(np.argmax(areas))

    def region(self, condition: int) -> Region:
        region = self.sample.prompt.conditions[condition].region
        assert region is not None
        return region

    def middle(self, condition: int) -> tuple[float, float]:
        """The middle ``(x, y)`` of what is drawn."""
        x0, y0, x1, y1 = bounds(self.region(condition).mask)
        return (x0 + x1) / 2, (y0 + y1) / 2


def _ellipse(box: tuple[int, int, int, int], size: tuple[int, int]) -> BoolMask:
    """The ellipse ``[H, W]`` inside a box."""
    x0, y0, x1, y1 = box
    rows, columns = np.ogrid[: size[0], : size[1]]
    across = (columns + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    return across**2 + ((rows + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 <= 1


def _drawn(look: _Look, condition: int) -> BoolMask:
    return look.region(condition).mask


def _box(look: _Look, condition: int) -> BoolMask:
    x0, y0, x1, y1 = bounds(look.region(condition).mask)
    out = np.zeros(look.size, dtype=bool)
    out[y0:y1, x0:x1] = True
    return out


def _inscribed(look: _Look, condition: int) -> BoolMask:
    return _ellipse(bounds(look.region(condition).mask), look.size)


def _disc(look: _Look, condition: int) -> BoolMask:
    (x, y), (height, width) = look.middle(condition), look.size
    rows, columns = np.ogrid[:height, :width]
    return (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= DISC * height * width / np.pi


def _cell(look: _Look, condition: int) -> BoolMask:
    x, y = look.middle(condition)
    return look.cells == look.cells[min(int(y), look.size[0] - 1), min(int(x), look.size[1] - 1)]


def _whole(look: _Look, condition: int) -> BoolMask:
    return np.ones(look.size, dtype=bool)


def _middle(look: _Look, condition: int) -> BoolMask:
    return _ellipse((0, 0, look.size[1], look.size[0]), look.size)


def _largest(look: _Look, condition: int) -> BoolMask | None:
    return _whole(look, condition) if condition == look.largest else None


def _nothing(look: _Look, condition: int) -> None:
    return None


MASKS: dict[str, Callable[[_Look, int], BoolMask | None]] = {
    "drawn": _drawn,
    "box": _box,
    "ellipse": _inscribed,
    "disc": _disc,
    "felzenszwalb": _cell,
    "whole": _whole,
    "middle": _middle,
    "largest": _largest,
    "person": _nothing,
}
"""What is drawn; the filled box around it, or the ellipse inside that; a disc at its middle; the segment that its
middle is in; the whole picture, or the ellipse inside that; the largest condition everywhere; no mask, only words."""
NEEDS = {"felzenszwalb": "skimage"}
"""Packages that must be installed."""


def available(names: Sequence[str]) -> list[str]:
    """Those of the rows that can be made here."""
    return [name for name in names if name not in NEEDS or find_spec(NEEDS[name]) is not None]


def trivial(name: str, sample: Sample, answered: Answer) -> Answer:
    """The row's answer to a sample, in the form of the model's."""
    look, segments = _Look(sample), []
    for c, label in enumerate(answered.labels):
        mask = MASKS[name](look, c)
        if mask is not None:
            thing = answered.things[c]
            segments.append(Segment(RLE.encode(mask), label, 1.0, c + 1, c, 0, thing))
    frames = tuple(tuple(replace(s, frame=t) for s in segments) for t in range(len(sample.frames)))
    view = View(frames, text=TEXTS.get(name, ""))
    return replace(answered, views=dict.fromkeys(VIEWS, view), error="")


class TrivialAnswers:
    """A row's answers to the samples that a model answered.

    Args:
        name: of the row.
        answered: the model's answers.
        truth: the sample of an answer; None where it cannot be read.
    """

    def __init__(
        self, name: str, answered: Callable[[int | None], Iterator[Answer]], truth: Callable[[Answer], Sample | None]
    ) -> None:
        self.name, self.answered, self.truth = name, answered, truth

    def read(self, limit: int | None = None) -> Iterator[Answer]:
        """As `AnswerFiles.read`."""
        for answered in self.answered(limit):
            sample = self.truth(answered)
            if sample is not None:
                yield trivial(self.name, sample, answered)
