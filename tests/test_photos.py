"""A folder of photos: what is for validation, what is asked and true, what training sees, what needs no model."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from x2sam.data.catalog import get_split, list_splits, open_split
from x2sam.data.check import check
from x2sam.data.photos import Photo, PhotoFolder, PhotoSource, Shape, is_validation
from x2sam.data.photos.augment import Scene
from x2sam.data.photos.drafts import Draft
from x2sam.data.photos.drawing import innermost
from x2sam.data.photos.films import filmed
from x2sam.data.photos.folder import key_of
from x2sam.data.photos.grounding import spans_in
from x2sam.data.photos.names import THINGS, apart, mentions, said_in
from x2sam.data.photos.questions import exists, how_many, what, where
from x2sam.data.photos.uses import USES, reasoned
from x2sam.errors import DataError, InputError
from x2sam.evaluate.answers import Answer, View
from x2sam.evaluate.command import run
from x2sam.evaluate.judges import judge, setting_of
from x2sam.evaluate.splits import names_of
from x2sam.evaluate.trivial import DISC, MASKS, NEEDS, TEXTS, available, trivial
from x2sam.masks import RLE
from x2sam.metrics import Presence, SaidNames
from x2sam.predictor import X2Sam
from x2sam.prompts import read_answer
from x2sam.train.sources import open_source
from x2sam.types import Sample, Segment

HEIGHT, WIDTH = 64, 96
COLOURS = {0: (128, 128, 128), 1: (220, 30, 30), 2: (30, 200, 30), 3: (40, 40, 220), 4: (220, 220, 40)}
BOXES = {1: (6, 10, 30, 34), 2: (60, 12, 78, 40), 3: (0, 50, 96, 64), 4: (40, 2, 52, 8)}
"""Of the segments with these ids: a cat on the left, a smaller cat on the right, grass below, a void block."""
SPLITS = [split for split in list_splits() if split.family == "photos"]


def drawn(shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its id map."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (x0, y0, x1, y1) in BOXES.items():
        ids[y0:y1, max(x0 + shift, 0) : x1 + shift] = number
    pixels = np.array([COLOURS[i] for i in range(5)], np.uint8)[ids]
    ids[ids == 4] = 255
    return pixels, ids


def write(path: Path, shift: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels, ids = drawn(shift)
    Image.fromarray(pixels).save(path.with_suffix(".jpg"), quality=95, subsampling=0)
    Image.fromarray(ids).save(path.with_suffix(".png"))


def row(identity: str, name: str, **more: Any) -> dict[str, Any]:
    """A line; ``more`` replaces parts of it."""
    names = {1: ("cat", True, "one"), 2: ("cat", True, "one"), 3: ("grass", False, None)}
    area = {number: (x1 - x0) * (y1 - y0) for number, (x0, y0, x1, y1) in BOXES.items()}
    segments = [
        {"id": i, "name": n, "thing": thing, "crowd": False, "inst": inst, "area": area[i]}
        for i, (n, thing, inst) in names.items()
    ]
    phrases = [{"text": f"the {side} cat", "ids": [i], "auto": True} for i, side in ((1, "left"), (2, "right"))]
    phrases.append({"text": "the larger cat", "ids": [1], "auto": True})
    line = {"id": identity, "set": name, "size": [WIDTH, HEIGHT], "segments": segments, "void": [255]}
    return {**line, "phrases": phrases, "captions": ["Two kittens to the left of a tree."], **more}


def ids_of(pattern: str, validation: bool, count: int) -> list[str]:
    """Ids of one half."""
    return [i for n in range(1000) if is_validation(i := pattern.format(n)) == validation][:count]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    lines, clips = [], []
    nameless = [{"id": i, "name": None, "thing": None, "crowd": False, "inst": None, "area": 400} for i in (1, 2, 3)]
    for validation in (True, False):
        lines += [row(i, "coco-full") for i in ids_of("coco-{:012}", validation, 3)]
        lines += [row(i, "coco-panoptic-train") for i in ids_of("cocopan-{:012}", validation, 1)]
        lines += [row(i, "human-seg", captions=[]) for i in ids_of("human-{}", validation, 1)]
        for i in ids_of("bsds-{}", validation, 1):
            lines.append(row(i, "bsds", segments=nameless, phrases=[], captions=[]))
        for i in ids_of("film-{}", validation, 1):
            clips.append(row(i, "films", segments=[row(i, "films")["segments"][0]], frames=5, void=[], captions=[]))
            clips[-1]["phrases"] = clips[-1]["phrases"][:1]
            for t in range(5):
                write(folder / "clips" / i / f"{t:05}", shift=2 * t)
    for line in lines:
        write(folder / "photos" / line["id"])
    for name, rows in (("photos", lines), ("clips", clips)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    sets = {
        "coco-full": {"exhaustive": ["cat", "dog", "horse", "cup", "bear", "teddy bear"]},
        "coco-panoptic-train": {"exhaustive": "panoptic, all pixels but 255"},
        "human-seg": {"exhaustive": ["person"]},
        "bsds": {"exhaustive": None},
        "films": {"exhaustive": None},
    }
    (folder / "sets.json").write_text(json.dumps(sets))
    return folder


@pytest.fixture(scope="module")
def source(root: Path) -> PhotoSource:
    return PhotoSource(root, frames=3)


def photo_of(sample: Sample) -> str:
    return sample.sample_id.rsplit("/", 1)[-1]


# --- which are for validation ---------------------------------------------------------------------------------------


def test_validation_is_a_tenth_by_a_hash_of_the_key() -> None:
    ids = [f"bsds-{n}" for n in range(5000)]
    assert [is_validation(i) for i in ids] == [zlib.crc32(i.encode()) % 10 == 0 for i in ids]
    assert 400 < sum(map(is_validation, ids)) < 600


@pytest.mark.parametrize(
    "group",
    [
        ("coco-000000000{:03}", "cocopan-000000000{:03}", "cocostuff-000000000{:03}"),
        ("voc07-000{:03}", "voc-2007_000{:03}"),
    ],
)
def test_one_photo_is_never_in_both_halves(group: tuple[str, ...]) -> None:
    for n in range(300):
        assert len({is_validation(pattern.format(n)) for pattern in group}) == 1
    assert key_of("voc-2008_000063") != key_of("voc-2007_000063")


def test_known_copies_have_one_key() -> None:
    assert key_of("horse-horse146") == key_of("horse-horse004") != key_of("horse-horse005")
    assert key_of("human-270") == key_of("human-102")


def test_evaluation_reads_the_validation_tenth_only(root: Path) -> None:
    for split in SPLITS:
        records = open_split(split, root)
        assert len(records), split.name
        assert all(is_validation(sample.sample_id) for sample in records), split.name


def test_training_never_touches_the_validation_tenth(root: Path, tmp_path: Path) -> None:
    """Its samples come even where the validation pictures are not on the disk."""
    for file in root.rglob("*"):
        part = file.relative_to(root)
        name = part.parts[1] if part.parts[0] == "clips" and len(part.parts) > 1 else file.stem
        if file.is_file() and not (file.suffix in (".jpg", ".png") and is_validation(name)):
            (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / part).write_bytes(file.read_bytes())
    source = PhotoSource(tmp_path, frames=3)
    assert set(source.lengths) == {f"img_{t}" for t in ("intseg", "refseg", "genseg", "chat", "gcgseg", "reaseg")} | {
        "vid_objseg",
        "vid_refseg",
    }
    for task in source.lengths:
        for index in range(12):
            sample = source.sample(task, index)
            assert not is_validation(photo_of(sample))
            assert np.stack(sample.frames).size
    held_out = PhotoSource(root, "val", frames=3)
    assert all(is_validation(photo_of(held_out.sample(task, i))) for task in held_out.lengths for i in range(3))


# --- what evaluation asks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_every_split_holds_together(root: Path, split: Any) -> None:
    assert list(check(open_split(split, root), split, pixels=True)) == []


def test_marks_are_drawn_on_their_objects(root: Path) -> None:
    for sample in open_split("photos_box", root):
        assert {o.object_id for o in sample.objects} == {1, 2}
        for condition, track in zip(sample.prompt.conditions, sample.objects, strict=True):
            assert condition.region.rle.box == track.masks[0].box == BOXES[track.object_id]
    for sample in open_split("photos_click", root):
        for condition, track in zip(sample.prompt.conditions, sample.objects, strict=True):
            x0, y0, x1, y1 = BOXES[track.object_id]
            left, top, right, bottom = condition.region.rle.box
            assert abs((left + right) / 2 - (x0 + x1) / 2) <= 4
            assert abs((top + bottom) / 2 - (y0 + y1) / 2) <= 6
    assert {o.object_id for s in open_split("photos_regions", root) for o in s.objects} == {1, 2, 3}


def test_the_innermost_pixel_keeps_away_from_edges() -> None:
    mask = np.zeros((20, 30), bool)
    mask[0:11, 5:16] = True  # an 11 x 11 square at the upper edge
    mask[4:6, 16:30] = True  # and a thin arm
    assert innermost(mask) == (10, 5)


def test_a_name_means_all_its_segments_and_absent_ones_are_sure(root: Path) -> None:
    for sample in open_split("photos_names", root):
        texts = [c.text for c in sample.prompt.conditions]
        union = sum(BOXES_AREA[i] for i in (1, 2))
        (track,) = (o for o in sample.objects if texts[o.condition] == "the cat")
        assert track.masks[0].area == union
        absent = {texts[i] for i in range(len(texts))} - {texts[o.condition] for o in sample.objects}
        if sample.sample_id.startswith("human"):  # nothing but persons is labelled there
            assert absent == {"the person"}
        else:
            assert absent <= {"the dog", "the horse", "the cup", "the bear", "the teddy bear"}
            assert len(absent) == 4


BOXES_AREA = {i: (x1 - x0) * (y1 - y0) for i, (x0, y0, x1, y1) in BOXES.items()}


def test_other_words_for_what_is_there_are_not_absent() -> None:
    assert not apart("teddy bear", ["bear"])
    assert not apart("shirt", ["blouse", "hair"])
    assert not apart("dog", ["dog"])
    assert apart("dog", ["cat", "blouse"])
    assert len(frozenset().union(*THINGS)) == 80


def test_a_panoptic_set_can_name_what_it_shows_and_all_things_of_coco(root: Path) -> None:
    (sample,) = open_split("photos_everything", root)
    named = {c.text: c.is_thing for c in sample.prompt.conditions}
    assert named == {"cat": True, "dog": True, "horse": True, "cup": True, "bear": True, "teddy bear": True} | {
        "grass": False
    }
    assert len(sample.objects) == 3
    assert sample.ignore[0].area == BOXES_AREA[4]


def test_a_clip_is_followed_from_its_first_frame(root: Path) -> None:
    (sample,) = open_split("photos_clips_mask", root)
    region = sample.prompt.conditions[0].region
    assert region.frame == 0
    assert region.rle == sample.objects[0].masks[0]
    assert [mask.box[0] for mask in sample.objects[0].masks] == [BOXES[1][0] + 2 * t for t in range(5)]


def test_a_wrong_line_is_named(root: Path, tmp_path: Path) -> None:
    for name in ("photos.jsonl", "clips.jsonl", "sets.json"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    lines = (root / "photos.jsonl").read_text().splitlines()
    (tmp_path / "photos.jsonl").write_text("\n".join([lines[0], lines[1][:40]]))
    with pytest.raises(DataError, match=r"photos\.jsonl, line 2: text that is not json"):
        PhotoFolder(tmp_path, None)
    with pytest.raises(DataError, match="the file is missing"):
        PhotoFolder(tmp_path / "nowhere", None)


# --- what training sees ---------------------------------------------------------------------------------------------


def shown(sample: Sample, t: int, mask: RLE) -> tuple[int, ...]:
    """Which of the colours of the made-up pictures the middle of a mask has."""
    x, y = innermost(mask.decode())
    pixel = sample.frames[t][y, x].astype(int)
    hue = pixel - pixel.mean()
    return max(COLOURS, key=lambda i: float(np.dot(hue, np.array(COLOURS[i]) - np.mean(COLOURS[i])) - 3e4 * (i == 4)))


@pytest.mark.parametrize("task", ["img_intseg", "img_refseg", "img_genseg", "vid_objseg"])
def test_masks_are_cut_and_mirrored_with_their_pictures(source: PhotoSource, task: str) -> None:
    for index in range(24):
        sample = source.sample(task, index)
        for track in sample.objects:
            for t, mask in enumerate(track.masks):
                if mask is None or mask.area < 60:
                    continue
                assert (mask.height, mask.width) == sample.frames[t].shape[:2]
                crossing = task == "vid_objseg" and track.object_id > 4  # of another photo, laid over this one
                wanted = {track.object_id} if task != "img_refseg" and not crossing else {1, 2, 3, 4}
                assert shown(sample, t, mask) in wanted, sample.sample_id


def test_films_are_made_of_photos_and_an_object_of_another_crosses_them(source: PhotoSource) -> None:
    photo, other = source.folder.photos[0], source.folder.photos[1]
    films = [filmed(photo, other, np.random.default_rng(seed), 3) for seed in range(12)]
    crossed = [film for film in films if len(film.photo.shapes) > len(photo.shapes)]
    assert 0 < len(crossed) < len(films)
    for film in films:
        assert len({ids.shape for ids in film.maps}) == 1
        assert any((film.maps[0] != ids).any() for ids in film.maps[1:]), "nothing moves"
    new = crossed[0].photo.shapes[-1].id
    assert all((film.maps[0] == new).any() or (film.maps[1] == new).any() for film in crossed)
    assert new not in {s.id for s in photo.shapes} | set(photo.void)
    again = filmed(photo, other, np.random.default_rng(0), 3)
    assert all((a == b).all() for a, b in zip(films[0].frames, again.frames, strict=True))


@pytest.mark.parametrize(("absent", "low", "high"), [(0.0, 0.0, 0.0), (0.6, 0.4, 0.8)])
def test_a_recipe_says_how_many_phrases_match_nothing(root: Path, absent: float, low: float, high: float) -> None:
    source = open_source("world", "train", 64, 2, str(root), absent=absent, negatives=2, phrases=0)
    samples = [source.sample("photos/img_refseg", index) for index in range(60)]
    asked = sum(len(sample.prompt.conditions) for sample in samples)
    assert low <= 1 - sum(len(sample.objects) for sample in samples) / asked <= high


def test_left_stays_left_in_a_mirror(source: PhotoSource) -> None:
    sides, mirrored = 0, 0
    for index in range(150):
        sample = source.sample("img_refseg", index)
        middle = {}
        for track in sample.objects:
            x0, _, x1, _ = track.masks[0].box
            middle[sample.prompt.conditions[track.condition].text] = (x0 + x1) / 2, shown(sample, 0, track.masks[0])
        if {"the left cat", "the right cat"} <= set(middle):
            sides += 1
            mirrored += middle["the left cat"][1] == 2
            assert middle["the left cat"][0] < middle["the right cat"][0]
        if "the larger cat" in middle:
            assert middle["the larger cat"][1] == 1
        if {"the left cat", "the right cat", "the larger cat"} & set(middle):  # both can be seen, nearly whole
            frame = sample.frames[0].astype(int)
            red, green = frame[..., 0] - frame[..., 1:].max(2), frame[..., 1] - frame[..., ::2].max(2)
            assert (red > 60).sum() > 0.85 * BOXES_AREA[1]
            assert (green > 60).sum() > 0.85 * BOXES_AREA[2]
    assert 0 < mirrored < sides


def test_training_says_absent_only_where_that_is_sure(source: PhotoSource) -> None:
    for index in range(60):
        for task in ("img_refseg", "img_genseg"):
            sample = source.sample(task, index)
            found = {o.condition for o in sample.objects}
            absent = {c.text for i, c in enumerate(sample.prompt.conditions) if i not in found}
            words = {word for text in absent for word in ("cat", "kitten", "grass") if word in (text or "")}
            assert not words, sample.sample_id
            if photo_of(sample).startswith("human"):
                assert not {text for text in absent if "person" not in (text or "") and "people" not in (text or "")}


def test_samples_are_a_pure_function_of_their_arguments(root: Path, source: PhotoSource) -> None:
    other = PhotoSource(root, frames=3)
    for task in source.lengths:
        first, again = source.sample(task, 5), other.sample(task, 5)
        assert dataclasses.replace(first, frames=()) == dataclasses.replace(again, frames=())
        assert all(np.array_equal(a, b) for a, b in zip(first.frames, again.frames, strict=True))
    cuts = {source.sample("img_intseg", 6 * i).frames[0].shape for i in range(8)}
    assert len(cuts) > 1, "every turn cuts otherwise"


def test_regions_of_a_clip_are_drawn_on_its_first_frame(source: PhotoSource) -> None:
    kinds = set()
    for index in range(20):
        sample = source.sample("vid_objseg", index)
        assert len(sample.frames) == 3
        region = sample.prompt.conditions[0].region
        kinds.add(region.kind)
        assert region.frame == 0
        assert (region.mask & sample.objects[0].masks[0].decode()).any()
    assert kinds == {"mask", "box", "point"}


def test_names_are_asked_for_only_where_all_of_the_name_is_known(source: PhotoSource) -> None:
    """Other cats of a clip have no masks."""
    texts = {text for i in range(20) for text in source.sample("vid_refseg", i).prompt.labels}
    assert texts == {"the left cat", "the right cat"}


def test_descriptions_are_captions_or_sentences_of_names(source: PhotoSource) -> None:
    answers = {source.sample("img_chat", index).answer for index in range(60)}
    assert "Two kittens to the left of a tree." in answers
    assert any("two cats" in answer for answer in answers), "in a mirror the caption would be wrong"
    assert all(source.sample("img_chat", index).prompt.text for index in range(3))


def still(names: dict[int, str], boxes: dict[int, tuple[int, int, int, int]], absent: Any = (), **of: str) -> Draft:
    """A scene of 100 x 60 pixels as it is: segments by id, their names and boxes; ``of``: their ``inst``."""
    ids = np.zeros((60, 100), np.uint16)
    for number, (x0, y0, x1, y1) in boxes.items():
        ids[y0:y1, x0:x1] = number
    shapes = tuple(Shape(i, name, True, False, of.get(name, "one"), 0) for i, name in names.items())
    photo = Photo("a", "coco-full", (60, 100), shapes, (), (), (), ())
    whole = {i: int((ids == i).sum()) for i in names}
    scene = Scene(photo, (np.zeros((60, 100, 3), np.uint8),), (ids,), False, whole)
    sure = frozenset().union(*THINGS)
    return Draft(np.random.default_rng(0), scene, absent, sure, 0.25, 10, 6, sure)


LIVING = still(
    {1: "person", 2: "person", 3: "dog", 4: "bicycle", 5: "sheep", 6: "sheep"},
    {
        1: (0, 0, 30, 30),
        2: (30, 0, 40, 20),
        3: (70, 30, 90, 50),
        4: (0, 35, 20, 55),
        5: (50, 0, 60, 9),
        6: (60, 0, 70, 9),
    },
    ("cat", "horse"),
)


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("A man with his small dog.", {"A man": [1], "his small dog": [3]}),
        ("The two people ride past a group of sheep.", {"The two people": [1, 2], "a group of sheep": [5, 6]}),
        ("Three boys near a black and white dog", {"a black and white dog": [3]}),
        ("A sheep by a bike.", {"a bike": [4]}),
        ("A kitchen containing bicycles and dog.", {"dog": [3]}),
        ("No dog, a dog park, the dog's bone, a hot dog, a man without a bike.", {"a man": [1]}),
        ("A statue of a man.", {}),
        ("A woman who bikes past.", {"A woman": [1]}),
    ],
)
def test_phrases_of_captions_mean_what_is_labelled(caption: str, wanted: dict[str, list[int]]) -> None:
    """All of a name, or the one that is clearly largest; not a noun that is part of a longer one, nor a verb."""
    assert {caption[start:end]: list(ids) for start, end, ids in spans_in(caption, LIVING)} == wanted


def test_grounded_captions_have_a_mask_for_every_phrase(source: PhotoSource) -> None:
    answers = set()
    for index in range(30):
        sample = source.sample("img_gcgseg", index)
        assert [o.condition for o in sample.objects] == list(range(sample.answer.count("<p>")))
        assert sample.answer.count("<p>") == sample.answer.count("</p>") > 0
        assert sample.answer.endswith(".")
        assert not sample.prompt.conditions
        answers.add(sample.answer)
        for phrase, track in zip(read_answer(sample.answer)[1], sample.objects, strict=True):
            wanted = {3} if "rass" in phrase.text else {1, 2}
            assert shown(sample, 0, track.masks[0]) in wanted
    assert "<p>Two kittens</p> to the left of a tree." in answers


def test_questions_have_answers_that_are_sure() -> None:
    told: dict[str, set[str]] = {}
    for form in (exists, how_many, where, what):
        for _ in range(60):
            question, answer = form(LIVING) or ("", "")
            told.setdefault(question, set()).add(answer)
            if form is exists:
                (named,) = said_in(question, frozenset().union(*THINGS))
                assert answer.startswith("No" if named & {"cat", "horse"} else "Yes"), question
    assert sum(any(a.startswith("No") for a in answers) for answers in told.values()) > 3
    assert told["How many people are there?"] <= {"Two.", "Two people.", "There are two people."}
    assert told["Where is the dog?"] <= {"On the right.", "The dog is on the right."}
    assert told["What is on the right?"] <= {"A dog.", "There is a dog on the right."}
    assert "What is on the left?" not in told, "a person and a bicycle"
    several = still({1: "dog"}, {1: (60, 0, 90, 30)}, dog="many")
    assert not any(how_many(several) or where(several) for _ in range(9))
    assert exists(several) is None, "it could only be yes"


def test_what_answers_a_question_is_all_that_fits_and_known_everywhere() -> None:
    asked = {}
    for _ in range(60):
        content = reasoned(LIVING)
        masks = {track.condition: track.masks[0].area for track in content.objects}
        asked |= {c.text: masks.get(i) for i, c in enumerate(content.prompt.conditions)}
    assert asked["Which animal barks?"] == 20 * 20
    assert asked["Who can talk?"] == 30 * 30 + 10 * 20
    assert asked["Which animals are pets?"] == 20 * 20
    assert asked["Which animal purrs?"] is None
    assert "What could you ride?" in asked
    assert "Which animal has feathers?" not in asked, "nobody says that there is no bird"
    assert not {"What lives in a stable?", "Which animals eat grass?"} & set(asked), "perhaps the dog"
    assert frozenset().union(*THINGS) <= frozenset().union(*(use.yes for use in USES))
    assert all(len(use.wordings) >= 2 and not use.yes & use.maybe for use in USES)


def test_mentions_have_places() -> None:
    text = "Two Puppies? A cell-phone, sheep."
    found = [(text[m.start : m.end], set(m.names), m.many) for m in mentions(text, ["dog", "cell phone", "sheep"])]
    assert found == [("cell-phone", {"cell phone"}, False), ("sheep", {"sheep"}, True)]


def test_a_wrong_request_says_what_is_served(root: Path, source: PhotoSource) -> None:
    with pytest.raises(InputError, match="img_intseg, img_refseg"):
        source.sample("img_vgdseg", 0)
    with pytest.raises(InputError, match="train, val"):
        PhotoSource(root, "test")


# --- scores ---------------------------------------------------------------------------------------------------------


def answered(sample: Sample, index: int = 0, frames: Any = ()) -> Answer:
    conditions = sample.prompt.conditions
    view = View(frames)
    things = tuple(c.is_thing for c in conditions)
    return Answer(index, sample.sample_id, sample.prompt.labels, things, {"default": view, "nested": view})


def scored(split: str, answers: list[tuple[Sample, Answer]], metric: str) -> dict[str, float]:
    setting = setting_of([a for _, a in answers], "public")
    (group,) = judge(metric).make(setting)
    for sample, answer in answers:
        judge(metric).score([group], sample, answer, setting)
    return group.compute()


def of(name: str, split: str, metric: str, root: Path) -> dict[str, float]:
    samples = list(open_split(split, root))
    return scored(split, [(s, trivial(name, s, answered(s, i))) for i, s in enumerate(samples)], metric)


def test_trivial_answers_score_what_geometry_says(root: Path) -> None:
    assert of("box", "photos_box", "best_of", root)["box/gIoU"] == pytest.approx(1)
    assert of("ellipse", "photos_box", "best_of", root)["box/gIoU"] == pytest.approx(np.pi / 4, abs=0.02)
    visible = HEIGHT * WIDTH - BOXES_AREA[4]
    whole = np.mean([BOXES_AREA[i] / visible for i in (1, 2)])
    assert of("whole", "photos_box", "best_of", root)["box/gIoU"] == pytest.approx(whole)
    sample = open_split("photos_click", root)[0]
    disc = trivial("disc", sample, answered(sample)).views["default"].frames[0][0].rle
    assert disc.area == pytest.approx(DISC * HEIGHT * WIDTH, rel=0.05)
    names = of("whole", "photos_names", "names", root)
    assert names["present/T-acc"] == 1
    assert names["absent/N-acc"] == 0
    largest = BOXES_AREA[3] / visible / 2  # of two names, grass
    assert of("largest", "photos_list", "listed", root)["present/gIoU"] == pytest.approx(largest)
    copied = [BOXES_AREA[1] * (24 - 2 * t) / 24 for t in range(1, 5)]
    wanted = np.mean([i / (2 * BOXES_AREA[1] - i) for i in copied])
    assert of("drawn", "photos_clips_mask", "jf", root)["J"] == pytest.approx(wanted)
    assert of("person", "photos_captions", "said", root) == {"main": 0, "any": 0, "silent": 0, "invented": 1}


def test_felzenszwalb_finds_a_plain_square(root: Path) -> None:
    if "felzenszwalb" not in available(["felzenszwalb"]):
        pytest.skip("scikit-image is not installed")
    assert of("felzenszwalb", "photos_click", "best_of", root)["point/gIoU"] > 0.8


def test_every_trivial_answer_is_known_and_one_that_cannot_be_made_is_left_out(monkeypatch: Any) -> None:
    assert {name for split in SPLITS for name in split.trivial} <= set(MASKS)
    assert set(NEEDS) | set(TEXTS) <= set(MASKS)
    monkeypatch.setattr("x2sam.evaluate.trivial.find_spec", lambda name: None)
    assert available(["disc", "felzenszwalb"]) == ["disc"]


def test_of_several_answers_to_a_click_the_surest_counts_and_the_best_of_three(root: Path) -> None:
    sample = next(s for s in open_split("photos_click", root) if len(s.objects) == 2)
    masks = [RLE.encode(np.roll(sample.objects[0].masks[0].decode(), 12 * k, axis=1)) for k in (1, 0, 2, 0)]
    ranked = enumerate(zip(masks, (0.9, 0.5, 0.7, 0.1), strict=True))
    found = tuple(Segment(mask, "", score, k + 1, 0) for k, (mask, score) in ranked)
    numbers = scored("photos_click", [(sample, answered(sample, 0, (found,)))], "best_of")
    assert numbers["point/gIoU"] == pytest.approx((1 / 3) / 2)  # half of it is met; the other object is not answered
    assert numbers["point@3/gIoU"] == pytest.approx(1 / 2)


def test_presence_at_a_threshold_that_keeps_nine_tenths() -> None:
    ours, theirs = Presence(), Presence()
    for i in range(10):
        (ours if i % 2 else theirs).update((i + 1) / 10, True)  # 0.1 ... 1.0: nine reach 0.2
    for score in (0.05, 0.15, 0.2, 0.9):
        theirs.update(score, False)
    ours.merge(theirs)
    assert ours.compute() == {"refused@90": 0.5, "threshold@90": 0.2}
    assert np.isnan(Presence().compute()["refused@90"])


def test_what_a_description_says() -> None:
    names = frozenset().union(*THINGS)
    assert said_in("A hot dog on the dining tables.", names) == [{"hot dog"}, {"dining table"}]
    assert said_in("Two puppies? No: dogs, and a bike.", names) == [{"dog"}, {"bicycle", "motorcycle"}]
    metric = SaidNames()
    metric.update(said_in("A man on a bike with a giraffe", names), ["motorcycle", "person"])
    metric.update(said_in("A cup", names), ["person"], told=["cup"])
    metric.update([], ["person"])
    found = metric.compute()
    assert found == {"main": 1 / 3, "any": 1 / 3, "silent": 1 / 3, "invented": 1 / 4}


def test_one_word_evaluates_all_and_the_trivial_answers_stand_beside(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Add --all"):
        names_of("photos")
    assert names_of("photos", all_tasks=True) == [split.name for split in SPLITS]
    (score,) = run(["photos_box"], root, X2Sam.from_pretrained("tiny"), tmp_path, limit=2)
    assert not score.errors
    assert score.trivial["box"]["box/gIoU"] == pytest.approx(1)
    table = (tmp_path / "results.md").read_text()
    assert "without a model" in table
    assert "box 100.0, ellipse 7" in table
    written = json.loads((tmp_path / "results.json").read_text())["splits"]["photos_box"]
    assert written["trivial"]["ellipse"]["box/gIoU"] < 0.9
    assert get_split("photos_box").metrics == ("best_of",)
