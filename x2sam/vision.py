"""Pictures -> tensors for both branches: Qwen3-VL's patches, and square frames for the mask encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from x2sam.errors import InputError
from x2sam.types import Frame

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_ASPECT_RATIO = 200


def smart_size(
    height: int, width: int, multiple: int, min_pixels: int, max_pixels: int, frames: int = 1, rounded_frames: int = 1
) -> tuple[int, int]:
    """The size nearest to ``height`` x ``width`` whose sides are multiples and whose area is within the limits.

    Qwen2-VL's rule: round to multiples, then scale down (flooring) or up (ceiling). For clips the limits are on
    ``frames`` x height x width.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise InputError(
            f"Got a picture of {width}x{height}", f"sides that differ by a factor of at most {MAX_ASPECT_RATIO}"
        )
    fitted = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
    area = rounded_frames * fitted[0] * fitted[1]
    if area > max_pixels:
        scale = math.sqrt(frames * height * width / max_pixels)
        fitted = [max(multiple, math.floor(side / scale / multiple) * multiple) for side in (height, width)]
    elif area < min_pixels:
        scale = math.sqrt(min_pixels / (frames * height * width))
        fitted = [math.ceil(side * scale / multiple) * multiple for side in (height, width)]
    return fitted[0], fitted[1]


def patches(frames: Tensor, patch: int, merge: int, temporal: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Cut frames ``[T, 3, H, W]`` (floats) into Qwen3-VL's patches.

    Returns ``[t*h*w, 3 * temporal * patch * patch]`` with merged neighbours next to each other, and the grid (t, h, w);
    an odd last frame is repeated.
    """
    if len(frames) % temporal:
        frames = torch.cat([frames, frames[-1:].expand(temporal - len(frames) % temporal, -1, -1, -1)])
    t, h, w = len(frames) // temporal, frames.shape[2] // patch, frames.shape[3] // patch
    cells = frames.reshape(t, temporal, 3, h // merge, merge, patch, w // merge, merge, patch)
    cells = cells.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)  # [t, h/m, w/m, m, m, 3, temporal, patch, patch]
    return cells.reshape(t * h * w, -1), (t, h, w)


def resize(frames: Sequence[Frame] | NDArray[np.uint8], size: tuple[int, int], mode: str) -> Tensor:
    """Resize frames ``[T, H, W, 3]`` uint8 to ``[T, 3, *size]`` uint8, with the antialiasing that PIL has."""
    resized = [
        F.interpolate(torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None], size, mode=mode, antialias=True)
        for frame in frames
    ]
    return torch.cat(resized)


def normalise(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``[T, 3, H, W]`` uint8 -> float32, per channel ``(x / 255 - mean) / std``."""
    shape = (1, 3, 1, 1)
    return (frames.float() / 255 - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


def square_masks(masks: Sequence[NDArray[np.bool_]], side: int) -> Tensor:
    """Masks of any size -> ``[N, side, side]`` bool, nearest neighbour; one that would vanish keeps all it touches."""
    out = torch.zeros(len(masks), side, side, dtype=torch.bool)
    for i, mask in enumerate(masks):
        source = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
        out[i] = F.interpolate(source, (side, side), mode="nearest")[0, 0].bool()
        if not out[i].any() and mask.any():
            out[i] = F.adaptive_max_pool2d(source, (side, side))[0, 0].bool()
    return out
