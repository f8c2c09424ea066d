"""Picture tokens of a model that sees through its mask encoder: which cell of the picture each of them is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import close, new_small_model, small_config
from torch import Tensor, nn

from x2sam import vision
from x2sam.config import EyesConfig
from x2sam.model.eyes import LIKELIEST, SharedEyes
from x2sam.model.modeling import X2SamModel

MIDDLE = (0.5,) * 3


def cut(frames: list[np.ndarray], patch: int = 16) -> tuple[Tensor, tuple[int, int, int]]:
    pixels = torch.as_tensor(np.stack(frames)).permute(0, 3, 1, 2)
    return vision.patches(vision.normalise(pixels, MIDDLE, MIDDLE), patch, 2, 2)


@torch.no_grad()
@pytest.mark.parametrize("size", [(160, 160), (96, 224), (32, 352)], ids=str)
def test_pictures_of_any_shape_are_seen(size: tuple[int, int], small_model: X2SamModel) -> None:
    """Several at once are seen as each by itself."""
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for height, width in (size, (64, 64), size)]
    parts = [cut([picture] * 2) for picture in shown]
    pixels, grids = torch.cat([patches for patches, _ in parts]), torch.tensor([grid for _, grid in parts])
    seen = small_model.language.visual(pixels, grid_thw=grids).pooler_output
    counts = [size[0] * size[1] // 1024, 4, size[0] * size[1] // 1024]
    assert seen.shape == (sum(counts), 48)
    for tokens, (patches, grid) in zip(seen.split(counts), parts, strict=True):
        assert close(tokens, small_model.language.visual(patches, grid_thw=torch.tensor([grid])).pooler_output, 1e-4)


@torch.no_grad()
def test_a_side_that_is_no_multiple_of_the_backbone_s_stride_is_seen_whole() -> None:
    """A token's cell may be smaller than a cell of the backbone's last map."""
    model = new_small_model(eyes_config=EyesConfig(patch_size=8, image_token_id=261, video_token_id=262))
    patches, grid = cut([np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)] * 2, 8)
    sizes: list[tuple[int, ...]] = []

    def look(frames: Tensor) -> Tensor:
        sizes.append(tuple(frames.shape))
        return model._look(frames)

    model.language.eyes.look_with(look, model.get_input_embeddings())
    seen = model.language.visual(patches, grid_thw=torch.tensor([grid])).pooler_output
    assert seen.shape == (15, 48)
    assert bool(seen.isfinite().all())
    assert sizes == [(1, 3, 64, 96)], "a picture is one frame"


@pytest.mark.parametrize("patch", [8, 16])
@pytest.mark.parametrize("steps", [1, 2])
@torch.no_grad()
def test_every_token_reads_its_own_cell(patch: int, steps: int) -> None:
    """The brightness of a cell decides which name is seen there; a step is the mean of its two frames."""
    config = small_config(eyes_config=EyesConfig(patch_size=patch))
    eyes = SharedEyes(config)
    for part in (*eyes.start_as_nothing(), eyes.place.code):
        for parameter in part.parameters():
            parameter.zero_()
    eyes.names[:, 0] = torch.arange(10)
    words = nn.Embedding.from_pretrained(torch.eye(20, 48))
    eyes.classifier.weight.zero_()
    eyes.classifier.bias.copy_(-torch.arange(10.0))
    eyes.classifier.weight[3, 0] = 20.0

    def look(frames: Tensor) -> Tensor:
        """How bright it is, in the first of the channels."""
        seen = torch.zeros(len(frames), config.recognition_channels, 16, 16)
        seen[:, 0] = F.adaptive_avg_pool2d(frames.mean(1, keepdim=True), 16)[:, 0]
        return seen

    eyes.look_with(look, words)
    side, cell = 4 * patch, 2 * patch
    for place, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        frames = [np.zeros((side, side, 3), np.uint8) for _ in range(2 * steps)]
        for frame in frames[-2:]:  # the last step is bright in one cell
            frame[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 255
        patches, grid = cut(frames, patch)
        assert grid == (steps, 4, 4)
        seen = eyes(patches, torch.tensor([grid])).pooler_output  # [steps * 4, width]
        assert seen.shape == (4 * steps, 48)
        assert (seen[:, 3] > 0.9).nonzero()[:, 0].tolist() == [4 * steps - 4 + place]
        assert int((seen[:, 3] < 0.01).sum()) == 4 * steps - 1


@torch.no_grad()
def test_at_first_a_token_is_the_likeliest_words_that_are_seen() -> None:
    """A name of several tokens is their mean, in the language model's own embeddings."""
    model = X2SamModel(small_config())
    eyes, words = model.language.eyes, model.get_input_embeddings().weight
    said = [[10 + i, 30 + i, 50 + i][: i % 3 + 1] for i in range(10)]
    for row, ids in zip(eyes.names, said, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    eyes.classifier.weight.normal_()
    features = torch.rand(1, 32, 2, 3)
    chances = eyes.classifier(features[0].permute(1, 2, 0)).softmax(-1).flatten(0, 1)  # [6, 10]
    least = chances.sort(-1, descending=True).values[:, LIKELIEST - 1, None]
    for scale in (1, 2):  # embeddings that change are seen as they are
        words.mul_(scale)
        expected = torch.where(chances >= least, chances, 0) @ torch.stack([words[ids].mean(0) for ids in said])
        assert close(eyes.read(features, (2, 3)), expected)
    for part in eyes.start_as_nothing():
        for parameter in part.parameters():
            parameter.normal_()
    assert not close(eyes.read(features, (2, 3)), expected, 1e-2)


@torch.no_grad()
def test_the_backbone_stays_the_mask_side_s() -> None:
    model = new_small_model()
    assert not any("backbone" in name for name in model.language.state_dict())
    patches, grid = cut([np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)] * 2)
    before = model.language.visual(patches, grid_thw=torch.tensor([grid])).pooler_output
    model.mask_encoder.backbone.recognise[0].weight.mul_(2)
    assert not close(model.language.visual(patches, grid_thw=torch.tensor([grid])).pooler_output, before, 1e-3)
