"""Frames on the mask side: their features, and the pixel decoder that makes levels and mask features of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder, Mask2FormerPreTrainedModel

from x2sam.config import X2SamConfig
from x2sam.model.deformable import DeformableAttention
from x2sam.model.layers import Places, Started

DESCRIPTOR_SIDE = 56
"""Places a side that `FrameFeatures.descriptors` have at most."""


@dataclass(frozen=True)
class FrameFeatures:
    """Frames after the mask encoder."""

    fpn: tuple[Tensor, ...]
    """``[N, D, h, w]`` at strides 4, 8 and 16, for queries; none without them."""
    stages: tuple[Tensor, ...]
    """``[N, h, w, C]`` at strides 4, 8, 16 and 32: the mask encoder's stages; regions are sampled from the third."""
    recognition: Tensor | None = None
    """``[N, R, h, w]``: what a classifier would read of every cell, where the encoder has been one."""
    pixels: tuple[list[Tensor], Tensor] | None = None
    """What the pixel decoder makes of the frames where no memory is read, if it was asked before (`prepare`)."""

    def __getitem__(self, rows: Any) -> FrameFeatures:
        """Some of the frames."""
        fpn, stages = (tuple(level[rows] for level in levels) for levels in (self.fpn, self.stages))
        return FrameFeatures(fpn, stages, None if self.recognition is None else self.recognition[rows])

    def repeat(self, count: int) -> FrameFeatures:
        """One frame as a batch of so many (views; nothing is copied), for as many prompts."""

        if count == 1:
            return self

        def wide(x: Tensor) -> Tensor:
            return x.expand(count, *x.shape[1:])

        pixels = None if self.pixels is None else ([wide(level) for level in self.pixels[0]], wide(self.pixels[1]))
        recognition = None if self.recognition is None else wide(self.recognition)
        return FrameFeatures(tuple(map(wide, self.fpn)), tuple(map(wide, self.stages)), recognition, pixels)

    @property
    def stage(self) -> Tensor:
        """``[N, h, w, C]``, stride 16."""
        return self.stages[:3][-1]

    def maps(self) -> list[Tensor]:
        """The stages as maps ``[N, C, h, w]``, fine to coarse."""
        return [stage.permute(0, 3, 1, 2) for stage in self.stages]

    @cached_property
    def descriptors(self) -> tuple[Tensor, ...]:
        """Of each frame what every place looks like, ``[D, h, w]``: two stages, of unit length; at most 56 a side."""
        fine, middle = (F.normalize(stage.permute(0, 3, 1, 2).float(), dim=1) for stage in self.stages[:2])
        both = torch.cat([fine, F.interpolate(middle, fine.shape[-2:], mode="bilinear", align_corners=False)], 1)
        side = -(-max(both.shape[-2:]) // DESCRIPTOR_SIDE)
        maps = F.normalize(F.avg_pool2d(both, side), dim=1).contiguous()
        return maps.unbind()  # one tensor for good: who compares frames knows it by that

    @staticmethod
    def cat(parts: Sequence[FrameFeatures]) -> FrameFeatures:
        """Several frames as one batch."""
        fpn = tuple(torch.cat(maps) for maps in zip(*(p.fpn for p in parts), strict=True))
        stages = tuple(torch.cat(maps) for maps in zip(*(p.stages for p in parts), strict=True))
        known = [p.recognition for p in parts if p.recognition is not None]
        return FrameFeatures(fpn, stages, torch.cat(known) if known else None)


class Refinement(nn.Module):
    """One more look at the mask features: what is around a place, then what that means."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm = nn.GroupNorm(32, dim)
        self.linear1 = nn.Conv2d(dim, dim, 1)
        self.linear2 = nn.Conv2d(dim, dim, 1)

    def start_as_nothing(self) -> list[nn.Module]:
        return [self.linear2]

    def forward(self, x: Tensor) -> Tensor:
        """``[N, D, h, w]``."""
        return x + self.linear2(F.gelu(self.linear1(self.norm(self.around(x)))))


class PixelDecoder(Started, Mask2FormerPreTrainedModel):
    """`transformers`' deformable pixel decoder, with its own initialisation; small models refine what it makes."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__(config.pixel_decoder_config)
        self.decoder = Mask2FormerPixelDecoder(self.config, [config.hidden_dim] * 3)
        for layer in self.decoder.encoder.layers:
            layer.self_attn = DeformableAttention(config.hidden_dim, config.num_heads, n_levels=3, n_points=4)
            layer.activation_fn = nn.ReLU(inplace=True)
        refinements = [Refinement(config.hidden_dim) for _ in range(config.mask_refinements)]
        self.refine = nn.Sequential(Places(config.hidden_dim), *refinements) if refinements else nn.Identity()
        self.post_init()

    def forward(self, fpn: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """FPN maps, fine to coarse -> (levels coarse to fine, mask features), all ``[N, D, h, w]``."""
        out = self.decoder(list(fpn), output_hidden_states=False, output_attentions=False, return_dict=True)
        return list(out.multi_scale_features), self.refine(out.mask_features)
