"""Drawings and exports: every format is read back by a reader that is not ours, and nothing is left half-written."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import supervision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from x2sam.errors import InputError, MediaError, MissingExtraError
from x2sam.masks import RLE
from x2sam.media.opening import open_media
from x2sam.regions import from_box, from_points
from x2sam.results import draw, export, formats, labelstudio, outlines
from x2sam.results.result import Result
from x2sam.types import Condition, FrameResult, Prompt, Segment

SIZE = (75, 101)  # odd sides, which H.264 does not take as they are
PROMPT = Prompt((Condition("rabbit"), Condition("grass", is_thing=False), Condition("dog")))


def ring(x: int, y: int) -> np.ndarray:
    """A ring and a dot: two pieces and a hole."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - y, columns - x)
    mask = (distance < 15) & (distance > 6)
    mask[y - 2 : y + 2, x + 25 : x + 30] = True
    return mask


def grass() -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[40:] = True
    return mask


def frame_result(index: int, time: float | None, *, gone: bool = False) -> FrameResult:
    """A ring (object 1) that moves over the grass (object 300 would be too much for a palette; here 7)."""
    segments = [Segment(RLE.encode(grass()), "grass", 0.5, 7, 1, index, is_thing=False)]
    if not gone:
        segments.append(Segment(RLE.encode(ring(30 + index, 40)), "rabbit", 0.9, 1, 0, index))
    return FrameResult(index, time, *SIZE, tuple(segments))


