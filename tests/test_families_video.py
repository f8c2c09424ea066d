"""Video families: tiny data sets in their true layout on disk, read back pixel by pixel; broken files are named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_layouts import (
    HEIGHT,
    LAYOUTS,
    LENGTH,
    WIDTH,
    Array,
    Layout,
    colour,
    gcg_words,
    revos,
    save_json,
    shapes,
    vgd_video,
    vipseg,
    vspw,
    youtube_vos,
    ytvis,
)

from x2sam.data.base import Records, Split
from x2sam.data.catalog import open_split
from x2sam.data.families._folders import windows
from x2sam.errors import DataError
from x2sam.masks import RLE
from x2sam.media.video import VideoWriter


def opened(layout: Layout, root: Path, seed: int = 0, **options: Any) -> Records:
    return open_split(layout.split(**options), root, seed)


def decoded(masks: Sequence[RLE | None]) -> Array:
    return np.stack([m.decode() if m else np.zeros((HEIGHT, WIDTH), bool) for m in masks])


@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)
def test_a_family_reads_what_the_files_mean(write: Callable[[Path], Layout], tmp_path: Path) -> None:
    layout = write(tmp_path)
    records = opened(layout, tmp_path)
    assert [r.sample_id for r in records] == [e.name for e in layout.expected]
    for sample, expected in zip(records, layout.expected, strict=True):
        assert sample.task == layout.task
        assert len(sample.frames) == LENGTH
        for t, frame in enumerate(sample.frames):
            assert frame.shape == (HEIGHT, WIDTH, 3)
            assert abs(frame.astype(int) - colour(expected.video, t)).max() <= 4
        assert sample.prompt.labels == expected.labels
        assert sample.answer == expected.answer
        assert {(o.object_id, o.condition) for o in sample.objects} == set(expected.objects)
        for track in sample.objects:
            truth = shapes(expected.video)[expected.objects[track.object_id, track.condition]]
            assert np.array_equal(decoded(track.masks), truth)
            assert [m is None for m in track.masks] == (~truth.any((1, 2))).tolist(), "absent is None"
            assert track.is_crowd == (track.object_id in expected.crowds)
        if expected.void is None:
            assert sample.ignore is None
        else:
            assert np.array_equal(decoded(sample.ignore or ()), expected.void)


def everything(layout: Layout, root: Path) -> None:
    for sample in opened(layout, root):
        list(sample.frames)


@pytest.mark.parametrize("damage", [None, b"\xff{ damaged"], ids=["missing", "damaged"])
@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS)
def test_a_broken_file_is_named(write: Callable[[Path], Layout], damage: bytes | None, tmp_path: Path) -> None:
    layout = write(tmp_path)
    everything(layout, tmp_path)
    for name in layout.fragile:
        path = tmp_path / name
        whole = path.read_bytes()
        if path.suffix == ".txt" if damage else path.parent != tmp_path and layout.family in MAY_MISS:
            continue
        path.unlink() if damage is None else path.write_bytes(damage)
        with pytest.raises(DataError) as error:
            everything(layout, tmp_path)
        assert path.name in str(error.value)
        assert path.parent.name in str(error.value)
        path.write_bytes(whole)


MAY_MISS = {"youtube_vos", "davis", "video_gcg"}
"""Families that take what is in a folder: a frame without a PNG is unlabelled, a caption that is not there is none."""


@pytest.mark.parametrize(
    ("write", "change", "said"),
    [
        (ytvis, lambda c: c["annotations"][1].update(category_id=5), r"valid\.json, annotation 2.*category 5"),
        (ytvis, lambda c: c["annotations"][1].update(video_id=5), r"valid\.json, annotation 2.*video 5"),
        (ytvis, lambda c: c["annotations"][3]["segmentations"].pop(), r"annotation 12: .*2 masks .* 3 frames"),
        (ytvis, lambda c: c["videos"][1].pop("height"), r"video 2: 'height' is missing"),
        (ytvis, lambda c: c["annotations"][2]["segmentations"][0].update(size=[3, 4]), r"annotation 11: .*"),
        (vipseg, lambda c: c["annotations"][0]["annotations"].pop(), r"video beta: '00010' is missing"),
        (vipseg, lambda c: c["annotations"][1]["annotations"][1]["segments_info"][0].update(id=9), "the segment 13101"),
        (vipseg, lambda c: c["annotations"][1]["annotations"][1]["segments_info"][0].update(category_id=4), "13101 of"),
        (youtube_vos, lambda c: c["videos"]["beta"]["objects"].update({"9": {"category": "ape", "frames": ["00005"]}}),
         r"Annotations/beta: no pixel of the object 9"),
        (revos, lambda c: c["videos"]["set/beta"]["expressions"]["0"].update(anno_id=[77]), "mask_dict.json: '77'"),
        (gcg_words, lambda c: c["videos"][1]["dense_cap"].update(token_pos=[1, 2, 99]), "video 1: the word 99"),
        (vgd_video, lambda c: c[1]["annotations"][1][0].pop("visual_prompts"), "beta/00005.jpg: 'visual_prompts'"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_named(
    write: Callable[[Path], Layout], change: Callable[[Any], Any], said: str, tmp_path: Path
) -> None:
    layout = write(tmp_path)
    names = ("json", "meta", "expressions", "captions")
    path = tmp_path / next(layout.options[n] for n in names if n in layout.options)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        everything(layout, tmp_path)


@given(st.integers(1, 60), st.integers(1, 20), st.booleans())
def test_every_frame_is_in_one_window(length: int, most: int, spread: bool) -> None:
    parts = windows(length, {"window": most, "spread": spread})
    assert sorted(t for frames in parts for t in frames) == list(range(length))
    assert max(map(len, parts)) <= most
    assert {frames.step for frames in parts} == {-(-length // most) if spread else 1}
    assert windows(length, {}) == [range(length)]


def test_windows_are_samples_of_their_own(tmp_path: Path) -> None:
    """Objects that a window does not show are not asked for; a region's frame is counted in the window."""
    layout = youtube_vos(tmp_path)
    whole = opened(layout, tmp_path)[0]
    assert [(r.frame, r.object_id, r.kind) for r in whole.prompt.regions] == [(0, 1, "mask"), (1, 2, "mask")]
    assert np.array_equal(whole.prompt.regions[1].mask, shapes(0)[2][1])
    first, last = opened(layout, tmp_path, window=2)[:2]
    assert [(r.frame, r.object_id) for r in first.prompt.regions] == [(0, 1), (1, 2)]
    assert [(r.frame, r.object_id) for r in last.prompt.regions] == [(0, 2)]
    assert (last.sample_id, len(last.frames)) == ("alpha@2", 1)
    spread = opened(layout, tmp_path, window=2, spread=True)[0]
    assert np.array_equal(decoded(spread.objects[1].masks), shapes(0)[2][::2])


