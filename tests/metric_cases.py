"""Seeded inputs for the metrics, random and adversarial. The tests feed them to ours, and
``benchmarks/regenerate_metric_references.py`` to the public implementations, whose numbers the tests carry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from x2sam.masks import RLE
from x2sam.metrics import Instance

THINGS = {1: True, 2: True, 5: False, 7: False, 9: True}
"""Categories of the panoptic cases; 9 never occurs."""
CLASSES = 6
Array = np.ndarray


@dataclass(frozen=True)
class PanopticCase:
    """A panoptic video; an image is one of one frame."""

    predicted: Array  # [T, H, W]
    truth: Array
    predicted_categories: dict[int, int]
    truth_categories: dict[int, int]
    crowd: frozenset[int] = field(default_factory=frozenset)


def shapes(rng: np.random.Generator, frames: int, size: tuple[int, int], count: int, jitter: int = 0) -> Array:
    """Moving boxes and disks ``[count, frames, H, W]``. With the generator's state the same and another jitter, they
    are the same shapes, up to some pixels."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    result = np.zeros((count, frames, height, width), dtype=bool)
    for n in range(count):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        a, b = rng.uniform(2, height / 2), rng.uniform(2, width / 2)
        dy, dx = rng.uniform(-2, 2, 2)
        disk = rng.random() < 0.5
        noise = rng.integers(-1, 2, (frames, 2)) * jitter
        for t in range(frames):
            v, u = (rows - y - dy * t - noise[t, 0]) / a, (columns - x - dx * t - noise[t, 1]) / b
            result[n, t] = (v * v + u * u < 1) if disk else (np.maximum(abs(v), abs(u)) < 0.8)
    return result


def painted(masks: Array, ids: list[int]) -> Array:
    """Maps ``[T, H, W]``: later masks lie over earlier ones."""
    result = np.zeros(masks.shape[1:], dtype=np.int64)
    for mask, number in zip(masks, ids, strict=True):
        result[mask] = number
    return result


def panoptic_case(seed: int, frames: int, size: tuple[int, int] = (48, 64), jitter: int = 1) -> PanopticCase:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 9))
    state = rng.bit_generator.state
    truth_masks = shapes(rng, frames, size, count)
    rng.bit_generator.state = state
    predicted_masks = shapes(rng, frames, size, count, jitter)
    categories = rng.choice([1, 2, 5, 7], count)
    guesses = np.where(rng.random(count) < 0.8, categories, rng.choice([1, 2, 5, 7], count))
    truth_ids = [int(v) for v in rng.permutation(60000)[:count] + 1]
    ids = [int(v) for v in rng.permutation(60000)[:count] + 1]
    predicted, truth = painted(predicted_masks, ids), painted(truth_masks, truth_ids)
    for t in range(1, frames):  # an id that is lost, and one that is taken over
        if rng.random() < 0.3:
            predicted[t][predicted[t] == ids[0]] = 0
        if rng.random() < 0.3 and guesses[1] == guesses[2]:
            predicted[t][predicted[t] == ids[1]] = ids[2]
    crowd = frozenset(i for i, c in zip(truth_ids, categories, strict=True) if c == 2 and i == max(truth_ids))
    return PanopticCase(
        predicted,
        truth,
        {i: int(c) for i, c in zip(ids, guesses, strict=True) if (predicted == i).any()},
        {i: int(c) for i, c in zip(truth_ids, categories, strict=True) if (truth == i).any()},
        frozenset(i for i in crowd if (truth == i).any()),
    )


def panoptic_cases(frames: int) -> dict[str, list[PanopticCase]]:
    """Data sets by name; ``frames`` of each video."""
    random = [panoptic_case(seed, frames) for seed in range(6)]
    one = random[0]
    nothing = np.zeros_like(one.truth)
    flat = np.zeros((frames, 6, 10), dtype=np.int64)
    half, pixel, crowded = flat.copy(), flat.copy(), flat.copy()
    half[:, :, :5], pixel[:, 2, 3], crowded[:] = 11, 7, 4
    crowded[:, :, :4] = 3
    both = {11: 1, 12: 1}
    return {
        "random": random,
        "noise": [_noise(frames)],
        "nothing annotated": [one, replace(random[1], truth=nothing, truth_categories={}, crowd=frozenset())],
        "nothing predicted": [one, replace(random[2], predicted=nothing, predicted_categories={})],
        "crowd": [
            PanopticCase(half, crowded, {11: 1}, {3: 1, 4: 2}, frozenset({3})),
            PanopticCase(half, crowded, {11: 2}, {3: 1, 4: 2}, frozenset({3})),
            one,
        ],
        "one pixel": [PanopticCase(pixel, np.where(pixel, 9, 0), {7: 1}, {9: 1}), one],
        "IoU of one half": [PanopticCase(np.full_like(half, 12), half, both, {11: 1}), one],
        "half on void": [PanopticCase(np.full_like(half, 12), np.where(half, 0, 5), {12: 5}, {5: 7}), one],
        "void in the union": [fixture_of_void(frames), one],
    }


