"""A running track: streams that are pushed, several prompts, objects that come, go and are corrected, stop and go on.

The weights are random, so what is tested is the state: what is touched, what is not, and what equals what.
"""

from __future__ import annotations

import gc
import json
import re
from collections import Counter, deque
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from x2sam import X2Sam, cli
from x2sam.errors import InputError, MediaError
from x2sam.media.opening import open_media
from x2sam.media.video import VideoWriter
from x2sam.model.mask_decoder import Prediction
from x2sam.model.mask_memory import MemoryBank
from x2sam.regions import from_box
from x2sam.tracking.changes import Changes
from x2sam.tracking.track import Track
from x2sam.types import FrameResult, Segment

LOW = {"threshold": 0.0}
"""Random scores are low; nothing may be hidden by a threshold."""
SIZE = (48, 64)
LEFT, RIGHT = {"box": (5, 5, 30, 40), "id": 7, "name": "left"}, {"box": (35, 10, 60, 44), "id": 9, "name": "right"}


@pytest.fixture(scope="module")
def model() -> X2Sam:
    return X2Sam.from_pretrained("tiny", device="cpu")


def frames(count: int = 6, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    noise = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    return [np.roll(noise, 4 * i, axis=1) for i in range(count)]


def of(result: FrameResult, *ids: int) -> list[Segment]:
    """The segments of some objects: equal means equal in every bit."""
    return [s for i in ids for s in result.segments if s.object_id == i]


def masks(results: Any, object_id: int) -> list[tuple[int, bytes, float]]:
    return [(s.frame, s.rle.counts, s.score) for r in results for s in r.segments if s.object_id == object_id]


# --- frames that are pushed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["the cat", ["cat", "stuff: sky"]], ids=str)
def test_pushed_frames_equal_a_clip_that_is_read_alike(model: X2Sam, prompt: Any) -> None:
    film = frames(5)
    track = model.live().track(prompt, **LOW)
    pushed = [track.step(frame) for frame in film]
    session = model.open(film)  # a clip whose sample is its first frame, as a stream has no more to show at first
    session.engine._sample = [(0, None, film[0])]
    assert tuple(pushed) == session.track(prompt, **LOW).finish().frames == track.finish().frames
    assert all(result.segments for result in pushed)
    assert track.warnings == []


def test_several_tracks_of_a_session_share_the_encoded_frame(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    film, calls, encode = frames(4), [], model.model.encode
    monkeypatch.setattr(model.model, "encode", lambda x: calls.append(len(x)) or encode(x))
    session = model.live()
    cat, dog = session.track("the cat", **LOW), session.track("the dog", **LOW)
    together = [(cat.step(frame), dog.step(frame.copy())) for frame in film]
    assert len(calls) == len(film)
    alone = model.live().track("the dog", **LOW)
    assert [b for _, b in together] == [alone.step(frame) for frame in film]
    assert [a.index for a, _ in together] == [0, 1, 2, 3]
    assert [b.segments[0].label for _, b in together] == ["the dog"] * 4


def test_a_still_picture_pushed_again_and_again_is_a_new_frame_each_time(model: X2Sam) -> None:
    session = model.live()
    one, other = session.track("the cat", **LOW), session.track("the dog", **LOW)
    still = frames(1)[0]
    assert [(one.step(still).index, other.step(still).index) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]


def test_a_prompt_on_a_running_stream_begins_with_the_newest_frame(model: X2Sam) -> None:
    film = frames(4)
    session = model.live()
    first = session.track("the cat", **LOW)
    for frame in film[:3]:
        first.step(frame)
    late = session.track(regions=LEFT, **LOW)
    assert [f.index for f in late.done.frames] == [2]
    assert {s.object_id for s in late.done.segments} == {7}
    assert late.step(film[3]).index == 3


def test_pushing_and_iterating_are_not_mixed(model: X2Sam) -> None:
    track = model.live().track("the cat")
    with pytest.raises(MediaError, match=r"step\(frame\)"):
        next(iter(track))
    assert track.finish().frames == ()
    for source in (frames(2), iter(frames(2))):
        with pytest.raises(InputError, match="Iterate"):
            model.open(source, kind="video").track("the cat").step(frames(1)[0])
    with pytest.raises(InputError, match="without any frame"):
        model.live().track(regions=(5, 5))
    with pytest.raises(InputError, match="without a frame"):
        model.live().track()


# --- adding, removing -------------------------------------------------------------------------------------------------


def test_adding_and_removing_leave_the_others_bitwise_alone(model: X2Sam) -> None:
    film = frames(6)
    plain = model.open(film).track(regions=[LEFT], **LOW).finish()
    session = model.open(film)
    track = session.track(regions=[LEFT], **LOW)
    walk = iter(track)
    for _ in range(3):
        next(walk)
    changed = track.add(regions=RIGHT, frame=2)
    assert [r.index for r in changed] == [2]
    track.add("the cat")
    for _ in range(2):
        next(walk)
    track.remove(9)
    result = track.finish()
    assert [len(r.segments) for r in result.frames] == [1, 1, 3, 3, 3, 2]
    assert [of(r, 7) for r in result.frames] == [of(r, 7) for r in plain.frames]
    assert {s.label for s in result.segments} == {"left", "right", "the cat"}
    assert result.prompt.labels == ("left", "right", "the cat")
    assert all(result.prompt.labels[s.condition] == s.label for s in result.segments)
    # what was added equals a track of its own from that frame on
    own = model.open(film).track(regions={**RIGHT, "frame": 2}, **LOW)
    expected = [own._advance((i, None, film[i])) for i in (2, 3, 4)]
    assert masks(result.frames, 9) == masks(expected, 9)
    assert len(track.states) == 2  # nothing runs for what is not shown


def test_ids_are_never_given_twice(model: X2Sam) -> None:
    track = model.open(frames(3)).track(["cat", "dog"], form="instance", **LOW)
    used = {s.object_id for s in next(iter(track)).segments}
    assert used
    with pytest.raises(InputError, match="another object"):
        track.add(regions={"box": (5, 5, 20, 20), "id": next(iter(used))})
    track.add(regions={"box": (5, 5, 20, 20), "id": 40}, frame=0)
    track.add("the bird", frame=0)
    for result in track.finish().frames:
        ids = [s.object_id for s in result.segments]
        assert len(ids) == len(set(ids))
        assert 40 in ids


def test_backward_from_where_an_object_was_added(model: X2Sam) -> None:
    film = frames(6)
    track = model.open(film).track(regions=LEFT, **LOW)
    before = track.finish()
    changed = track.add(regions=RIGHT, frame=4, backward=True, until=1)
    assert [r.index for r in changed] == [4, 5, 3, 2, 1], "as they come"
    assert [r.index for r in changed[:]] == [1, 2, 3, 4, 5], "in the order of time"
    assert [bool(of(r, 9)) for r in track.finish().frames] == [False, True, True, True, True, True]
    assert [of(r, 7) for r in track.finish().frames] == [of(r, 7) for r in before.frames]


# --- corrections ------------------------------------------------------------------------------------------------------


def corrected(model: X2Sam, film: list[np.ndarray], **how: Any) -> tuple[Track, Any, Changes]:
    track = model.open(film).track(regions=[LEFT, RIGHT], **LOW)
    before = track.finish()
    changed = track.correct(7, {"box": (20, 20, 50, 40)}, frame=3, **how)
    return track, before, changed


def test_a_correction_is_a_fresh_start_from_its_frame_on(model: X2Sam) -> None:
    film = frames(7)
    track, before, changed = corrected(model, film)
    after = track.finish()
    assert [r.index for r in changed] == [3, 4, 5, 6]
    assert after.frames[:3] == before.frames[:3]
    assert [of(r, 9) for r in after.frames] == [of(r, 9) for r in before.frames]
    fresh = model.open(film).track(regions={"box": (20, 20, 50, 40), "frame": 3, "id": 7}, **LOW)
    expected = [fresh._advance((i, None, film[i])) for i in range(3, 7)]
    assert masks(after.frames[3:], 7) == masks(expected, 7) != masks(before.frames[3:], 7)
    assert {(s.label, s.condition) for s in after.objects[7]} == {("left", 0)}
    assert after.prompt == before.prompt


def test_a_correction_goes_backward_when_asked(model: X2Sam) -> None:
    film = frames(7)
    track, before, changed = corrected(model, film, backward=True)
    assert [r.index for r in changed.finish()] == list(range(7))
    back = model.open(film).track(regions={"box": (20, 20, 50, 40), "frame": 3, "id": 7}, **LOW)
    expected = [back._advance((i, None, film[i])) for i in (3, 2, 1, 0)][::-1]
    assert masks(track.finish().frames[:4], 7) == masks(expected, 7)
    assert [of(r, 9) for r in track.finish().frames] == [of(r, 9) for r in before.frames]
    part, _, changed = corrected(model, film, backward=True, until=2)
    assert [r.index for r in changed.finish()] == [2, 3, 4, 5, 6]
    assert part.finish().frames[:2] == before.frames[:2]
    assert part.finish().frames[2:] == track.finish().frames[2:]


def test_a_correction_midway_goes_on(model: X2Sam) -> None:
    film = frames(7)
    whole, _, _ = corrected(model, film)
    track = model.open(film).track(regions=[LEFT, RIGHT], **LOW)
    walk = iter(track)
    for _ in range(5):
        next(walk)
    track.correct(7, {"box": (20, 20, 50, 40)}, frame=3)
    assert [r.index for r in walk] == [5, 6]
    assert [of(r, 7, 9) for r in track.finish().frames] == [of(r, 7, 9) for r in whole.finish().frames]
    again = track.correct(7, (10, 10))  # on the newest frame
    assert [r.index for r in again] == [6]
    assert len(track.states) == 2  # the first correction is not followed any more


def test_the_prompt_is_read_and_seen_on_its_frame(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    """The language side gets the features of frame k, and the answer of frame k the region's pixels; no other does."""
    from x2sam.tracking import frame_step

    film, shown, marked = frames(5), {}, []
    answer, understand = frame_step.answer_frame, model.model.understanding

    def spy(*args: Any, prompt_masks: Any, **kwargs: Any) -> Any:
        shown[len(shown)] = [None if m is None else int(m.sum()) for m in prompt_masks]
        return answer(*args, prompt_masks=prompt_masks, **kwargs)

    def reading(*args: Any, **kwargs: Any) -> Any:
        marked.append(kwargs["region_features"])
        return understand(*args, **kwargs)

    session = model.open(film)
    track = session.track(regions=LEFT, **LOW)
    track.finish()
    monkeypatch.setattr(frame_step, "answer_frame", spy)
    monkeypatch.setattr(model.model, "understanding", reading)
    track.correct(7, {"box": (0, 0, 10, 10)}, frame=2, backward=True).finish()
    assert shown == {0: [100], 1: [None], 2: [None], 3: [None], 4: [None]}  # 2, 3, 4, then 1, 0
    expected = model.model.encode(model.processor.frames([film[2]]))
    assert torch.allclose(marked[0].stage, expected.stage, atol=1e-5)


def test_negative_points_alone_cut_the_mask_that_was_there(model: X2Sam) -> None:
    track = model.open(frames(3)).track(regions=LEFT, **LOW)
    had = of(track.finish().frame(1), 7)[0].mask
    rows, columns = np.nonzero(had)
    x, y = int(columns.max()), int(rows[columns.argmax()])
    region = track._pointed(7, {"negative": [(x, y)]}, 1)
    assert 0 < region.rle.area < had.sum()
    assert not region.mask[y, x]
    assert not (region.mask & ~had).any()
    assert [r.index for r in track.correct(7, {"negative": [(x, y)]}, frame=1)] == [1, 2]
    track.remove(7)
    with pytest.raises(InputError, match="no mask on frame"):
        track._pointed(8, {"negative": [(x, y)]}, 1)


def test_objects_that_the_tracker_found_can_be_corrected(model: X2Sam) -> None:
    film = frames(5)
    track = model.open(film).track(["cat", "dog"], form="instance", top_k=3, **LOW)
    before = track.finish()
    chosen = before.frames[1].segments[0]
    track.correct(chosen.object_id, [(10, 10), (20, 20)], frame=1)
    after = track.finish()
    assert after.frames[0] == before.frames[0]
    for old, new in zip(before.frames[1:], after.frames[1:], strict=True):
        others = {s.object_id for s in old.segments} - {chosen.object_id}
        assert of(new, *others) == of(old, *others)
        assert [s.label for s in of(new, chosen.object_id)] == [chosen.label]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"object_id": 5, "regions": (5, 5)}, r"one of those found: \[7\]"),
        ({"object_id": 7, "regions": (5, 5), "frame": 9}, "frames 0 to 2"),
        ({"object_id": 7, "regions": None}, "no region"),
        ({"object_id": 7, "regions": (500, 5)}, "outside"),
    ],
)
def test_corrections_that_cannot_be_made_change_nothing(model: X2Sam, wrong: dict[str, Any], message: str) -> None:
    track = model.open(frames(3)).track(regions=LEFT, **LOW)
    before = track.finish()
    with pytest.raises(InputError, match=message):
        track.correct(**wrong)
    assert track.finish().frames == before.frames
    assert track.objects.owners == {}


