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
        side = max(look.shape[-2:])
        sources = [(seen, FAR) for seen in self.anchors if seen.number < self.recent[0].number]
        sources += [(seen, REACH) for seen in self.recent]
        likeness, votes, informed = [], [], []
        for seen, reach in sources:
            near, outside = _neighbours(look.shape[-2], look.shape[-1], max(1, round(reach * side)))
            near, outside = near.to(look.device), outside.to(look.device)
            cosine = (look.flatten(1).T @ seen.look.flatten(1)).gather(1, near)  # [places, neighbours]
            likeness.append(cosine.masked_fill(outside, -2.0))
            votes.append(seen.masks.flatten(1)[:, near])  # [C, places, neighbours]
            informed.append(seen.known[:, None].expand(-1, near.shape[1]))
        known = torch.cat(likeness, 1)
        best, chosen = known.topk(min(ALIKE, known.shape[1]), dim=1)  # [places, ALIKE]
        weight = (best / TEMPERATURE).softmax(1)
        said = torch.cat(votes, 2).gather(2, chosen.expand(len(seen.masks), -1, -1))
        counts = torch.cat(informed, 1)[:, chosen] * weight  # [C, places, ALIKE]; who had not seen it has no vote
        found = (said * counts).sum(-1) / counts.sum(-1).clamp_min(1e-6)
        return found.view(-1, *look.shape[-2:])


def _resized(mask: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)


@lru_cache(maxsize=8)
def _neighbours(height: int, width: int, reach: int) -> tuple[Tensor, Tensor]:
    """For every place the places around it, ``[h*w, (2*reach+1)**2]``, and which of them lie outside of the frame."""
    step = torch.arange(-reach, reach + 1)
    y = torch.arange(height)[:, None, None, None] + step[:, None]  # [h, 1, r, 1]
    x = torch.arange(width)[:, None, None] + step  # [w, 1, r]
    y, x = torch.broadcast_tensors(y, x)  # [h, w, r, r]
    outside = (y < 0) | (y >= height) | (x < 0) | (x >= width)
    places = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return places.reshape(height * width, -1), outside.reshape(height * width, -1)
