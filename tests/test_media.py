"""Reading media: every kind of source, awkward files, damage, and memory that does not grow with the clip."""

from __future__ import annotations

import http.server
import io
import threading
import tracemalloc
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from x2sam.errors import InputError, MediaError
from x2sam.media import opening as media
from x2sam.media import pictures
from x2sam.media.opening import open_media
from x2sam.media.pictures import to_frame
from x2sam.media.video import VideoWriter

GREY = 12
"""Frame ``i`` of a test clip is filled with ``GREY * i``, so that its number can be read from its pixels."""


def number_of(frame: np.ndarray) -> int:
    return round(float(frame.mean()) / GREY)


def write_video(
    path: Path, *, n: int = 16, times=None, size=(48, 64), codec="libx264", sound="", rotation=0, **options
):
    """A clip of ``n`` flat frames at 10 a second, or at ``times``; a red upper left corner shows how it is turned."""
    tick = Fraction(1, 1000 if times else 10)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as container:
        video = container.add_stream(codec, rate=10, options={"g": "4", **options})
        video.height, video.width = size
        video.pix_fmt, video.codec_context.time_base = "yuv420p", tick
        if rotation:
            video.set_display_rotation(rotation)
        audio = container.add_stream(sound, rate=8000, layout="mono") if sound else None
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(picture(i, size), format="rgb24")
            frame.pts, frame.time_base = round(times[i] / tick) if times else i, tick
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            tone = np.round(8000 * np.sin(np.arange(round(n * 800)) * 0.3)).astype(np.int16)[None]
            wave = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
            wave.sample_rate, wave.pts, wave.time_base = 8000, 0, Fraction(1, 8000)
            container.mux(audio.encode(wave))
            container.mux(audio.encode(None))
    return path


def picture(i: int, size=(48, 64)) -> np.ndarray:
    frame = np.full((*size, 3), GREY * (i % 21), dtype=np.uint8)
    frame[: size[0] // 4, : size[1] // 4] = (255, 0, 0)
    return frame


def noise(seed: int, size=(96, 128)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


# --- pictures ---------------------------------------------------------------------------------------------------------


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def half_clear() -> Image.Image:
    pixels = np.zeros((4, 6, 4), dtype=np.uint8)
    pixels[:, :3] = (200, 10, 20, 255)
    return Image.fromarray(pixels)


def palette_picture() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 1]], dtype=np.uint8), mode="P")
    image.putpalette([9, 9, 9, 70, 80, 90])
    return image


def turned(orientation: int) -> dict:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif, "quality": 95}


PICTURES = [
    ("grey.png", Image.fromarray(np.full((4, 6), 77, np.uint8)), {}, (4, 6), (77, 77, 77)),
    ("bits.png", Image.new("1", (6, 4), 1), {}, (4, 6), (255, 255, 255)),
    ("deep.png", Image.fromarray(np.full((4, 6), 0x80FF, np.uint16)), {}, (4, 6), (128, 128, 128)),
    ("clear.png", Image.new("RGBA", (6, 4), (0, 0, 0, 0)), {}, (4, 6), (255, 255, 255)),
    ("greyclear.png", Image.new("LA", (6, 4), (0, 128)), {}, (4, 6), (127, 127, 127)),
    ("palette.png", palette_picture(), {}, (1, 3), (9, 9, 9)),
    ("palette.gif", palette_picture(), {}, (1, 3), (9, 9, 9)),
    ("photo.webp", Image.new("RGB", (6, 4), (10, 200, 30)), {"lossless": True}, (4, 6), (10, 200, 30)),
    ("print.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), {"quality": 95}, (8, 8), (254, 0, 0)),
    ("print.tif", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), {}, (8, 8), (255, 0, 0)),
    ("float.tif", Image.fromarray(np.full((4, 6), 0.5, np.float32)), {}, (4, 6), (128, 128, 128)),
    ("dot.png", Image.new("RGB", (1, 1), (1, 2, 3)), {}, (1, 1), (1, 2, 3)),
]