def pixels(i: int) -> np.ndarray:
    return np.full((*SIZE, 3), 10 + 20 * (i % 12), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(pixels(5)).save(tmp_path / "photo.png")
    return Result("img_genseg", "Here.", (frame_result(0, None),), PROMPT, open_media(tmp_path / "photo.png"))


def write_clip(path, sound: str = "aac", n: int = 8):
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt = SIZE[0] - 1, SIZE[1] - 1, "yuv420p"
        audio = container.add_stream(sound, rate=16000, layout="mono")
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(pixels(i)[:-1, :-1].copy(), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = np.round(8000 * np.sin(np.arange(n * 1600) * 0.2)).astype(np.int16)[None]
        wave = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        wave.sample_rate, wave.pts, wave.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(audio.encode(wave))
        container.mux(audio.encode(None))
    return path


@pytest.fixture
def clip(tmp_path):
    """Eight frames; the rabbit is away on frames 3 and 4."""
    medium = open_media([pixels(i) for i in range(8)], fps=10)
    frames = tuple(frame_result(i, i / 10, gone=i in (3, 4)) for i in range(8))
    return Result("vid_genseg", "Here.", frames, PROMPT, medium)


def both(photo, clip):
    return {"image": photo, "video": clip}


# --- result -----------------------------------------------------------------------------------------------------------


def test_a_result_reads_itself(clip):
    assert clip.found
    assert len(clip.segments) == 14
    assert [segment.frame for segment in clip.objects[1]] == [0, 1, 2, 5, 6, 7]
    assert list(clip.objects) == [1, 7]
    assert clip.frame(3).segments[0].label == "grass"
    with pytest.raises(InputError, match="frame 99"):
        clip.frame(99)
    assert not any("mask" in vars(segment) for segment in clip.segments), "no mask is unpacked unasked"


def test_everything_goes_into_json_and_comes_out(photo):
    data = json.loads(json.dumps(photo.to_dict()))
    [frame] = data["frames"]
    assert (data["task"], data["found"], data["media"]["name"]) == ("img_genseg", True, "photo.png")
    for stored, segment in zip(frame["segments"], photo.segments, strict=True):
        assert np.array_equal(RLE.from_coco(stored["rle"]).decode(), segment.mask)
        assert (stored["label"], stored["object_id"], stored["area"]) == (
            segment.label,
            segment.object_id,
            segment.area,
        )


def test_nothing_found_is_a_result_like_any_other(tmp_path, photo):
    empty = Result("img_genseg", "No.", (FrameResult(0, None, *SIZE),), PROMPT, photo.clip)
    assert not empty.found
    assert np.array_equal(np.asarray(empty.draw()), photo.clip.frame_at(0))
    assert len(empty.detections()) == 0
    for name, row in export.FORMATS.items():
        if "image" in row.media:
            assert empty.save(tmp_path / "out" / name / "photo" if not row.endings else tmp_path / "out", name).exists()


def test_notebooks_get_a_picture(photo, clip):
    assert photo._repr_png_()[:4] == clip._repr_png_()[:4] == b"\x89PNG"
    assert Result("img_chat", "Hello.", (), Prompt(), photo.clip)._repr_png_() is None


# --- drawings ---------------------------------------------------------------------------------------------------------


def test_colours_are_stable_and_differ():
    colours = [draw.colour(i) for i in range(1, 25)]
    assert colours == [draw.colour(i) for i in range(1, 25)]
    distances = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(distances) > 30
    assert min(np.abs(np.subtract(a, b)).sum() for a, b in pairwise(colours)) > 120


@pytest.mark.parametrize("ground", [0, 255, "colour"])
def test_segments_can_be_seen_on_any_ground(ground):
    mask = ring(40, 30)
    for object_id in range(1, 12):
        colour = draw.colour(object_id) if ground == "colour" else (ground,) * 3
        frame = np.broadcast_to(np.array(colour, np.uint8), (*SIZE, 3)).copy()
        drawn = draw.overlay(frame, [Segment(RLE.encode(mask), "x", 1, object_id)], tags=False)
        changed = np.abs(drawn.astype(int) - frame).sum(axis=2)
        assert changed.max() > 200, object_id
        near = np.hypot(*(np.indices(SIZE) - np.array([30, 40])[:, None, None])) < 17
        near[26:34, 63:72] = True
        assert not changed[~near].any(), "nothing but the object and its outline"


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 120)),
    boxes=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=8),
    label=st.text("abcgjß ", max_size=40),
)
def test_tags_stay_in_the_frame_at_any_size(size, boxes, label):
    segments = []
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        mask = np.zeros(size, dtype=bool)
        mask[
            int(min(y0, y1) * size[0]) : int(max(y0, y1) * size[0]) + 1,
            int(min(x0, x1) * size[1]) : int(max(x0, x1) * size[1]) + 1,
        ] = 1
        segments.append(Segment(RLE.encode(mask), label, 0.5, i))
    places = []
    free_place = draw._free_place

    def watched(*args):
        places.append(free_place(*args))
        return places[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "_free_place", watched)
        drawn = draw.overlay(np.zeros((*size, 3), np.uint8), segments)
    assert drawn.shape == (*size, 3)
    for x0, y0, x1, y1 in places:
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]


def test_the_prompt_stands_beside_the_picture(photo):
    regions = (from_points([(40, 30)], SIZE, name="ear"), from_box((60, 50, 80, 70), SIZE, object_id=9))
    prompt = Prompt(tuple(Condition(region=region) for region in regions))
    asked = Result("img_vgdseg", "", photo.frames, prompt, photo.clip)
    plain, panel = asked.draw(tags=False), asked.draw(panel=True, tags=False)
    assert panel.size == (2 * SIZE[1] + draw.MARGIN, SIZE[0])
    left = np.asarray(panel)[:, : SIZE[1]]
    assert np.array_equal(np.asarray(panel)[:, -SIZE[1] :], np.asarray(plain))
    assert left[60, 70].max() > 2 * left[5, 95].max(), "the region shines out of the dimmed frame"


@pytest.mark.parametrize("n", [1, 2, 7])
def test_contact_sheets_hold_every_picture(n):
    sheet = draw.contact_sheet([(pixels(i), f"frame {i}") for i in range(n)], width=400)
    assert sheet.shape[1] == 400
    for i in range(n):
        assert (sheet == 10 + 20 * i).all(axis=2).sum() > 1000


# --- round trips ------------------------------------------------------------------------------------------------------


