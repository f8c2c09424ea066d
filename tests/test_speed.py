"""What may be left out for speed: frames between key frames, pixels, levels of the memory. Off, nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_propagation import SIDE, scene, textures

from x2sam import X2Sam, cli
from x2sam.errors import InputError
from x2sam.masks import RLE, iou_matrix
from x2sam.tracking.keyframes import Between
from x2sam.types import FrameResult, Segment

LOW = {"threshold": 0.0}
"""Random scores are low; nothing may be hidden by a threshold."""


@pytest.fixture(scope="module")
def model() -> X2Sam:
    return X2Sam.from_pretrained("tiny", device="cpu")


def film(count: int = 8) -> list[np.ndarray]:
    noise = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return [np.roll(noise, 4 * i, axis=1) for i in range(count)]


def decoded(model: X2Sam, monkeypatch: pytest.MonkeyPatch, **ask: Any) -> tuple[list[int], tuple[FrameResult, ...]]:
    """The frames that were decoded, and the results of all."""
    indices: list[int] = []
    with monkeypatch.context() as patch:
        session = model.open(film(), kind="video")
        decode = session.decode
        patch.setattr(session, "decode", lambda index, *rest: indices.append(index) or decode(index, *rest))
        return indices, session.track(**ask, **LOW).result.frames


# --- key frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [{"prompt": "the cat"}, {"regions": {"box": (5, 5, 30, 40), "id": 7}}], ids=str)
def test_between_key_frames_segments_keep_who_they_are(model: X2Sam, monkeypatch: pytest.MonkeyPatch, ask: Any) -> None:
    always, whole = decoded(model, monkeypatch, **ask)
    keys, results = decoded(model, monkeypatch, **ask, every=3)
    assert always == list(range(8))
    assert keys == [0, 3, 6]
    assert results[0] == whole[0]
    assert [r.index for r in results] == always
    for result in results:
        (key,) = (r for r in results if r.index == result.index // 3 * 3)
        known = {(s.object_id, s.label, s.score) for s in key.segments}
        assert {(s.object_id, s.label, s.score) for s in result.segments} <= known
        assert all(s.frame == result.index and s.mask.shape == (48, 64) for s in result.segments)


def test_a_frame_that_a_region_is_drawn_on_is_decoded(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, _ = decoded(model, monkeypatch, regions={"box": (5, 5, 30, 40), "frame": 2}, every=4)
    assert keys == [0, 2, 6]


def test_masks_go_where_their_texture_goes() -> None:
    """Two objects, one of which stays; a frame is three times as large as the map of its looks."""
    thing, ground, size = textures(1, 8), textures(2), (3 * SIDE, 3 * SIDE)

    def segment(y: int, x: int, number: int) -> Segment:
        mask = np.zeros(size, bool)
        mask[3 * y : 3 * y + 24, 3 * x : 3 * x + 24] = True
        return Segment(RLE.encode(mask), "thing", 0.9, number)

    between = Between.after((segment(8, 8, 5), segment(0, 16, 6)), scene(8, 8, thing, ground)[0])
    for step in range(1, 4):
        found = between.step(step, scene(8 + step, 8 - step, thing, ground)[0], size, 0.5)
        truth = [segment(8 + step, 8 - step, 5), segment(0, 16, 6)]
        assert [(s.object_id, s.frame) for s, _ in found] == [(5, step), (6, step)]
        assert iou_matrix([s.rle for s, _ in found], [s.rle for s in truth]).diagonal().min() > 0.75


def test_nothing_found_stays_nothing_until_the_next_key_frame() -> None:
    look = textures(2)
    assert Between.after((), look).step(1, look, (48, 48), 0.5) == []


# --- models that leave something out ----------------------------------------------------------------------------------


def test_another_image_size(model: X2Sam) -> None:
    own = model.config.image_size
    other = X2Sam.from_pretrained("tiny", device="cpu", image_size=own + 32)
    same = X2Sam.from_pretrained("tiny", device="cpu", image_size=own)
    ask = {"regions": {"point": (20, 20), "id": 3}, **LOW}
    (picture,) = film(1)
    assert same.segment(picture, **ask).frames == model.segment(picture, **ask).frames
    result = other.segment(picture, **ask)
    assert [(s.object_id, s.mask.shape) for s in result.segments] == [(3, (48, 64))]
    assert other.name == f"tiny, image_size={own + 32}"
    assert other.processor.frames([picture]).shape[-1] == own + 32
    assert other.model.encode(other.processor.frames([picture])).fpn[0].shape[-1] == (own + 32) // 4


def test_fewer_levels_remember(model: X2Sam) -> None:
    coarse = X2Sam.from_pretrained("tiny", device="cpu", memory_levels=0)
    track, whole = (m.live().track("the cat", **LOW) for m in (coarse, model))
    assert track.step(film()[0]) == whole.step(film()[0])
    assert [set(m.levels) for m in track.strands[0].bank.memories] == [{0}]
    assert track.step(film()[1]) != whole.step(film()[1])
    everything = X2Sam.from_pretrained("tiny", device="cpu", memory_levels=model.config.memory_levels)
    again = everything.live().track("the cat", **LOW)
    assert [again.step(frame) for frame in film(2)] == list(whole.done.frames)


@pytest.mark.parametrize(
    "wrong",
    [{"image_size": 100}, {"image_size": 0}, {"memory_levels": ()}, {"memory_levels": (0, 3)}, {"memory_levels": 5}],
    ids=str,
)
def test_what_cannot_be_left_out_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"Got {next(iter(wrong))}=.*\. Expected "):
        X2Sam.from_pretrained("tiny", device="cpu", **wrong)


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_every_is_a_number_of_frames(model: X2Sam, every: Any) -> None:
    with pytest.raises(InputError, match=f"every={every}"):
        model.track(film(), "the cat", every=every)


@pytest.mark.parametrize(
    ("option", "message"), [("image_size=100", "multiple of 32"), ("memory_levels=0,x", "whole number")]
)
def test_the_command_line_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    Image.fromarray(film(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as ended:
        cli.main(["segment", str(tmp_path / "a.png"), "the cat", "--model", "tiny", "--set", option])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