@pytest.mark.parametrize(("name", "image", "options", "size", "first"), PICTURES, ids=[row[0] for row in PICTURES])
def test_every_kind_of_picture_becomes_rgb(tmp_path, name, image, options, size, first):
    clip = open_media(saved(tmp_path / name, image, **options))
    [(index, time, frame)] = list(clip)
    assert (clip.kind, clip.size, clip.length, index, time) == ("image", size, 1, 0, None)
    assert frame.shape == (*size, 3)
    assert frame.dtype == np.uint8
    assert np.abs(frame[0, 0].astype(int) - first).max() <= 2
    assert np.array_equal(clip.frame_at(0), frame)
    assert np.array_equal(clip.sample(5)[0][2], frame)


def test_transparent_parts_lie_over_white():
    frame = to_frame(half_clear())
    assert frame[0, 0].tolist() == [200, 10, 20]
    assert frame[0, 5].tolist() == [255, 255, 255]
    assert np.array_equal(to_frame(np.asarray(half_clear())), frame)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_turn_their_pictures_by_exif(tmp_path, orientation):
    """The eight ways of EXIF, written as what a viewer must do to the stored pixels."""
    undo = {
        1: [],
        2: ["fliplr"],
        3: ["flipud", "fliplr"],
        4: ["flipud"],
        5: ["T"],
        6: ["right"],
        7: ["T", "flipud", "fliplr"],
        8: ["left"],
    }
    stored = np.kron(noise(1, (3, 4)), np.ones((16, 16, 1))).astype(np.uint8)
    upright = stored
    for step in undo[orientation]:
        upright = {
            "fliplr": np.fliplr,
            "flipud": np.flipud,
            "T": lambda a: a.transpose(1, 0, 2),
            "right": lambda a: np.rot90(a, -1),
            "left": np.rot90,
        }[step](upright)
    frame = open_media(
        saved(tmp_path / "a.jpg", Image.fromarray(stored), subsampling=0, **turned(orientation))
    ).frame_at(0)
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).mean() < 4


def test_a_very_large_picture_is_read_and_a_bomb_is_not(tmp_path, monkeypatch):
    large = saved(tmp_path / "large.png", Image.new("1", (12_000, 9_000), 1))
    frame = open_media(large).frame_at(0)
    assert frame.shape == (9_000, 12_000, 3)
    assert frame[8_999, 11_999].tolist() == [255, 255, 255]
    bomb = saved(tmp_path / "bomb.png", Image.new("1", (20_000, 9_000)))
    with pytest.raises(MediaError, match=r"bomb\.png"):
        open_media(bomb)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10)
    with pytest.raises(MediaError, match="million pixels"):
        open_media(saved(tmp_path / "small.png", Image.new("L", (4, 4))))


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0, 1, 3])),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int64, np.float32, np.float64, bool]),
    seed=st.integers(0, 99),
)
def test_the_number_type_of_an_array_says_what_white_is(shape, dtype, seed):
    shares = np.random.default_rng(seed).random(shape if shape[2] else shape[:2])
    white = {np.uint16: 65535, np.float32: 1, np.float64: 1, bool: 1}.get(dtype, 255)
    array = (shares > 0.5) if dtype is bool else np.asarray(shares * white).astype(dtype)
    frame = to_frame(array)
    expected = np.broadcast_to((array.astype(float) / white * 255).reshape(*shape[:2], -1), frame.shape)
    assert frame.dtype == np.uint8
    assert np.abs(frame - expected).max() <= 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 40, 50)),
        np.zeros((0, 5, 3), np.uint8),
        np.full((4, 4), np.nan),
        np.full((4, 4), 3.5),
        np.full((4, 4), -1),
        np.full((4, 4), 256),
        np.zeros(7),
        np.array([["a"]]),
    ],
    ids=["channels first", "empty", "nan", "above one", "negative", "above 255", "one axis", "letters"],
)
def test_arrays_that_are_no_pictures(array):
    with pytest.raises(MediaError, match=r"Got .*Expected"):
        open_media(array)


