"""Identity across frames: which segment of this frame is which object of the frames before.

An object is known by where its mask should be now (its last mask, moved on at its speed), by its appearance (a running
mean of its queries' embeddings, worth as much as it has been constant) and by its condition. What is kept of the past
is small and bounded: run-length codes and one vector an object, until it has been away for too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from x2sam.decoding.candidates import Candidate
from x2sam.errors import InputError
from x2sam.masks import RLE, BoolMask, iou_matrix, union
from x2sam.tracking.objects import Claim, ObjectManager

Vector = NDArray[np.floating]
Identity = Literal["x2sam", "released"]
"""Names of `ASSOCIATIONS`."""

PLACE, LIKENESS = 0.2, 0.6
"""Agreement in place and cosine that say neither yes nor no; more speaks for the same object, less against."""
TRUST, FADING, APPEARANCE = 0.7, 0.8, 0.3
"""What place counts for when the object was seen on the last frame; left of it a frame later; what likeness does."""
REACH = 12
"""Frames after which the place where an object was last seen says nothing any more."""
MOMENTUM = 0.8
"""Part of the past in a running mean."""
STEADY, CLASS = 3, 0.4
"""Sightings after which an object may be taken for another class for a moment, and what speaks against that."""
RELEASED_OVERLAP = 0.5


@dataclass
class TrackedObject:
    """What is remembered of one object."""

    condition: int
    mask: RLE
    centre: Vector
    appearance: Vector | None
    velocity: Vector = field(default_factory=lambda: np.zeros(2))
    """Rows and columns a frame."""
    age: int = 0
    """Frames since it was last seen."""
    sightings: int = 1
    """How often it was seen in a row, more or less; at the first its velocity is not known."""
    constancy: float = 1.0
    """Running mean of the likeness to itself: how much its appearance is worth."""
    votes: dict[int, float] = field(default_factory=dict)
    """How often, lately, it was taken for which condition."""

    def place(self) -> RLE:
        """Its mask as it should be now."""
        return _moved(self.mask, np.rint(self.velocity * self.age).astype(int))

    def nearness(self, centres: Vector) -> Vector:
        """How near things are to where its centre should be, 0 to 1; measured in its own size."""
        distance = np.linalg.norm(centres - (self.centre + self.velocity * self.age), axis=1)
        size = np.sqrt(max(1, self.mask.area)) * (2 if self.sightings == 1 else 1)
        return np.exp(-((distance / size) ** 2))

    def against(self, condition: int) -> float:
        """What speaks against it where it is taken for this condition."""
        if condition == self.condition:
            return 0.0
        doubt = 1 - self.votes.get(condition, 0.0) / sum(self.votes.values())
        return CLASS * doubt if self.sightings >= STEADY else np.inf

    def meet(self, condition: int, mask: RLE, appearance: Vector | None) -> None:
        """It was seen again."""
        centre, away = _centre(mask), max(1, self.age)
        step = (centre - self.centre) / away
        if away > REACH:
            self.velocity, self.sightings = np.zeros(2), 0
        else:
            self.velocity = step if self.sightings == 1 else (self.velocity + step) / 2
        self.mask, self.centre, self.age = mask, centre, 0
        self.sightings += 1
        if appearance is not None and self.appearance is not None:
            likeness = max(0.0, float(self.appearance @ appearance))
            self.constancy = MOMENTUM * self.constancy + (1 - MOMENTUM) * likeness
            appearance = _unit(MOMENTUM * self.appearance + (1 - MOMENTUM) * appearance)
        self.appearance = self.appearance if appearance is None else appearance
        self.vote(condition)

    def vote(self, condition: int) -> None:
        """It was taken for this condition; what it was taken for most of late is what it is."""
        self.votes = {c: MOMENTUM * v for c, v in self.votes.items() if v > 0.01}
        self.votes[condition] = self.votes.get(condition, 0.0) + 1
        self.condition = max(self.votes, key=lambda c: self.votes[c])


class Association(Protocol):
    """Says which candidate of a frame is which object; one for each prompt."""

    objects: ObjectManager

    def step(self, candidates: Sequence[Candidate], queries: Tensor | None = None, elapsed: int = 1) -> list[int]:
        """The object id of each candidate of the next frame.

        queries: the decoder's query embeddings of this frame ``[Q, D]``; without them only masks tell objects apart.
        elapsed: frames since the last one, if some were missing.
        """

    def condition_of(self, object_id: int) -> int | None:
        """The condition of an object that is remembered."""

    def fork(self) -> Association:
        """Another that goes on from here, perhaps in the other direction of time; ids come from the same source."""


class _Prompted:
    """What associations share: ids come from the track's manager, by the number of their prompt."""

    def __init__(self, objects: ObjectManager | None = None, prompt: int = 0) -> None:
        self.objects = ObjectManager() if objects is None else objects
        self.prompt = prompt
        if prompt not in self.objects.claims:
            self.objects.claims[prompt] = Claim(())

    def fork(self) -> Self:
        """See `Association.fork`."""
        return deepcopy(self, {id(self.objects): self.objects})


