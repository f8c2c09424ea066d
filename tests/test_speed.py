"""What may be left out for speed: frames between key frames, pixels, levels of the memory. Off, nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_propagation import SIDE, scene, textures

from x2sam import X2Sam, cli
from x2sam.decoding.candidates import masks_of
from x2sam.errors import InputError
from x2sam.masks import RLE, iou_matrix
from x2sam.tracking.history import History
from x2sam.types import FrameResult

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
        engine, decode = session.engine, session.engine.decode

        def counted(index: int, frame: Any, queries: Any) -> Any:
            indices.extend([index] * bool(queries))
            return decode(index, frame, queries)

        patch.setattr(engine, "decode", counted)
        return indices, session.track(**ask, **LOW).finish().frames


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


def test_masks_that_are_propagated_are_cut_at_the_frames_size() -> None:
    """Two objects, one of which stays; a frame is three times as large as the map of its descriptors."""
    thing, ground, size = textures(1, 8), textures(2), (3 * SIDE, 3 * SIDE)

    def mask(y: int, x: int) -> np.ndarray:
        whole = np.zeros(size, bool)
        whole[3 * y : 3 * y + 24, 3 * x : 3 * x + 24] = True
        return whole

    history = History()
    shown = [torch.from_numpy(mask(8, 8)), torch.from_numpy(mask(0, 16)), None]
    history.remember("a", scene(8, 8, thing, ground)[0], shown, [True, True, False])
    for step in range(1, 4):
        soft = history.propagate(scene(8 + step, 8 - step, thing, ground)[0], ["a"])["a"]
        found = masks_of(soft, size, [0.5] * 3)
        truth = [RLE.encode(mask(8 + step, 8 - step)), RLE.encode(mask(0, 16))]
        assert iou_matrix(found[:2], truth).diagonal().min() > 0.75
        assert found[2] is None
        history.remember("a", scene(8 + step, 8 - step, thing, ground)[0], list(soft), [False] * 3)


@pytest.mark.parametrize("size", [(48, 64), (33, 97), (24, 24), (200, 131)])
def test_a_mask_is_the_same_whether_all_of_it_or_its_box_is_resized(size: tuple[int, int]) -> None:
    maps = torch.nn.functional.avg_pool2d(torch.rand(6, 24, 24, generator=torch.Generator().manual_seed(1)), 5, 1, 2)
    maps[1, :, 4:] = 0
    maps[2] = 0
    whole = torch.nn.functional.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    for found, mask in zip(masks_of(maps, size, [0.5] * 6), whole > 0.5, strict=True):
        ours = np.zeros(size, bool) if found is None else found.decode()
        assert (ours != mask.numpy()).sum() <= 1, "a pixel at the threshold may fall on either side"


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
    assert (other.name, other.settings) == ("tiny", {"image_size": own + 32})
    assert other.label == f"tiny, image_size={own + 32}"
    assert other.processor.frames([picture]).shape[-1] == own + 32
    assert other.model.encode(other.processor.frames([picture])).fpn[0].shape[-1] == (own + 32) // 4


def test_a_field_of_the_configuration_is_set(model: X2Sam) -> None:
    assert model.config.memory_size > 0
    assert X2Sam.from_pretrained("tiny", device="cpu", memory_size=0).config.memory_size == 0


def test_fewer_levels_remember(model: X2Sam) -> None:
    coarse = X2Sam.from_pretrained("tiny", device="cpu", memory_levels=0)
    track, whole = (m.live().track("the cat", **LOW) for m in (coarse, model))
    assert track.step(film()[0]) == whole.step(film()[0])
    assert [set(m.levels) for m in track.states[0].bank.memories] == [{0}]
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
    ("option", "message"),
    [
        ("image_size=100", "multiple of 32"),
        ("memory_levels=0,x", "whole number"),
        ("memory_sise=0", "Did you mean memory_size"),
    ],
)
def test_the_command_line_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    Image.fromarray(film(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as ended:
        cli.main(["segment", str(tmp_path / "a.png"), "the cat", "--model", "tiny", "--set", option])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