def test_the_same_picture_from_every_kind_of_source(tmp_path):
    pixels = noise(0)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file, pixels, Image.open(path)]
        clips = [open_media(source) for source in sources]
    assert {clip.kind for clip in clips} == {"image"}
    assert all(np.array_equal(clip.frame_at(0), pixels) for clip in clips)
    assert clips[0].path == path


# --- videos -----------------------------------------------------------------------------------------------------------


VIDEOS = [
    ("mp4", "libx264"),
    ("mov", "libx264"),
    ("mkv", "libx264"),
    ("webm", "libvpx-vp9"),
    ("avi", "mpeg4"),
    ("avi", "libx264"),
    ("ts", "libx264"),
]


@pytest.mark.parametrize(("ending", "codec"), VIDEOS)
def test_every_container(tmp_path, ending, codec):
    clip = open_media(write_video(tmp_path / f"a.{ending}", codec=codec))
    seen = list(clip)
    assert (clip.kind, clip.size, clip.length) == ("video", (48, 64), 16)
    assert clip.fps == pytest.approx(10)
    assert [number_of(frame[12:]) for _, _, frame in seen] == list(range(16))
    assert [index for index, _, _ in seen] == list(range(16))
    assert [time for _, time, _ in seen] == pytest.approx([i / 10 for i in range(16)], abs=2e-3)
    assert clip.times == pytest.approx([time for _, time, _ in seen], abs=1e-6)
    assert clip.warnings == []
    assert [number_of(frame[12:]) for _, _, frame in clip] == list(range(16)), "a second pass begins anew"


def test_variable_frame_rate_keeps_its_times_and_is_sampled_by_time(tmp_path):
    times = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 1.0, 2.0, 3.0, 4.0]
    clip = open_media(write_video(tmp_path / "a.mkv", n=10, times=times))
    assert [time for _, time, _ in clip] == pytest.approx(times, abs=1e-3)
    assert [index for index, _, _ in clip.sample(5)] == [0, 6, 7, 8, 9]


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_of_phones_is_honoured(tmp_path, degrees, turns):
    clip = open_media(write_video(tmp_path / "a.mp4", rotation=degrees))
    frame = clip.frame_at(0)
    assert clip.size == frame.shape[:2] == ((64, 48) if turns % 2 else (48, 64))
    stored = np.rot90(frame, -turns)
    assert stored[4, 4, 0] > 200
    assert stored[40, 50].max() < 40


@pytest.mark.parametrize("n", [1, 2, 5, 16, 99])
def test_samples_are_the_frames_that_iterating_gives(tmp_path, n):
    clip = open_media(write_video(tmp_path / "a.mp4"))
    every = {index: (time, frame) for index, time, frame in clip}
    samples = clip.sample(n)
    indices = [index for index, _, _ in samples]
    assert len(samples) == min(n, 16)
    assert indices == sorted(set(indices))
    assert n == 1 or (indices[0], indices[-1]) == (0, 15)
    for index, time, frame in samples:
        assert time == pytest.approx(every[index][0])
        assert np.array_equal(frame, every[index][1])
        assert np.array_equal(clip.frame_at(index), frame)


def test_sampling_a_long_clip_does_not_decode_what_lies_between(tmp_path, monkeypatch):
    clip = open_media(write_video(tmp_path / "a.mp4", n=81))
    decode, decoded = clip._frames._decode, []
    monkeypatch.setattr(clip._frames, "_decode", lambda *a: (decoded.append(frame) or frame for frame in decode(*a)))
    assert [index for index, _, _ in clip.sample(3)] == [0, 40, 80]
    assert len(decoded) <= 3 * 4, "no more than from one key frame to the next"


