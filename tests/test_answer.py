"""Answers to planted logits: known segments, and what must hold for all four ways to answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from x2sam.decoding import candidates
from x2sam.decoding.answer import AnswerOptions, Candidate, answer_frame
from x2sam.decoding.candidates import resized_bands
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.tasks import TASKS, Task
from x2sam.testing.golden import TOLERANCE, run_case
from x2sam.types import Condition, Region

RECORDED = sorted((Path(__file__).parent / "data" / "golden" / "heads").glob("post_*.safetensors"))
LOW = 16
SIZE = (48, 80)
DOG, CAT, SKY = Condition(text="dog"), Condition(text="cat"), Condition(text="sky", is_thing=False)
FORMS = [
    (TASKS["img_genseg"], {"form": "panoptic", "overlap_threshold": 0.2}),
    (TASKS["img_genseg"], {"form": "semantic"}),
    (TASKS["img_genseg"], {"form": "instance"}),
    (TASKS["img_refseg"], {}),
    (TASKS["vid_objseg"], {}),
    (TASKS["img_vgdseg"], {}),
]
IDS = ["panoptic", "semantic", "instance", "best", "one-region", "regions"]


def box(y0: int, x0: int, y1: int, x1: int, strength: float = 8.0) -> Tensor:
    logits = torch.full((LOW, LOW), -8.0)
    logits[y0:y1, x0:x1] = strength
    return logits


def classes(*scores: tuple[float, ...]) -> Tensor:
    """Class logits whose softmax gives each query these scores; the background has the rest."""
    table = torch.tensor(scores)
    return torch.cat([table, 1 - table.sum(1, keepdim=True)], 1).clamp(min=1e-9).log()


def answer(task: Task | str, scores: Tensor, masks: list[Tensor], conditions: list[Condition], **options):
    task = TASKS[task] if isinstance(task, str) else task
    extra = {
        k: options.pop(k)
        for k in ("prompt_masks", "recent", "seen", "carried", "input_size", "scaled_size")
        if k in options
    }
    size = options.pop("size", SIZE)
    return answer_frame(task, scores, torch.stack(masks), size, conditions, AnswerOptions(**options), **extra)


def boxes(found: list[Candidate]) -> list[tuple[int, int, tuple[float, ...]]]:
    """Query, condition and box (in pixels of the decoder: 3 rows, 5 columns of the answer each)."""
    return [
        (c.query, c.condition, tuple(round(v / s) for v, s in zip(c.rle.box, (5, 3, 5, 3), strict=True))) for c in found
    ]


def random_logits(seed: int, queries: int = 12, conditions: int = 3) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(queries, 4, 4, generator=generator) * 6
    masks = interpolate(maps[None], (LOW, LOW), mode="bicubic")[0]
    return torch.randn(queries, conditions + 1, generator=generator) * 3, list(masks)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_released_protocol_is_what_was_recorded(file):
    """Label maps equal pixel by pixel."""
    differences = run_case(file, None)
    assert any(name.startswith("segmentation") for name in differences)
    assert max(difference for difference, _ in differences.values()) <= TOLERANCE


def test_recorded_cases_are_there():
    assert len(RECORDED) == 13


def test_panoptic_keeps_what_is_sure_and_fuses_stuff():
    scores = classes((0.9, 0.0, 0.0), (0.0, 0.0, 0.9), (0.0, 0.0, 0.8), (0.0, 0.4, 0.0), (0.8, 0.0, 0.0))
    masks = [box(0, 0, 8, 8), box(12, 0, 16, 6), box(12, 10, 16, 16), box(8, 8, 12, 12), box(0, 0, 8, 7)]
    found = answer("img_genseg", scores, masks, [DOG, CAT, SKY])
    # the unsure cat is not there; the second dog lies in the first one; the sky is one segment of two pieces
    assert boxes(found) == [(0, 0, (0, 0, 8, 8)), (1, 2, (0, 12, 16, 16))]
    assert [c.alone for c in found] == [False, True]
    assert found[0].score == pytest.approx(0.9)


def test_panoptic_repeats_do_not_cancel_each_other_out():
    """Of two like masks each would take the pixels where it is surer, and both would keep too few."""
    left, right = box(0, 0, 8, 8), box(0, 0, 8, 8)
    left[:, :4] += 4
    right[:, 4:] += 4
    (found,) = answer("img_genseg", classes((0.9, 0.0), (0.9, 0.0)), [left, right], [DOG, CAT])
    assert boxes([found]) == [(0, 0, (0, 0, 8, 8))]
    apart = answer("img_genseg", classes((0.9, 0.0), (0.9, 0.0)), [left, box(0, 6, 8, 14)], [DOG, CAT])
    assert len(apart) == 2, "two dogs that overlap a little"


def test_semantic_says_nothing_where_no_class_is_sure():
    scores = classes((0.9, 0.0, 0.0), (0.3, 0.0, 0.3))
    masks = [box(0, 0, 8, 16), box(8, 0, 16, 16)]
    found = answer("img_genseg", scores, masks, [DOG, CAT, SKY], form="semantic")
    assert boxes(found) == [(None, 0, (0, 0, 16, 8))]
    whole = answer("img_genseg", scores, masks, [DOG, CAT, SKY], form="semantic", threshold=0.0)
    assert sum(c.rle.area for c in whole) == SIZE[0] * SIZE[1]


def test_instances_drop_repeats_of_one_object_and_weigh_masks():
    scores = classes((0.9, 0.0), (0.85, 0.0), (0.0, 0.85), (0.8, 0.0), (0.7, 0.0))
    masks = [box(0, 0, 8, 8), box(0, 0, 8, 8), box(0, 0, 8, 8), box(8, 8, 16, 16), box(8, 0, 16, 8, strength=0.2)]
    found = answer("img_vgdseg", scores, masks, [DOG, CAT])
    # the repeat of another condition stays; the blurred mask (probability .55) falls below the threshold
    assert [(c.query, c.condition) for c in found] == [(0, 0), (2, 1), (3, 0)]
    top = answer("img_vgdseg", scores, masks, [DOG, CAT], top_k=1)
    assert [c.query for c in top] == [0]


def test_best_is_one_query_a_phrase_or_nothing():
    scores = classes((0.7, 0.1), (0.6, 0.2), (0.0, 0.4))
    masks = [box(0, 0, 8, 8), box(8, 8, 16, 16), box(0, 8, 8, 16)]
    assert boxes(answer("img_refseg", scores, masks, [DOG, CAT])) == [(0, 0, (0, 0, 8, 8))]
    assert [c.condition for c in answer("img_refseg", scores, masks, [DOG, CAT], protocol="released")] == [0, 1]
    (both,) = answer("img_refseg", scores, masks, [DOG, CAT], union_threshold=0.55)
    assert boxes([both]) == [(0, 0, (0, 0, 16, 16))]
    assert both.score == pytest.approx(0.65)


def test_a_phrase_must_be_surer_to_appear_in_a_clip_than_to_stay():
    scores, masks = classes((0.4,)), [box(0, 0, 8, 8)]
    sure = {"presence": 0.3, "arrival": 0.5}
    assert answer("vid_refseg", scores, masks, [DOG], **sure) == []
    assert len(answer("vid_refseg", scores, masks, [DOG], **sure, seen={0: 7})) == 1
    assert len(answer("vid_refseg", scores, masks, [DOG], **sure, threshold=0.3)) == 1, "a caller's own threshold is it"
    assert len(answer("img_refseg", scores, masks, [DOG], **sure)) == 1
    assert answer("vid_refseg", scores, masks, [DOG], presence=0.45, seen={0: 7}) == []


def test_regions_of_one_object_each_never_share_a_query():
    scores = classes((0.5, 0.45), (0.45, 0.2))
    masks = [box(0, 0, 8, 8), box(8, 8, 16, 16)]
    found = answer("img_intseg", scores, masks, [DOG, CAT], threshold=0.3)
    assert [(c.query, c.condition) for c in found] == [(1, 0), (0, 1)]
    assert [c.query for c in answer("img_refseg", scores, masks, [DOG, CAT], threshold=0.3)] == [0, 0]


def test_prompt_and_recent_masks_part_what_scores_alone_do_not():
    scores = classes((0.8,), (0.78,))
    masks = [box(0, 0, 8, 8), box(8, 8, 16, 16)]
    shown = np.zeros(SIZE, dtype=bool)
    shown[24:, 40:] = True
    (free,) = answer("img_intseg", scores, masks, [DOG])
    (prompted,) = answer("img_intseg", scores, masks, [DOG], prompt_masks=[shown])
    (followed,) = answer("vid_objseg", scores, masks, [DOG], recent=[[prompted]])
    assert [c.query for c in (free, prompted, followed)] == [0, 1, 1]
    assert prompted.score == pytest.approx(0.78)


@pytest.mark.parametrize(
    ("kind", "drawn", "meant"),
    [
        ("point", (7, 7, 9, 9), 1),  # inside of two, and the class score decides
        ("point", (1, 1, 2, 2), 0),
        ("scribble", (5, 7, 11, 8), 1),
        ("box", (4, 4, 12, 12), 1),
        ("box", (0, 0, 16, 16), 0),
        ("mask", (4, 4, 11, 12), 1),
    ],
)
def test_a_prompt_means_what_it_is_drawn_on(kind, drawn, meant):
    """A large surrounding mask, one in its middle, and a likely one elsewhere."""
    scores = classes((0.2,), (0.3,), (0.9,))
    masks = [box(0, 0, 16, 16), box(4, 4, 12, 12), box(0, 12, 4, 16)]
    x0, y0, x1, y1 = drawn
    prompt = np.zeros(SIZE, dtype=bool)
    prompt[y0 * 3 : y1 * 3, x0 * 5 : x1 * 5] = True
    asked = Condition(region=Region(RLE.encode(prompt), kind))
    (found,) = answer("img_intseg", scores, masks, [asked], prompt_masks=[prompt])
    assert found.query == meant


@pytest.mark.parametrize(("columns", "score"), [((4, 12), 0.9), ((4, 8), 0.45), ((9, 14), 0.0)])
def test_a_mask_that_leaves_out_the_click_is_not_sure(columns, score):
    """It is answered, for want of a better one, and its score says what it is worth."""
    prompt = np.zeros(SIZE, dtype=bool)
    prompt[7 * 3 : 9 * 3, 7 * 5 : 9 * 5] = True  # columns 7 and 8 of 16
    asked = Condition(region=Region(RLE.encode(prompt), "point"))
    mask = box(4, columns[0], 12, columns[1])
    (found,) = answer("img_intseg", classes((0.9,)), [mask], [asked], prompt_masks=[prompt])
    assert found.score == pytest.approx(score, abs=1e-4)


def test_nothing_of_an_object_lies_far_outside_of_its_box():
    """A mask that leaks is cut where the box ends, a twentieth later: hands are not exact."""
    drawn = np.zeros(SIZE, dtype=bool)
    drawn[12:36, 20:60] = True  # 24 x 40 pixels
    asked = Condition(region=Region(RLE.encode(drawn), "box"))
    (found,) = answer("img_intseg", classes((0.9,)), [box(4, 4, 16, 16)], [asked], prompt_masks=[drawn])
    rows, columns = np.nonzero(found.rle.decode())
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (12, 37, 20, 62)
    (free,) = answer("img_intseg", classes((0.9,)), [box(4, 4, 16, 16)], [asked])
    assert free.rle.area > found.rle.area


def test_an_object_is_where_its_mask_was_carried():
    """However sure a query is elsewhere; one that agrees draws it with its own outline."""
    scores, carried = classes((0.9,), (0.1,)), torch.zeros(1, LOW, LOW)
    carried[0, 8:16, 8:16] = 0.8
    click = np.zeros(SIZE, dtype=bool)
    click[6:12, 10:20] = True
    drawn = RLE.encode(click)
    (alone,) = answer("vid_objseg", scores, [box(0, 0, 8, 8), box(0, 8, 3, 16)], [DOG], carried=carried)
    assert boxes([alone]) == [(None, 0, (8, 8, 16, 16))]
    assert alone.score == pytest.approx(0.8)
    (helped,) = answer("vid_objseg", scores, [box(0, 0, 8, 8), box(10, 8, 16, 16)], [DOG], carried=carried)
    assert boxes([helped]) == [(None, 0, (8, 10, 16, 16))]
    (pointed,) = answer(
        *("vid_objseg", scores, [box(0, 0, 8, 8), box(0, 8, 3, 16)], [Condition(region=Region(drawn, "point"))]),
        carried=carried,
        prompt_masks=[drawn.decode()],
    )
    assert pointed.query == 0, "a click on this very frame says more"
    (fresh,) = answer("vid_objseg", scores, [box(0, 0, 8, 8), box(0, 8, 3, 16)], [DOG], carried=carried * 0)
    assert fresh.query == 0
    (released,) = answer("vid_objseg", scores, [box(0, 0, 8, 8)] * 2, [DOG], carried=carried, protocol="released")
    assert released.query is not None


def test_on_the_frame_where_a_mask_is_given_it_is_the_answer():
    prompt = np.zeros(SIZE, dtype=bool)
    prompt[5:31, 7:50] = True
    asked = Condition(region=Region(RLE.encode(prompt), "mask"))
    (found,) = answer("vid_objseg", classes((0.9,)), [box(0, 0, 8, 8)], [asked], prompt_masks=[prompt])
    assert (found.rle, found.score) == (RLE.encode(prompt), 1.0)


def test_released_object_score_is_diluted_by_the_missing_anchor():
    before = Candidate(0, 0, 0.6, RLE.encode(np.ones(SIZE, bool)))
    scores, masks = classes((0.9,)), [box(0, 0, 16, 16)]
    (found,) = answer("vid_objseg", scores, masks, [DOG], recent=[[before]], protocol="released")
    assert found.score == pytest.approx(0.8 * 0.9 + 0.2 * 0.6 / 1.6, abs=1e-5)


@pytest.mark.parametrize(("task", "options"), FORMS, ids=IDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_threshold_never_adds(task, options, seed, low, high):
    """Nor does a mask grow; but where sure queries compete, one less leaves its pixels to the others."""
    low, high = sorted((low, high))
    scores, masks = random_logits(seed)
    if options.get("form") == "panoptic":
        options = {**options, "overlap": "allow"}
    more, fewer = (answer(task, scores, masks, [DOG, CAT, SKY], threshold=t, **options) for t in (low, high))
    areas = {(c.condition, c.query): c.rle.area for c in more}
    if not task.one_region:  # which of two regions gets a query depends on both
        assert all(c.rle.area <= areas.get((c.condition, c.query), -1) for c in fewer)
    assert len(fewer) <= len(more)


@pytest.mark.parametrize(("task", "options"), FORMS, ids=IDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_masks_are_disjoint_where_overlap_is_forbidden(task, options, seed):
    scores, masks = random_logits(seed)
    found = answer(task, scores, masks, [DOG, CAT, SKY], threshold=0.1, overlap="forbid", **options)
    covered = sum((c.rle.decode().astype(int) for c in found), np.zeros(SIZE, int))
    assert covered.max() <= 1
    if options.get("form") == "panoptic":
        assert found == answer(task, scores, masks, [DOG, CAT, SKY], threshold=0.1, **options)


@pytest.mark.parametrize("protocol", ["public", "released"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_semantic_without_a_threshold_is_a_partition(protocol, seed):
    scores, masks = random_logits(seed)
    found = answer("img_genseg", scores, masks, [DOG, CAT, SKY], threshold=0.0, form="semantic", protocol=protocol)
    covered = sum((c.rle.decode().astype(int) for c in found), np.zeros(SIZE, int))
    assert (covered == 1).all()
    assert len({c.condition for c in found}) == len(found)


@pytest.mark.parametrize("protocol", ["public", "released"])
@pytest.mark.parametrize(("task", "options"), FORMS, ids=IDS)
def test_the_order_of_queries_changes_nothing(task, options, protocol):
    for seed in range(5):
        scores, masks = random_logits(seed)
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed)).tolist()
        options = {**options, "threshold": 0.2, "protocol": protocol}
        conditions = [DOG] if task.one_region else [DOG, CAT, SKY]
        scores = scores[:, -len(conditions) - 1 :]
        straight = answer(task, scores, masks, conditions, **options)
        shuffled = answer(task, scores[order], [masks[i] for i in order], conditions, **options)

        def seen(found: list[Candidate], rows: list[int]) -> set:
            return {(c.query is not None and rows[c.query], c.condition, round(c.score, 5), c.rle) for c in found}

        assert straight
        assert seen(straight, list(range(len(order)))) == seen(shuffled, order)


@pytest.mark.parametrize(("task", "options"), FORMS, ids=IDS)
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (300, 2)])
def test_any_size_nothing_found_and_no_conditions(task, options, size):
    scores, masks = random_logits(3)
    for found in answer(task, scores, masks, [DOG, CAT, SKY], size=size, threshold=0.1, **options):
        assert (found.rle.height, found.rle.width) == size
        assert 0 < found.rle.area <= size[0] * size[1]
        assert 0 < found.score <= 1
    assert answer(task, classes((0.01, 0.01, 0.01)), [box(0, 0, 8, 8)], [DOG, CAT, SKY], size=size, **options) == []
    assert answer(task, scores, [torch.full((LOW, LOW), -8.0)] * 12, [DOG, CAT, SKY], size=size, **options) == []
    assert answer(task, scores[:, -1:], masks, [], size=size, **options) == []


def test_padded_conditions_are_ignored():
    scores = torch.cat([classes((0.9, 0.0)), torch.zeros(1, 1)], 1)[:, [0, 1, 3, 2]]
    scores[:, 2] = -1e6
    assert [c.condition for c in answer("img_vgdseg", scores, [box(0, 0, 8, 8)], [DOG, CAT])] == [0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.integers(1, 90), st.integers(1, 5))
def test_bands_are_the_usual_bilinear_resize(h, w, height, width, rows):
    maps = torch.randn(3, h, w, generator=torch.Generator().manual_seed(h * w))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "BAND", rows * 3 * width)
        parts = list(resized_bands(maps, (height, width)))
        some = list(resized_bands(maps, (height, width), floor=1.0))
    assert all(part.shape[1] <= rows for _, _, part in parts)
    whole = interpolate(maps[None], (height, width), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.cat([part for _, _, part in parts], 1), whole, atol=1e-5, rtol=0)
    left = whole.clone()
    for band, shown, part in some:
        torch.testing.assert_close(part, whole[shown, band], atol=1e-5, rtol=0)
        left[shown, band] = 0
    assert (left <= 1 + 1e-5).all()


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
@pytest.mark.parametrize("name", ["threshold", "mask_threshold", "overlap_threshold", "union_threshold"])
def test_thresholds_are_probabilities(name, value):
    with pytest.raises(InputError, match=name):
        AnswerOptions(**{name: value})


@pytest.mark.parametrize("bad", [{"top_k": 0}, {"form": "masks"}, {"overlap": "no"}, {"protocol": "paper"}])
def test_options_that_do_not_exist(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        AnswerOptions(**bad)


def test_logits_that_cannot_be_used():
    scores, masks = random_logits(0)
    nan = scores.clone()
    nan[3, 1] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        answer("img_genseg", nan, masks, [DOG, CAT, SKY])
    with pytest.raises(InputError, match="NaN"):
        answer("img_genseg", scores, [*masks[:-1], masks[0] * float("inf")], [DOG, CAT, SKY])
    with pytest.raises(InputError, match="conditions"):
        answer("img_genseg", scores, masks, [DOG] * 4)
    with pytest.raises(InputError, match="shapes"):
        answer("img_genseg", scores[:3], masks, [DOG, CAT, SKY])
    with pytest.raises(InputError, match="no masks"):
        answer("img_chat", scores, masks, [DOG, CAT, SKY])
    with pytest.raises(InputError, match="prompt mask"):
        answer("img_intseg", scores, masks, [DOG], prompt_masks=[np.ones((2, 2), bool)])
