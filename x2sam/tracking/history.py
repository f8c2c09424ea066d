"""What was found lately on the frames of a track: one bounded store for all of its prompts, and what follows from it.

Every place of a new frame is compared with the places around it on a few earlier frames, and takes over what the most
alike of them were (label propagation; Jabri et al., arXiv 2006.14613, section 3.2). There is nothing to train: the
descriptors are the mask encoder's first two stages, which are the same for every prompt, so frames are compared once
and the objects of all prompts vote in one sum. What is kept is bounded: the newest frames, and those on which the
caller showed an object.

The constants were set by hand on generated clips and have not been searched since.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from x2sam.decoding.candidates import Candidate

RECENT, ANCHORS = 4, 4
"""Earlier frames that are compared with: the newest, and those on which an object was shown."""
REACH, FAR = 0.08, 0.25
"""How far an object moves from a frame to the next, and from the frame on which it was shown: parts of the side."""
FAR_STEP = 2
"""Of the frame on which it was shown every other place is compared with."""
ALIKE, TEMPERATURE = 10, 0.05
"""Places that are asked, and how much more the likest of them counts (of a cosine)."""
SURE, SURE_FRAMES = 0.5, 4
"""Score that a candidate needs to be remembered as such, and how many of a condition are."""


@dataclass(frozen=True)
class Seen:
    """A frame and what one prompt found on it."""

    number: int
    """Counts the frames that were remembered."""
    descriptors: Tensor
    """``[D, h, w]``, unit length at every place (`FrameFeatures.descriptors`); one tensor for all prompts."""
    masks: Tensor
    """``[C, h, w]``, 0 to 1."""
    known: Tensor
    """``[C]`` bool: the objects that had been seen by then."""


@dataclass
class Trail:
    """The frames that one prompt remembers."""

    recent: deque[Seen] = field(default_factory=lambda: deque(maxlen=RECENT))
    anchors: deque[Seen] = field(default_factory=lambda: deque(maxlen=ANCHORS))
    sure: dict[int, deque[Candidate]] = field(default_factory=dict)
    """The last sure candidates of each condition: what a decoder's queries are compared with to stay on an object."""

    def sources(self) -> list[tuple[Seen, bool]]:
        """Frames to compare with; True for those that are far away in time."""
        far = [(seen, True) for seen in self.anchors if seen.number < self.recent[0].number]
        return far + [(seen, False) for seen in self.recent]

    def copy(self) -> Trail:
        return Trail(
            deque(self.recent, maxlen=RECENT),
            deque(self.anchors, maxlen=ANCHORS),
            {c: deque(kept, maxlen=SURE_FRAMES) for c, kept in self.sure.items()},
        )