def test_coco(tmp_path, photo, clip):
    for result, images in ((photo, 1), (clip, 8)):
        coco = COCO(result.save(tmp_path, "coco"))
        assert len(coco.imgs) == images
        assert {row["name"] for row in coco.loadCats(coco.getCatIds())} == {"rabbit", "grass", "dog"}
        for frame, image in zip(result.frames, coco.imgs, strict=True):
            rows = coco.loadAnns(coco.getAnnIds(imgIds=[image]))
            assert len(rows) == len(frame.segments)
            for row, segment in zip(rows, frame.segments, strict=True):
                assert np.array_equal(coco.annToMask(row).astype(bool), segment.mask)
                assert row["area"] == segment.mask.sum()
                assert coco.cats[row["category_id"]]["name"] == segment.label
                assert (row["track_id"], row["score"]) == (segment.object_id, segment.score)
                x, y, w, h = row["bbox"]
                assert np.array_equal(np.argwhere(segment.mask).min(axis=0), (y, x))
                assert np.array_equal(np.argwhere(segment.mask).max(axis=0) + 1, (y + h, x + w))
    assert coco.imgs[1]["file_name"] == "00000.jpg"


def test_youtube_vis(tmp_path, clip):
    data = json.loads(clip.save(tmp_path, "ytvis").read_text())
    [video] = data["videos"]
    assert (video["length"], len(video["file_names"])) == (8, 8)
    rabbit = next(row for row in data["annotations"] if row["track_id"] == 1)
    assert [code is None for code in rabbit["segmentations"]] == [i in (3, 4) for i in range(8)]
    assert np.array_equal(RLE.from_coco(rabbit["segmentations"][6]).decode(), ring(36, 40))
    assert rabbit["areas"][6] == ring(36, 40).sum()
    assert rabbit["bboxes"][3] is None


def test_yolo_keeps_pieces_and_holes(tmp_path, photo):
    folder = photo.save(tmp_path / "labels", "yolo")
    rows = (folder / "photo.txt").read_text().splitlines()
    assert [row.split()[0] for row in rows] == ["1", "0"]
    read = supervision.DetectionDataset.from_yolo(
        str(tmp_path), str(folder), str(folder / "data.yaml"), force_masks=True
    )
    [(_, _, found)] = read  # rounds the corners; others cut them off
    for row, mask, segment in zip(rows, found.mask, photo.segments, strict=True):
        corners = np.array(row.split()[1:], dtype=float).reshape(-1, 2)
        assert corners.min() >= 0
        assert corners.max() <= 1
        cut_off = supervision.polygon_to_mask((corners * SIZE[::-1]).astype(int), SIZE[::-1]).astype(bool)
        for filled in (mask, cut_off):
            assert not (segment.mask & ~filled).any()
            assert (filled & ~segment.mask).sum() <= 20, "no more than the two bridges"
    names = (folder / "data.yaml").read_text()
    assert names == 'names:\n  0: "rabbit"\n  1: "grass"\n  2: "dog"\n'


def test_davis(tmp_path, clip):
    folder = clip.save(tmp_path / "davis", "davis")
    assert sorted(file.name for file in folder.iterdir()) == [f"{i:05d}.png" for i in range(8)]
    image = Image.open(folder / "00002.png")
    assert image.mode == "P"
    assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    ids = np.asarray(image)
    assert np.array_equal(ids == 1, ring(32, 40))
    assert np.array_equal(ids == 7, grass() & ~ring(32, 40)), "the better score lies on top"
    moved = tuple(
        FrameResult(
            f.index, f.time, *SIZE, tuple(Segment(s.rle, s.label, s.score, s.object_id * 60) for s in f.segments)
        )
        for f in clip.frames
    )
    with pytest.raises(InputError, match="255"):
        Result(clip.task, "", moved, PROMPT, clip.clip).save(tmp_path / "more", "davis")
    assert not (tmp_path / "more").exists()


