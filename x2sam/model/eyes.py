"""Eyes for a small language model: pictures are seen with the mask encoder's backbone instead of a tower of their own.

A vision transformer learns little from a few ten thousand pictures; a pretrained convolutional backbone is there
anyway. One picture token is one cell of Qwen3-VL's grid (patches, merged two by two), whatever the strides of the
backbone. Where mask features answer to words, a token also holds the words that its cell answers to, in
the embeddings' own space: the language model can read a picture before it has learned to see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam.config import X2SamConfig
from x2sam.model.layers import projector, sine_positions, tokens
from x2sam.vision import IMAGENET_MEAN, IMAGENET_STD

STRIDE = 32
"""Of the backbone's last map: pictures are looked at in multiples of it, so that its maps fit each other."""

Look = Callable[[Tensor], tuple[Tensor, Tensor, Tensor | None]]
"""Frames ``[N, 3, H, W]`` -> the backbone's maps at stride 16 and 32 ``[N, C, h, w]``, and at stride 16 the words that
the mask features answer to ``[N, D, h, w]``, if they do."""


@dataclass(frozen=True)
class Seen:
    """Picture tokens, named as `transformers`' vision towers name them."""

    pooler_output: Tensor
    """``[tokens, D]``, media one after the other."""
    deepstack_features: tuple[Tensor, ...] = ()


class SharedEyes(nn.Module):
    """Stands where Qwen3-VL has its vision tower. The backbone belongs to the mask side: `look_with` lends it."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        vision, channels = config.language_config.vision_config, config.mask_encoder_config.backbone_channel_list
        self.patch, self.merge = vision.patch_size, vision.spatial_merge_size
        self.temporal = vision.temporal_patch_size
        dim = channels[0] + channels[1]
        self.merger = nn.Sequential(nn.LayerNorm(dim), *projector(dim, vision.out_hidden_size))
        self._lent: list[Look] = []  # a list hides the modules, which are registered, saved and moved by their owner

    def look_with(self, look: Look) -> None:
        """Lend the mask side's eyes."""
        self._lent = [look]

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
        grid = height // m, width // m
        whole = [-(-side // STRIDE) * STRIDE for side in squares.shape[-2:]]
        if whole != list(squares.shape[-2:]):
            squares = F.interpolate(squares, whole, mode="bilinear", align_corners=False)
        fine, coarse, words = self._lent[0](squares)

        def cells_of(x: Tensor) -> Tensor:  # [steps, cells, D]
            return tokens(F.adaptive_avg_pool2d(x, grid)).unflatten(0, (steps, shown)).mean(1)

        seen = self.merger(torch.cat([cells_of(coarse), cells_of(fine)], -1))
        if words is not None:
            read = cells_of(words)
            seen = seen + F.rms_norm(read, read.shape[-1:])
        places = sine_positions(*grid, seen.shape[-1], seen.device, seen.dtype)
        return (seen + places).flatten(0, 1)
