"""Deformable attention by table look-up: the numbers, gradients and manners of `transformers`' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.mask2former import modeling_mask2former as mask2former

from x2sam.model import deformable
from x2sam.model.deformable import DeformableAttention, weighted_cells

SIZES = ((3, 4), (6, 8), (5, 2))
CELLS = sum(height * width for height, width in SIZES)
DIM, HEADS = 16, 2
Theirs = mask2former.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention


def pair(spread: float) -> tuple[DeformableAttention, Theirs]:
    """Ours and theirs with the same weights; offsets of about ``spread`` cells, so that many places are outside."""
    torch.manual_seed(0)
    ours, theirs = DeformableAttention(DIM, HEADS, 3, 4), Theirs(DIM, HEADS, 3, 4)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.3)
        ours.sampling_offsets.weight.normal_(std=spread / DIM**0.5)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def question(batch: int = 2, padded: bool = False) -> dict[str, Any]:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(batch, CELLS, DIM, generator=random, requires_grad=True)
    ratios = torch.ones(batch, 3, 2)
    mask = torch.zeros(batch, CELLS, dtype=torch.bool)
    if padded:
        ratios[0], mask[0, ::3] = 0.75, True
    places = mask2former.Mask2FormerPixelDecoderEncoderOnly.get_reference_points(SIZES, ratios, x.device)
    return {
        "hidden_states": x,
        "attention_mask": mask,
        "encoder_hidden_states": x,
        "position_embeddings": torch.randn(1, CELLS, DIM, generator=random),
        "reference_points": places,
        "spatial_shapes_list": SIZES,
    }


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("padded", [False, True])
def test_the_same_numbers_and_gradients(spread: float, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside, on the border and far outside; whole, and a few queries at once."""
    asked = question(padded=padded)

    def answers(module: Any) -> list[Tensor]:
        out = module(**asked)[0]
        wanted = [asked["hidden_states"], *module.parameters()]
        return [out, *torch.autograd.grad((out * out.detach().cos()).sum(), wanted)]

    ours, theirs = pair(spread)
    expected = answers(theirs)
    for lookups in (deformable.LOOKUPS, 4 * HEADS * 12 * 7):
        monkeypatch.setattr(deformable, "LOOKUPS", lookups)
        for mine, other in zip(answers(ours), expected, strict=True):
            assert (mine - other).abs().max() <= 2e-5 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0, 0, 1.0),
        (1, 1, 4.0),
        (0.5, 0.5, 2.5),
        (-0.25, 0, 0.75),  # a quarter of it is outside
        (1, 1.5, 2.0),
        (-1, 0, 0.0),
        (2, 1, 0.0),
        (0, 1e9, 0.0),
        (-float("inf"), 0, 0.0),
    ],
)
def test_known_numbers(x: float, y: float, expected: float) -> None:
    """One level of 2 x 2 cells that hold 1, 2, 3 and 4; nothing beyond."""
    values = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1)
    places = torch.tensor([x, y]).view(1, 1, 2, 1, 1)
    assert weighted_cells(values, ((2, 2),), places, torch.ones(1, 1, 1, 1)).item() == pytest.approx(expected)


def test_a_place_that_is_not_a_number_spoils_only_itself() -> None:
    places = torch.tensor([[float("nan"), 0.0], [1.0, 1.0]]).view(1, 2, 2, 1, 1)
    values = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1)
    out = weighted_cells(values, ((2, 2),), places, torch.ones(1, 2, 1, 1)).flatten()
    assert out[0].isnan()
    assert out[1] == 4


def test_half_precision_keeps_places_apart() -> None:
    """Under bfloat16 autocast the answer moves as little as bfloat16 moves the linear maps."""
    ours, theirs = pair(1.0)
    asked = question()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        mine = ours(**asked)[0]
    assert (mine.float() - theirs(**asked)[0]).abs().max() < 0.05 * theirs(**asked)[0].abs().max()
