"""V-VGD: built the same twice, read back in the released form, and scored by both protocols."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from x2sam.benchmarks import vvgd
from x2sam.benchmarks.vvgd import PROTOCOLS, Benchmark, GroundingScore, build, build_from, samples
from x2sam.data.catalog import get_split
from x2sam.data.world import World
from x2sam.errors import DataError, InputError
from x2sam.masks import RLE
from x2sam.metrics import Instance, MaskAP
from x2sam.types import Condition, FrameResult, ObjectTrack, Prompt, RegionKind, Sample, Segment

HEIGHT, WIDTH, LENGTH = 60, 80, 12
KINDS: tuple[RegionKind, ...] = ("point", "scribble", "box", "mask")


def clip(number: int, categories: Sequence[int] = (0, 0, 1)) -> Sample:
    """Boxes that drift apart; the last one comes at frame 9, frame 3 shows nothing."""
    frames = [np.full((HEIGHT, WIDTH, 3), 10 * t + number, np.uint8) for t in range(LENGTH)]
    tracks = []
    for i, category in enumerate(categories):
        masks: list[RLE | None] = []
        for t in range(LENGTH):
            mask = np.zeros((HEIGHT, WIDTH), bool)
            mask[3 + 19 * i : 20 + 19 * i, 2 + t : 24 + t + number] = True
            late = i == len(categories) - 1 and t < 9
            masks.append(None if late or t == 3 else RLE.encode(mask))
        tracks.append(ObjectTrack(i + 4, category, tuple(masks)))
    crowd = ObjectTrack(90, 0, tuple(RLE.encode(np.ones((HEIGHT, WIDTH))) for _ in frames), is_crowd=True)
    ground = ObjectTrack(91, 2, crowd.masks)
    conditions = (Condition("dog"), Condition("cat"), Condition("sky", is_thing=False))
    return Sample(f"clip {number}", "vid_genseg", frames, Prompt(conditions), (*tracks, crowd, ground))


CLIPS = [clip(0), clip(1)]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    root = tmp_path_factory.mktemp("vvgd")
    return build(CLIPS, root / "vvgd.json", root / "frames", seed=3)


def test_a_benchmark_is_the_same_bytes_twice(benchmark: Benchmark, tmp_path: Path) -> None:
    again = build(CLIPS, tmp_path / "a.json", tmp_path / "a", seed=3)
    other = build(CLIPS, tmp_path / "b.json", tmp_path / "b", seed=4)
    assert again.path.read_bytes() == benchmark.path.read_bytes() != other.path.read_bytes()
    first, second = json.loads(again.path.read_text()), json.loads(other.path.read_text())
    for video in (*first, *second):
        for row in video["annotations"]:
            for annotation in row:
                del annotation["visual_prompts"]
    assert first == second, "the seed is of the prompts alone"
    alone = build(CLIPS[1:], tmp_path / "c.json", tmp_path / "c", seed=3)
    assert json.loads(alone.path.read_text()) == json.loads(benchmark.path.read_text())[1:]
    assert not list(tmp_path.glob("*.part"))


def test_the_file_has_the_released_form(benchmark: Benchmark) -> None:
    video = json.loads(benchmark.path.read_text())[1]
    assert set(video) == {"video_id", "image_files", "image_sizes", "video_info", "annotations"}
    assert video["video_info"] == {
        "video_id": "clip 1",
        "image_files": video["image_files"],
        "height": HEIGHT,
        "width": WIDTH,
    }
    assert len(video["annotations"]) == len(video["image_files"]) == len(video["image_sizes"]) == LENGTH - 1
    annotation = video["annotations"][3][1]  # of frame 4, as frame 3 shows nothing
    assert annotation["id"] == 504
    assert (annotation["category_id"], annotation["iscrowd"], annotation["bbox_mode"]) == (1, 0, 0)
    assert annotation["bbox"] == [0.0, 0.0, WIDTH, HEIGHT]
    assert annotation["area"] == 17 * 23
    assert annotation["segmentation"] == CLIPS[1].objects[1].masks[4].to_coco()  # type: ignore[union-attr]
    assert set(annotation["visual_prompts"]) == {f"{kind}_visual_prompt" for kind in KINDS}
    assert {a["category_id"] for row in video["annotations"] for a in row} == {1, 2}


@pytest.mark.parametrize("bare", [False, True], ids=["ours", "released"])
def test_what_is_written_is_read(benchmark: Benchmark, bare: bool, tmp_path: Path) -> None:
    """Also without the two keys that the release does not have: ids tell objects apart, categories have numbers."""
    entries = json.loads(benchmark.path.read_text())
    if bare:
        for annotation in (a for video in entries for row in video["annotations"] for a in row):
            del annotation["object_id"], annotation["category"]
    copy = tmp_path / "copy.json"
    copy.write_text(json.dumps(entries))
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]}))
    found = samples(Benchmark(copy, benchmark.images, names if bare else None), "track", "box")
    for sample, source in zip(found, CLIPS, strict=True):
        kept = [t for t in range(LENGTH) if t != 3]
        assert (sample.task, sample.sample_id, sample.prompt.labels) == ("vid_vgdseg", source.sample_id, ("dog", "cat"))
        assert [np.array_equal(a, source.frames[t]) for a, t in zip(sample.frames, kept, strict=True)] == [True] * (
            LENGTH - 1
        )
        truth = [replace(o, masks=tuple(o.masks[t] for t in kept)) for o in source.objects[:3]]
        assert list(sample.objects) == truth


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_lies_on_its_object(benchmark: Benchmark, kind: RegionKind) -> None:
    """A point and a scribble inside (the disc of a point and the stroke are thick), a box and a mask around it."""
    share = {"point": 0.5, "scribble": 0.8, "box": 0.75, "mask": 0.6}[kind]
    for protocol in PROTOCOLS:
        for seed in range(3):
            for sample in samples(benchmark, protocol, kind, seed):
                for place, region in enumerate(sample.prompt.regions):
                    (truth,) = (o for o in sample.objects if o.object_id == region.object_id and o.condition == place)
                    mask = truth.masks[region.frame]
                    assert region.kind == kind
                    assert mask is not None, "it is pointed at where it is seen"
                    assert (region.mask & mask.decode()).sum() / region.mask.sum() >= share
                    others = [o.masks[region.frame] for o in sample.objects if o is not truth]
                    worse = [(region.mask & m.decode()).sum() for m in others if m]
                    assert (region.mask & mask.decode()).sum() > max(worse, default=0)


def test_the_protocols_cut_and_point_differently(benchmark: Benchmark) -> None:
    """Released: eight frames at a time, pointed at on the first; what comes later is never asked for."""
    released = samples(benchmark, "released", "point")
    assert [r.sample_id for r in released] == ["clip 0@0", "clip 0@8", "clip 1@0", "clip 1@8"]
    assert [len(r.frames) for r in released] == [8, 3, 8, 3]
    assert {region.frame for r in released for region in r.prompt.regions} == {0}
    assert [r.prompt.labels for r in released] == [("dog",), ("dog", "cat")] * 2
    tracks = [samples(benchmark, "track", "point", seed)[0] for seed in range(8)]
    assert {len(r.frames) for r in tracks} == {LENGTH - 1}
    assert all(r.prompt.labels == ("dog", "cat") for r in tracks)
    assert len({r.prompt.regions[0].frame for r in tracks}) > 3
    assert {r.prompt.regions[0].object_id for r in tracks} == {4, 5}
    assert all(r.prompt.regions[1].frame >= 8 for r in tracks)
    assert samples(benchmark, "track", "point", 5)[0].prompt == tracks[5].prompt


def answered(
    sample: Sample, change: Callable[[int, int], int] = lambda i, t: i, score: float = 0.9
) -> list[FrameResult]:
    """The truth as a result, with other ids."""
    height, width = sample.frames[0].shape[:2]
    return [
        FrameResult(t, None, height, width, tuple(
            Segment(mask, "", score, change(o.object_id, t), o.condition, t)
            for o in sample.objects if (mask := o.masks[t]) is not None
        ))
        for t in range(len(sample.frames))
    ]  # fmt: skip


def scored(benchmark: Benchmark, protocol: str, answer: Callable[[Sample], list[FrameResult]]) -> dict[str, float]:
    metric = GroundingScore(protocol)
    for sample in samples(benchmark, protocol, "box"):
        metric.update(sample, answer(sample))
    return metric.compute()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_perfect_answers_are_perfect(benchmark: Benchmark, protocol: str) -> None:
    found = scored(benchmark, protocol, answered)
    assert found["AP"] == found["AP50"] == found["dog/AP"] == found["cat/AP"] == pytest.approx(1)
    assert ("HOTA" in found) == (protocol == "track")
    if protocol == "track":
        assert found["HOTA"] == found["IDF1"] == pytest.approx(1)
        assert found["IDSW"] == 0


def swapped(i: int, t: int) -> int:
    """The two dogs change their ids half-way."""
    return {4: 5, 5: 4}.get(i, i) if t >= 5 else i


def test_swapped_identities_hurt_only_the_tracks(benchmark: Benchmark) -> None:
    wrong = {name: scored(benchmark, name, lambda sample: answered(sample, swapped)) for name in PROTOCOLS}
    assert wrong["released"]["AP"] == pytest.approx(1)
    assert wrong["track"]["dog/AP"] < 0.1
    assert wrong["track"]["cat/AP"] == pytest.approx(1)
    assert wrong["track"]["IDSW"] == 2 * 2, "two objects in two videos"
    assert wrong["track"]["HOTA"] < 0.9


def test_what_is_missing_or_unsure_counts(benchmark: Benchmark) -> None:
    """Frames without a result are misses; identities ask for confident objects, AP for all."""
    half = scored(benchmark, "track", lambda sample: answered(sample)[::2])
    assert half["AP"] < 0.5
    assert half["HOTA"] < 0.9
    unsure = scored(benchmark, "track", lambda sample: answered(sample, score=0.2))
    assert unsure["AP"] == pytest.approx(1)
    assert unsure["HOTA"] == 0
    with pytest.raises(DataError, match="two masks of object 4 on frame 0 of clip 0"):
        scored(benchmark, "track", lambda sample: answered(sample, lambda i, t: 4))


def test_the_released_number_is_coco_ap(benchmark: Benchmark) -> None:
    """The mean over categories is what COCO's evaluator gives for all categories at once."""
    rng, metric, coco = np.random.default_rng(0), GroundingScore("released"), MaskAP()
    numbers = {"dog": 1, "cat": 2}
    for sample in samples(benchmark, "released", "mask"):
        frames = []
        for frame in answered(sample):
            segments = [
                replace(s, rle=RLE.encode(np.roll(s.mask, rng.integers(0, 6), 1)), score=float(rng.random()))
                for s in frame.segments
                if rng.random() < 0.8
            ]
            frames.append(replace(frame, segments=tuple(segments)))
            names = [numbers[label] for label in sample.prompt.labels]
            truth = [Instance((m,), names[o.condition]) for o in sample.objects if (m := o.masks[frame.index])]
            ours = [Instance((s.rle,), names[s.condition], s.score) for s in segments]
            coco.update((sample.sample_id, frame.index), ours, truth)
        metric.update(sample, frames)
    ours, theirs = metric.compute(), coco.compute()
    assert 0.1 < theirs["AP"] < 0.9
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, nan_ok=True)