@pytest.mark.parametrize(
    ("ending", "durations"), [("gif", [100, 200, 300]), ("webp", [100, 200, 300]), ("png", [100, 200, 300])]
)
def test_animations_are_videos(tmp_path, ending, durations):
    shades = [Image.new("RGB", (8, 6), (shade, 0, 0)) for shade in (0, 120, 240)]
    path = tmp_path / f"a.{ending}"
    shades[0].save(path, save_all=True, append_images=shades[1:], duration=durations, lossless=True)
    clip = open_media(path)
    assert (clip.kind, clip.length, clip.size) == ("video", 3, (6, 8))
    assert [time for _, time, _ in clip] == pytest.approx([0, 0.1, 0.3])
    assert [int(frame[0, 0, 0]) for _, _, frame in clip] == pytest.approx([0, 120, 240], abs=2)
    assert clip.frame_at(2)[0, 0, 0] > clip.frame_at(1)[0, 0, 0]
    assert open_media(path, kind="image").length == 1


def test_a_folder_of_frames_in_natural_order(tmp_path):
    for i in (10, 9, 2, 1):
        Image.fromarray(picture(i)).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    clip = open_media(tmp_path, fps=5)
    assert [number_of(frame[12:]) for _, _, frame in clip] == [1, 2, 9, 10]
    assert [clip.frame_name(i) for i in range(4)] == ["frame1.png", "frame2.png", "frame9.png", "frame10.png"]
    assert list(clip.times) == pytest.approx([0, 0.2, 0.4, 0.6])
    (tmp_path / "frame9.png").write_bytes(b"broken")
    assert [index for index, _, _ in clip] == [0, 1, 3]
    assert "frame9.png" in clip.warnings[0]
    assert number_of(clip.frame_at(2)[12:]) == 10, "the next that is whole"
    assert len(clip.sample(4)) == 4
    Image.new("RGB", (5, 5)).save(tmp_path / "frame9.png")
    with pytest.raises(MediaError, match="5x5"):
        list(clip)


@pytest.mark.parametrize(
    "source", [np.stack([picture(i) for i in range(4)]), [picture(i) for i in range(4)]], ids=["array", "list"]
)
def test_pictures_in_memory_as_a_video(source):
    clip = open_media(source)
    assert (clip.kind, clip.length, clip.times) == ("video", 4, None)
    assert [number_of(frame[12:]) for _, _, frame in clip] == [0, 1, 2, 3]
    assert number_of(clip.frame_at(3)[12:]) == 3
    with pytest.raises(InputError, match="0 to 3"):
        clip.frame_at(4)


def test_an_iterator_of_unknown_length_is_sampled_at_its_start_and_loses_nothing():
    buffer = np.zeros((48, 64, 3), np.uint8)

    def camera():
        for i in range(9):
            buffer[:] = picture(i)  # cameras may reuse their memory
            yield buffer

    clip = open_media(camera(), fps=10)
    assert (clip.kind, clip.length, clip.size) == ("video", None, (48, 64))
    assert [number_of(frame[12:]) for _, _, frame in clip.sample(3)] == [0, 1, 2]
    assert number_of(clip.frame_at(2)[12:]) == 2
    seen = list(clip)
    assert [number_of(frame[12:]) for _, _, frame in seen] == list(range(9))
    assert [time for _, time, _ in seen] == pytest.approx([i / 10 for i in range(9)])
    for again in (lambda: list(clip), lambda: clip.frame_at(0)):
        with pytest.raises(MediaError, match="stream"):
            again()


def test_an_endless_iterator_can_be_left():
    clip = open_media(picture(i % 20) for i in iter(int, 1))
    assert [index for (index, _, _), _ in zip(clip, range(5), strict=False)] == list(range(5))


# --- memory -----------------------------------------------------------------------------------------------------------


def test_iterating_a_file_keeps_one_frame_alive(tmp_path):
    clip = open_media(write_video(tmp_path / "a.mp4", n=20))
    alive: list[weakref.ref] = []
    for _, _, frame in clip:
        assert sum(ref() is not None for ref in alive) <= 1
        alive.append(weakref.ref(frame))
        del frame


def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    peaks = []
    for n in (60, 600):
        clip = open_media(write_video(tmp_path / f"{n}.mp4", n=n, size=(128, 128), preset="ultrafast"))
        tracemalloc.start()
        clip.sample(4)
        assert sum(1 for _ in clip) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 3 * 128 * 128 * 3  # ten times the frames may cost no more than a few of them