def test_released_ids_do_not_last(model: X2Sam) -> None:
    track = model.open(frames(2)).track(regions=LEFT, identity="released", **LOW)
    track.finish()
    for change in (
        lambda: track.add("the cat"),
        lambda: track.correct(7, (5, 5)),
        lambda: track.remove(7),
    ):
        with pytest.raises(InputError, match="released"):
            change()


def test_a_stream_is_corrected_as_far_back_as_it_is_at_hand(model: X2Sam) -> None:
    film = frames(9)
    session = model.live(history=5)
    track = session.track("the cat", **LOW)
    for frame in film:
        track.step(frame)
    (object_id,) = track.finish().objects
    changed = track.correct(object_id, (10, 10), frame=6, backward=True)
    assert [r.index for r in changed.finish()] == [4, 5, 6, 7, 8]
    assert "before 4" in track.warnings[-1]
    with pytest.raises(MediaError, match="longer history"):
        track.correct(object_id, (10, 10), frame=2)


# --- refreshing -------------------------------------------------------------------------------------------------------


def test_refresh_changes_the_guidance_at_its_multiples_only(model: X2Sam) -> None:
    track = model.live().track("the cat", refresh=4, **LOW)
    read, windows = [], []
    engine, ask = track.engine, track.engine.read
    engine.read = lambda *a, **k: windows.append([i for i, _, _ in engine._window(k["upto"])]) or ask(*a, **k)
    for frame in frames(10):
        track.step(frame)
        read.append(track.states[0].encoded)
    changes = [i for i in range(10) if i == 0 or read[i] is not read[i - 1]]
    assert changes == [0, 4, 8]
    assert windows == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]  # the tiny model looks at four frames
    seg = [encoded.guidance.seg for encoded in (read[0], read[4], read[8])]
    assert not torch.equal(seg[0], seg[1])
    assert not torch.equal(seg[1], seg[2])
    assert len({s.object_id for s in track.finish().segments}) == 1