class Hungarian(_Prompted):
    """Assigns objects and candidates as a whole, by overlap and nearness after motion, likeness of query embeddings
    and agreement of conditions; knows an object again that was away, or that is taken for something else for a moment.

    patience: frames for which an object that is away is remembered. capacity: most objects remembered.
    """

    def __init__(
        self, objects: ObjectManager | None = None, prompt: int = 0, *, patience: int = 100, capacity: int = 256
    ) -> None:
        super().__init__(objects, prompt)
        if patience < 0 or capacity < 1:
            raise InputError(f"Got patience={patience}, capacity={capacity}", "at least 0 and 1")
        self.patience, self.capacity = patience, capacity
        self.tracked: dict[int, TrackedObject] = {}

    def step(self, candidates: Sequence[Candidate], queries: Tensor | None = None, elapsed: int = 1) -> list[int]:
        """See `Association.step`."""
        crowd = [i for i, candidate in enumerate(candidates) if not candidate.alone]
        vectors = _appearances([candidates[i] for i in crowd], queries)
        for tracked in self.tracked.values():
            tracked.age += elapsed
        ids = {
            i: self.objects.single(self.prompt, candidate.condition)
            for i, candidate in enumerate(candidates)
            if candidate.alone
        }
        masks = [_small(candidates[i]) for i in crowd]
        known = self._assign([candidates[i].condition for i in crowd], masks, vectors)
        for place, (i, mask) in enumerate(zip(crowd, masks, strict=True)):
            condition = candidates[i].condition
            ids[i] = known[place] if place in known else self.objects.new()
            if place in known:
                self.tracked[ids[i]].meet(condition, mask, vectors[place])
            else:
                votes = {condition: 1.0}
                self.tracked[ids[i]] = TrackedObject(condition, mask, _centre(mask), vectors[place], votes=votes)
        self._forget()
        return [ids[i] for i in range(len(candidates))]

    def condition_of(self, object_id: int) -> int | None:
        """See `Association.condition_of`."""
        if object_id in self.tracked:
            return self.tracked[object_id].condition
        return self.objects.condition_of(self.prompt, object_id)

    def _assign(self, conditions: list[int], masks: list[RLE], vectors: list[Vector | None]) -> dict[int, int]:
        """Place in ``masks`` -> id, for the objects that are seen again: all pairs are weighed together."""
        known, tracks = list(self.tracked), list(self.tracked.values())
        if not tracks or not masks:
            return {}
        near = np.zeros((len(masks), len(tracks)))
        within = [j for j, track in enumerate(tracks) if track.age <= REACH]
        if within:
            centres = np.array([_centre(mask) for mask in masks])
            near[:, within] = iou_matrix(masks, [tracks[j].place() for j in within]) / 2
            near[:, within] += np.stack([tracks[j].nearness(centres) for j in within], 1) / 2
        likeness = np.array(
            [[_cosine(vector, track.appearance) for track in tracks] for vector in vectors]
        )  # NaN: unknown
        trust = np.array([TRUST * FADING ** (t.age - 1) if t.age <= REACH else 0.0 for t in tracks])
        trust = np.where(np.isnan(likeness), 1.0, trust)
        worth = np.array([track.constancy for track in tracks])
        evidence = trust * (near - PLACE)
        evidence += APPEARANCE * worth * np.where(np.isnan(likeness), 0.0, likeness - LIKENESS * worth)
        evidence -= np.array([[track.against(condition) for track in tracks] for condition in conditions])
        from scipy.optimize import linear_sum_assignment  # slow to import, and one picture needs none

        pairs = zip(*linear_sum_assignment(evidence.clip(min=0), maximize=True), strict=True)
        return {int(i): known[j] for i, j in pairs if evidence[i, j] > 0}

    def _forget(self) -> None:
        """Objects that are away for too long, and those seen longest ago where there are too many."""
        recent = sorted(self.tracked.items(), key=lambda item: item[1].age)[: self.capacity]
        self.tracked = {number: tracked for number, tracked in recent if tracked.age <= self.patience}


