"""The region sampler: a visual prompt becomes embeddings that the language model reads in place of ``<region>``.

Points inside the region are looked up in the mask encoder's third stage and pooled; there are no parameters but the
projector that lifts the features to the language model's width (X2SAM, section 3). A small model has few cells there,
so it may look the points up in the finest map of the pyramid instead, and be told where a region is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam.config import X2SamConfig
from x2sam.errors import InputError
from x2sam.model.frames import FrameFeatures
from x2sam.model.layers import WAVES, projector, waves


class RegionSampler(nn.Module):
    """Region masks and frames' features -> region embeddings."""

    def __init__(self, config: X2SamConfig, stage_dim: int, language_dim: int) -> None:
        super().__init__()
        self.config, self.points, self.tokens = config, config.region_points, config.region_tokens
        self.corner_coordinates = config.region_corner_coordinates
        self.fine = config.fine_regions
        self.projector = projector(config.hidden_dim if self.fine else 4 * stage_dim, language_dim)
        self.position = nn.Linear(4 * WAVES, language_dim, bias=False) if config.region_positions else None

    def project(self, stage: Tensor) -> Tensor:
        """Fold 2x2 cells into channels and project: ``[F, h, w, C]`` -> ``[F, D, h/2, w/2]``."""
        frames, height, width, channels = stage.shape
        cells = stage.view(frames, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5).flatten(3)
        return self.projector(cells).permute(0, 3, 1, 2)

    def forward(self, features: FrameFeatures, masks: Tensor, frames: Tensor) -> Tensor:
        """Embed regions.

        Args:
            features: of the F frames that carry regions.
            masks: ``[N, H, W]`` bool, one per region, at the mask encoder's input size.
            frames: ``[N]``, which of the F frames each region was drawn on.

        Returns:
            ``[N, tokens, D]``, D the language model's width.

        Raises:
            InputError: a mask of another size, a frame that does not exist, or a region without a pixel.
        """
        stage = features.stage
        check_regions(masks, frames, len(stage), self.config.image_size)
        points = sample_points(masks, self.points, random=self.training)  # [N, P, 2]
        size = torch.tensor([masks.shape[2], masks.shape[1]], device=points.device)
        centre = 0.0 if self.corner_coordinates else 0.5
        grid = 2 * (points + centre) / size - 1
        maps = features.fpn[0] if self.fine else self.project(stage)
        found = F.grid_sample(
            maps.float()[frames], grid[:, :, None], align_corners=self.corner_coordinates
        )  # [N, D, P, 1]
        pooled = F.avg_pool1d(found.squeeze(-1), self.points // self.tokens).transpose(1, 2)  # [N, tokens, D]
        embedded = self.projector(pooled.to(stage.dtype)) if self.fine else pooled.to(stage.dtype)
        if self.position is None:
            return embedded
        places = points / size
        box = torch.cat([places.amin(1), places.amax(1)], 1)  # [N, 4]
        return embedded + self.position(waves(box).to(stage.dtype))[:, None]


def check_regions(masks: Tensor, frames: Tensor, count: int, side: int) -> None:
    """Raise InputError unless ``masks`` are as large as the square frames, and drawn on one of ``count`` frames."""
    if masks.shape[-2:] != (side, side):
        raise InputError(
            f"Got region masks of shape {tuple(masks.shape)}",
            f"[regions, {side}, {side}], the size of the mask branch's frames",
            "Build inputs with X2SamProcessor, which resizes them",
        )
    outside = frames[(frames < 0) | (frames >= count)].tolist()
    if outside or len(frames) != len(masks):
        raise InputError(
            f"Got {len(masks)} regions on the frames {frames.tolist()}",
            f"a frame from 0 to {count - 1} for every region",
            "Draw regions on frames that the clip has",
        )


def sample_points(masks: Tensor, count: int, random: bool) -> Tensor:
    """``count`` pixels (x, y) of every mask, ``[N, count, 2]`` float32, in row-major order.

    Evenly spread over the mask's pixels, so that inference repeats; at random in training. A mask with fewer pixels
    repeats them.
    """
    ranks = masks.flatten(1).long().cumsum(1)  # [N, H*W]
    area = ranks[:, -1:]
    if not bool((area > 0).all()):
        empty = (area[:, 0] == 0).nonzero()[:, 0].tolist()
        raise InputError(f"Got an empty region (number {empty[0] + 1})", "a pixel in every region", "Draw it again")
    if random:
        wanted = (torch.rand(len(masks), count, device=masks.device).sort(1).values * area).long()
    else:
        wanted = torch.div(torch.arange(count, device=masks.device) * area, count, rounding_mode="floor")
    index = torch.searchsorted(ranks, wanted + 1)  # the pixel with that many mask pixels up to it
    return torch.stack((index % masks.shape[2], torch.div(index, masks.shape[2], rounding_mode="floor")), -1).float()