@pytest.mark.parametrize("live", [True, False], ids=["stream", "clip"])
def test_regions_are_read_again_from_frames_that_are_long_gone(model: X2Sam, live: bool) -> None:
    film = frames(9)
    session = model.live() if live else model.open(film)
    if live:
        session.clip.push = None
        first = session.track("the cat", refresh=3, **LOW)
        first.step(film[0])
    track = session.track(regions=LEFT, refresh=3, **LOW)
    results = [track.step(f) for f in film[1:]] if live else track.finish().frames
    assert {s.object_id for r in results for s in r.segments} == {7}
    assert track.states[0].read_at == 6
    assert list(track.states[0].shown) == [0]


def test_what_names_its_own_objects_is_not_refreshed(model: X2Sam) -> None:
    with pytest.raises(InputError, match="refresh=3"):
        model.open(frames(2)).track(refresh=3)
    with pytest.raises(InputError, match="refresh=0"):
        model.open(frames(2)).track("the cat", refresh=0)


# --- stopping and going on --------------------------------------------------------------------------------------------


def walk(track: Track, film: list[np.ndarray]) -> list[FrameResult]:
    return [track.step(frame) for frame in film]


@pytest.mark.parametrize(
    "ask", [{"prompt": "the cat", "every": 4}, {"prompt": ["cat", "dog"], "form": "instance"}], ids=str
)
def test_a_restored_stream_goes_on_as_if_it_had_never_stopped(model: X2Sam, tmp_path: Path, ask: dict) -> None:
    film = frames(12)
    never, stopped = (model.live().track(**ask, refresh=4, **LOW) for _ in range(2))
    for track in (never, stopped):
        walk(track, film[:3])
        track.add(regions={**LEFT, "id": 70})
        walk(track, film[3:6])
        track.step(None)
        track.correct(70, (20, 20), frame=4)
    path = stopped.save(tmp_path / "state.safetensors")
    restored = model.live().restore(path)
    assert restored.finish().frames == never.finish().frames
    assert restored.warnings == never.warnings
    assert walk(restored, film[6:]) == walk(never, film[6:])
    assert restored.correct(70, (9, 9), frame=11) == never.correct(70, (9, 9), frame=11)
    assert restored.finish().prompt == never.finish().prompt
    assert list(tmp_path.iterdir()) == [path]