class FrameToFrame(_Prompted):
    """Links things to the one frame before, greedily, by overlap alone, as the released model does.

    It may give two segments one id.
    """

    def __init__(self, objects: ObjectManager | None = None, prompt: int = 0) -> None:
        super().__init__(objects, prompt)
        self.previous: dict[int, tuple[RLE, int]] = {}

    def condition_of(self, object_id: int) -> int | None:
        """See `Association.condition_of`."""
        return self.previous[object_id][1] if object_id in self.previous else None

    def step(self, candidates: Sequence[Candidate], queries: Tensor | None = None, elapsed: int = 1) -> list[int]:
        """Number the segments; then each thing, in order, takes the id of the unused one that it overlaps most."""
        if not candidates:
            return []  # the release does not ask its tracker then: the frame before stays the previous one
        numbers: list[int] = []
        stuff: dict[int, int] = {}
        for candidate in candidates:
            number = numbers[-1] + 1 if numbers else 1
            if candidate.alone:
                number = stuff.setdefault(candidate.condition, number)
            numbers.append(number)
        renamed: dict[int, int] = {}
        last = dict(zip(numbers, candidates, strict=True))
        for number, candidate in last.items():
            rivals = {
                old: mask
                for old, (mask, condition) in self.previous.items()
                if condition == candidate.condition and old not in renamed.values()
            }
            if candidate.alone or not rivals:
                continue
            overlap = iou_matrix([_joined(candidates, numbers, number)], list(rivals.values()))[0]
            if overlap.max() > RELEASED_OVERLAP:
                renamed[number] = list(rivals)[int(overlap.argmax())]
        ids = [renamed.get(number, number) for number in numbers]
        things = {number: c for number, c in zip(ids, candidates, strict=True) if not c.alone}
        self.previous = {number: (_joined(candidates, ids, number), c.condition) for number, c in things.items()}
        return ids


ASSOCIATIONS = {"x2sam": Hungarian, "released": FrameToFrame}
"""By the name of `identity`."""


def associate(identity: Identity, objects: ObjectManager, prompt: int) -> Association:
    """The association of that name for one prompt."""
    if identity not in ASSOCIATIONS:
        raise InputError(f"Got identity={identity!r}", "'x2sam' or 'released'")
    return ASSOCIATIONS[identity](objects, prompt)


def _appearances(candidates: Sequence[Candidate], queries: Tensor | None) -> list[Vector | None]:
    """Unit embeddings of the candidates' queries, without what all queries of the frame have in common."""
    if queries is None:
        return [None] * len(candidates)
    embeddings = queries.detach().float().cpu().numpy()
    if len(embeddings) > 1:
        embeddings = embeddings - embeddings.mean(0)
    return [None if c.query is None else _unit(embeddings[c.query]) for c in candidates]


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _cosine(ours: Vector | None, theirs: Vector | None) -> float:
    return float("nan") if ours is None or theirs is None else float(ours @ theirs)


def _small(candidate: Candidate) -> RLE:
    return candidate.rle if candidate.low is None else candidate.low


def _joined(candidates: Sequence[Candidate], ids: Sequence[int], number: int) -> RLE:
    return union([candidate.rle for candidate, own in zip(candidates, ids, strict=True) if own == number])


def _cropped(mask: RLE) -> tuple[BoolMask, int, int]:
    """The mask inside its box, and the box's first row and column."""
    x0, y0, x1, y1 = (int(v) for v in mask.box)
    return mask.decode()[y0:y1, x0:x1], y0, x0


def _centre(mask: RLE) -> Vector:
    """Mean row and column of a mask; of an empty one, the corner."""
    pixels, y0, x0 = _cropped(mask)
    rows, columns = pixels.sum(1), pixels.sum(0)
    moments = [rows @ np.arange(len(rows)), columns @ np.arange(len(columns))]
    return np.array([y0, x0]) + np.array(moments) / max(1, rows.sum())


def _moved(mask: RLE, by: NDArray[np.int_]) -> RLE:
    """A mask shifted by rows and columns; what leaves the picture is gone."""
    if not by.any():
        return mask
    pixels, y0, x0 = _cropped(mask)
    y, x = y0 + int(by[0]), x0 + int(by[1])
    moved = np.zeros((mask.height, mask.width), dtype=bool, order="F")
    moved[max(0, y) : max(0, y + pixels.shape[0]), max(0, x) : max(0, x + pixels.shape[1])] = pixels[
        max(0, -y) : max(0, mask.height - y), max(0, -x) : max(0, mask.width - x)
    ]
    return RLE.encode(moved)