def test_parts_of_a_score_add_up(benchmark: Benchmark) -> None:
    parts = []
    for sample in samples(benchmark, "track", "box"):
        parts.append(GroundingScore("track"))
        parts[-1].update(sample, answered(sample, swapped))
    parts[0].merge(parts[1])
    whole = scored(benchmark, "track", lambda sample: answered(sample, swapped))
    assert parts[0].compute() == pytest.approx(whole, abs=0, nan_ok=True)


def test_the_generated_world_serves_too(tmp_path: Path) -> None:
    world = World("val", size=(64, 64), frames=3)
    source = [world.sample("vid_genseg", index) for index in range(2)]
    made = build(source, tmp_path / "out" / "world.json", tmp_path / "frames")
    records = samples(made, "track", "scribble")
    assert 0 < len(records) <= 2
    assert {c.region.kind for r in records for c in r.prompt.conditions if c.region} == {"scribble"}
    assert np.array_equal(records[0].frames[0], source[0].frames[0])


def write_ytvis(root: Path) -> None:
    """The catalog's YouTube-VIS 2019, with the two clips in it."""
    options = get_split(vvgd.SOURCES["ytvis19"]).options
    kept = [t for t in range(LENGTH) if t != 3]
    videos, annotations = [], []
    for n, clip_ in enumerate(CLIPS):
        names = [f"v{n}/{t:05d}.png" for t in kept]
        (root / options["images"] / f"v{n}").mkdir(parents=True)
        for t, name in zip(kept, names, strict=True):
            Image.fromarray(clip_.frames[t]).save(root / options["images"] / name)
        videos.append({"id": n + 1, "file_names": names, "height": HEIGHT, "width": WIDTH})
        annotations += [
            {"id": 10 * n + o.object_id, "video_id": n + 1, "category_id": (30, 7)[o.condition], "iscrowd": 0}
            | {"segmentations": [m and m.to_coco() for m in (o.masks[t] for t in kept)]}
            for o in clip_.objects[:3]
        ]
    categories = [{"id": 30, "name": "Dog"}, {"id": 7, "name": "cat_s"}]
    (root / options["json"]).write_text(
        json.dumps({"videos": videos, "annotations": annotations, "categories": categories})
    )