def test_a_restored_clip_and_a_restored_iterator_go_on(model: X2Sam, tmp_path: Path) -> None:
    film = frames(8)
    whole = model.open(film, fps=10).track(regions=[LEFT, RIGHT], **LOW).finish()
    track = model.open(film, fps=10).track(regions=[LEFT, RIGHT], **LOW)
    for _, _ in zip(range(5), track, strict=False):
        pass
    restored = model.open(film, fps=10).restore(track.save(tmp_path / "a"))
    assert restored.finish().frames == whole.frames

    whole = model.open(iter(film), fps=10).track("the cat", refresh=3, **LOW).finish()
    track = model.open(iter(film), fps=10).track("the cat", refresh=3, **LOW)
    for _, _ in zip(range(4), track, strict=False):
        pass
    restored = model.open(iter(film[len(track.done.frames) :]), fps=10).restore(track.save(tmp_path / "b"))
    result = restored.finish()
    assert [r.index for r in result.frames] == list(range(8))
    assert [r.segments for r in result.frames] == [r.segments for r in whole.frames]
    assert [r.time for r in result.frames] == pytest.approx([r.time for r in whole.frames])


def rewritten(path: Path, to: Path, change: Any, about: dict[str, str] | None = None) -> Path:
    """A saved state with its json, or its header, changed."""
    with safe_open(path, "pt") as file:
        header = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    code = json.loads(tensors.pop("state.json").numpy().tobytes())
    change(code)
    text = json.dumps(code).encode()
    tensors["state.json"] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    save_file(tensors, to, metadata=header if about is None else about)
    return to


