"""Objects keep their ids: through crossings, absences and long clips."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from x2sam.decoding.answer import Candidate
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.tracking.association import FrameToFrame, Hungarian, associate
from x2sam.tracking.history import History
from x2sam.tracking.objects import Claim, ObjectManager
from x2sam.types import Condition, Region

SIDE = 64
GRID = np.ogrid[:SIDE, :SIDE]
QUERIES = 20
VECTORS = torch.linalg.qr(torch.randn(32, QUERIES, generator=torch.Generator().manual_seed(0))).Q.T


def disc(y: float, x: float, radius: float = 6) -> RLE:
    rows, columns = GRID
    return RLE.encode((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def seen(query: int, mask: RLE, condition: int = 0, alone: bool = False) -> Candidate:
    return Candidate(query, condition, 0.9, mask, low=mask, alone=alone)


def vectors(frame: int) -> Tensor:
    """Query embeddings that wobble from frame to frame."""
    return VECTORS + 0.05 * torch.randn(VECTORS.shape, generator=torch.Generator().manual_seed(frame))


@pytest.mark.parametrize("embedded", [True, False], ids=["looks", "motion alone"])
def test_crossing_objects_keep_their_ids(embedded):
    tracker, first = Hungarian(), {}
    for frame in range(30):
        one, other = seen(0, disc(32, 5 + 1.8 * frame)), seen(1, disc(32, 59 - 1.8 * frame))
        hidden = frame in (14, 15, 16)  # the one is in front of the other
        candidates = [one] if hidden else [one, other] if frame % 2 else [other, one]
        ids = tracker.step(candidates, vectors(frame) if embedded else None)
        assert [c.query for c in candidates] == [
            first.setdefault(number, c.query) for number, c in zip(ids, candidates, strict=True)
        ], frame
    assert len(first) == 2


def test_an_object_that_comes_back_has_its_id_and_a_new_one_has_a_new_id():
    tracker = Hungarian(patience=20)
    one, other = tracker.step([seen(0, disc(10, 10)), seen(1, disc(50, 50))], vectors(0))
    for frame in range(1, 21):
        assert tracker.step([seen(1, disc(50, 50 - frame))], vectors(frame)) == [other]
    back, stayed, new = tracker.step([seen(0, disc(10, 50)), seen(1, disc(50, 29)), seen(2, disc(10, 10))], vectors(21))
    assert (back, stayed) == (one, other)
    assert new not in (one, other)


def test_patience_ends_and_ids_are_not_used_again():
    tracker = Hungarian(patience=5)
    (one,) = tracker.step([seen(0, disc(10, 10))], vectors(0))
    for frame in range(1, 8):
        assert tracker.step([], vectors(frame)) == []
    (again,) = tracker.step([seen(0, disc(10, 10))], vectors(8))
    assert again > one


def test_never_across_conditions():
    tracker = Hungarian()
    (dog,) = tracker.step([seen(0, disc(10, 10), condition=0)], vectors(0))
    assert tracker.step([seen(0, disc(10, 10), condition=1)], vectors(1)) != [dog]


def test_a_condition_of_one_segment_has_one_id_and_the_caller_may_choose_it():
    objects = ObjectManager()
    objects.admit(0, [region(1), region(None), region(7), Condition()])
    tracker = Hungarian(objects)
    frames = [
        [seen(0, disc(10, 10), 0, alone=True), seen(1, disc(40, 40), 1, alone=True), seen(2, disc(9, 50), 3)],
        [seen(5, disc(50, 50), 0, alone=True)],
        [seen(3, disc(9, 9), 2, alone=True), seen(4, disc(60, 9), 1, alone=True), seen(2, disc(9, 50), 3)],
    ]
    assert [tracker.step(frame) for frame in frames] == [[1, 2, 3], [1], [7, 2, 3]]


def test_state_is_bounded_and_can_be_pickled():
    tracker, history = Hungarian(capacity=12, patience=50), History()
    generator = np.random.default_rng(0)
    used: set[int] = set()
    for frame in range(700):
        crowd = [seen(q, disc(*generator.uniform(0, SIDE, 2)), condition=q % 2) for q in range(3)]
        ids = tracker.step(crowd, torch.from_numpy(generator.normal(size=(3, 32)).astype(np.float32)))
        history.add_sure("a", crowd)
        assert len(set(ids)) == len(ids)
        used |= set(ids)
        if frame == 200:
            size = len(pickle.dumps((tracker, history.trails)))
    assert len(used) > 1000  # nearly all are new
    assert len(pickle.dumps((tracker, history.trails))) < 1.2 * size < 100_000
    copy = pickle.loads(pickle.dumps(tracker))
    assert copy.step(crowd) == tracker.step(crowd)


def test_released_identity_by_hand():
    """Greedy, one frame back, things only, the same condition; renamed ids may meet new ones."""
    tracker = FrameToFrame()
    a, b, sky = disc(16, 16), disc(40, 40), RLE.encode(np.eye(SIDE, dtype=bool))
    assert tracker.step([seen(0, a), seen(1, sky, 1, alone=True), seen(2, b), seen(3, sky, 1, alone=True)]) == [
        1,
        2,
        3,
        2,
    ]
    # segment 1 is now where 3 was and takes its id; segment 2 is new; the stuff keeps its place in the list
    assert tracker.step([seen(2, disc(41, 40)), seen(5, disc(5, 60)), seen(1, sky, 1, alone=True)]) == [3, 2, 3]
    # no frame is remembered but the last one that had segments
    assert tracker.step([]) == []
    assert tracker.step([seen(0, a), seen(2, disc(42, 40))]) == [1, 3]
    # an overlap of half is not enough, and another condition is another object
    assert tracker.step([seen(2, disc(42, 49)), seen(0, a, condition=2), seen(7, sky)]) == [1, 2, 3]


def test_a_thing_keeps_the_best_of_several_overlaps():
    tracker = FrameToFrame()
    tracker.step([seen(0, disc(20, 20)), seen(1, disc(20, 21))])
    assert tracker.step([seen(1, disc(20, 21)), seen(0, disc(20, 20))]) == [2, 1]


def test_an_old_id_goes_to_one_thing_only():
    tracker = FrameToFrame()
    tracker.step([seen(0, disc(20, 20))])
    assert tracker.step([seen(0, disc(20, 21)), seen(1, disc(20, 20))]) == [1, 2]


def test_the_longer_an_object_is_away_the_more_its_look_counts():
    like = VECTORS.clone()
    like[0] = 0.75 * VECTORS[0] + 0.66 * VECTORS[1]
    for away, same in ((0, False), (8, True)):
        tracker = Hungarian()
        (one,) = tracker.step([seen(0, disc(10, 10))], VECTORS)
        for _ in range(away):
            tracker.step([], VECTORS)
        assert (tracker.step([seen(0, disc(50, 50))], like) == [one]) == same


@pytest.mark.parametrize("embedded", [True, False], ids=["looks", "place alone"])
def test_an_object_that_is_taken_for_something_else_for_a_moment_keeps_its_id(embedded):
    tracker, generator, ids = Hungarian(), np.random.default_rng(0), set()
    for frame in range(40):
        condition = 1 if frame > 3 and generator.random() < 0.3 else 0
        ids.add(*tracker.step([seen(0, disc(20, 10 + frame), condition)], vectors(frame) if embedded else None))
    assert len(ids) == 1
    assert tracker.condition_of(*ids) == 0


def test_another_thing_of_another_class_in_its_place_is_another_object():
    tracker = Hungarian()
    for frame in range(6):
        (dog,) = tracker.step([seen(0, disc(20, 20), 0)], vectors(frame))
    assert tracker.step([seen(1, disc(20, 20), 1)], vectors(7)) != [dog]


def test_two_alike_objects_are_told_apart_by_place():
    tracker, ids = Hungarian(), []
    for frame in range(20):
        both = [seen(0, disc(20, 5 + 2 * frame)), seen(0, disc(34, 59 - 2 * frame))]  # one look for both
        ids.append(tuple(tracker.step(both if frame % 2 else both[::-1], vectors(frame)))[:: 1 if frame % 2 else -1])
    assert len(set(ids)) == 1


@pytest.mark.parametrize("embedded", [True, False], ids=["looks", "motion alone"])
def test_a_small_object_that_moves_farther_than_its_size_keeps_its_id(embedded):
    tracker, ids = Hungarian(), []
    for frame in range(7):
        both = [seen(0, disc(20, 5 + 8 * frame, 3)), seen(1, disc(44, 60 - 7 * frame, 3))]
        ids.append(tracker.step(both, vectors(frame) if embedded else None))
    assert ids == [[1, 2]] * 7


def test_looks_that_never_last_are_not_believed():
    tracker, generator = Hungarian(), torch.Generator().manual_seed(0)
    for frame in range(30):
        crowd = [seen(q, disc(10 + 15 * q, 8 + 1.5 * frame)) for q in range(4)]
        assert tracker.step(crowd, torch.randn(QUERIES, 32, generator=generator)) == [1, 2, 3, 4], frame


def test_frames_that_are_missing_are_moved_over():
    tracker = Hungarian(patience=20)
    for frame in range(5):
        (one,) = tracker.step([seen(0, disc(20, 5 + 4 * frame))])
    assert tracker.step([seen(0, disc(20, 5 + 4 * 10))], elapsed=6) == [one]
    assert tracker.step([seen(0, disc(20, 5 + 4 * 11))], elapsed=21) != [one]


def region(number: int | None) -> Condition:
    return Condition(region=Region(disc(9, 9), object_id=number))


def test_prompts_of_a_track_share_their_ids():
    objects = ObjectManager(claims={0: Claim((0,)), 1: Claim((1,))})
    objects.claim([2])
    one, other = Hungarian(objects, 0), Hungarian(objects, 1)
    assert one.step([seen(0, disc(10, 10))]) == [1]
    assert other.step([seen(0, disc(10, 10)), seen(1, disc(50, 50))]) == [3, 4]
    for taken in (1, 2, 4):
        with pytest.raises(InputError, match="another object"):
            objects.claim([taken])
    back = one.fork()
    assert back.step([seen(0, disc(11, 10)), seen(1, disc(50, 50))]) == [1, 5]
    assert one.step([seen(0, disc(11, 10)), seen(1, disc(50, 50))]) == [1, 6], "a fork leaves the other as it was"


def test_an_object_is_shown_by_one_prompt():
    objects = ObjectManager()
    objects.admit(0, [region(7), region(9)])
    objects.admit(1, [Condition("cat")])
    assert objects.place(1, 0) == 2
    assert objects.shows(0, 7)
    objects.hand_over(7, 2, place=0)
    assert [objects.shows(prompt, 7) for prompt in (0, 2)] == [False, True]
    assert (objects.place(2, 0), objects.condition_of(2, 7)) == (0, 0)
    assert not objects.idle(0)
    objects.hide(9)
    assert objects.idle(0)
    assert not objects.idle(1), "what it will find is not known"


def test_the_last_sure_masks_of_a_condition_are_kept():
    history = History()
    for score in (0.9, 0.4, 0.8, 0.7, 0.95, 0.6):
        history.add_sure("a", [Candidate(0, 1, score, disc(9, 9))])
    assert [[c.score for c in found] for found in history.sure("a", 3)] == [[], [0.8, 0.7, 0.95, 0.6], []]
    assert history.sure("b", 2) == [[], []]


@pytest.mark.parametrize("bad", [{"patience": -1}, {"capacity": 0}], ids=str)
def test_arguments_that_cannot_be_used(bad):
    with pytest.raises(InputError):
        Hungarian(**bad)
    with pytest.raises(InputError, match="'paper'"):
        associate("paper", ObjectManager(), 0)
    with pytest.raises(InputError, match="one object id for several"):
        ObjectManager().admit(0, [region(4), region(4)])
