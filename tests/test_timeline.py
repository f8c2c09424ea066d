"""Frames by number: whatever a container says or hides, every way to ask tells the story that iterating tells."""

from __future__ import annotations

from array import array
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from x2sam.media.display import square, upright
from x2sam.media.opening import open_media
from x2sam.media.timeline import Clock, Key, Timeline
from x2sam.media.video import VideoWriter

COUNT = 36
SHAPE = (48, 64)


def shade(number: int) -> np.ndarray:
    """A frame that tells its number: a bar moves over a ground that changes."""
    frame = np.full((*SHAPE, 3), 40 + number, np.uint8)
    frame[:, number : number + 6] = (250, 5 * number, 30)
    return frame


def write(path: Path, codec: str, options: dict[str, str], rate: int = 10) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate, options=options)
        video.height, video.width, video.pix_fmt = *SHAPE, "yuv420p"
        video.gop_size = 10
        for number in range(COUNT):
            container.mux(video.encode(av.VideoFrame.from_ndarray(shade(number), format="rgb24")))
        container.mux(video.encode(None))
    return path


def joined(path: Path) -> Path:
    """Two recordings of a camcorder, one behind the other: time stamps jump back."""
    one = write(path.with_name("one.ts"), "libx264", {"bf": "2"}).read_bytes()
    path.write_bytes(one + one)
    return path


def cut(path: Path) -> Path:
    """A recording that begins between two keys."""
    whole = write(path.with_name("whole.ts"), "libx264", {"bf": "2"}).read_bytes()
    path.write_bytes(whole[188 * 20 :])
    return path


FILES = {
    "stream.ts": lambda p: write(p, "libx264", {"bf": "2"}),
    "joined.ts": joined,
    "cut.ts": cut,
    "old.mpg": lambda p: write(p, "mpeg2video", {"bf": "2"}, rate=25),
    "dvd.vob": lambda p: write(p, "mpeg2video", {}, rate=25),
    "b-frames.avi": lambda p: write(p, "mpeg4", {"bf": "2"}),
    "h264.avi": lambda p: write(p, "libx264", {"bf": "2"}),
    "hidden.webm": lambda p: write(p, "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "60k"}),
    "refresh.mkv": lambda p: write(p, "libx264", {"x264-params": "intra-refresh=1:keyint=10"}),
    "fast.mkv": lambda p: write(p, "libx264", {"bf": "2"}, rate=2000),
    "plain.mp4": lambda p: write(p, "libx264", {"bf": "2"}),
    "flash.flv": lambda p: write(p, "libx264", {"bf": "2"}),
    "raw.h264": lambda p: write(p, "libx264", {"bf": "2"}),
}


@pytest.mark.parametrize("name", FILES)
def test_every_way_to_ask_tells_the_story_of_iterating(tmp_path, name):
    path = FILES[name](tmp_path / name)
    seen = list(open_media(path))
    clip = open_media(path)  # asked before it was ever read
    assert clip.length == len(seen) > COUNT // 2
    assert [i for i, _, _ in seen] == list(range(len(seen)))
    times = [time for _, time, _ in seen]
    assert clip.times == pytest.approx(times)
    assert times == sorted(times)
    for number in (0, 1, 9, 10, 11, 12, 19, 25, len(seen) - 1, 3):
        assert np.array_equal(clip.frame_at(number), seen[number][2]), number
    for index, time, frame in clip.sample(7):
        assert time == times[index]
        assert np.array_equal(frame, seen[index][2])
    for index, frame in clip.walk(range(len(seen) - 1, 0, -3)):
        assert np.array_equal(frame, seen[index][2])


def test_time_goes_on_where_recordings_are_joined(tmp_path):
    clip = open_media(joined(tmp_path / "joined.ts"))
    times = [time for _, time, _ in clip]
    assert np.diff(times) == pytest.approx(np.full(2 * COUNT - 1, 0.1), abs=1e-6)
    assert clip.warnings == [], "a whole file is not cut off"


def test_ordinary_films_are_not_decoded_to_be_counted(tmp_path, monkeypatch):
    clip = open_media(FILES["plain.mp4"](tmp_path / "plain.mp4"))
    monkeypatch.setattr(clip._frames, "_count", lambda: pytest.fail("decoded"))
    assert clip.length == COUNT
    assert len(clip.times) == COUNT
    clip.frame_at(20)


def test_headers_that_prove_wrong_are_not_believed(tmp_path):
    path = FILES["plain.mp4"](tmp_path / "plain.mp4")
    seen, clip = list(open_media(path)), open_media(path)
    false = array("q", range(0, 2 * COUNT))
    clip._frames._known = Timeline.of_headers(false, [Key(0, 0, 1)], 0.1)
    assert np.array_equal(clip.frame_at(20), seen[20][2])
    assert clip.length == COUNT


# --- the clock --------------------------------------------------------------------------------------------------------


@given(st.lists(st.none() | st.integers(-(10**9), 10**12), max_size=40), st.sampled_from([None, 10.0, 2997 / 100]))
def test_time_never_runs_backward(stamps, fps):
    clock = Clock(1 / 90_000, fps)
    times = [time for stamp in stamps if (time := clock.tick(stamp)) is not None]
    assert times == sorted(times)
    assert all(np.isfinite(times))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40), st.integers(-(10**6), 10**6))