def objects_of(code: Any, name: str) -> list[dict[str, Any]]:
    """The fields of all objects of a class in a saved state's json."""
    if isinstance(code, list):
        return [found for part in code for found in objects_of(part, name)]
    if not isinstance(code, dict):
        return []
    own = [code["object"][1]] if "object" in code and code["object"][0] == name else []
    return own + [found for part in code.values() for found in objects_of(part, name)]


@pytest.fixture(scope="module")
def refused(model: X2Sam, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved states that cannot be used."""
    folder = tmp_path_factory.mktemp("states")
    track = model.live().track(["cat", "dog"], form="instance", **LOW)
    track.step(frames(1)[0])
    path = track.save(folder / "whole")
    (folder / "text").write_text("no state")
    (folder / "cut").write_bytes(path.read_bytes()[:-2000])
    smaller = X2Sam.from_pretrained("tiny", device="cpu", image_size=model.config.image_size + 32)
    coarse = X2Sam.from_pretrained("tiny", device="cpu", memory_levels=0)
    trained = X2Sam.from_pretrained("tiny", device="cpu")
    torch.nn.init.constant_(trained.model.no_memory, 1.0)
    others = {"size": smaller, "levels": coarse, "weights": trained}

    def without(name: str, field: str) -> Any:
        return lambda code: [fields.pop(field) for fields in objects_of(code, name)]

    def nothing(code: Any) -> None:
        pass

    return {
        "text": folder / "text",
        "missing": folder / "missing",
        "cut": folder / "cut",
        "old": rewritten(path, folder / "old", nothing, {}),
        "newer": rewritten(path, folder / "newer", nothing, {"x2sam": "99"}),
        **{name: other.live().track("the cat").save(folder / name) for name, other in others.items()},
        "field": rewritten(path, folder / "field", without("PromptState", "bank")),
        "object": rewritten(path, folder / "object", without("TrackedObject", "votes")),
        "part": rewritten(path, folder / "part", lambda code: code["dict"].pop(0)),
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "no saved state or a damaged one"),
        ("missing", "no saved state"),
        ("cut", "damaged"),
        ("old", "version 1"),
        ("newer", "version 99"),
        ("size", "its image_size is"),
        ("levels", "its memory_levels is"),
        ("weights", "its weights is"),
        ("field", "a PromptState lacks 'bank'"),
        ("object", "a TrackedObject lacks 'votes'"),
        ("part", "lacks 'options'"),
    ],
)
def test_states_that_cannot_be_used_are_refused_in_a_sentence(
    model: X2Sam, refused: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model.live().restore(refused[name])
    if name in ("old", "field"):
        with VideoWriter(tmp_path / "a.mp4", SIZE, 10.0) as writer:
            writer.write(frames(1)[0])
        with pytest.raises(SystemExit) as end:
            cli.main(["track", str(tmp_path / "a.mp4"), "--resume", str(refused[name]), "--model", "tiny"])
        assert end.value.code == 2
        assert message in capsys.readouterr().err


def test_the_command_line_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter(Path("a.mp4"), SIZE, 10.0) as writer:
        for frame in frames(3):
            writer.write(frame)
    ask = ["track", "a.mp4", "--threshold", "0", "--model", "tiny", "--format", "result", "--overwrite", "--out"]
    found = []
    for name, words in (("one", ["--box", "5,5,30,40", "--save-state", "state"]), ("two", ["--resume", "state"])):
        with pytest.raises(SystemExit) as end:
            cli.main([*ask, f"{name}.json", *words])
        assert end.value.code in (0, None)
        found.append(json.loads(Path(f"{name}.json").read_text())["frames"])
    assert found[0] == found[1]
    assert len(found[0]) == 3


# --- prompts together -------------------------------------------------------------------------------------------------


def test_prompts_of_a_frame_are_decoded_in_one_pass(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    """However and whenever they were added; alone each finds the same."""
    film, batches = frames(4), []
    track = model.open(film).track(regions=LEFT, **LOW)
    walk = iter(track)
    next(walk)
    for number in range(3):
        x = 10 * number
        track.add(regions={"box": (5 + x, 5, 30 + x, 40), "id": 20 + number}, frame=0)
    next(walk)
    segment = model.model.segment
    monkeypatch.setattr(
        model.model, "segment", lambda *a, **k: batches.append(len(a[1].conditions)) or segment(*a, **k)
    )
    results = list(walk)
    assert batches == [4, 4]
    monkeypatch.undo()
    alone = list(model.open(film).track(regions={"box": (15, 5, 40, 40), "id": 21}, **LOW))
    for ours, theirs in zip(results, alone[2:], strict=True):
        (one,), (other,) = of(ours, 21), of(theirs, 21)
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert (one.mask != other.mask).mean() < 0.01


def test_what_is_added_is_done_when_the_track_is_used_again(model: X2Sam) -> None:
    film = frames(5)
    track = model.open(film).track(regions=LEFT, **LOW)
    track.finish()
    changed = track.add(regions=RIGHT, frame=1)
    first = next(iter(changed))
    assert first.index == 1
    assert not of(track._results[3], 9), "not yet"
    assert [r.index for r in track.done.frames if of(r, 9)] == [1, 2, 3, 4]
    assert [r.index for r in changed] == [1, 2, 3, 4]
    assert len(changed) == 4
    assert changed == changed.finish()
    stopped = track.correct(7, (10, 10), frame=0)
    next(iter(stopped))
    stopped.close()
    assert len(stopped) == 1, "what was given up stays as it was"


def test_the_old_name_of_finish_warns(model: X2Sam) -> None:
    track = model.open(frames(2)).track("the cat", **LOW)
    with pytest.warns(DeprecationWarning, match="finish"):
        assert len(track.result.frames) == 2


def test_an_added_prompt_may_have_options_of_its_own(model: X2Sam) -> None:
    track = model.open(frames(2)).track(regions=LEFT, **LOW)
    track.add("the cat", frame=0, threshold=1.0)
    assert [len(r.segments) for r in track.finish().frames] == [1, 1]
    with pytest.raises(InputError, match="'treshold'"):
        track.add("the cat", treshold=1.0)


def test_auto_reads_again_when_masks_stop_agreeing(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of random weights agree with nothing; those that are propagated alone agree with themselves."""
    from x2sam.tracking import frame_step

    read: list[int] = []
    for agreement in (2.0, 0.0):  # never enough; always enough
        monkeypatch.setattr(frame_step, "AGREEMENT", agreement)
        track = model.live().track("the cat", refresh="auto", **LOW)
        ask = track.engine.read
        monkeypatch.setattr(track.engine, "read", lambda *a, ask=ask, **k: read.append(k["upto"]) or ask(*a, **k))
        for frame in frames(15):
            track.step(frame)
    assert read == [0, 4, 12, 0], "who does not help is asked ever more rarely"


# --- frames that are broken, missing, repeated or of another size -----------------------------------------------------

BROKEN = {
    "none": None,
    "nan": np.full((*SIZE, 3), np.nan, np.float32),
    "shape": np.zeros((3, *SIZE), np.uint8),
    "one axis": np.zeros(7, np.uint8),
    "type": np.zeros((*SIZE, 3), complex),
    "values": np.full((*SIZE, 3), -5, np.int64),
    "words": "no such file.png",
    "ragged": [[1, 2], [3]],
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "pulled"])
def test_a_broken_frame_has_no_segments_and_disturbs_nothing(model: X2Sam, broken: Any, pushed: bool) -> None:
    film = frames(5)
    damaged = [*film[:3], broken, *film[3:]]
    if pushed:
        whole, track = model.live().track("the cat", **LOW), model.live().track("the cat", **LOW)
        expected, got = walk(whole, film), walk(track, damaged)
    else:
        expected = list(model.track(iter(film), "the cat", **LOW))
        track = model.track(iter(damaged), "the cat", **LOW)
        got = list(track)
    assert got[3] == FrameResult(3, None, *SIZE)
    assert [r.index for r in got] == list(range(6))
    ours = [s.rle for r in got if r.index != 3 for s in r.segments]
    assert ours == [s.rle for r in expected for s in r.segments]
    assert len(track.warnings) == 1
    assert track.warnings[0].startswith("frame 3 was left out: Got")
    assert len(track.engine.clip.warnings) == 1


