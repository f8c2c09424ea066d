"""What the recognition features of a backbone that has been a classifier answer to words (ours).

A classifier's row says what its name looks like. A linear map from what the language model says of a name to the rows
of many names carries over to names that no row was made for (a ridge regression: `x2sam.train.look`), so that words
are answered, cell by cell, before any mask was ever shown.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam.config import X2SamConfig

CLEAR = 4.0
"""Logits below zero that what is not meant is answered at least."""


class Recognition(nn.Module):
    """Meanings of phrases, or examples, -> looks; looks and recognition features -> answers."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        wide = config.recognition_channels
        self.look = nn.Linear(config.meaning_size, wide)
        self.scale = nn.Parameter(torch.tensor(1.0))
        """Logits to a unit of likeness."""
        self.level = nn.Linear(config.meaning_size, 1)
        """How alike the background is: where nothing of that meaning is."""
        self.centre = nn.Parameter(torch.zeros(wide))
        """What features are on average: an example's look is what it has beyond that."""

    def start_as_nothing(self) -> list[nn.Module]:
        """At first one level is right for all."""
        return [self.level]

    def looks(self, meanings: Tensor) -> Tensor:
        """``[..., M]`` -> unit vectors and their level ``[..., R + 1]``."""
        return torch.cat([F.normalize(self.look(meanings), dim=-1), self.level(meanings)], -1)

    def mean_of(self, features: Tensor, masks: Tensor) -> Tensor:
        """Features ``[N, R, h, w]`` under masks ``[N, H, W]`` -> their means ``[N, R]``."""
        cover = F.adaptive_avg_pool2d(masks[:, None].to(features.dtype), features.shape[-2:])  # [N, 1, h, w]
        return (features * cover).sum((2, 3)) / cover.sum((2, 3)).clamp_min(1e-6)

    def looks_of(self, features: Tensor, masks: Tensor) -> Tensor:
        """Examples: features ``[N, R, h, w]`` under masks ``[N, H, W]`` -> ``[N, R + 1]``, as `looks`."""
        unit = F.normalize(self.mean_of(features, masks) - self.centre, dim=-1)
        return torch.cat([unit, self.level.bias.expand(len(unit), 1).to(unit)], -1)

    def forward(self, looks: Tensor, features: Tensor) -> Tensor:
        """Looks ``[B, C, R + 1]`` and features ``[B, R, h, w]`` -> answers as logits ``[B, C, h, w]``."""
        unit, level = looks[..., :-1], looks[..., -1:, None]
        return self.scale * (torch.einsum("bcr,brhw->bchw", unit, features) - level)

    def unlike(self, look: Tensor, mean: Tensor, rivals: Tensor) -> Tensor:
        """A look ``[R + 1]`` that answers to a thing (mean features ``[R]``) as before, and not to rivals ``[k, R]``.

        What a rival has beyond the thing is taken off, as far as it takes for the rival to be answered as much below
        zero as the thing is above, and by `CLEAR` logits at least.
        """
        unit, level = look[:-1], look[-1]
        ours = self.scale * (unit @ mean - level)
        for rival in rivals:
            beyond = rival - mean
            length = beyond.norm().clamp_min(1e-6)
            theirs = self.scale * (unit @ rival - level)
            excess = (theirs + ours.clamp_min(CLEAR)).clamp_min(0) / (self.scale * length)
            unit, level = unit - excess * beyond / length, level - excess * (beyond / length) @ mean
        return torch.cat([unit, level[None]])