def test_rising_stamps_are_seconds_since_the_first(steps, start):
    stamps = (start + np.cumsum(steps)).tolist()
    clock = Clock(0.001, 25.0)
    assert [clock.tick(s) for s in stamps] == pytest.approx([(s - stamps[0]) * 0.001 for s in stamps])


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.sets(st.integers(0, 30)))
def test_starts_go_back_and_never_ahead(stamps, keys):
    timeline = Timeline(keys=[Key(k, k, 1) for k in sorted(keys)])
    for stamp in stamps:
        timeline.show(stamp, float(stamp))
    for number, stamp in enumerate(stamps):
        assert timeline.number(stamp) == (number if stamps.count(stamp) == 1 else None)
        places = [timeline.number(key.pts) for key in timeline.starts(number)]
        assert places == sorted(places, reverse=True)
        assert all(place is not None and place <= number for place in places)


# --- how they are shown -----------------------------------------------------------------------------------------------

ONE = 1 << 16
MATRICES = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (0, 1, 1, 0): lambda p: p.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda p: np.rot90(p.transpose(1, 0, 2), 2),
}


@pytest.mark.parametrize("way", MATRICES)
def test_a_picture_can_lie_in_eight_ways(way):
    """A matrix takes a stored place (x, y) to (a x + c y, b x + d y)."""
    a, b, c, d = (ONE * v for v in way)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    assert np.array_equal(upright(pixels, (a, b, 0, c, d, 0, 0, 0, 1 << 30)), MATRICES[way](pixels))


@pytest.mark.parametrize(("shape", "size"), [((16, 15), (48, 68)), ((8, 9), (54, 64)), ((1, 1), (48, 64))])
def test_pixels_become_square(tmp_path, shape, size):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = *SHAPE, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(*shape)
        for number in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(shade(number), format="rgb24")))
        container.mux(video.encode(None))
    clip = open_media(path)
    assert clip.size == size
    assert all(frame.shape[:2] == size for _, _, frame in clip)


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(1 / 3, 3))
def test_square_pixels_lose_nothing(width, height, shape):
    wide, high = square(width, height, shape)
    assert wide >= width or wide == round(width * shape)
    assert high >= height
    assert wide / high == pytest.approx(width * shape / height, rel=1 / min(wide, high) + 1e-9)


@pytest.mark.parametrize("ending", ["avi", "mov"])
def test_frames_are_the_callers_own_memory(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w") as container:
        codec, form = {"avi": ("rawvideo", "bgr24"), "mov": ("png", "rgb24")}[ending]
        video = container.add_stream(codec, rate=10)
        video.height, video.width, video.pix_fmt = *SHAPE, form
        for number in range(6):
            container.mux(video.encode(av.VideoFrame.from_ndarray(shade(number), format="rgb24").reformat(format=form)))
        container.mux(video.encode(None))
    kept = [(frame, frame.copy()) for _, _, frame in open_media(path)]
    assert all(np.array_equal(frame, as_it_came) for frame, as_it_came in kept)
    for frame, _ in kept:
        frame[:] = 0  # may be written to
    assert open_media(path).frame_at(0).any()


@pytest.mark.parametrize(("size", "colours"), [((96, 128), 6), ((720, 1280), 1)])
def test_films_say_what_their_colours_are(tmp_path, size, colours):
    bars = np.zeros((*size, 3), np.uint8)
    wanted = [(200, 30, 30), (30, 180, 40), (40, 60, 220), (230, 200, 40)]
    for number, colour in enumerate(wanted):
        bars[:, number * size[1] // 4 :] = colour
    with VideoWriter(tmp_path / "a.mp4", size, 10) as writer:
        for _ in range(3):
            writer.write(bars)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (colours,) * 3
    frame = open_media(tmp_path / "a.mp4").frame_at(1)
    found = [frame[size[0] // 2, (2 * n + 1) * size[1] // 8] for n in range(4)]
    assert np.abs(np.array(found, int) - wanted).max() <= 5
