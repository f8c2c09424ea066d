"""Eyes for a small language model: pictures are seen with the mask encoder's backbone instead of a tower of their own.

A vision transformer learns little from a few thousand pictures; a backbone that has been a classifier knows a thousand
names. One picture token is one cell of Qwen3-VL's grid (patches, merged two by two). It holds the words that the
classifier sees there, in the embeddings' own space, so that the language model can read a picture before it has
learned to see, and what a projector makes of the features, which starts as nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam.config import X2SamConfig
from x2sam.model.layers import Places, projector, tokens
from x2sam.vision import IMAGENET_MEAN, IMAGENET_STD

STRIDE = 32
"""Of the backbone's last map: pictures are looked at in multiples of it."""
NAME_TOKENS = 12
"""Of a classifier's name at most."""
LIKELIEST = 5
"""Names that a token is made of."""

Look = Callable[[Tensor], Tensor]
"""Frames ``[N, 3, H, W]`` -> recognition features ``[N, R, h, w]``."""


@dataclass(frozen=True)
class Seen:
    """Picture tokens, named as `transformers`' vision towers name them."""

    pooler_output: Tensor
    """``[tokens, D]``, media one after the other."""
    deepstack_features: tuple[Tensor, ...] = ()


class SharedEyes(nn.Module):
    """Stands where Qwen3-VL has its vision tower. The backbone belongs to the mask side: `look_with` lends it."""

    names: Tensor

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        vision, seen, dim = config.vision_config, config.recognition_channels, config.text_config.hidden_size
        self.patch, self.merge = vision.patch_size, vision.spatial_merge_size
        self.temporal = vision.temporal_patch_size
        self.classifier = nn.Linear(seen, config.recognition_names)
        self.register_buffer("names", torch.full((config.recognition_names, NAME_TOKENS), -1, dtype=torch.int32))
        """Tokens of each of the classifier's names, -1 behind them."""
        self.norm = nn.LayerNorm(seen)
        self.merger = projector(seen, dim)
        self.place = Places(dim)
        self._lent: list[Any] = []  # a list hides the modules, which are registered, saved and moved by their owners

    def start_as_nothing(self) -> list[nn.Module]:
        """At first a token is the words that are seen."""
        return [self.merger[-1]]

    def look_with(self, look: Look, embeddings: nn.Embedding) -> None:
        """Lend the mask side's eyes and the language model's words."""
        self._lent = [look, embeddings]

    def forward(self, pixels: Tensor, grid_thw: Tensor) -> Seen:
        """Patches ``[sum t*h*w, 3 * temporal * patch * patch]`` of several media and their grids ``[N, 3]``."""
        grids = [(t, h, w) for t, h, w in grid_thw.tolist()]
        if len(set(grids)) == 1:
            return Seen(self._look(pixels, len(grids) * grids[0][0], *grids[0][1:]))
        parts = pixels.split([t * h * w for t, h, w in grids])
        return Seen(torch.cat([self._look(part, *grid) for part, grid in zip(parts, grids, strict=True)]))

    def _look(self, pixels: Tensor, steps: int, height: int, width: int) -> Tensor:
        m, p = self.merge, self.patch
        cells = pixels.view(steps, height // m, width // m, m, m, 3, self.temporal, p, p)
        frames = cells.permute(0, 6, 5, 1, 3, 7, 2, 4, 8).reshape(steps, self.temporal, 3, height * p, width * p)
        if bool((frames == frames[:, :1]).all()):  # a picture is one frame, shown twice
            frames = frames[:, :1]
        shown = frames.shape[1]
        mean, std = (frames.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        squares = ((frames.flatten(0, 1) + 1) / 2 - mean) / std  # Qwen's -1..1 -> the backbone's
        whole = [-(-side // STRIDE) * STRIDE for side in squares.shape[-2:]]
        if whole != list(squares.shape[-2:]):
            squares = F.interpolate(squares, whole, mode="bilinear", align_corners=False)
        return self.read(self._lent[0](squares), (height // m, width // m), shown)

    def _words(self) -> Tensor:
        """What each name is in the language model's embeddings: the mean of its tokens, ``[names, D]``."""
        there = (self.names >= 0)[..., None]
        return (self._lent[1](self.names.clamp_min(0)) * there).sum(1) / there.sum(1).clamp_min(1)

    def read(self, features: Tensor, grid: tuple[int, int], shown: int = 1) -> Tensor:
        """Recognition features ``[steps * shown, R, h, w]`` -> tokens ``[steps * grid, D]``."""
        likely = self.classifier(features.permute(0, 2, 3, 1)).softmax(-1).permute(0, 3, 1, 2)

        def cells_of(x: Tensor) -> Tensor:  # [steps, cells, C]
            return tokens(F.adaptive_avg_pool2d(x, grid)).unflatten(0, (-1, shown)).mean(1)

        likely = cells_of(likely)
        least = likely.topk(LIKELIEST, -1).values[..., -1:]
        words = likely.masked_fill(likely < least, 0.0) @ self._words()
        seen = words + self.merger(self.norm(cells_of(features)))
        return tokens(self.place(seen.transpose(1, 2).unflatten(2, grid))).flatten(0, 1)