def test_panoptic(tmp_path, photo):
    folder = photo.save(tmp_path / "panoptic", "panoptic")
    data = json.loads((folder / "panoptic.json").read_text())
    [row] = data["annotations"]
    colours = np.asarray(Image.open(folder / row["file_name"])).astype(int)
    ids = colours @ [1, 256, 65536]
    kinds = {category["id"]: category for category in data["categories"]}
    assert {info["id"] for info in row["segments_info"]} == set(np.unique(ids)) - {0}
    for info in row["segments_info"]:
        assert (ids == info["id"]).sum() == info["area"]
        assert kinds[info["category_id"]]["isthing"] == (kinds[info["category_id"]]["name"] != "grass")
    assert np.array_equal(ids == 1, ring(30, 40))


def test_ids_from_zero_move_up_together_in_maps(tmp_path, photo):
    [frame] = photo.frames
    zero = tuple(Segment(s.rle, s.label, s.score, 0 if s.object_id == 1 else 3) for s in frame.segments)
    result = Result("img_genseg", "", (FrameResult(0, None, *SIZE, zero),), PROMPT, photo.clip)
    ids = np.asarray(Image.open(result.save(tmp_path / "davis", "davis") / "photo.png"))
    assert set(np.unique(ids)) == {0, 1, 4}


def read_brush(code: list[int]) -> np.ndarray:
    """The brush's run-length code by its description: a count, the word size, four counter sizes, then runs."""
    bits = "".join(f"{byte:08b}" for byte in code)
    at = 0

    def take(n: int) -> int:
        nonlocal at
        at += n
        return int(bits[at - n : at], 2)

    total, word = take(32), take(5) + 1
    counters = [take(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < total:
        repeats, count = take(1), take(counters[take(2)]) + 1
        out += [take(word)] * count if repeats else [take(word) for _ in range(count)]
    assert len(out) == total
    return np.array(out, dtype=np.uint8)


@settings(deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0, 0.01, 0.5, 1]))
def test_label_studio_brush_code_reads_back(seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 40, 2)) < share
    assert np.array_equal(read_brush(labelstudio.brush_code(mask)).reshape(*mask.shape, 4)[..., 3] > 0, mask)


def test_label_studio_runs_longer_than_a_counter():
    mask = np.zeros((300, 400), dtype=bool)
    mask[150:] = True
    assert np.array_equal(read_brush(labelstudio.brush_code(mask)).reshape(300, 400, 4)[..., 0] > 0, mask)


def test_label_studio(tmp_path, photo, clip):
    [task] = json.loads(photo.save(tmp_path, "labelstudio").read_text())
    assert task["data"] == {"image": "photo.png"}
    for row, segment in zip(task["predictions"][0]["result"], photo.segments, strict=True):
        assert (row["original_width"], row["original_height"], row["type"]) == (SIZE[1], SIZE[0], "brushlabels")
        assert row["value"]["brushlabels"] == [segment.label]
        assert np.array_equal(read_brush(row["value"]["rle"]).reshape(*SIZE, 4)[..., 3] > 0, segment.mask)
    [task] = json.loads(clip.save(tmp_path, "labelstudio").read_text())
    rabbit = task["predictions"][0]["result"][0]
    assert rabbit["value"]["labels"] == ["rabbit"]
    assert rabbit["value"]["framesCount"] == 8
    keys = {key["frame"]: key for key in rabbit["value"]["sequence"]}
    assert list(keys) == [1, 2, 3, 6, 7, 8], "frames count from 1"
    assert [keys[i]["enabled"] for i in (1, 3, 6, 8)] == [True, False, True, False]
    x0, y0, _, y1 = clip.objects[1][0].box
    assert keys[1]["x"] * SIZE[1] / 100 == pytest.approx(x0)
    assert keys[1]["height"] * SIZE[0] / 100 == pytest.approx(y1 - y0)


def test_supervision(photo, clip, monkeypatch):
    found = clip.detections(2)
    assert isinstance(found, supervision.Detections)
    assert np.array_equal(found.tracker_id, [7, 1])
    assert list(found["class_name"]) == ["grass", "rabbit"]
    assert list(found.class_id) == [1, 0]
    assert np.array_equal(np.asarray(found.mask[1]), ring(32, 40))
    assert found.area[1] == ring(32, 40).sum()
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"x2sam\[export\]"):
        photo.detections()