def test_built_from_youtube_vis(tmp_path: Path) -> None:
    """Numbers and file names are the data set's own; the command does the same."""
    write_ytvis(tmp_path)
    made = build_from("ytvis19", tmp_path, tmp_path / "a.json", seed=5)
    video = json.loads(made.path.read_text())[1]
    assert (video["video_id"], video["image_files"][0]) == ("2", "v1/00000.png")
    assert {a["category_id"] for row in video["annotations"] for a in row} == {30, 7}
    assert {a["id"] // 100 for row in video["annotations"] for a in row} == {14, 15, 16}
    assert samples(made, "track", "box")[0].prompt.labels == ("cat s", "dog")
    assert len(samples(made)[0].frames[0]) == HEIGHT
    words = ["build", "--root", str(tmp_path), "--source", "ytvis19", "--out", str(tmp_path / "b.json"), "--seed", "5"]
    done = CliRunner().invoke(vvgd.app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == {"outputs": [str(tmp_path / "b.json")]}
    assert (tmp_path / "b.json").read_bytes() == made.path.read_bytes()


def test_wrong_names_are_explained(benchmark: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'tracks'.*released, track"):
        samples(benchmark, "tracks")
    with pytest.raises(InputError, match=r"'circle'.*point, scribble, box, mask"):
        samples(benchmark, "track", "circle")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'cat' in clip 0"):
        build(CLIPS, tmp_path / "x.json", tmp_path, category_ids={"dog": 1})
    with pytest.raises(DataError, match=r"nowhere\.json: the file is missing"):
        samples(tmp_path / "nowhere.json")
    assert not (tmp_path / "x.json").exists()
