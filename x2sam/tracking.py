"""Identity across frames: which segment of this frame is which object of the frames before.

An object is known by where its mask should be now (its last mask, moved on), by its query's embedding and by its
condition. What is kept of the past is small, bounded and can be pickled: run-length codes and one vector an object.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from x2sam.candidates import Candidate
from x2sam.errors import InputError
from x2sam.masks import RLE, BoolMask, iou_matrix, union

Vector = NDArray[np.floating]

OVERLAP, LIKENESS = 0.2, 0.6
"""Overlap and cosine that say neither yes nor no; what is above speaks for the same object, what is below against."""
TRUST, FADING = 0.5, 0.8
"""What overlap counts for against likeness when the object was seen on the last frame; left of it a frame later."""
REACH = 12
"""Frames after which the place where an object was last seen says nothing any more."""
MOMENTUM = 0.8
"""Part of an object's old embedding in its new one."""
RELEASED_OVERLAP = 0.5


@dataclass
class _Track:
    """What is remembered of one object."""

    condition: int
    mask: RLE
    centre: Vector
    look: Vector | None
    velocity: Vector = field(default_factory=lambda: np.zeros(2))
    """Rows and columns a frame."""
    age: int = 0
    """Frames since it was last seen."""

    def place(self) -> RLE:
        """Its mask as it should be now."""
        if self.age > REACH:
            return self.mask
        return _moved(self.mask, np.rint(self.velocity * self.age).astype(int))

    def meet(self, mask: RLE, look: Vector | None) -> None:
        """It was seen again."""
        centre = _centre(mask)
        self.velocity = (self.velocity + (centre - self.centre) / max(1, self.age)) / 2
        self.mask, self.centre, self.age = mask, centre, 0
        if look is not None:
            self.look = look if self.look is None else _unit(MOMENTUM * self.look + (1 - MOMENTUM) * look)


