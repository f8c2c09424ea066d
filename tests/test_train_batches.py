"""What nano learns from: photos beside the world, what is drawn, and masks that are carried not quite rightly."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_config

from x2sam.model.prompt_maps import CARRIED, CHANNELS, MASK
from x2sam.processing import X2SamProcessor
from x2sam.tasks import get_task
from x2sam.train import batches
from x2sam.train.batches import Collator, _distorted
from x2sam.train.recipes import TrainConfig, task_of
from x2sam.train.sampler import Sampler
from x2sam.train.sources import Mixture
from x2sam.types import Condition, Sample

sys.path.insert(0, str(Path(__file__).parent))
from shapes import SIDE, Shapes


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(i) for i in range(count)]


# --- sources -------------------------------------------------------------------------------------------------------


class Source:
    """Says what it was asked for."""

    def __init__(self, name: str, **lengths: int) -> None:
        self.name, self.asked = name, list[tuple[str, int]]()
        if lengths:
            self.lengths = lengths

    def sample(self, task: str, index: int) -> Sample:
        self.asked.append((task, index))
        return dataclasses.replace(Shapes("train").sample(task, index), sample_id=self.name)


def test_tasks_of_photos_are_made_of_photos() -> None:
    rest, photos = Source("world"), Source("photos", img_refseg=3, vid_objseg=2)
    mixture = Mixture(rest, photos)
    assert mixture.lengths == {"photos/img_refseg": 3, "photos/vid_objseg": 2}
    assert mixture.sample("photos/img_refseg", 2).sample_id == "photos"
    assert mixture.sample("img_refseg", 7).sample_id == "world"
    assert (photos.asked, rest.asked) == ([("img_refseg", 2)], [("img_refseg", 7)])
    assert Mixture(Source("own", img_chat=5), photos).lengths["img_chat"] == 5


def test_photos_are_sampled_as_tasks_of_their_own() -> None:
    tasks = {"photos/vid_objseg": 1, "photos/img_refseg": 2, "img_refseg": 1}
    config = TrainConfig("", tasks=tasks, image_batch=3, video_batch=2, photos="photos")
    micro = [m for update in range(8) for m in Sampler(config).micro_batches(update)]
    assert {m.task for m in micro} == set(tasks)
    for m in micro:
        assert len(m.indices) == config.batch(task_of(m.task).media)
    assert task_of("photos/vid_objseg") is get_task("vid_objseg")


# --- what is drawn -------------------------------------------------------------------------------------------------


@pytest.fixture
def collator(small_processor: X2SamProcessor) -> Collator:
    return Collator(small_config(), small_processor, 3)


@pytest.mark.parametrize(
    ("task", "draws", "alone"),
    [
        ("img_intseg", True, True),
        ("vid_objseg", True, True),
        ("img_refseg", False, True),
        ("img_vgdseg", False, False),
        ("img_genseg", False, False),
    ],
)
def test_regions_that_show_one_object_are_drawn(task: str, draws: bool, alone: bool, collator: Collator) -> None:
    samples = [Shapes("train").sample(task, i) for i in range(2)]
    inputs = collator(samples, rngs(2)).inputs
    assert inputs["alone"] == alone
    assert ("drawn" in inputs) == draws
    if draws:
        clip = inputs["frames"].shape[1]
        assert inputs["drawn"].shape == (2, clip, 2, len(CHANNELS), SIDE // 4, SIDE // 4)
        assert inputs["drawn"].dtype == torch.float32
        assert 0 <= inputs["drawn"].amin() <= inputs["drawn"].amax() <= 1


def test_a_region_is_drawn_on_its_frame_and_its_object_carried_on_the_others(collator: Collator) -> None:
    """Here each object stays in its half of the frame; the second region is drawn on the second frame."""
    sample = Shapes("train").sample("vid_objseg", 0)
    second = dataclasses.replace(sample.prompt.conditions[1].region, frame=1)
    conditions = (sample.prompt.conditions[0], Condition(region=second))
    sample = dataclasses.replace(sample, prompt=dataclasses.replace(sample.prompt, conditions=conditions))
    drawn = collator.drawn(sample, np.random.default_rng(0))
    assert drawn.shape == (3, 2, len(CHANNELS), 16, 16)
    shown = drawn.flatten(3).amax(-1) > 0.5  # [T, C, K]
    assert shown[:, 0, MASK].tolist() == [True, False, False]
    assert shown[:, 1, MASK].tolist() == [False, True, False]
    assert shown[:, :, CARRIED].tolist() == [[False, False], [True, True], [True, True]]
    others = [i for i in range(len(CHANNELS)) if i not in (MASK, CARRIED)]
    assert not drawn[:, :, others].any()
    for t in (1, 2):
        for track in sample.objects:
            before = torch.from_numpy(track.masks[t - 1].decode()).float()
            cover = torch.nn.functional.avg_pool2d(before[None], 4)[0]
            carried = drawn[t, track.condition, CARRIED]
            assert (carried * cover).sum() / cover.sum() > 0.5
    again = collator.drawn(sample, np.random.default_rng(0))
    assert torch.equal(drawn, again)


def test_what_is_not_seen_is_not_carried_and_what_was_seen_last_is(collator: Collator) -> None:
    sample = Shapes("train").sample("vid_objseg", 0)
    hidden = tuple(
        dataclasses.replace(track, masks=masks)
        for track, masks in zip(
            sample.objects,
            [(None, None, sample.objects[0].masks[2]), (sample.objects[1].masks[0], None, None)],
            strict=True,
        )
    )
    drawn = collator.drawn(dataclasses.replace(sample, objects=hidden), np.random.default_rng(0))
    assert (drawn[:, :, CARRIED].flatten(2).amax(-1) > 0.5).tolist() == [[False, False], [False, True], [False, True]]


def test_some_pictures_carry_their_mask_instead_of_a_drawing(
    collator: Collator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for share, expected in ((0.0, {(True, False)}), (1.0, {(False, True)}), (0.5, {(True, False), (False, True)})):
        monkeypatch.setattr(batches, "CARRIED_SHARE", share)
        seen = set()
        for i in range(12):
            stack = collator.drawn(Shapes("train").sample("img_intseg", i), np.random.default_rng(i))[0]
            seen |= {(bool((c[MASK] > 0.5).any()), bool((c[CARRIED] > 0.5).any())) for c in stack}
        assert seen == expected


def test_fewer_conditions_and_shorter_clips_are_filled_with_nothing(collator: Collator) -> None:
    long = Shapes("train").sample("vid_objseg", 0)
    short = Shapes("train").sample("vid_objseg", 1)
    short = dataclasses.replace(
        short,
        frames=short.frames[:2],
        prompt=dataclasses.replace(short.prompt, conditions=short.prompt.conditions[:1]),
        objects=tuple(dataclasses.replace(track, masks=track.masks[:2]) for track in short.objects[:1]),
    )
    drawn = collator([long, short], rngs(2)).inputs["drawn"]
    assert drawn.shape[:3] == (2, 3, 2)
    assert drawn[1, :2, 0].flatten(1).any(1).all()
    assert not drawn[1, 2].any()
    assert not drawn[1, :, 1].any()
    assert drawn[0].flatten(2).any(2).all()


def test_no_pictures_are_shown_to_a_language_model_that_does_not_read(small_processor: X2SamProcessor) -> None:
    for task in ("img_refseg", "vid_objseg"):
        samples = [Shapes("train").sample(task, i) for i in range(2)]
        reading, blind = (
            Collator(small_config(), small_processor, 3, reads)(samples, rngs(2)).inputs for reads in (True, False)
        )
        assert any(name.startswith("pixel_values") for name in reading)
        assert not any(name.startswith("pixel_values") for name in blind)
        markers = (small_config().phrase_start_token_id, small_config().seg_token_id)
        for token in markers:
            assert (blind["input_ids"] == token).sum() == (reading["input_ids"] == token).sum()
        assert torch.equal(blind["frames"], reading["frames"])


# --- masks as they are carried -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window",
    [(20, 60, 30, 90), (0, 40, 0, 40), (70, 96, 10, 160), (40, 52, 80, 92)],
    ids=["middle", "corner", "edge", "small"],
)
def test_a_carried_mask_stays_near_the_mask_but_is_not_quite_it(window: tuple[int, int, int, int]) -> None:
    mask = np.zeros((96, 160), dtype=bool)
    mask[window[0] : window[1], window[2] : window[3]] = True
    truth = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mask)[None].float(), 96)[0] > 0.5
    overlaps = []
    for seed in range(30):
        carried = _distorted(mask, np.random.default_rng(seed))
        assert carried.shape == (96, 96)
        assert 0 <= carried.amin() <= carried.amax() <= 1
        assert carried[~truth].mean() < 0.15
        drawn = carried > 0.5
        overlaps.append(float((drawn & truth).sum() / (drawn | truth).sum()))
        assert torch.equal(carried, _distorted(mask, np.random.default_rng(seed)))
    assert 0.6 < np.mean(overlaps) < 0.95
    assert min(overlaps) > 0.15
    assert max(overlaps) < 1
    assert np.std(overlaps) > 0.02


def test_a_carried_mask_is_centred_on_its_object() -> None:
    """On average neither moved, nor larger, nor turned: an oblong one stays oblong."""
    mask = np.zeros((120, 80), dtype=bool)
    mask[30:60, 20:30] = True
    mean = torch.stack([_distorted(mask, np.random.default_rng(seed)) for seed in range(80)]).mean(0)
    mean = (mean - mean.median()).clamp_min(0)
    rows, columns = (torch.arange(96) + 0.5).expand(96, 96).T, (torch.arange(96) + 0.5).expand(96, 96)
    centre = [float((mean * places).sum() / mean.sum()) for places in (rows, columns)]
    assert centre[0] == pytest.approx(45 / 120 * 96, abs=1.5)
    assert centre[1] == pytest.approx(25 / 80 * 96, abs=1.5)
    assert mean.sum() == pytest.approx(24 * 12, rel=0.25)


def test_a_single_pixel_can_be_carried() -> None:
    mask = np.zeros((480, 640), dtype=bool)
    mask[0, 639] = True
    assert bool(_distorted(mask, np.random.default_rng(0)).isfinite().all())