def test_cutouts(tmp_path, photo):
    folder = photo.save(tmp_path / "cut", "cutouts")
    cut = np.asarray(Image.open(folder / "photo_001_rabbit.png"))
    rows, columns = np.nonzero(ring(30, 40))
    assert cut.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1, 4)
    assert np.array_equal(cut[..., 3] > 0, ring(30, 40)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    assert (cut[..., :3] == 110).all()


# --- overlay films ----------------------------------------------------------------------------------------------------


def streams(path):
    with av.open(str(path)) as container:
        frames = [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return frames, None
        sound = list(container.decode(audio=0))
    seconds, loud = sum(f.samples for f in sound) / sound[0].sample_rate, np.abs(sound[3].to_ndarray()).max() > 0
    return frames, (sound[0].time, seconds, loud)


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "aac"), ("mkv", "libopus"), ("avi", "pcm_s16le"), ("mkv", "flac")]
)
def test_films_keep_their_sound(tmp_path, ending, codec):
    medium = open_media(write_clip(tmp_path / f"in.{ending}", codec))
    mask = np.zeros(medium.size, dtype=bool)
    mask[:20, :20] = True
    frames = tuple(FrameResult(i, t, *medium.size, (Segment(RLE.encode(mask), "x", 0.9, 1),)) for i, t, _ in medium)
    path = Result("vid_genseg", "", frames, PROMPT, medium).save(tmp_path / "out.mp4")
    pictures, (start, seconds, loud) = streams(path)
    assert len(pictures) == 8
    assert [time for time, _ in pictures] == pytest.approx([i / 10 for i in range(8)], abs=0.02)
    assert pictures[0][1].shape[:2] == medium.size
    assert start == pytest.approx(0, abs=0.1)
    assert seconds == pytest.approx(0.8, abs=0.15)
    assert loud


def test_films_without_sound_of_odd_size_and_uneven_times(tmp_path, clip):
    times = [0.0, 0.1, 0.2, 0.3, 0.9, 1.0, 2.0, 2.5]
    frames = tuple(FrameResult(f.index, t, *SIZE, f.segments) for f, t in zip(clip.frames, times, strict=True))
    pictures, sound = streams(Result(clip.task, "", frames, PROMPT, clip.clip).save(tmp_path / "out.mp4"))
    assert sound is None
    assert [time for time, _ in pictures] == pytest.approx(times, abs=0.01)
    assert pictures[0][1].shape[:2] == (76, 102)
    assert np.abs(pictures[6][1][5, 90].astype(int) - 130).max() < 8, "the frame itself, where nothing lies over it"


def test_a_part_of_a_film_has_the_sound_of_that_part(tmp_path):
    medium = open_media(write_clip(tmp_path / "in.mp4", n=30))
    frames = tuple(FrameResult(i, i / 10, *medium.size) for i in range(10, 20))
    pictures, (start, seconds, _) = streams(Result("vid_genseg", "", frames, PROMPT, medium).save(tmp_path / "out.mp4"))
    assert len(pictures) == 10
    assert pictures[0][0] == pytest.approx(0, abs=0.01)
    assert start == pytest.approx(0, abs=0.1)
    assert seconds == pytest.approx(1.0, abs=0.15)


def test_results_of_a_stream_can_be_filmed_as_they_come(tmp_path):
    medium = open_media((pixels(i) for i in range(8)), fps=10)
    with formats.overlay_video(tmp_path / "live.mp4", medium) as write:
        for index, time, frame in medium:
            write(frame, frame_result(index, time))
    assert len(streams(tmp_path / "live.mp4")[0]) == 8
    late = Result("vid_genseg", "", (frame_result(0, 0.0),), PROMPT, medium)
    with pytest.raises(MediaError, match="stream"):
        late.save(tmp_path / "late.mp4")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["live.mp4"]