def test_objects_of_a_sample(tmp_path: Path) -> None:
    layout = youtube_vos(tmp_path)
    names = {part: [r.prompt.labels for r in opened(layout, tmp_path, part=part)] for part in ("seen", "unseen")}
    assert names == {"seen": [("giant panda",)] * 2, "unseen": [("ball",)] * 2}
    assert [r.sample_id for r in opened(layout, tmp_path, objects=1)] == ["alpha/1", "alpha/2", "beta/1", "beta/2"]


def test_the_public_validation_split_shows_objects_once(tmp_path: Path) -> None:
    layout = youtube_vos(tmp_path)
    (tmp_path / "Annotations" / "alpha" / "00010.png").unlink()
    sample = opened(layout, tmp_path)[0]
    assert [o.masks[2] for o in sample.objects] == [None, None]
    assert len(sample.frames) == LENGTH


@pytest.mark.parametrize("write", [vipseg, vspw, ytvis])
def test_drawn_categories_hold_what_is_there(write: Callable[[Path], Layout], tmp_path: Path) -> None:
    """A training sample's categories change with the seed alone, and what is there is asked for."""
    layout = write(tmp_path)
    every = opened(layout, tmp_path)[0]
    prompts = set()
    for seed in range(6):
        sample, again = (opened(layout, tmp_path, seed, categories=8)[0] for _ in range(2))
        assert sample.prompt == again.prompt
        prompts.add(sample.prompt)
        labels = [sample.prompt.labels[o.condition] for o in sample.objects]
        assert labels == [every.prompt.labels[o.condition] for o in every.objects]
        assert len(sample.prompt.conditions) <= 8
    assert len(prompts) > 1


def test_things_and_stuff(tmp_path: Path) -> None:
    assert [c.is_thing for c in opened(vipseg(tmp_path), tmp_path)[0].prompt.conditions] == [False, True]


def test_a_released_region_is_one_of_its_category(tmp_path: Path) -> None:
    """On any frame, or on the first alone; without a wanted kind, one that is there; else nothing is asked."""
    layout = vgd_video(tmp_path)
    seen = {
        (r.prompt.regions[0].frame, r.prompt.regions[0].object_id, r.prompt.regions[0].kind)
        for seed in range(30)
        for r in opened(layout, tmp_path, seed, prompt="box")
    }
    assert seen == {(0, 41, "box"), (1, 41, "box"), (1, 42, "box"), (2, 42, "box")}
    first = [opened(layout, tmp_path, seed, first=True)[0].prompt.regions[0] for seed in range(9)]
    assert {(r.frame, r.object_id) for r in first} == {(0, 41)}
    assert np.array_equal(np.argwhere(first[0].mask), [[4, 14]])
    free = replace(layout, options={k: v for k, v in layout.options.items() if k != "prompt"})
    assert {opened(free, tmp_path, seed)[0].prompt.regions[0].kind for seed in range(9)} == {"point", "box"}
    assert len(opened(layout, tmp_path, prompt="scribble")) == 0
    assert [r.sample_id for r in opened(layout, tmp_path, window=2, shortest=2)] == ["1@0", "2@0"]


def test_video_chat(tmp_path: Path) -> None:
    """Each question is a sample; frames are spread over the file; videos that are not there are left out."""
    (tmp_path / "videos").mkdir()
    with VideoWriter(tmp_path / "videos" / "v_abc.mp4", (64, 64), 10.0) as writer:
        for t in range(9):
            writer.write(np.full((64, 64, 3), 28 * t, np.uint8))
    rows = [{"q": f"What {n}?", "a": f"That {n}.", "video_id": v} for n, v in enumerate(["v_abc", "v_gone", "v_abc"])]
    save_json(tmp_path / "chat.json", rows)
    split = Split("tiny", "vid_chat", "video_chat", {"json": "chat.json", "videos": "videos", "frames": 3}, ())
    records = open_split(split, tmp_path)
    assert [(r.sample_id, r.prompt.text, r.answer) for r in records] == [
        ("v_abc/0", "What 0?", "That 0."),
        ("v_abc/1", "What 2?", "That 2."),
    ]
    assert [round(float(f.mean()) / 28) for f in records[1].frames] == [0, 4, 8]
    (tmp_path / "videos" / "v_abc.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"v_abc\.mp4"):
        len(records[0].frames)
    (tmp_path / "videos" / "v_abc.mp4").unlink()
    with pytest.raises(DataError, match=r"videos: none of the videos that chat\.json"):
        open_split(split, tmp_path)
