"""Metrics on cases small enough to work out by hand, and their parts against slow but plain computations."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from functools import partial
from typing import Any

import metric_cases as cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from x2sam.errors import DataError, InputError, MissingExtraError, X2SamError
from x2sam.masks import RLE
from x2sam.metrics import (
    CaptionScore,
    GroundedMasks,
    Grouped,
    Instance,
    MaskAP,
    MeanIoU,
    PanopticQuality,
    PhraseLikeness,
    ReferringIoU,
    RegionBoundary,
    SegmentationTrackingQuality,
    TrackAP,
    TrackIdentity,
    VideoConsistency,
    VideoPanopticQuality,
)
from x2sam.metrics.base import Metric, mean
from x2sam.metrics.overlap import joint_counts, mask_counts, tube_iou
from x2sam.metrics.region_boundary import boundary_accuracy


def strip(start: int, stop: int, width: int = 100, height: int = 1) -> np.ndarray:
    """A mask ``[height, width]`` of the columns from start to stop."""
    result = np.zeros((height, width), dtype=bool)
    result[:, start:stop] = True
    return result


def rle(start: int, stop: int) -> RLE:
    return RLE.encode(strip(start, stop))


def test_void_under_a_prediction_is_taken_out_of_the_union() -> None:
    case = cases.fixture_of_void(1)
    metric = PanopticQuality(cases.THINGS)
    metric.update(case.predicted[0], case.truth[0], case.predicted_categories, case.truth_categories)
    result = metric.compute()
    assert result["SQ_things"] == pytest.approx(70 / 110)
    assert (result["RQ_things"], result["PQ_stuff"]) == (1, 0)


@pytest.mark.parametrize(
    ("shared", "per_frame", "both"),
    [(30, 1 / 2, 0.65), (50, 1 / 2, 0.75), (60, 1.6 / 2, 0.8)],  # a miss and its false positive count half each
)
def test_a_tube_matches_by_its_pixels_over_the_whole_window(shared: int, per_frame: float, both: float) -> None:
    """An object of 100 pixels on two frames, found wholly on the first and in part on the second."""
    truth = np.ones((2, 1, 100), dtype=np.int64)
    predicted = np.stack([strip(0, 100), strip(0, shared)]) * 4
    metric = VideoPanopticQuality({1: True}, windows=(1, 2))
    metric.update(predicted, truth, {4: 1}, {1: 1})
    result = metric.compute()
    assert (result["VPQ@1"], result["VPQ@2"]) == pytest.approx((per_frame, both))
    assert result["VPQ"] == pytest.approx((per_frame + both) / 2)


def test_stq_of_an_id_that_changes_half_way() -> None:
    """A thing filling two frames under two ids: each covers half, so AQ is 2 x (1/2 x 1/2)."""
    truth, predicted = np.ones((2, 2, 5), dtype=np.int64), np.ones((2, 2, 5), dtype=np.int64)
    predicted[1] = 2
    metric = SegmentationTrackingQuality({3: True})
    metric.update(predicted, truth, {1: 3, 2: 3}, {1: 3})
    assert metric.compute() == pytest.approx({"STQ": math.sqrt(0.5), "AQ": 0.5, "SQ": 1.0})


def test_mean_iou_counts_a_prediction_outside_the_classes_as_wrong() -> None:
    metric = MeanIoU(3)
    metric.update(np.array([[0, 0, 255, 1, 1]]), np.array([[0, 0, 0, 255, 1]]))
    assert metric.compute() == pytest.approx({"mIoU": 5 / 6, "fwIoU": 0.75, "mACC": 5 / 6, "pACC": 0.75})


def test_video_consistency_takes_one_window_less_than_there_are() -> None:
    truth = np.zeros((3, 1, 4), dtype=np.int64)
    predicted = np.array([[[0, 0, 0, 0]], [[0, 0, 0, 1]], [[5, 5, 5, 5]]])
    metric = VideoConsistency(windows=(2, 3))
    metric.update(predicted, truth)
    result = metric.compute()
    assert result["mVC@2"] == 0.75
    assert math.isnan(result["mVC@3"])


def test_an_absent_target_that_is_not_predicted_counts_one() -> None:
    """Intersection 30 of union 60, and nothing of nothing."""
    metric = ReferringIoU()
    metric.update(rle(0, 45), rle(15, 60))
    metric.update(None, None)
    assert metric.compute() == {"cIoU": 0.5, "gIoU": 0.75, "N-acc": 1, "T-acc": 1}
    metric.update(rle(0, 40), None)
    metric.update(None, rle(0, 20))
    assert metric.compute() == {"cIoU": 0.25, "gIoU": 0.375, "N-acc": 0.5, "T-acc": 0.5}


def test_ignored_pixels_do_not_count() -> None:
    metric = ReferringIoU()
    metric.update(rle(0, 50), rle(20, 40), ignore=rle(0, 10))
    assert metric.compute()["cIoU"] == 0.5


@pytest.mark.parametrize(("masks", "miou", "recall"), [([rle(0, 80)], 0.8, 0.5), ([], 0, 0)])
def test_an_annotated_mask_without_partner_does_not_lower_miou(masks: list[RLE], miou: float, recall: float) -> None:
    metric = GroundedMasks()
    metric.update(
        "a", [Instance((m,)) for m in masks], [Instance((rle(0, 100),)), Instance((RLE.encode(strip(0, 0)),))]
    )
    result = metric.compute()
    assert (result["mIoU"], result["Recall"]) == pytest.approx((miou, recall))


def test_recall_stops_at_the_first_phrase_that_is_worded_otherwise() -> None:
    ours = [Instance((rle(0, 50),)), Instance((rle(50, 90),))]
    theirs = [Instance((rle(0, 50),)), Instance((rle(50, 100),))]
    for likeness, recall in (([[0.9, 0], [0, 0.2]], 0.5), ([[0.2, 0], [0, 0.9]], 0.0)):
        metric = GroundedMasks()
        metric.update(1, ours, theirs, np.array(likeness))
        assert metric.compute()["Recall"] == recall


def test_track_ap_asks_for_the_tube_where_frame_ap_does_not() -> None:
    """An identity swapped half-way is no mistake on any single frame, and two wrong tubes."""
    a, b = rle(0, 20), rle(50, 70)
    ours = [Instance((a, b), score=0.9), Instance((b, a), score=0.8)]
    theirs = [Instance((a, a)), Instance((b, b))]
    by_track, by_frame = TrackAP(), MaskAP()
    by_track.update(0, ours, theirs)
    for t in range(2):
        frames = [[Instance((i.masks[t],), score=i.score) for i in side] for side in (ours, theirs)]
        by_frame.update((0, t), *frames)
    assert by_track.compute()["AP50"] == 0
    assert by_frame.compute()["AP"] == pytest.approx(1)


def test_identity_of_two_objects_that_swap() -> None:
    a, b = rle(0, 20), rle(50, 70)
    metric = TrackIdentity()
    metric.update([{1: a, 2: b}, {1: a, 2: b}, {2: a, 1: b}, {2: a, 1: b}], [{7: a, 8: b}] * 4)
    expected = {"HOTA": math.sqrt(1 / 3), "DetA": 1, "AssA": 1 / 3, "IDF1": 0.5, "IDSW": 2}
    assert metric.compute() == pytest.approx(expected)


@pytest.mark.parametrize(("over", "region"), [("objects", (1 + 0.5) / 2), ("frames", (1 + 3 * 0.5) / 4)])
def test_j_is_averaged_over_objects_or_frames(over: Any, region: float) -> None:
    metric = RegionBoundary(over)
    metric.update([rle(0, 10)], [rle(0, 10)])
    metric.update([rle(0, 10)] * 3, [rle(0, 20)] * 3)
    assert metric.compute()["J"] == region


@pytest.mark.parametrize(("ours", "theirs", "score"), [(None, None, 1), (rle(0, 9), None, 0), (None, rle(0, 9), 0)])
def test_j_and_f_of_empty_masks(ours: RLE | None, theirs: RLE | None, score: float) -> None:
    metric = RegionBoundary()
    metric.update([ours], [theirs])
    assert metric.compute() == {"J&F": score, "J": score, "F": score}


def test_void_of_a_video_is_left_out_of_j_and_f() -> None:
    metric = RegionBoundary()
    metric.update([rle(0, 30)], [rle(0, 20)], void=[rle(20, 100)])
    assert metric.compute() == {"J&F": 1, "J": 1, "F": 1}


def test_groups_and_their_mean() -> None:
    """Interactive segmentation by prompt kind; a merge adds the groups of both."""
    parts = [Grouped(ReferringIoU), Grouped(partial(ReferringIoU))]
    parts[0].update("box", rle(0, 10), rle(0, 10))
    parts[0].update("point", rle(0, 10), rle(0, 20))
    parts[1].update("point", rle(0, 30), rle(0, 30))
    parts[0].merge(parts[1])
    result = parts[0].compute()
    assert (result["box/cIoU"], result["point/cIoU"], result["point/gIoU"]) == (1, 0.8, 0.75)
    assert result["cIoU"] == pytest.approx(0.9)


def instance(stop: int) -> Instance:
    return Instance((rle(0, stop),))


MAP = np.ones((2, 2), dtype=np.int64)
WRONG: dict[str, tuple[type[Metric] | Any, tuple[Any, ...], str]] = {
    "unknown id": (lambda: PanopticQuality({1: True}), (MAP * 9, MAP, {2: 1}, {1: 1}), "the id 9"),
    "unknown category": (lambda: PanopticQuality({1: True}), (MAP, MAP, {1: 5}, {1: 1}), "category 5"),
    "sizes of maps": (lambda: PanopticQuality({1: True}), (MAP[:1], MAP, {1: 1}, {1: 1}), "same size"),
    "lengths of videos": (lambda: VideoPanopticQuality({1: True}), ([MAP], [MAP, MAP], {1: 1}, {1: 1}), "every frame"),
    "class out of range": (lambda: MeanIoU(2), (MAP, MAP * 7), "classes below 2"),
    "sizes of masks": (ReferringIoU, (rle(0, 1), RLE.encode(strip(0, 1, 7))), "one size"),
    "sizes in a tube": (TrackAP, (1, [instance(3)], [Instance((RLE.encode(strip(0, 1, 7)),))]), "one size"),
    "lengths of tubes": (TrackAP, (1, [instance(3)], [Instance((None, rle(0, 2)))]), "same frames"),
    "likeness": (GroundedMasks, (1, [instance(3)], [], np.ones((2, 2))), "every pair"),
    "no reference": (CaptionScore, (1, "a cat", []), "at least one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_sample_says_what_is_wrong(name: str) -> None:
    make, sample, message = WRONG[name]
    with pytest.raises(X2SamError, match=message):
        make().update(*sample)


def test_a_sample_is_scored_once_over_all_processes() -> None:
    parts = [MaskAP(), MaskAP()]
    for part in parts:
        part.update("image 4", [], [])
    with pytest.raises(DataError, match="'image 4' twice"):
        parts[0].merge(parts[1])
    with pytest.raises(DataError, match="twice"):
        parts[0].update("image 4", [], [])
    with pytest.raises(InputError, match="another MaskAP"):
        parts[0].merge(TrackAP())


def test_captions_name_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    metric = CaptionScore()
    metric.update(1, "a cat", ["the cat"])
    with pytest.raises(MissingExtraError, match=r"x2sam\[eval\]"):
        metric.compute()


def test_likeness_is_the_cosine_of_mean_states(tmp_path: Any) -> None:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "car", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(tmp_path)
    like = PhraseLikeness(str(tmp_path))
    result = like(["red car", "dog"], ["dog", "red car", "red dog"])
    assert result[0, 1] == pytest.approx(1)
    assert result[1, 0] == pytest.approx(1)
    assert (np.abs(result) <= 1 + 1e-9).all()
    assert result[0, 0] < 1 - 1e-6
    assert like([], ["dog"]).shape == (0, 1)


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.02, 0.1, 0.3]), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_f_measure_equals_dilating_with_a_disk(seed: int, height: int, width: int, far: float, share: float) -> None:
    rng = np.random.default_rng(seed)
    masks = [ndimage.uniform_filter(rng.random((height, width)), 5) > np.quantile(rng.random(9), share) for _ in "ab"]

    def outline(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, (0, 1), mode="edge")
        return (padded[1:, :-1] != mask) | (padded[:-1, 1:] != mask) | (padded[1:, 1:] != mask)

    a, b = map(outline, masks)
    radius = math.ceil(far * math.hypot(height, width))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x * x + y * y <= radius * radius
    if a.any() and b.any():
        p = (a & ndimage.binary_dilation(b, disk)).sum() / a.sum()
        r = (b & ndimage.binary_dilation(a, disk)).sum() / b.sum()
        expected = 2 * p * r / (p + r) if p + r else 0
    else:
        expected = float(a.any() == b.any())
    assert boundary_accuracy(*masks, tolerance=far) == pytest.approx(expected)


@given(seeds, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_pixel_counts_equal_counting_pixels(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [np.array([0, 3, 8, 70000]), np.array([0, 1, 9])]
    maps = [rng.choice(i, (2, height, width)) for i in ids]
    plain = [[((maps[0][0] == p) & (maps[1][0] == t)).sum() for p in ids[0]] for t in ids[1]]
    assert (joint_counts(maps[0][0], maps[1][0], *ids) == plain).all()

    masks = [[m == i for i in i_s[1:]] for m, i_s in zip(maps, ids, strict=True)]  # [side][object][T, H, W]
    inside, union = mask_counts(*[[RLE.encode(m[0]) for m in side] for side in masks])
    assert (inside == [[(a[0] & b[0]).sum() for b in masks[1]] for a in masks[0]]).all()
    assert (union == [[(a[0] | b[0]).sum() for b in masks[1]] for a in masks[0]]).all()
    expected = [[(a & b).sum() / max((a | b).sum(), 1) for b in masks[1]] for a in masks[0]]
    assert tube_iou(*[[cases.rles(m) for m in side] for side in masks]) == pytest.approx(np.array(expected))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_a_mean_does_not_depend_on_the_order(values: list[float], shuffler: Any) -> None:
    shuffled = values.copy()
    shuffler.shuffle(shuffled)
    assert mean(values) == mean(shuffled) == float(sum(map(Fraction, values)) / len(values))