# --- what goes wrong --------------------------------------------------------------------------------------------------


def damaged(path: Path, start: float, length: int) -> Path:
    data = bytearray(path.read_bytes())
    at = int(len(data) * start)
    data[at : at + length] = np.random.default_rng(0).integers(0, 255, length, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    return path


def noisy_video(path: Path) -> Path:
    with VideoWriter(path, (96, 128), 10) as writer:
        for i in range(30):
            writer.write(noise(i), i / 10)
    return path


def test_damage_in_the_middle_is_skipped_and_reported(tmp_path):
    clip = open_media(damaged(noisy_video(tmp_path / "a.mp4"), 0.4, 30_000))
    indices = [index for index, _, _ in clip]
    assert len(indices) > 10
    assert any("damaged" in warning for warning in clip.warnings), clip.warnings
    list(clip)
    assert len(clip.warnings) == len(set(clip.warnings))
    assert len(clip.sample(30)) > 10


def test_a_truncated_file_gives_its_frames_and_a_warning(tmp_path):
    path = noisy_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = open_media(path)
    seen = list(clip)
    assert 5 < len(seen) < 25
    assert any("ends early" in warning for warning in clip.warnings), clip.warnings
    assert 5 < len(clip.sample(30)) < 25


def no_moov(path: Path) -> None:
    """A recording that was cut off before its index was written."""
    whole = write_video(path.with_suffix(".mkv")).read_bytes()
    path.write_bytes(whole[:300])


def no_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        container.mux(video.encode(None))


def only_sound(path: Path) -> None:
    with av.open(str(path), "w", format="wav") as container:
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        wave.sample_rate = 8000
        container.mux(audio.encode(wave))


BAD_FILES = {
    "missing.jpg": lambda path: None,
    "empty.mp4": lambda path: path.touch(),
    "text.txt": lambda path: path.write_text("hello " * 100),
    "list.m3u8": lambda path: path.write_text("#EXTM3U\n#EXTINF:10,\nother.mp4\n"),
    "half.jpg": lambda path: path.write_bytes(saved(path, Image.fromarray(noise(0))).read_bytes()[:2000]),
    "half.png": lambda path: path.write_bytes(saved(path, Image.fromarray(noise(0))).read_bytes()[:2000]),
    "cut.mp4": no_moov,
    "frameless.mp4": no_frames,
    "sound.wav": only_sound,
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_read(tmp_path, name):
    BAD_FILES[name](tmp_path / name)
    with pytest.raises(MediaError) as caught:
        open_media(tmp_path / name)
    assert name in str(caught.value)
    assert "Expected" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (None, {}),
        ({}, {}),
        ([], {}),
        (iter([]), {}),
        (np.zeros((0, 4, 4, 3), np.uint8), {}),
        (["no.png"], {}),
        (io.StringIO("text"), {}),
        ("ftp://host/a.mp4", {}),
        ("http://127.0.0.1:9/a.mp4", {}),
        (987, {}),
        (b"", {}),
        (np.zeros((4, 4, 3), np.uint8), {"kind": "movie"}),
    ],
)
def test_sources_that_cannot_be_read(source, options):
    with pytest.raises(InputError, match=r"Got .*Expected"):
        open_media(source, **options)


# --- URLs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    handler = type("Handler", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_urls_are_fetched_up_to_a_limit_and_cleaned_up(tmp_path, server, monkeypatch):
    write_video(tmp_path / "my clip.mp4")
    clip = open_media(f"{server}/my%20clip.mp4?key=1")
    assert (clip.name, clip.stem, clip.length) == ("my clip.mp4", "my clip", 16)
    folder = Path(clip._download.name)
    assert folder.exists()
    del clip
    assert not folder.exists()
    with pytest.raises(MediaError, match="404"):
        open_media(f"{server}/none.mp4")
    monkeypatch.setattr(media, "MAX_DOWNLOAD", 100)
    with pytest.raises(MediaError, match="MB"):
        open_media(f"{server}/my%20clip.mp4")
