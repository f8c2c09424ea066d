"""What is drawn becomes maps: each mark on its own channels, at its place, however thin it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from x2sam.masks import RLE, BoolMask
from x2sam.model.prompt_maps import (
    BOX,
    CARRIED,
    CHANNELS,
    MASK,
    NEAR,
    NOT,
    POSITIVE_SCALES,
    SINGLE,
    STROKE,
    prompt_maps,
)
from x2sam.types import Region

SIDE, CELLS = 128, 32


def mask_of(*windows: tuple[int, int, int, int], size: tuple[int, int] = (96, 160)) -> BoolMask:
    """Filled windows (top, left, bottom, right)."""
    mask = np.zeros(size, dtype=bool)
    for top, left, bottom, right in windows:
        mask[top:bottom, left:right] = True
    return mask


def region(kind: Any, *windows: tuple[int, int, int, int], **about: Any) -> Region:
    return Region(RLE.encode(mask_of(*windows)), kind=kind, **about)


def stack(drawn: Region | None, frame: int = 0) -> torch.Tensor:
    return prompt_maps([drawn], frame, SIDE)[0]


CLICK = (30, 100, 33, 105)  # cells of 3 x 5 pixels: this is cell (10, 20)


def test_a_click_is_nearest_at_its_cell_and_falls_with_the_distance_on_three_scales() -> None:
    maps = stack(region("point", CLICK))
    rows, columns = np.mgrid[:CELLS, :CELLS]
    away = torch.from_numpy(np.hypot(rows - 10, columns - 20)).float() / CELLS
    for channel, scale in zip((NEAR, NEAR + 1, NEAR + 2), POSITIVE_SCALES, strict=True):
        assert torch.allclose(maps[channel], torch.exp(-0.5 * (away / scale) ** 2), atol=1e-6), CHANNELS[channel]
        assert maps[channel].argmax() == 10 * CELLS + 20
        assert maps[channel, 10, 20] == 1
    assert maps[NEAR + 1, 10, 24] == pytest.approx(math.exp(-0.5)), "an eighth of the side"


@pytest.mark.parametrize(("kind", "channel"), [("box", BOX), ("mask", MASK)])
def test_boxes_and_masks_are_what_they_cover(kind: str, channel: int) -> None:
    maps = stack(region(kind, (12, 50, 60, 100)))  # cells 4..20 by 10..20
    assert torch.allclose(maps[channel, 5:19, 11:19], torch.tensor(1.0))
    outside = maps[channel].clone()
    outside[3:21, 9:21] = 0
    assert not outside.any()
    assert maps[channel].sum() == pytest.approx(16 * 10, rel=0.03)
    maps[channel] = 0
    assert not maps.any(), "nothing else is drawn"


@pytest.mark.parametrize("size", [(33, 41), (480, 640), (1080, 1920)], ids=str)
@pytest.mark.parametrize("kind", ["point", "scribble"])
def test_thin_marks_never_vanish(kind: Any, size: tuple[int, int]) -> None:
    """A single pixel in any place, and a line one pixel wide."""
    for row, column in ((0, 0), (size[0] - 1, size[1] - 1), (size[0] // 3, size[1] // 2)):
        dot = Region(RLE.encode(mask_of((row, column, row + 1, column + 1), size=size)), kind=kind)
        assert int((stack(dot)[NEAR] == 1).sum()) == 1
    line = Region(RLE.encode(mask_of((size[0] // 2, 0, size[0] // 2 + 1, size[1]), size=size)), kind=kind)
    assert bool((stack(line)[NEAR] == 1).any(0).all())


def test_strokes_are_told_from_clicks() -> None:
    stroke, click = stack(region("scribble", CLICK)), stack(region("point", CLICK))
    assert torch.equal(stroke[NEAR : NEAR + 3], click[NEAR : NEAR + 3])
    assert stroke[STROKE].nonzero().tolist() == [[10, 20]]
    assert not click[STROKE].any()


@pytest.mark.parametrize("kind", ["point", "box", "scribble", "mask"])
def test_what_is_drawn_on_another_frame_leaves_no_trace(kind: Any) -> None:
    drawn = region(kind, CLICK, frame=3)
    assert stack(drawn, 3).any()
    assert not stack(drawn, 2).any()
    assert not stack(None).any()


def test_negative_marks_have_maps_of_their_own() -> None:
    apart = mask_of((60, 20, 63, 25))  # cell (20, 4)
    maps = stack(region("point", CLICK, negative=RLE.encode(apart)))
    assert maps[NOT, 20, 4] == maps[NOT + 1, 20, 4] == maps[NEAR, 10, 20] == 1
    assert maps[NOT, 10, 20] < 1e-6
    assert maps[NEAR, 20, 4] < 1e-6
    assert torch.equal(maps[NEAR], stack(region("point", CLICK))[NEAR])


@pytest.mark.parametrize(
    ("drawn", "single"),
    [
        (region("point", CLICK), True),
        (region("point", (30, 100, 39, 115)), True),  # a thick one is one, too
        (region("point", CLICK, (60, 20, 63, 25)), False),
        (region("point", CLICK, negative=RLE.encode(mask_of((60, 20, 63, 25)))), False),
        (region("point", CLICK, frame=1), False),
        (region("scribble", CLICK), False),
        (region("box", CLICK), False),
        (region("mask", CLICK), False),
        (None, False),
    ],
    ids=["click", "thick", "two", "negative", "elsewhere", "stroke", "box", "mask", "nothing"],
)
def test_only_one_click_and_nothing_else_is_single(drawn: Region | None, single: bool) -> None:
    assert bool((stack(drawn)[SINGLE] == float(single)).all())


def test_carried_masks_of_any_size_have_their_own_map() -> None:
    soft = torch.zeros(24, 24)
    soft[:12] = 0.5
    hard = mask_of((0, 0, 96, 80))
    maps = prompt_maps([None, region("box", CLICK), None, None], 0, SIDE, [soft, hard, None])
    assert torch.allclose(maps[0, CARRIED, :15], torch.tensor(0.5))
    assert not maps[0, CARRIED, 17:].any()
    assert torch.allclose(maps[1, CARRIED, :, :15], torch.tensor(1.0))
    assert not maps[1, CARRIED, :, 17:].any()
    assert torch.equal(maps[1, :CARRIED], stack(region("box", CLICK))[:CARRIED]), "beside what is drawn"
    assert not maps[2:].any()
    maps[:, CARRIED] = 0
    assert not maps[0].any()


def test_stacks_are_in_the_order_of_the_conditions() -> None:
    click, box = region("point", CLICK), region("box", (12, 50, 60, 100))
    maps = prompt_maps([box, None, click], 0, SIDE)
    assert maps.shape == (3, len(CHANNELS), CELLS, CELLS)
    assert torch.equal(maps[0], stack(box))
    assert not maps[1].any()
    assert torch.equal(maps[2], stack(click))
    assert prompt_maps([], 0, SIDE).shape == (0, len(CHANNELS), CELLS, CELLS)
