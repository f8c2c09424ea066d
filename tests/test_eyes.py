"""Picture tokens of a model that sees through its mask encoder: which cell of the picture each of them is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam import vision
from x2sam.config import nano
from x2sam.model.eyes import SharedEyes
from x2sam.model.modeling import X2SamModel


@pytest.mark.parametrize("size", [(160, 160), (112, 208), (48, 336)], ids=str)
def test_pictures_of_any_shape_are_seen(size: tuple[int, int]) -> None:
    """Sides are multiples of a token's 16 pixels, not of the 32 that the backbone's maps need to fit each other."""
    torch.manual_seed(0)
    model = X2SamModel(nano()).eval()
    pixels = vision.normalise(torch.rand(2, 3, *size), (0.5,) * 3, (0.5,) * 3)
    cut, grid = vision.patches(pixels, 8, 2, 2)
    with torch.no_grad():
        seen = model.language.qwen.model.visual(cut, torch.tensor([grid])).pooler_output
    assert len(seen) == size[0] * size[1] // 256
    assert bool(seen.isfinite().all())


@pytest.mark.parametrize("patch", [8, 16])
@pytest.mark.parametrize("steps", [1, 2])
def test_every_token_reads_its_own_cell(patch: int, steps: int) -> None:
    config = nano()
    config.language_config.vision_config.patch_size = patch
    eyes = SharedEyes(config)
    for parameter in eyes.merger[-1].parameters():
        nn.init.zeros_(parameter)
    coarsest, finer = config.mask_encoder_config.backbone_channel_list[:2]
    width = config.language_config.text_config.hidden_size

    def look(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of nothing; the words are how bright it is, in the first of their dimensions."""
        fine, coarse = (frames.new_zeros(len(frames), c, 4, 4) for c in (finer, coarsest))
        words = torch.zeros(len(frames), width, 32, 32)
        words[:, :1] = F.adaptive_avg_pool2d(frames.mean(1, keepdim=True), 32)
        words[:, 1] = 1.0
        return fine, coarse, words

    eyes.look_with(look)
    side, cell = 4 * patch, 2 * patch
    dark = [np.zeros((side, side, 3), np.uint8) for _ in range(2 * steps)]
    read = []
    for row, column in ((0, 0), (0, 1), (1, 0)):
        frames = [frame.copy() for frame in dark]
        for frame in frames[-2:]:  # the last step is bright in one cell
            frame[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 255
        pixels = vision.normalise(torch.as_tensor(np.stack(frames)).permute(0, 3, 1, 2) / 255, (0.5,) * 3, (0.5,) * 3)
        cut, grid = vision.patches(pixels, patch, 2, 2)
        assert grid == (steps, 4, 4)
        seen = eyes(cut, torch.tensor([grid])).pooler_output  # [steps * 4, width]
        assert seen.shape == (4 * steps, width)
        read.append(seen)
    difference = (read[0] - read[1]).abs().sum(1)
    assert set(difference.topk(2).indices.tolist()) == {4 * steps - 4, 4 * steps - 3}
    difference = (read[0] - read[2]).abs().sum(1)
    assert set(difference.topk(2).indices.tolist()) == {4 * steps - 4, 4 * steps - 2}