class History:
    """The trails of all prompts of a track, by any key."""

    def __init__(self, trails: dict[Hashable, Trail] | None = None) -> None:
        self.trails = {} if trails is None else trails
        self._newest: Tensor | None = None
        self._compared: dict[tuple[int, bool], tuple[Tensor, Tensor, Tensor]] = {}

    def remember(
        self, key: Hashable, descriptors: Tensor, masks: Sequence[Tensor | None], shown: Sequence[bool]
    ) -> None:
        """What a prompt found on a frame.

        Args:
            key: whose trail it is.
            descriptors: ``[D, h, w]``.
            masks: of each object its mask ``[H, W]``, bool or 0 to 1, of any size; None where it was not found.
            shown: which objects the caller showed on this frame.
        """
        trail, size = self.trails.setdefault(key, Trail()), descriptors.shape[-2:]
        nothing = descriptors.new_zeros(size)
        small = torch.stack([nothing if m is None else resized(m, size).to(descriptors) for m in masks])
        found = torch.tensor([mask is not None for mask in masks], device=descriptors.device)
        before = trail.recent[-1] if trail.recent else None
        known = found if before is None else found | before.known
        new = known if before is None else known & ~before.known
        seen = Seen(0 if before is None else before.number + 1, descriptors, small, known)
        trail.recent.append(seen)
        if bool((new | found & torch.tensor(shown, device=descriptors.device)).any()):
            trail.anchors.append(seen)

    def propagate(self, descriptors: Tensor, keys: Iterable[Hashable]) -> dict[Hashable, Tensor]:
        """Probability of each object of some prompts at every place of the next frame: by key ``[C, h, w]``.

        0 where an object was not seen yet. Left out are prompts of which no object was seen, and all of them where
        frames suddenly have another size. Prompts that remember the same frames are one sum.
        """
        alike = defaultdict(list)
        for key in keys:
            trail = self.trails.get(key)
            if trail is None or not trail.recent or not bool(trail.recent[-1].known.any()):
                continue
            if trail.recent[-1].descriptors.shape == descriptors.shape:
                sources = trail.sources()
                alike[tuple((id(seen.descriptors), far) for seen, far in sources)].append((key, sources))
        found: dict[Hashable, Tensor] = {}
        for group in alike.values():
            found |= self._vote(descriptors, group)
        return found

    def _vote(
        self, descriptors: Tensor, group: list[tuple[Hashable, list[tuple[Seen, bool]]]]
    ) -> dict[Hashable, Tensor]:
        """The prompts of a group, which all have the same sources."""
        height, width = descriptors.shape[-2:]
        near = [self._nearest(descriptors, seen.descriptors, far) for seen, far in group[0][1]]
        cosine = torch.cat([values for values, _ in near], 1)
        best, chosen = cosine.topk(min(ALIKE, cosine.shape[1]), dim=1, sorted=False)  # [places, ALIKE]
        where = torch.cat([places + i * height * width for i, (_, places) in enumerate(near)], 1).gather(1, chosen)
        weights = (best / TEMPERATURE).softmax(1)
        per_source = [[sources[i][0] for _, sources in group] for i in range(len(near))]
        masks = torch.cat([torch.cat([seen.masks.flatten(1) for seen in one], 0) for one in per_source], 1)  # [C, S*hw]
        known = torch.stack([torch.cat([seen.known for seen in one]) for one in per_source]).to(masks)  # [S, C]
        said = F.embedding_bag(where, masks.T.contiguous(), per_sample_weights=weights, mode="sum")  # [places, C]
        # Who had not seen an object has no vote on it.
        votes = F.embedding_bag(where // (height * width), known, per_sample_weights=weights, mode="sum")
        result = (said / votes.clamp_min(1e-6)).T.contiguous().view(-1, height, width)
        parts = result.split([len(sources[0][0].masks) for _, sources in group])
        return {key: part for (key, _), part in zip(group, parts, strict=True)}

    def _nearest(self, descriptors: Tensor, source: Tensor, far: bool) -> tuple[Tensor, Tensor]:
        """The places of an earlier frame that are most alike to every place: cosines and places ``[h*w, ALIKE]``."""
        if self._newest is not descriptors:
            self._newest = descriptors
            self._compared.clear()
        key = id(source), far
        if key not in self._compared:
            self._compared[key] = (source, *_compare(descriptors, source, far))  # held, so that its id stays its own
        return self._compared[key][1:]

    def add_sure(self, key: Hashable, candidates: Sequence[Candidate]) -> None:
        """Remember the candidates of a frame that are sure."""
        sure = self.trails.setdefault(key, Trail()).sure
        for candidate in candidates:
            if candidate.score > SURE:
                sure.setdefault(candidate.condition, deque(maxlen=SURE_FRAMES)).append(candidate)

    def sure(self, key: Hashable, conditions: int) -> list[list[Candidate]]:
        """For each of so many conditions its last sure candidates, oldest first."""
        sure = self.trails[key].sure if key in self.trails else {}
        return [list(sure.get(c, ())) for c in range(conditions)]

    def last(self, key: Hashable) -> Tensor | None:
        """A prompt's masks on the last frame ``[C, h, w]``."""
        trail = self.trails.get(key)
        return trail.recent[-1].masks if trail is not None and trail.recent else None

    def copy(self, key: Hashable, to: Hashable) -> None:
        """Let another prompt go on from what one remembers."""
        if key in self.trails:
            self.trails[to] = self.trails[key].copy()

    def forget(self, key: Hashable) -> None:
        """Drop a prompt's trail, if it has one."""
        self.trails.pop(key, None)


def resized(mask: Tensor, size: torch.Size) -> Tensor:
    """A mask ``[H, W]`` as 0 to 1 at another size."""
    if mask.shape == size and mask.is_floating_point():
        return mask
    return F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)


def _compare(descriptors: Tensor, source: Tensor, far: bool) -> tuple[Tensor, Tensor]:
    height, width = descriptors.shape[-2:]
    reach, step = (FAR, FAR_STEP) if far else (REACH, 1)
    around = _neighbours(height, width, max(1, round(reach * max(height, width))), step)
    rows, columns, near, outside = (index.to(descriptors.device) for index in around)
    queries = descriptors.permute(1, 2, 0)  # [h, w, D]
    keys = source[:, rows].permute(1, 0, 2, 3).reshape(height, len(descriptors), -1)  # [h, D, rows * w]
    cosine = (queries @ keys).gather(2, columns.expand(height, -1, -1)).flatten(0, 1)  # [places, neighbours]
    best, chosen = cosine.masked_fill_(outside, -2.0).topk(min(ALIKE, cosine.shape[1]), dim=1, sorted=False)
    return best, near.gather(1, chosen)


@lru_cache(maxsize=8)
def _neighbours(height: int, width: int, reach: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For every place every ``step``-th place around it.

    Returns:
        The rows that a row of places is compared with ``[h, R]``; in their ``R * w`` places, those around each column
        ``[w, N]``; the same as places of the frame ``[h*w, N]``; and which of them lie outside of it.
    """
    offsets = torch.arange(-(reach // step), reach // step + 1) * step
    y, x = torch.arange(height)[:, None] + offsets, torch.arange(width)[:, None] + offsets  # [h, R], [w, R]
    rows, columns = y.clamp(0, height - 1), x.clamp(0, width - 1)
    inside = (y == rows)[:, None, :, None] & (x == columns)[:, None]  # [h, w, R, R]
    near = rows[:, None, :, None] * width + columns[:, None]
    within = torch.arange(len(offsets))[:, None] * width + columns[:, None]  # [w, R, R]
    return rows, within.flatten(1), near.flatten(2).flatten(0, 1), ~inside.flatten(2).flatten(0, 1)
