"""Regions in the forms of other libraries mean what the same numbers mean in a list."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from x2sam.errors import InputError
from x2sam.marks import plain, read_regions, whole
from x2sam.media.opening import open_media
from x2sam.requests import guess, is_question, make_request

SIZE = (60, 80)
BOXES = [(4, 5, 30, 40), (41, 12, 70, 58)]
FRAME = pandas.DataFrame(BOXES, columns=["x0", "y0", "x1", "y1"])

corner = st.tuples(st.integers(0, 39), st.integers(0, 29))
box = st.tuples(corner, st.tuples(st.integers(1, 40), st.integers(1, 30))).map(
    lambda c: (c[0][0], c[0][1], c[0][0] + c[1][0], c[0][1] + c[1][1])
)
FORMS = {
    "tuple": tuple,
    "generator": lambda v: (item for item in v),
    "map": lambda v: map(tuple, v),
    "zip": lambda v: zip(*zip(*v, strict=True), strict=True),
    "array": np.array,
    "floats": lambda v: np.array(v, np.float32),
    "tensor": torch.tensor,
    "bfloat16": lambda v: torch.tensor(v, dtype=torch.bfloat16),
    "grad": lambda v: torch.tensor(v, dtype=torch.float32, requires_grad=True),
    "tensors": lambda v: [torch.tensor(item) for item in v],
    "scalars": lambda v: [[np.int64(n) for n in item] for item in v],
    "torch scalars": lambda v: [[torch.tensor(n) for n in item] for item in v],
    "table": pandas.DataFrame,
    "rows": lambda v: [row for _, row in pandas.DataFrame(v).iterrows()],
    "objects": lambda v: np.array(v, dtype=object),
    "dicts": lambda v: [{"box" if len(item) == 4 else "point": np.array(item)} for item in v],
}


@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("form", FORMS)
@given(given_=st.lists(box, min_size=1, max_size=3) | st.lists(corner, min_size=1, max_size=3))
def test_every_form_means_the_same(form, given_):
    wanted = read_regions(given_, SIZE)
    assert len(wanted) == len(given_)
    found = read_regions(FORMS[form](given_), SIZE)
    assert [(r.kind, r.rle) for r in found] == [(r.kind, r.rle) for r in wanted]


@pytest.mark.parametrize("one", [BOXES[0], np.array(BOXES[0]), torch.tensor(BOXES[0]), FRAME.iloc[0]])
def test_four_numbers_are_one_box(one):
    assert [r.rle.box for r in read_regions(one, SIZE)] == [BOXES[0]]


MASK = np.zeros(SIZE, bool)
MASK[10:30, 20:50] = True
IDS = np.zeros(SIZE, np.uint8)
IDS[5:9, 5:9], IDS[20:30, 20:30], IDS[40:41, 40:44] = 1, 2, 5


@pytest.mark.parametrize(
    "mask",
    [
        MASK,
        MASK.astype(np.uint8),
        MASK * 255,
        MASK * 0.9,
        np.where(MASK, 7.0, -3.0),
        torch.from_numpy(MASK),
        torch.where(torch.from_numpy(MASK), 0.1, -9.0),
        Image.fromarray(MASK),
        MASK[None],
        MASK[None, None],
        [MASK],
        {"mask": torch.from_numpy(MASK)},
        {"mask": MASK[None]},
        {"mask": MASK.tolist()},
    ],
)
def test_a_mask_of_any_library(mask):
    (region,) = read_regions(mask, SIZE)
    assert np.array_equal(region.mask, MASK)


@pytest.mark.parametrize("maps", [IDS, IDS.astype(np.int64), IDS.astype(np.uint16), {"mask": IDS}, torch.tensor(IDS)])
def test_a_map_of_ids_is_as_many_regions(maps):
    found = read_regions(maps, SIZE)
    assert {r.object_id: r.rle.area for r in found} == {1: 16, 2: 100, 5: 4}


@pytest.mark.parametrize("mode", ["16", "palette"])
def test_a_map_of_ids_in_a_file(tmp_path, mode):
    picture = Image.fromarray(IDS.astype(np.uint16)) if mode == "16" else Image.fromarray(IDS, mode="P")
    if mode == "palette":
        picture.putpalette([0, 0, 0, *range(30)])
    picture.save(tmp_path / "ids.png")
    assert [r.object_id for r in read_regions({"mask": tmp_path / "ids.png"}, SIZE)] == [1, 2, 5]


def test_shades_of_grey_are_one_mask():
    soft = np.asarray(
        Image.fromarray(MASK * np.uint8(255)).resize((SIZE[1], SIZE[0])).resize((20, 15)).resize((80, 60))
    )
    assert len(np.unique(soft)) > 5
    (region,) = read_regions(soft, SIZE)
    assert np.array_equal(region.mask, soft >= soft.max() / 2)


def test_many_masks():
    assert [r.rle.area for r in read_regions(np.stack([MASK, ~MASK]), SIZE)] == [600, 4200]
    assert [r.rle.area for r in read_regions(np.stack([MASK, ~MASK])[:, None], SIZE)] == [600, 4200]


@pytest.mark.parametrize("none", [[], (), np.zeros((0, 4)), torch.zeros(0, 4), iter(()), np.zeros(0), FRAME[:0]])
def test_nothing_found_is_something_said(none):
    clip = open_media(np.zeros((*SIZE, 3), np.uint8))
    request = make_request(clip, regions=none)
    assert (request.task.name, request.nothing) == ("img_intseg", True)
    assert make_request(clip, regions=None).task.name == "img_gcgseg"


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (5, "shape"),
        (np.zeros((2, 6)), "four columns"),
        (np.ones((9, 14)), "14x9"),
        ([[[(1, 2)]], [[(3, 4)]]], "2 images"),
        ({"points": [[1, 2], [3, 4]], "labels": [1]}, "a label for each point"),
        ({"points": [[1, 2]], "labels": [2]}, "-1 (padding)"),
        ({"points": [[[1, 2]], [[3, 4]]], "id": 3}, "an id for each"),
        (object(), "object"),
        (b"1,2", "bytes"),
        ([None], "NoneType"),
        ({"box": "1,2,3,4"}, "four numbers"),
        ({"box": (1, 2, 3, 4), "frame": "zero"}, "whole number"),
        ({"box": (1, 2, 3, 4), "id": "car"}, "whole number"),
        ({"box": (1, 2, 3, 4), "id": 2.5}, "whole number"),
        ({"box": (1, 2, 3, 4), "id": True}, "whole number"),
        ({"mask": IDS, "id": 3}, "one id"),
        ({"points": 3}, "for a point"),
        (["no/such/file.png"], "no"),
        ("A" * 5000, "A"),
    ],
)
def test_what_is_no_region_is_said_in_one_sentence(given_, said):
    with pytest.raises(InputError) as caught:
        read_regions(given_, SIZE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


junk = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["box", "mask", "points", "id"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(junk)
def test_junk_is_refused_and_breaks_nothing(value):
    with suppress(InputError):
        for region in read_regions(value, SIZE):
            assert region.rle.area > 0
            assert region.mask.shape == SIZE


@pytest.mark.parametrize("number", [4, np.int64(4), np.uint8(4), 4.0, np.float32(4), torch.tensor(4)])
def test_whole_numbers_of_any_library(number):
    assert whole(number, "x") == 4
    assert type(whole(number, "x")) is int


def test_plain_keeps_what_has_a_meaning_of_its_own():
    assert plain({"box": 1}) == {"box": 1}
    assert str(plain("a.png")) == "a.png"


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "question", "guessed"),
    [
        ("can of soda", False, False),
        ("can opener", False, False),
        ("do not enter sign", False, False),
        ("is-it sign", False, False),
        ("will smith", False, False),
        ("how-to book", False, False),
        ("which cup is full", True, True),
        ("what's on the table", True, True),
        ("is the cup full", True, True),
        ("could you find the cup", True, True),
        ("What keeps the rain off?", True, False),
        ("哪个杯子是满的？", True, False),
        ("أين الكلب؟", True, False),
        ("Quel chien dort ?", True, False),
        ("“Who is it?”", True, False),
        ("(which one?)", True, False),
        ("Le chat dort ?!", True, False),
        ("¿Dónde está el gato", True, False),
        ("Ո՞վ է սա", True, False),
        ("Πού είναι ο σκύλος;", True, False),
        ("ውሻው የት ነው፧", True, False),
        ("the dog; the cat;", False, False),
        ("the sign that says 'Why?'", False, False),
        ("", False, False),
        ("the left dog", False, False),
    ],
)
def test_questions_and_phrases(text, question, guessed):
    assert is_question(text) is question
    assert bool(guess(text)) is guessed


@pytest.mark.parametrize(
    "prompt", [np.array(["dog", "cat"]), ("dog", "cat"), (n for n in ("dog", "cat")), [b"dog", "cat"]]
)
def test_names_of_any_library(prompt):
    clip = open_media(np.zeros((*SIZE, 3), np.uint8))
    assert make_request(clip, prompt).prompt.labels == ("dog", "cat")


@pytest.mark.parametrize("prompt", [[None], {"dog": 1}, object(), [["dog"]], True])
def test_what_is_no_prompt(prompt):
    with pytest.raises(InputError):
        make_request(open_media(np.zeros((*SIZE, 3), np.uint8)), prompt)


def test_numbers_and_broken_letters_are_words():
    clip = open_media(np.zeros((*SIZE, 3), np.uint8))
    assert make_request(clip, 7).prompt.labels == ("7",)
    assert make_request(clip, "\udce9 dog").prompt.labels == ("? dog",)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_points_nested_as_for_sam(kind):
    """[image][object][point], with labels or without, in lists and arrays, even and uneven."""
    two = [[[20, 10], [30, 12]], [[50, 40], [60, 41]]]
    for points in (two, [two]):
        found = read_regions(kind(points), SIZE)
        plain_ = [read_regions({"points": of_one}, SIZE)[0] for of_one in two]
        assert [r.rle for r in found] == [r.rle for r in plain_]
    labelled = {"input_points": kind([two]), "input_labels": kind([[[1, 0], [1, -10]]]), "id": [4, 9]}
    first, second = read_regions(labelled, SIZE)
    assert first.rle == read_regions({"points": [[20, 10]]}, SIZE)[0].rle
    assert first.negative == read_regions({"points": [[30, 12]]}, SIZE)[0].rle
    assert second.rle == read_regions({"points": [[50, 40]]}, SIZE)[0].rle
    assert (first.object_id, second.object_id, second.negative) == (4, 9, None)
    assert read_regions({"input_points": kind([two[:1]]), "id": [6]}, SIZE)[0].object_id == 6
    (one,) = read_regions({"point_coords": kind(two[0]), "point_labels": kind([1, 1])}, SIZE)
    assert one.rle == plain_[0].rle
    assert [r.kind for r in read_regions(kind([[[1, 2, 30, 40], [5, 6, 7, 8]]]), SIZE)] == ["box", "box"]
    assert len(read_regions({"input_boxes": kind([[[1, 2, 30, 40], [5, 6, 7, 8]]])}, SIZE)) == 2


def test_uneven_nests_are_objects():
    found = read_regions([[[[20, 10], [30, 12], [31, 12]], [[50, 40]]]], SIZE)
    assert [r.rle for r in found] == [
        read_regions({"points": points}, SIZE)[0].rle for points in ([[20, 10], [30, 12], [31, 12]], [[50, 40]])
    ]
