"""Where the masks of earlier frames are now, by what places look like.

Every place of a new frame is compared with the places around it on a few earlier frames, and takes over what the most
alike of them were (label propagation; Jabri et al., arXiv 2006.14613, section 3.2). There is nothing to train: the
features are the mask encoder's first two stages, which are the same for every prompt. What is kept is bounded: the
newest frames, and the frames on which the caller showed an object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

RECENT, ANCHORS = 4, 4
"""Earlier frames that are compared with: the newest, and those on which an object was shown."""
REACH, FAR = 0.08, 0.25
"""How far an object moves from a frame to the next, and from the frame on which it was shown: parts of the side."""
FAR_STEP = 2
"""Of the frame on which it was shown every other place is compared with."""
ALIKE, TEMPERATURE = 10, 0.05
"""Places that are asked, and how much more the likest of them counts (of a cosine)."""


@dataclass(frozen=True)
class Seen:
    """A frame and what was found on it."""

    number: int
    """Counts the frames that were remembered."""
    look: Tensor
    """``[D, h, w]``, unit length at every place (`FrameFeatures.look`)."""
    masks: Tensor
    """``[C, h, w]``, 0 to 1."""
    known: Tensor
    """``[C]`` bool: the objects that had been seen by then."""


@dataclass
class Propagation:
    """The objects of one prompt, carried from frame to frame."""

    recent: deque[Seen] = field(default_factory=lambda: deque(maxlen=RECENT))
    anchors: deque[Seen] = field(default_factory=lambda: deque(maxlen=ANCHORS))

    def remember(self, look: Tensor, masks: Sequence[Tensor | None], shown: Sequence[bool]) -> None:
        """What was found on a frame.

        Args:
            look: ``[D, h, w]``.
            masks: of each object its mask ``[H, W]``, bool or 0 to 1, of any size; None where it was not found.
            shown: which objects the caller showed on this frame.
        """
        size = look.shape[-2:]
        small = torch.stack([look.new_zeros(size) if mask is None else _resized(mask, size).to(look) for mask in masks])
        found = torch.tensor([mask is not None for mask in masks], device=look.device)
        known = found if not self.recent else found | self.recent[-1].known
        new = known if not self.recent else known & ~self.recent[-1].known
        seen = Seen(self.recent[-1].number + 1 if self.recent else 0, look, small, known)
        self.recent.append(seen)
        if bool((new | found & torch.tensor(shown, device=look.device)).any()):
            self.anchors.append(seen)

    def carry(self, look: Tensor) -> Tensor | None:
        """Probability of each object at every place of the next frame ``[C, h, w]``; 0 where it was not seen yet.

        None before any object was seen, and where frames suddenly have another size.
        """
        if not self.recent or not bool(self.recent[-1].known.any()) or look.shape != self.recent[-1].look.shape:
            return None
        height, width = look.shape[-2:]
        sources = [(seen, FAR, FAR_STEP) for seen in self.anchors if seen.number < self.recent[0].number]
        sources += [(seen, REACH, 1) for seen in self.recent]
        queries = look.permute(1, 2, 0)  # [h, w, D]
        likeness, places = [], []
        for i, (seen, reach, step) in enumerate(sources):
            around = _neighbours(height, width, max(1, round(reach * max(height, width))), step)
            rows, columns, near, outside = (index.to(look.device) for index in around)
            keys = seen.look[:, rows].permute(1, 0, 2, 3).reshape(height, len(look), -1)  # [h, D, rows * w]
            cosine = (queries @ keys).gather(2, columns.expand(height, -1, -1)).flatten(0, 1)  # [places, neighbours]
            likeness.append(cosine.masked_fill_(outside, -2.0))
            places.append(near + i * height * width)
        all_of_them = torch.cat(likeness, 1)
        best, chosen = all_of_them.topk(min(ALIKE, all_of_them.shape[1]), dim=1, sorted=False)  # [places, ALIKE]
        asked = torch.cat(places, 1).gather(1, chosen)
        said = torch.cat([seen.masks.flatten(1) for seen, *_ in sources], 1)[:, asked]  # [C, places, ALIKE]
        # Who had not seen an object has no vote on it.
        known = torch.stack([seen.known for seen, *_ in sources], 1)[:, asked // (height * width)]
        weight = (best / TEMPERATURE).softmax(1) * known
        return ((said * weight).sum(-1) / weight.sum(-1).clamp_min(1e-6)).view(-1, height, width)

    def may_be(self, look: Tensor) -> Tensor | None:
        """Where each object may be on the next frame ``[C, h, w]``: where it was carried to, or still where it was. Who
        looks at the frame as well leaves out what is too much; what is missing from a hint is hard to find again."""
        carried = self.carry(look)
        return None if carried is None else torch.maximum(carried, self.recent[-1].masks)


def _resized(mask: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)


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
