"""One frame's logits, ready to be asked for scores and masks; what may be asked for, and what comes out.

Only what is answered is resized, a band of rows at a time, and leaves as run-length code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2sam.errors import InputError
from x2sam.masks import RLE, union
from x2sam.tasks import Task
from x2sam.types import Condition

Size = tuple[int, int]
"""Height, width."""
BAND = 2**19
"""Numbers in the largest resized tensor: 2 MB, which a processor's cache holds (seven times faster than 32 MB)."""
AGREEMENT = 0.7
"""What agreement with a prompt counts for beside the class score: who clicks on something means that."""
PANOPTIC_DUPLICATES = 0.6
"""Where masks may not share pixels, those that overlap this much are one object (0.5 and 0.8 were tried, too)."""
PER_FRAME = 1
"""Followed objects that are decoded on a frame (docs/benchmarks.md says what that costs and saves)."""
Pick = tuple[int, int, float]
"""Query, condition, score."""
Band = tuple[slice, Tensor, Tensor]
"""Rows of the answer, which maps are shown in them ``[n]``, and their values there ``[n, rows, W]``."""
GROUP = 2**27
"""Pixels of the boolean masks that are encoded together: 128 MB, or one mask."""


@dataclass(frozen=True)
class AnswerOptions:
    """How sure, how many and how separate segments must be. Thresholds are probabilities."""

    threshold: float | None = None
    """Least score of a segment (of a pixel's class, in the semantic form); None: the task's default, 0.5, and what the
    model was calibrated to for phrases and single objects."""
    mask_threshold: float = 0.5
    """Least probability of a pixel of a mask."""
    overlap_threshold: float = 0.8
    """Panoptic: the share of its own mask that a segment must keep against surer ones."""
    top_k: int | None = None
    """Most segments of the instance forms; None: as many as there are queries."""
    max_objects: int | None = None
    """Most segments of one condition, the surest; None: all."""
    min_area: int = 0
    """Pixels that a segment covers at least."""
    within: tuple[float, float, float, float] | None = None
    """A box ``x0, y0, x1, y1`` of the medium, in pixels: nothing outside of it is answered."""
    alternatives: int = 1
    """Most answers to one click, surest first: it may mean a part, an object or a group."""
    overlap: Literal["allow", "forbid"] | None = None
    """Whether masks may share pixels; where not, the surer one wins. None: panoptic forbids, the other forms allow."""
    form: Literal["panoptic", "semantic", "instance"] = "panoptic"
    """Generic tasks only."""
    union_threshold: float | None = None
    """Generalised referring: queries at least this sure join the best one of their phrase in one segment."""
    protocol: Literal["public", "released"] = "public"
    presence: float = 0.5
    """The default ``threshold`` of phrases; set from the model's configuration."""
    arrival: float = 0.0
    """The same for a phrase that a clip has not shown yet, where it is higher than ``staying``."""
    staying: float | None = None
    """The same for a phrase in a clip; None: as ``presence``."""
    object_presence: float = 0.5
    """The default ``threshold`` of single objects."""
    grounded: float = 0.5
    """The default ``threshold`` of what regions or examples show."""
    calibration: tuple[tuple[str, float, float], ...] = ()
    """What is calibrated (``expressions/score``), temperature and bias; set from the model's configuration."""
    every: int = 1
    """Video: every so many frames are decoded; on those between them the masks are propagated."""
    per_frame: int | None = PER_FRAME
    """Video, with a model that draws objects one by one: so many of those that were pointed at are decoded on a frame,
    in turn, and the masks of the others are propagated. None: all, whatever it costs."""

    def __post_init__(self) -> None:
        for name in ("threshold", "mask_threshold", "overlap_threshold", "union_threshold"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, (str, bytes)) or not 0 <= value <= 1):  # NaN is not either
                raise InputError(f"Got {name}={value!r}", "a probability between 0 and 1")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"Got top_k={self.top_k}", "1 or more, or None for no limit")
        if self.max_objects is not None and (not isinstance(self.max_objects, int) or self.max_objects < 1):
            raise InputError(f"Got max_objects={self.max_objects!r}", "1 or more, or None for no limit")
        if not isinstance(self.min_area, int) or self.min_area < 0:
            raise InputError(f"Got min_area={self.min_area!r}", "a number of pixels, from 0")
        if self.within is not None:
            box = tuple(map(float, self.within)) if isinstance(self.within, (list, tuple)) else ()
            if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
                raise InputError(f"Got within={self.within!r}", "a box x0, y0, x1, y1 with x0 < x1 and y0 < y1")
            object.__setattr__(self, "within", box)
        if not isinstance(self.alternatives, int) or self.alternatives < 1:
            raise InputError(f"Got alternatives={self.alternatives}", "1 or more")
        if not isinstance(self.every, int) or self.every < 1:
            raise InputError(f"Got every={self.every}", "a whole number", "Pass every=1 to decode every frame")
        if self.per_frame is not None and (not isinstance(self.per_frame, int) or self.per_frame < 1):
            raise InputError(f"Got per_frame={self.per_frame}", "1 or more, or None for no limit")
        choices = {
            "overlap": (None, "allow", "forbid"),
            "form": ("panoptic", "semantic", "instance"),
            "protocol": ("public", "released"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"Got {name}={getattr(self, name)!r}", f"one of {', '.join(map(repr, allowed))}")

    def but(self, **changes: Any) -> AnswerOptions:
        """The same with some of them changed; an unknown one is named in an InputError."""
        for name in changes:
            if name not in self.__dataclass_fields__:
                raise InputError(f"Got the option {name!r}", f"one of: {', '.join(self.__dataclass_fields__)}")
        return replace(self, **changes)


@dataclass(frozen=True)
class Candidate:
    """One segment of one frame that has no identity yet (`tracking.Tracker` gives it one)."""

    query: int | None
    """Row of the decoder's queries that speaks for it; None where all do (semantic)."""
    condition: int
    score: float
    rle: RLE
    """At the original size."""
    low: RLE | None = field(default=None, repr=False)
    """The query's mask at the decoder's own size, for comparison with other frames; None where no query speaks."""
    soft: Tensor | None = field(default=None, repr=False, compare=False)
    """The query's probabilities at the decoder's size ``[h, w]``."""
    alone: bool = False
    """The only segment of its condition by nature: stuff, a semantic class, the answer to a phrase."""


@dataclass(frozen=True)
class Rules:
    """Where the released protocol differs from the public one; the defaults are the public one."""

    threshold: float = 0.5
    arrival: float = 0.0
    """`best`: what a condition that was not seen before must score at least."""
    full: bool = False
    """Mask quality, overlap with what is known and class evidence are measured at the original size."""
    always: bool = False
    """`best` answers however unsure it is, and with an empty mask if need be."""
    duplicates: float = 0.8
    """`instances` and `panoptic`: of two masks of one condition that overlap more than this, the surer one stays."""
    own_pixels: bool = True
    """Panoptic: only queries whose mask holds a pixel compete for it; else all do and none stays void."""
    fuse: bool = True
    """Panoptic: the pieces of a stuff condition are one segment, not several with one id."""
    quality: bool = False
    """`best` weighs class scores with mask quality, as `instances` always does."""
    geometry: float = 0.2
    """`best`: the part of overlap with the object's known masks in choosing its query; the rest is the class score."""
    agreement: float = 0.0
    """`best`: the part of agreement with what is drawn on this frame; 0: as ``geometry``, and only sure queries."""
    follow: bool = False
    """`best`: what was seen before is where its mask was carried to."""
    helpful: float = 0.75
    """Overlap from which a query helps to draw a carried mask."""
    blank_anchor: bool = False
    """A missing prompt mask counts as one that overlaps nothing."""
    combined_score: bool = False
    """`best` reports class score and geometry together."""


def rules_of(task: Task, options: AnswerOptions) -> Rules:
    if options.protocol == "public":
        rules = Rules()
        if task.answer == "best":
            rules = replace(rules, threshold=options.object_presence if task.one_region else options.presence)
            if task.media == "video" and not task.one_region:
                stays = options.presence if options.staying is None else options.staying
                rules = replace(rules, threshold=stays, arrival=options.arrival)
        if task.answer == "instances":
            rules = replace(rules, threshold=options.grounded)
        if task.answer == "generic" and options.form == "panoptic":
            rules = replace(rules, duplicates=PANOPTIC_DUPLICATES)
        if task.one_region:
            rules = replace(rules, agreement=AGREEMENT, follow=task.media == "video")
    else:
        rules = Rules(full=True, always=True, duplicates=1.0, own_pixels=False, fuse=False, geometry=0.0)
        if task.answer == "generic" and options.form == "semantic":
            rules = replace(rules, threshold=0.0)
        if task.one_region and task.media == "image":
            rules = replace(rules, quality=True, geometry=1.0)  # overlap alone, whatever the score
        if task.one_region and task.media == "video":
            rules = replace(rules, geometry=0.2, blank_anchor=True, combined_score=True)
    return rules if options.threshold is None else replace(rules, threshold=options.threshold, arrival=0.0)


@dataclass(frozen=True)
class FrameLogits:
    """One frame's logits, ready to be asked for scores and masks."""

    scores: Tensor  # [Q, C]
    logits: Tensor  # [Q, h, w]
    size: Size
    task: Task
    conditions: Sequence[Condition]
    options: AnswerOptions
    rules: Rules
    input_size: Size | None
    scaled_size: Size | None

    @cached_property
    def cutoff(self) -> float:
        """A pixel belongs to a mask if its logit is above this."""
        return torch.tensor(self.options.mask_threshold, dtype=torch.float64).logit().item()

    def bands(self, maps: Tensor, floor: float | None = None) -> Iterator[Band]:
        """Maps ``[N, h, w]`` at the original size, a band of rows at a time, as `resized_bands` says."""
        if self.input_size:
            maps = F.interpolate(maps[None], self.input_size, mode="bilinear", align_corners=False)[0]
        if self.scaled_size:
            maps = maps[:, : self.scaled_size[0], : self.scaled_size[1]]
        return resized_bands(maps, self.size, floor)

    def groups(self, queries: Sequence[int]) -> Iterator[list[int]]:
        """Queries in groups whose resized masks fit into memory."""
        area = max(size[0] * size[1] for size in (self.size, self.input_size or (1, 1)))
        step = max(1, GROUP // area)
        for start in range(0, len(queries), step):
            yield list(queries[start : start + step])

    def masks(self, queries: Sequence[int]) -> list[RLE]:
        """Masks of queries at the original size."""
        found: list[RLE] = []
        for group in self.groups(queries):
            masks = np.zeros((len(group), *self.size), dtype=bool)
            for rows, shown, logits in self.bands(self.logits[group], self.cutoff):
                masks[shown.numpy(), rows] = (logits > self.cutoff).cpu().numpy()
            found += RLE.encode_many(masks)
        return found

    def low(self, queries: Sequence[int]) -> list[RLE]:
        """Masks of queries at the decoder's size."""
        return RLE.encode_many((self.logits[list(queries)] > self.cutoff).cpu().numpy()) if queries else []

    def quality(self, queries: Sequence[int]) -> Tensor:
        """Mean probability inside the masks of queries ``[N]``; 0 where a mask is empty."""
        sums = []  # of probability and of pixels
        for group in self.groups(queries):
            maps = self.logits[group]
            total = torch.zeros(2, len(group), dtype=torch.float64)
            whole = [(slice(None), torch.arange(len(group)), maps)]
            for _, shown, logits in self.bands(maps, self.cutoff) if self.rules.full else whole:
                inside = logits > self.cutoff
                total[:, shown] += torch.stack([(logits.sigmoid() * inside).sum((1, 2)), inside.sum((1, 2))]).cpu()
            sums.append(total)
        probability, pixels = torch.cat(sums, 1) if sums else torch.zeros(2, 0)
        return (probability / (pixels + 1e-6)).float()

    def disjoint(self, picks: Sequence[Pick], share: float = 0.0, own_pixels: bool = True) -> list[RLE]:
        """Masks that share no pixel: it goes to the pick with the highest score times probability there.

        share: a mask that keeps no more than this part of itself is empty; what it won stays nobody's.
        own_pixels: only picks whose mask holds the pixel compete for it; else all do.
        """
        weights = torch.tensor([float(self.scores[query, condition]) for query, condition, _ in picks])
        labels = np.full(self.size, -1, dtype=np.int16)
        own, won = torch.zeros(2, len(picks), dtype=torch.long)
        maps = self.logits[[query for query, _, _ in picks]]
        for rows, shown, logits in self.bands(maps, self.cutoff if own_pixels else None):
            claims = logits.sigmoid() * weights[shown].to(logits.device)[:, None, None]  # [N, rows, W]
            mine = logits > self.cutoff if own_pixels else claims >= self.options.mask_threshold
            claim, place = (claims * mine if own_pixels else claims).max(0)
            winner = shown[place.cpu()]
            if own_pixels:
                winner[claim.cpu() <= 0] = -1
            own[shown] += mine.sum((1, 2)).cpu()
            won += torch.bincount(winner[winner >= 0], minlength=len(picks))
            labels[rows] = winner.numpy()
        kept = (own > 0) & (won > 0) & ((won / own).double() > share)  # a float32 quotient, as the release has
        nothing = RLE.encode(np.zeros(self.size, dtype=bool))
        return [RLE.encode(labels == i) if kept[i] else nothing for i in range(len(picks))]

    def cut(self, picks: Sequence[Pick], alone: bool, masks: list[RLE] | None = None) -> list[Candidate]:
        """A candidate of each pick, with the masks given or else as the options say: whole, or disjoint."""
        queries = [query for query, _, _ in picks]
        if masks is None:
            masks = self.disjoint(picks) if self.options.overlap == "forbid" else self.masks(queries)
        return [
            Candidate(query, condition, score, mask, low, self.logits[query].sigmoid() if alone else None, alone)
            for (query, condition, score), mask, low in zip(picks, masks, self.low(queries), strict=True)
        ]


def merge(members: list[Candidate], score: float) -> Candidate:
    """One candidate for several: the union of their masks; the surest one's query speaks for it."""
    surest = max(members, key=lambda member: member.score)
    return replace(surest, score=score, rle=union([member.rle for member in members]))


def masks_of(maps: Tensor, size: Size, thresholds: Sequence[float]) -> list[RLE | None]:
    """Soft masks ``[N, h, w]`` at another size, cut at a threshold each; None where nothing is above it.

    Only the box around each mask is resized (bilinearly, half-pixel centres), so that many small ones cost little.
    """
    values = maps.float().cpu().numpy()
    down, across = (_blend(cells, pixels).numpy() for cells, pixels in zip(values.shape[1:], size, strict=True))
    found: list[RLE | None] = []
    for one, threshold in zip(values, thresholds, strict=True):
        above = one > threshold
        rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
        if not len(rows):
            found.append(None)
            continue
        y, r = _span(int(rows[0]), int(rows[-1]), len(one), size[0])
        x, c = _span(int(columns[0]), int(columns[-1]), one.shape[1], size[1])
        patch = down[y, r] @ one[r, c] @ across[x, c].T > threshold
        found.append(RLE.encode_patch(patch, y.start, x.start, *size) if patch.any() else None)
    return found


def _span(first: int, last: int, count: int, pixels: int) -> tuple[slice, slice]:
    """The pixels that the cells from the first to the last may reach, and the cells that these pixels read."""
    begin = max(0, math.floor((first - 0.5) * pixels / count - 0.5))
    end = min(pixels, math.ceil((last + 1.5) * pixels / count - 0.5) + 1)
    return slice(begin, end), slice(max(0, first - 2), min(count, last + 3))


@lru_cache(maxsize=8)
def _blend(cells: int, pixels: int) -> Tensor:
    """The matrix ``[pixels, cells]`` of a bilinear resize."""
    scale = float(np.float32(cells) / np.float32(pixels))  # torch keeps the scale in float32
    position = ((torch.arange(pixels, dtype=torch.float64) + 0.5) * scale - 0.5).clamp(min=0).float()
    above = position.long().clamp(max=cells - 1)
    below = (above + 1).clamp(max=cells - 1)
    weight = position - above
    blend = torch.zeros(pixels, cells)
    return blend.scatter_add_(1, above[:, None], 1 - weight[:, None]).scatter_add_(1, below[:, None], weight[:, None])


def resized_bands(maps: Tensor, size: Size, floor: float | None = None) -> Iterator[Band]:
    """Maps ``[N, h, w]`` resized bilinearly to ``size`` (half-pixel centres), a band of rows at a time.

    The same numbers as one call of ``interpolate`` (up to rounding), in memory that does not grow with ``size``.
    floor: leave out maps that are nowhere above it in a band, and bands where no map is.
    """
    height = maps.shape[1]
    rows, width = size
    blend = _blend(height, rows)
    reads = blend > 0
    above, below = reads.int().argmax(1), height - 1 - reads.flip(1).int().argmax(1)  # first and last cell read
    blend = blend.to(maps.device)
    tall = maps.amax(2).cpu() > floor if floor is not None else torch.ones(maps.shape[:2], dtype=torch.bool)  # [N, h]
    step = max(1, BAND // max(1, int(tall.sum(0).max()) * width)) if len(maps) else rows
    for start in range(0, rows, step):
        band = slice(start, min(start + step, rows))
        first, last = int(above[band][0]), int(below[band][-1]) + 1
        shown = tall[:, first:last].any(1).nonzero().flatten()
        if len(shown):
            strip = maps[None, shown.to(maps.device), first:last]
            strip = F.interpolate(strip, (last - first, width), mode="bilinear", align_corners=False)
            yield band, shown, blend[band, first:last] @ strip[0]
