"""Frames between two key frames: the segments of the last one go where what they look like went.

Decoding is most of a frame's work. With ``every=N`` it is done on every N-th frame alone; on the others the masks are
carried (`propagation.Propagation`), and labels, scores and ids are those of the key frame. An approximation: what
appears in between is found on the next key frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from x2sam.masks import RLE
from x2sam.tracking.propagation import Propagation
from x2sam.types import Segment


@dataclass
class Between:
    """What was found on a key frame, on its way to the next."""

    segments: tuple[Segment, ...]
    """Of the key frame."""
    carried: Propagation = field(default_factory=Propagation)
    """One mask for each of them."""

    @classmethod
    def after(cls, segments: tuple[Segment, ...], look: Tensor) -> Between:
        """Start from a key frame and its look ``[D, h, w]`` (`FrameFeatures.look`)."""
        between = cls(segments)
        if segments:
            masks = [torch.from_numpy(segment.rle.decode()) for segment in segments]
            between.carried.remember(look, masks, [True] * len(segments))
        return between

    def step(self, index: int, look: Tensor, size: tuple[int, int], threshold: float) -> list[tuple[Segment, Tensor]]:
        """The segments on the next frame, each with its probabilities ``[h, w]``; without those that are gone.

        size: height and width of the frame. threshold: the least probability of a mask's pixels.
        """
        soft = self.carried.carry(look)
        if soft is None:
            return []
        self.carried.remember(look, list(soft), [False] * len(soft))
        masks = F.interpolate(soft[None], size, mode="bilinear", align_corners=False)[0] > threshold
        return [
            (replace(segment, rle=RLE.encode(mask.cpu().numpy()), frame=index), likely)
            for segment, mask, likely in zip(self.segments, masks, soft, strict=True)
            if bool(mask.any())
        ]