def test_a_stream_may_begin_with_broken_frames(model: X2Sam) -> None:
    track = model.live().track("the cat", **LOW)
    assert track.step(None) == FrameResult(0, None, 0, 0)
    assert track.step(frames(1)[0]).segments
    results = list(model.track(iter([None, None, *frames(2)]), "the cat", **LOW))
    assert [bool(r.segments) for r in results] == [False, False, True, True]
    with pytest.raises(MediaError):
        model.open(iter([None] * 50))


def test_gaps_repeats_and_late_frames(model: X2Sam) -> None:
    film = frames(6)
    track = model.live().track("the cat", **LOW)
    first = track.step(film[0], index=10, time=1.0)
    second = track.step(film[1], index=14)
    bank = track.states[0].bank
    assert track.step(film[1], index=14) == second
    assert track.step(film[0], index=10) == first
    assert track.step(film[0], index=3).segments == ()
    assert track.states[0].bank is bank
    assert track.step(film[2]).index == 15
    assert [r.index for r in track.finish().frames] == [10, 14, 15]
    assert "11 to 13 did not come" in track.warnings[0]
    assert [("came again" in w) for w in track.warnings] == [False, True, True, True]


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "pulled"])
def test_masks_have_the_size_of_their_own_frame(model: X2Sam, pushed: bool) -> None:
    film = [*frames(2), *frames(2, (60, 50)), *frames(1)]
    if pushed:
        track = model.live().track(["cat", "stuff: sky"], refresh=2, **LOW)
        results = walk(track, film)
    else:
        track = model.track(iter(film), ["cat", "stuff: sky"], **LOW)
        results = list(track)
    assert [(r.height, r.width) for r in results] == [f.shape[:2] for f in film]
    assert all(s.mask.shape == (r.height, r.width) for r in results for s in r.segments)
    assert all(r.segments for r in results)
    assert [w.split()[:2] for w in track.warnings] == [["frame", "2"], ["frame", "4"]]
    changed = track.add(regions=(40, 40), frame=4)
    assert [s.mask.shape for s in changed[0].segments][-1] == SIZE