def _noise(frames: int) -> PanopticCase:
    rng = np.random.default_rng(99)
    predicted, truth = rng.integers(0, 5, (2, frames, 24, 24))
    return PanopticCase(predicted, truth, {1: 1, 2: 2, 3: 5, 4: 7}, {1: 1, 2: 2, 3: 5, 4: 7})


def fixture_of_void(frames: int) -> PanopticCase:
    """Area 100 each, 70 shared, 20 of the prediction on void: IoU is 70 / 110."""
    truth = np.full((frames, 10, 20), 2, dtype=np.int64)
    predicted = np.zeros_like(truth)
    truth[:, :, :10] = 1
    predicted[:, :, 3:13] = 8
    truth[:, :, 10:12] = 0
    return PanopticCase(predicted, truth, {8: 1}, {1: 1, 2: 5})


def semantic_cases() -> dict[str, list[tuple[Array, Array]]]:
    """Videos of class maps ``[T, H, W]``, predicted and true; 255 is not labelled."""
    rng = np.random.default_rng(7)
    videos = []
    for frames in (20, 18, 17, 16, 5):
        truth = painted(shapes(rng, frames, (24, 32), 5), [1, 2, 3, 4, 255])
        predicted = np.where(rng.random(truth.shape) < 0.03, rng.integers(0, CLASSES, truth.shape), truth)
        videos.append((np.where(predicted == 255, 0, predicted), truth))
    void = np.full((18, 4, 4), 255)
    restless = np.arange(18)[:, None, None] % 2 + np.zeros((18, 3, 3), dtype=np.int64)
    return {
        "random": videos,
        "absent classes": [(np.full((17, 4, 4), 5), np.full((17, 4, 4), 1)), videos[0]],
        "all void": [(np.zeros_like(void), void), videos[1]],
        "never steady": [(restless, restless), videos[2]],
    }


def rles(masks: Array) -> tuple[RLE | None, ...]:
    """The tube of masks ``[T, H, W]``; None where there is nothing."""
    return tuple(RLE.encode(mask) if mask.any() else None for mask in masks)


Instances = list[Instance]


