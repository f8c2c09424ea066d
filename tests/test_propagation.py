"""Masks carried from frame to frame by what places look like, on textures whose motion is known."""

import pickle

import pytest
import torch

from x2sam.model.frames import FrameFeatures
from x2sam.tracking.history import History

SIDE = 24


class Remembered(History):
    """Of one prompt alone."""

    def remember(self, descriptors, masks, shown):
        super().remember(0, descriptors, masks, shown)

    def carry(self, descriptors):
        return self.propagate(descriptors, [0]).get(0)


def unit(maps: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(maps, dim=0)


def textures(seed: int = 0, size: int = SIDE) -> torch.Tensor:
    """Places that have something in common, each with its own part."""
    generator = torch.Generator().manual_seed(seed)
    return unit(torch.randn(16, 1, 1, generator=generator) + torch.randn(16, size, size, generator=generator))


def overlap(found: torch.Tensor, mask: torch.Tensor) -> float:
    ours, theirs = found > 0.5, mask > 0.5
    return float((ours & theirs).sum() / (ours | theirs).sum())


def scene(y: int, x: int, thing: torch.Tensor, ground: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A textured square at (y, x): what every place looks like, and its mask."""
    look, mask, side = ground.clone(), torch.zeros(SIDE, SIDE), thing.shape[-1]
    look[:, y : y + side, x : x + side] = thing
    mask[y : y + side, x : x + side] = 1
    return look, mask


@pytest.mark.parametrize("step", [(0, 0), (1, 1), (1, -1), (0, -1)])
def test_a_mask_goes_where_its_texture_goes(step):
    """All of it; of the ground that it uncovers, which nobody has seen, a little may be taken for it."""
    thing, ground, carried = textures(1, 8), textures(2), Remembered()
    y, x = 8, 8
    look, mask = scene(y, x, thing, ground)
    carried.remember(look, [mask], [True])
    for _ in range(6):
        y, x = y + step[0], x + step[1]
        look, mask = scene(y, x, thing, ground)
        found = carried.carry(look)
        assert bool((found[0] > 0.5)[mask > 0.5].all())
        assert overlap(found[0], mask) > 0.9
        carried.remember(look, [found[0]], [False])


def test_an_object_that_was_away_is_found_by_how_it_was_shown():
    thing, ground, carried = textures(1, 6), textures(2), Remembered()
    look, mask = scene(8, 8, thing, ground)
    carried.remember(look, [mask], [True])
    for _ in range(20):
        carried.remember(ground, [None], [False])
    assert float(carried.carry(ground)[0].max()) < 0.1
    look, mask = scene(12, 4, thing, ground)
    assert overlap(carried.carry(look)[0], mask) > 0.9


def test_frames_before_an_object_was_shown_say_nothing_about_it():
    """It stood there already: they would call it background."""
    first, second, ground, carried = textures(1, 6), textures(3, 6), textures(2), Remembered()
    look, mask = scene(2, 2, first, ground)
    look[:, 14:20, 14:20] = second
    other = torch.zeros(SIDE, SIDE)
    other[14:20, 14:20] = 1
    carried.remember(look, [mask, None], [True, False])
    assert torch.equal(carried.carry(look)[1], torch.zeros(SIDE, SIDE))
    carried.remember(look, [mask, other], [False, True])
    found = carried.carry(look)
    assert torch.equal(found > 0.5, torch.stack([mask, other]) > 0.5)
    assert float(found[1, 14:20, 14:20].min()) > 0.99


def test_nothing_is_carried_from_nothing_or_between_sizes():
    carried, look = Remembered(), textures()
    assert carried.carry(look) is None
    carried.remember(look, [None], [False])
    assert carried.carry(look) is None
    carried.remember(look, [torch.ones(50, 70)], [False])
    assert float(carried.carry(look).min()) > 0.99
    assert carried.carry(look[:, :-1]) is None


def test_what_is_kept_is_bounded():
    carried, sizes = Remembered(), []
    for i in range(40):
        carried.remember(textures(i), [torch.ones(8, 8)], [True])
        sizes.append(len(pickle.dumps(carried.trails)))
    assert abs(sizes[-1] - sizes[12]) < 100  # pickle names storages by numbers that may be longer
    assert sizes[12] - sizes[0] > 10_000, "a frame that is kept shows"


def test_the_look_of_a_frame_has_unit_length_and_a_bounded_size():
    def features(side: int) -> FrameFeatures:
        stages = tuple(torch.randn(2, side // s, side // s, 8 * s) for s in (1, 2, 4))
        return FrameFeatures((torch.empty(0),) * 3, stages)

    for side, wanted in ((40, 40), (56, 56), (64, 32), (256, 51)):
        look = torch.stack(features(side).descriptors)
        assert look.shape == (2, 24, wanted, wanted)
        assert torch.allclose(look.norm(dim=1), torch.ones(()), atol=1e-5)