# --- saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "format"),
    [
        ("image", "a.png", "overlay"),
        ("image", "a.JPG", "overlay"),
        ("image", "a.json", "result"),
        ("video", "a.mp4", "overlay"),
        ("video", "a.png", "sheet"),
        ("video", "a.json", "result"),
    ],
)
def test_the_ending_tells_the_format(tmp_path, photo, clip, kind, name, format, monkeypatch):
    path = both(photo, clip)[kind].save(tmp_path / "new" / name)
    assert path == tmp_path / "new" / name
    assert path.stat().st_size > 0
    assert export.inferred(path, kind) == format


@pytest.mark.parametrize(("kind", "name"), [(k, n) for n, row in export.FORMATS.items() for k in row.media])
def test_every_format_writes_where_it_is_told_and_nothing_else(tmp_path, photo, clip, kind, name):
    result = both(photo, clip)[kind]
    out = tmp_path / "out"
    place = out / export.default_name(result.clip, name)
    for _ in range(2):  # and again over itself
        assert result.save(place, name) == place
    assert [file.name for file in out.iterdir()] == [place.name]
    if not place.is_dir():
        assert result.save(out, name) == place


@pytest.mark.parametrize("name", [n for n, row in export.FORMATS.items() if "video" in row.media])
def test_nothing_is_left_when_writing_fails(tmp_path, clip, name, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("power cut")

    for target, attribute in [(RLE, "to_coco"), (RLE, "decode"), (labelstudio, "_box_at"), (formats, "one_ring")]:
        monkeypatch.setattr(target, attribute, broken)
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="power cut"):
        clip.save(out / export.default_name(clip.clip, name), name)
    assert list(out.iterdir()) == []


def test_numbers_that_json_does_not_know_are_not_written(tmp_path, photo):
    [frame] = photo.frames
    bad = FrameResult(0, None, *SIZE, (Segment(frame.segments[0].rle, "grass", float("nan"), 1),))
    with pytest.raises(ValueError, match="JSON"):
        Result("img_genseg", "", (bad,), PROMPT, photo.clip).save(tmp_path / "out" / "a.json")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "format", "message"),
    [
        ("photo.png", None, "the medium itself"),
        ("out.xyz", None, "format is not clear"),
        ("out", None, "format is not clear"),
        ("out", "tiff", "one of: overlay"),
        ("out", "ytvis", "video results"),
        ("out.png", "coco", r"\.json"),
        ("photo.png/out.json", None, "cannot be written"),
        ("photo.png/labels", "yolo", "cannot be written"),
    ],
)
def test_places_that_cannot_be_written_to(tmp_path, photo, path, format, message):
    before = photo.clip.path.read_bytes()
    with pytest.raises(InputError, match=message):
        photo.save(tmp_path / path, format)
    assert photo.clip.path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["photo.png"]


# --- outlines ---------------------------------------------------------------------------------------------------------


def filled(rings: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres see an odd number of edges to their right."""
    out = np.zeros(size, dtype=bool)
    rows, columns = np.indices(size) + 0.5
    for corners in rings:
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y0 != y1:
                crossed = (rows > min(y0, y1)) & (rows < max(y0, y1))
                out ^= crossed & (x0 + (rows - y0) / (y1 - y0) * (x1 - x0) > columns)
    return out


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_outlines_are_exact(seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 12, 2)) < share
    rings = outlines.rings(mask)
    assert np.array_equal(filled(rings, mask.shape), mask)
    assert sum(outlines.area(ring) for ring in rings) == mask.sum()
    joined = outlines.one_ring(mask)
    assert np.array_equal(filled([joined], mask.shape) if len(joined) else np.zeros_like(mask), mask)
    for ring in rings:
        steps = np.sign(np.roll(ring, -1, axis=0) - ring)
        assert (np.abs(steps).sum(axis=1) == 1).all(), "along the pixels"
        assert (steps != np.roll(steps, 1, axis=0)).any(axis=1).all(), "corners only"


def test_pieces_that_touch_at_a_corner_are_two():
    for mask in (np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]):
        assert [outlines.area(ring) for ring in outlines.rings(mask)] == [1, 1]