def instance_case(seed: int, frames: int, size: tuple[int, int]) -> tuple[Instances, Instances]:
    """Predicted and annotated instances of one image or video. Scores have one decimal, so that many tie."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 8))
    state = rng.bit_generator.state
    truth = shapes(rng, frames, size, count)
    rng.bit_generator.state = state
    predicted = np.concatenate([shapes(rng, frames, size, count, 1), shapes(rng, frames, size, 3)])
    categories = np.concatenate([rng.integers(1, 4, count), [1, 2, 4]])
    scores = np.round(rng.random(len(predicted)), 1)
    hidden = rng.random((len(predicted), frames)) < (0.2 if frames > 1 else 0)
    predicted[hidden] = False
    ours = [Instance(rles(m), int(c), float(s)) for m, c, s in zip(predicted, categories, scores, strict=True)]
    theirs = [
        Instance(rles(m), int(c), crowd=bool(frames == 1 and n == 0 and seed % 2))
        for n, (m, c) in enumerate(zip(truth, categories[:count], strict=True))
    ]
    return [o for o in ours if any(o.masks)], [t for t in theirs if any(t.masks)]


def instance_cases(frames: int) -> dict[str, list[tuple[Instances, Instances]]]:
    size = (60, 80) if frames == 1 else (320, 420)
    random = [instance_case(seed, frames, size) for seed in range(6)]
    one = random[0]
    dot = np.zeros((frames, *size), dtype=bool)
    dot[:, 3, 4] = True
    box = np.zeros_like(dot)
    box[:, :20, :20] = True
    part = box & (np.arange(size[1]) < 10)
    return {
        "random": random,
        "nothing annotated": [one, (random[1][0], [])],
        "nothing predicted": [one, ([], random[2][1])],
        "one pixel": [([Instance(rles(dot), 1, 0.5)], [Instance(rles(dot), 1)]), one],
        "crowd": [
            (
                [Instance(rles(part), 1, 0.9), Instance(rles(part), 1, 0.9), Instance(rles(dot), 2, 0.5)],
                [Instance(rles(box), 1, crowd=True), Instance(rles(part), 1), Instance(rles(dot), 2)],
            ),
            one,
        ],
        "ties": [([replace(p, score=0.5) for p in predicted], truth) for predicted, truth in random],
        "IoU of one half": [([Instance(rles(part), 3, 0.7)], [Instance(rles(box), 3)]), one],
    }


def mask_cases() -> dict[str, list[tuple[Array, Array]]]:
    """Objects ``[T, H, W]``, predicted and true, with outlines that touch the border."""
    rng = np.random.default_rng(11)
    objects = []
    for _ in range(6):
        jitter, state = int(rng.integers(1, 4)), rng.bit_generator.state
        truth = shapes(rng, 4, (120, 160), 1)[0]
        rng.bit_generator.state = state
        objects.append((shapes(rng, 4, (120, 160), 1, jitter)[0], truth))
    none, full = np.zeros((3, 30, 40), dtype=bool), np.ones((3, 30, 40), dtype=bool)
    dot, corner = none.copy(), none.copy()
    dot[:, 10, 12], corner[:, -1, -1] = True, True
    noise = rng.random((2, 3, 50, 60)) < 0.5
    return {
        "random": objects,
        "noise": [(noise[0], noise[1])],
        "both empty": [(none, none)],
        "nothing predicted": [(none, dot)],
        "nothing there": [(dot, none)],
        "one pixel": [(dot, np.roll(dot, 1, axis=2)), (dot, np.roll(dot, 2, axis=1)), (corner, dot)],
        "whole picture": [(full, full), (full, dot), (full, ~dot)],
        "large": [(np.kron(objects[0][0], np.ones((1, 4, 4), bool)), np.kron(objects[0][1], np.ones((1, 4, 4), bool)))],
    }


def referring_cases() -> dict[str, list[tuple[Array, Array]]]:
    """Masks ``[H, W]`` of expressions, predicted and true."""
    samples = [(p[0], t[0]) for p, t in mask_cases()["random"]]
    none = np.zeros_like(samples[0][0])
    return {
        "random": samples,
        "no targets": [*samples, (none, none), (none, none), (samples[0][0], none), (none, samples[1][1])],
        "only no targets": [(none, none), (samples[0][0], none)],
    }


Masks = dict[int, RLE]


def identity_cases() -> dict[str, list[list[tuple[Masks, Masks]]]]:
    """Data sets of videos of frames: masks by id, predicted and true."""
    rng = np.random.default_rng(5)

    def video(frames: int, count: int, swaps: float, lost: float) -> list[tuple[Masks, Masks]]:
        state = rng.bit_generator.state
        truth = shapes(rng, frames, (40, 60), count)
        rng.bit_generator.state = state
        predicted = shapes(rng, frames, (40, 60), count, 2)
        names = [int(v) for v in rng.permutation(99)[:count]]
        result = []
        for t in range(frames):
            if rng.random() < swaps:
                names[0], names[1] = names[1], names[0]
            if rng.random() < swaps:
                names[-1] = 100 + t
            result.append(
                (
                    {names[n]: RLE.encode(predicted[n, t]) for n in range(count) if rng.random() >= lost},
                    {n + 3: RLE.encode(truth[n, t]) for n in range(count) if rng.random() >= lost},
                )
            )
        return result

    def doubled(frames: int) -> list[tuple[Masks, Masks]]:
        """Two predictions of every object, and frames without any, so that it matters which was taken before."""
        return [
            ({} if rng.random() < 0.3 else predicted | {n + 200: m for n, m in moved(predicted).items()}, truth)
            for predicted, truth in video(frames, 3, 0.0, 0.2)
        ]

    def moved(masks: Masks) -> Masks:
        return {n: RLE.encode(np.roll(m.decode(), rng.integers(-2, 3, 2), (0, 1))) for n, m in masks.items()}

    videos = [video(8, 4, 0.3, 0.1), video(5, 3, 0.5, 0.3), video(10, 6, 0.2, 0.2)]
    dot = np.zeros((8, 8), dtype=bool)
    dot[2, 2] = True
    small = RLE.encode(dot)
    return {
        "random": videos,
        "steady": [video(6, 4, 0, 0)],
        "doubled": [doubled(20) for _ in range(4)],
        "nothing predicted": [[({}, truth) for _, truth in videos[0]], videos[1]],
        "nothing annotated": [[(predicted, {}) for predicted, _ in videos[0]], videos[1]],
        "one pixel": [[({1: small}, {5: small})] * 3 + [({2: small}, {5: small})]],
        "gaps": [[({}, {}), videos[0][0], ({}, videos[0][1][1]), videos[0][2], (videos[0][3][0], {}), videos[0][4]]],
    }


def caption_cases() -> dict[int, tuple[str, list[str]]]:
    """Predicted captions and references."""
    return {
        3: ("A man rides a horse on the beach.", ["A man is riding a brown horse along the beach."]),
        1: ("Two dogs, one black and one white; they're running!", ["Two dogs run across the green grass."]),
        2: ("", ["An empty street at night."]),
        7: ("a red car parked near a building", ["A red car is parked in front of a tall building.", "A parked car."]),
    }


def phrase_likeness(predicted: int, truth: int, seed: int) -> Array:
    return np.random.default_rng(seed).uniform(0.3, 1, (predicted, truth))


def grounded_cases(frames: int) -> dict[str, list[tuple[Instances, Instances, Array]]]:
    """Predicted and annotated masks of phrases, and how alike the phrases are ``[predicted, truth]``."""
    plain = {
        name: [
            ([replace(p, category=1, score=1.0) for p in ours], [replace(t, category=1, crowd=False) for t in theirs])
            for ours, theirs in samples
        ]
        for name, samples in instance_cases(frames).items()
        if name not in ("crowd", "ties")
    }
    return {
        name: [(o, t, phrase_likeness(len(o), len(t), seed)) for seed, (o, t) in enumerate(samples)]
        for name, samples in plain.items()
    }