def test_warnings_are_bounded(model: X2Sam) -> None:
    track = model.live().track("the cat", keep=False)
    for _ in range(150):
        track.step(None)
    assert len(track.warnings) == len(track.engine.clip.warnings) == 100
    assert track.warnings[-1].startswith("frame 149")


# --- memory -----------------------------------------------------------------------------------------------------------


def reach(thing: Any, seen: set[int]) -> int:
    """Elements of all containers, arrays and tensors that can be reached from a thing."""
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, type(None), torch.nn.Module, type)):
        return 0
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        return thing.numel()
    if isinstance(thing, np.ndarray):
        return thing.size
    if isinstance(thing, dict):
        return len(thing) + sum(reach(v, seen) for v in thing.values())
    if isinstance(thing, (list, tuple, set, deque)):
        return len(thing) + sum(reach(v, seen) for v in thing)
    return reach(vars(thing), seen) if hasattr(thing, "__dict__") else 0


def living() -> Counter[type]:
    gc.collect()
    return Counter(map(type, gc.get_objects()))


def test_nothing_grows_with_the_number_of_frames(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred frames; what the network computes is computed once and copied, so that this takes seconds."""
    film, network = frames(10, (24, 32)), model.model
    session = model.live()
    track = session.track("the cat", keep=False, refresh=50, form="instance", top_k=4, **LOW)
    track.step(film[0])
    track.add(regions={"box": (2, 2, 20, 20), "id": 7})
    track.add(["cat", "dog"], task="vid_genseg")
    known: dict[Any, Any] = {}

    def copied(name: str, function: Any) -> Any:
        def copy(*args: Any, **kwargs: Any) -> Any:
            key = (name, args[1].conditions.shape) if name == "segment" else name
            if key not in known:
                known[key] = function(*args, **kwargs)
            if name == "encode":
                return known[key][:]
            prediction, bank = known[key]
            queries = prediction.queries + torch.randn_like(prediction.queries)  # objects come and go
            old = args[2] or MemoryBank()
            bank = old.push(deepcopy(bank.memories[0].levels), network.config.memory_size)
            return Prediction(prediction.class_logits.clone(), prediction.mask_logits.clone(), queries), bank

        return copy

    for name in ("encode", "segment"):
        monkeypatch.setattr(network, name, copied(name, getattr(network, name)))
    sizes = {}
    for i in range(1, 301):
        track.step(film[i % 10] if i % 17 else None)
        if i in (150, 300):
            held = reach([track, session.clip, session.engine._features, session.engine._reading], set())
            sizes[i] = held, living()
    early, late = sizes[150], sizes[300]
    assert len(track.states[0].bank.memories) == network.config.memory_size
    assert late[0] <= 1.05 * early[0]
    for kind in (torch.Tensor, np.ndarray, dict, list, tuple, deque):
        assert late[1][kind] <= early[1][kind] + 100, kind


def test_a_file_that_is_not_kept_keeps_the_newest_results_for_corrections(model: X2Sam) -> None:
    film = frames(9)
    track = model.open(open_media(film)).track(regions=LEFT, keep=False, **LOW)
    assert len(list(track)) == 9
    assert track.done.frames == ()
    changed = track.correct(7, from_box((5, 5, 20, 20), SIZE), frame=6, backward=True)
    assert [r.index for r in changed.finish()] == [5, 6, 7, 8]
    with pytest.raises(InputError, match="frames 5 to 8"):
        track.correct(7, (5, 5), frame=2)


def test_the_python_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter(Path("clip.mp4"), SIZE, 10.0) as writer:
        for frame in frames(8):
            writer.write(frame)
    page = (Path(__file__).parent.parent / "docs" / "video.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    code = code.replace("from_pretrained()", 'from_pretrained("tiny", device="cpu")')
    shown: list[FrameResult] = []
    exec(compile(code, "video.md", "exec"), {"camera": lambda: iter(frames(14)), "show": lambda *r: shown.extend(r)})
    assert len(shown) >= 14
    assert (tmp_path / "corrected.json").exists()
