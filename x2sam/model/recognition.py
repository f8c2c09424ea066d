"""What the recognition features of a backbone that has been a classifier answer to words (ours).

A classifier's row says what its name looks like. A linear map from what the language model says of a name to the rows
of many names carries over to names that no row was made for (a ridge regression: `x2sam.train.look`), so that words
are answered, cell by cell, before any mask was ever shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam.config import X2SamConfig

SUREST = 5
"""Cells that say whether a thing is there."""
RESEMBLANCE = 20.0
"""How much a look counts for the classifier's name that is more like it, as a logit to a unit of likeness."""
LEAST = 1e-6
"""Of a share, so that its logarithm stays small."""
EVIDENCE = 4
"""Numbers of `Recognition.evidence`."""
COMMON = 128
"""Numbers that a look and a picture are compared in, at most, to tell whether one belongs to the other."""
CLEAR = 4.0
"""Logits below zero that what is not meant is answered at least."""


@dataclass(frozen=True)
class Viewed:
    """Pictures by the names that a classifier knows, and as scenes."""

    names: Tensor
    """``[names, R]``: unit vectors, what each looks like."""
    cells: Tensor
    """``[B, cells, names]``: probabilities."""
    whole: Tensor
    """``[B, names]``: the same of the mean of all cells."""
    scene: Tensor
    """``[B, common]``."""


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
        common = min(COMMON, wide)
        self.thing, self.scene = nn.Linear(wide, common, bias=False), nn.Linear(2 * wide, common)
        """Looks, and whole pictures, as the numbers that tell whether they go together (`context`)."""
        self.usual = nn.Linear(wide, 1)
        """How often a thing is there, whatever the picture."""

    def start_as_nothing(self) -> list[nn.Module]:
        """At first one level is right for all, and pictures do not tell what is in them."""
        return [self.level, self.scene, self.usual]

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

    def view(self, features: Tensor, classifier: nn.Linear) -> Viewed:
        """What all looks on a frame share: features ``[B, R, h, w]`` by the names that the backbone has learned."""
        cells = features.flatten(2).transpose(1, 2)
        names = F.normalize(classifier.weight - classifier.weight.mean(0), dim=-1)
        whole = classifier(cells.mean(1)).softmax(-1)
        return Viewed(names, classifier(cells).softmax(-1), whole, self.scene(pooled(features)))

    def evidence(self, looks: Tensor, viewed: Viewed) -> Tensor:
        """Whether what each look means is there, by what the classifier would rather call the picture.

        A look's own answers are high wherever something resembles it; the classifier's thousand names compete. A look
        stands for those that it resembles most.

        Args:
            looks: ``[B, C, R + 1]``.
            viewed: the pictures (`view`).

        Returns:
            ``[B, C, EVIDENCE]``: logarithms of its share of the surest cells and of the whole picture, how like it (a
            cosine) the likest name is, since of what the classifier does not know small shares say little, and the
            `context`.
        """
        like = looks[..., :-1] @ viewed.names.T  # [B, C, names]
        standing = (RESEMBLANCE * like).softmax(-1)
        shares = standing @ viewed.cells.transpose(1, 2)  # [B, C, cells]
        surest = shares.topk(min(SUREST, shares.shape[-1]), -1).values.mean(-1)
        whole = (standing @ viewed.whole[..., None])[..., 0]
        told = torch.stack([surest, whole], -1).clamp_min(LEAST).log()
        context = self.together(looks[..., :-1], viewed.scene)
        return torch.cat([told, like.amax(-1, keepdim=True), context[..., None]], -1)

    def context_parts(self) -> list[nn.Parameter]:
        """What `context` is made of."""
        return [p for part in (self.thing, self.scene, self.usual) for p in part.parameters()]

    def context(self, units: Tensor, pictures: Tensor) -> Tensor:
        """Whether things of such looks are in pictures such as these, by all that is seen: a sink is in a kitchen.

        Args:
            units: looks without their level ``[C, R]``, or of each picture its own ``[B, C, R]``.
            pictures: ``[B, 2 * R]`` (`pooled`).

        Returns:
            Logits ``[B, C]``.
        """
        return self.together(units, self.scene(pictures))

    def together(self, units: Tensor, scenes: Tensor) -> Tensor:
        """`context` of pictures whose scenes ``[B, common]`` are known."""
        return (self.thing(units) @ scenes[..., None])[..., 0] + self.usual(units)[..., 0]

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


def pooled(features: Tensor) -> Tensor:
    """Features ``[B, R, h, w]`` of pictures -> their mean and their strongest ``[B, 2 * R]``."""
    return torch.cat([features.mean((2, 3)), features.amax((2, 3))], -1)