class Tracker:
    """Gives the candidates of each frame the ids of their objects.

    identity: ``x2sam`` assigns objects and candidates of a condition as a whole (Hungarian), by overlap after motion
        and likeness of query embeddings, and knows an object again that was away; ``released`` links things to the
        one frame before, greedily, by overlap alone, and may give two segments one id, as the released model does.
    patience: frames for which an object that is away is remembered. capacity: most objects remembered.
    fixed_ids: ids that the caller chose, by condition, for conditions that have one object.
    """

    def __init__(
        self,
        identity: Literal["x2sam", "released"] = "x2sam",
        *,
        patience: int = 100,
        capacity: int = 256,
        fixed_ids: Mapping[int, int] | None = None,
    ) -> None:
        if identity not in ("x2sam", "released"):
            raise InputError(f"Got identity={identity!r}", "'x2sam' or 'released'")
        if patience < 0 or capacity < 1:
            raise InputError(f"Got patience={patience}, capacity={capacity}", "at least 0 and 1")
        self.identity, self.patience, self.capacity = identity, patience, capacity
        self.fixed_ids = dict(fixed_ids or {})
        if len(set(self.fixed_ids.values())) < len(self.fixed_ids):
            raise InputError(
                f"Got one object id for several regions: {sorted(self.fixed_ids.values())}",
                "a different id for each region",
                "Merge the regions that show one object",
            )
        self.restart()

    def restart(self) -> None:
        """Forget everything: a new clip begins."""
        self._tracks: dict[int, _Track] = {}
        self._bound = dict(self.fixed_ids)
        self._next = 1
        self._previous: dict[int, tuple[RLE, int]] = {}

    def step(self, candidates: Sequence[Candidate], queries: Tensor | None = None) -> list[int]:
        """The object id of each candidate of the next frame.

        queries: the decoder's query embeddings of this frame ``[Q, D]``; without them only masks tell objects apart.
        """
        if self.identity == "released":
            return self._step_released(candidates)
        looks = _looks(candidates, queries)
        self._grow_older()
        ids: dict[int, int] = {}
        crowd: dict[int, list[int]] = defaultdict(list)
        for i, candidate in enumerate(candidates):
            if candidate.alone:
                if candidate.condition not in self._bound:
                    self._bound[candidate.condition] = self._new_id()
                ids[i] = self._bound[candidate.condition]
            else:
                crowd[candidate.condition].append(i)
        for condition, members in crowd.items():
            masks = [_small(candidates[i]) for i in members]
            known = self._assign(condition, masks, [looks[i] for i in members])
            for place, (i, mask) in enumerate(zip(members, masks, strict=True)):
                ids[i] = known[place] if place in known else self._new_id()
                if place in known:
                    self._tracks[ids[i]].meet(mask, looks[i])
                else:
                    self._tracks[ids[i]] = _Track(condition, mask, _centre(mask), looks[i])
        self._forget()
        return [ids[i] for i in range(len(candidates))]

    def _assign(self, condition: int, masks: list[RLE], looks: list[Vector | None]) -> dict[int, int]:
        """Place in ``masks`` -> id, for the objects of a condition that are seen again."""
        known = [number for number, track in self._tracks.items() if track.condition == condition]
        tracks = [self._tracks[number] for number in known]
        if not tracks:
            return {}
        overlap = iou_matrix(masks, [track.place() for track in tracks])
        likeness = np.array([[_cosine(look, track.look) for track in tracks] for look in looks])  # NaN: unknown
        trust = np.array([TRUST * FADING ** (t.age - 1) if t.age <= REACH else 0.0 for t in tracks])
        trust = np.where(np.isnan(likeness), 1.0, trust)
        evidence = trust * (overlap - OVERLAP) + (1 - trust) * (np.nan_to_num(likeness) - LIKENESS)
        pairs = zip(*linear_sum_assignment(evidence.clip(min=0), maximize=True), strict=True)
        return {int(i): known[j] for i, j in pairs if evidence[i, j] > 0}

    def _new_id(self) -> int:
        taken = set(self.fixed_ids.values())
        number = next(number for number in count(self._next) if number not in taken)
        self._next = number + 1
        return number

    def _grow_older(self) -> None:
        for track in self._tracks.values():
            track.age += 1

    def _forget(self) -> None:
        """Objects that are away for too long, and those seen longest ago where there are too many."""
        recent = sorted(self._tracks.items(), key=lambda item: item[1].age)[: self.capacity]
        self._tracks = {number: track for number, track in recent if track.age <= self.patience}

    def _step_released(self, candidates: Sequence[Candidate]) -> list[int]:
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
                for old, (mask, condition) in self._previous.items()
                if condition == candidate.condition and old not in renamed.values()
            }
            if candidate.alone or not rivals:
                continue
            overlap = iou_matrix([_joined(candidates, numbers, number)], list(rivals.values()))[0]
            if overlap.max() > RELEASED_OVERLAP:
                renamed[number] = list(rivals)[int(overlap.argmax())]
        ids = [renamed.get(number, number) for number in numbers]
        things = {number: c for number, c in zip(ids, candidates, strict=True) if not c.alone}
        self._previous = {number: (_joined(candidates, ids, number), c.condition) for number, c in things.items()}
        return ids


class RecentMasks:
    """The last sure candidates of each condition: what `answer.best` compares queries with to stay on an object."""

    def __init__(self, length: int = 4, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self._recent: dict[int, deque[Candidate]] = defaultdict(_Deque(length))

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Remember the candidates of a frame that are surer than the threshold."""
        for candidate in candidates:
            if candidate.score > self.threshold:
                self._recent[candidate.condition].append(candidate)

    def of(self, conditions: int) -> list[list[Candidate]]:
        """For each of so many conditions its candidates, oldest first."""
        return [list(self._recent.get(c, ())) for c in range(conditions)]


@dataclass(frozen=True)
class _Deque:
    """A factory of bounded queues that can be pickled."""

    length: int

    def __call__(self) -> deque[Candidate]:
        return deque(maxlen=self.length)


def _looks(candidates: Sequence[Candidate], queries: Tensor | None) -> list[Vector | None]:
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
