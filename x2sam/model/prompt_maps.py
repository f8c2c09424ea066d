"""What is drawn on a frame, as maps that a convolution can read beside the frame's features: one stack a condition.

Clicks and strokes are told by the distance to them, boxes and masks by their pixels (as in dense prompt encoders of
interactive segmentation, arXiv 2004.01279, section 3). What is not drawn is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from x2sam.masks import BoolMask
from x2sam.types import Region

STRIDE = 4
"""Pixels of the mask branch's frame to a cell of a map."""
CHANNELS = ("box", "near", "around", "far", "not", "not around", "stroke", "mask", "carried", "single")
"""Of a stack: the filled box; how near positive marks are, on three scales; negative ones, on two; strokes; a given
mask; where the object should be by the frames before; and everywhere 1 where all that is drawn is one click."""
BOX, NEAR, NOT, STROKE, MASK, CARRIED, SINGLE = (CHANNELS.index(c) for c in (
    "box", "near", "not", "stroke", "mask", "carried", "single"
))  # fmt: skip
POSITIVE_SCALES, NEGATIVE_SCALES = (0.025, 0.125, 0.4), (0.025, 0.125)
"""Distances at which a mark's map has fallen to exp(-1/2), as parts of the side."""


def prompt_maps(
    regions: Sequence[Region | None], frame: int, side: int, carried: Sequence[BoolMask | Tensor | None] = ()
) -> Tensor:
    """Stacks of maps ``[C, len(CHANNELS), side / 4, side / 4]`` float32 of one frame.

    Args:
        regions: of each condition the region that shows it, or None.
        frame: index of the frame: regions that are drawn on others leave no trace here.
        side: of the mask branch's frames, in pixels.
        carried: of each condition its mask as carried here from earlier frames, ``[h, w]``, bool or 0..1, any size.
    """
    cells = side // STRIDE
    maps = torch.zeros(len(regions), len(CHANNELS), cells, cells)
    for i, region in enumerate(regions):
        if region is not None and region.frame == frame:
            _draw(maps[i], region)
        before = carried[i] if i < len(carried) else None
        if before is not None:
            maps[i, CARRIED], maps[i, SINGLE] = _cover(before, cells), 0.0
    return maps


def _draw(maps: Tensor, region: Region) -> None:
    cells = maps.shape[-1]
    cover = _cover(region.mask, cells)
    if region.kind in ("box", "mask"):
        maps[BOX if region.kind == "box" else MASK] = cover
        return
    touched = _touched(region.mask, cells)
    _near(maps[NEAR:], touched, POSITIVE_SCALES)
    if region.kind == "scribble":
        maps[STROKE] = torch.from_numpy(touched).float()
    if region.negative is not None:
        _near(maps[NOT:], _touched(region.negative.decode(), cells), NEGATIVE_SCALES)
    elif region.kind == "point" and ndimage.label(touched, np.ones((3, 3)))[1] == 1:
        maps[SINGLE] = 1.0


def _near(maps: Tensor, touched: BoolMask, scales: Sequence[float]) -> None:
    away = torch.from_numpy(ndimage.distance_transform_edt(~touched) / touched.shape[0]).float()
    for channel, scale in enumerate(scales):
        maps[channel] = torch.exp(-0.5 * (away / scale) ** 2)


def _cover(mask: BoolMask | Tensor, cells: int) -> Tensor:
    """How much of every cell a mask covers, ``[cells, cells]``."""
    whole = mask if isinstance(mask, Tensor) else torch.from_numpy(np.ascontiguousarray(mask))
    shape = (cells, cells)
    return F.interpolate(whole[None, None].float().cpu(), shape, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)


def _touched(mask: BoolMask, cells: int) -> BoolMask:
    """The cells that hold a pixel of a mask: however thin, a mark never vanishes."""
    rows, columns = np.nonzero(mask)
    out = np.zeros((cells, cells), dtype=bool)
    out[rows * cells // mask.shape[0], columns * cells // mask.shape[1]] = True
    return out
