"""Visual prompts: what people give, what the command line gives, and what benchmarks draw from a mask."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from x2sam import regions
from x2sam.errors import InputError
from x2sam.masks import RLE

SIZE = (90, 120)


def disc(x: float, y: float, radius: float, size=SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.hypot(rows - y, columns - x) <= radius


# --- what people give -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 120), st.floats(0, 90)), min_size=1, max_size=4))
def test_points_are_discs(points):
    region = regions.from_points(points, SIZE)
    assert region.kind == "point"
    assert np.array_equal(region.mask, np.any([disc(x, y, regions.MIN_RADIUS) for x, y in points], axis=0))


@pytest.mark.parametrize(("size", "radius"), [((1024, 1024), 10), ((512, 2048), 20), ((64, 48), 2), ((1, 1), 2)])
def test_discs_grow_with_the_larger_side(size, radius):
    y, x = size[0] // 2, size[1] // 2
    assert np.array_equal(regions.from_points([(x, y)], size).mask, disc(x, y, radius, size))


def test_negative_points_carve_their_discs_out():
    both = regions.from_points([(50, 40), (80, 40)], SIZE, negative=[(51, 40), (10, 10)])
    assert np.array_equal(both.mask, (disc(50, 40, 2) | disc(80, 40, 2)) & ~disc(51, 40, 2))
    with pytest.raises(InputError, match="negative points cover"):
        regions.from_points([(50, 40)], SIZE, negative=[(50, 40)])


def test_boxes_exclude_their_right_and_bottom_edge_like_the_boxes_of_results():
    region = regions.from_box((10, 20, 30, 25), SIZE)
    assert region.rle.box == (10, 20, 30, 25)
    assert region.mask.sum() == 20 * 5
    assert regions.from_box((10.2, 20.9, 10.4, 21), SIZE).rle.box == (10, 20, 11, 21)
    assert regions.from_box((0, 0, 120, 90), SIZE).mask.all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 120), st.floats(0, 90)), min_size=1, max_size=5))
def test_a_scribble_is_as_thick_as_its_pen(points):
    mask = regions.from_scribble(points, SIZE).mask
    line = np.zeros(SIZE, dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[-1]], strict=True):
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        along = np.array([x1 - x0, y1 - y0])
        share = ((columns - x0) * along[0] + (rows - y0) * along[1]) / max(along @ along, 1e-9)
        share = share.clip(0, 1)
        line |= np.hypot(columns - x0 - share * along[0], rows - y0 - share * along[1]) <= regions.MIN_RADIUS
    assert not (mask & ~line).any(), "nothing beyond the pen"
    assert not (line & ~ndimage.binary_dilation(mask)).any(), "no gap wider than a pixel"


def test_polygons_alone_and_together():
    square, other = [(10, 10), (20, 10), (20, 20), (10, 20)], [(50, 50), (60, 50), (60, 60)]
    one = regions.from_polygon(square, SIZE, frame=3, object_id=7, name="tile")
    assert (one.frame, one.object_id, one.name, one.kind) == (3, 7, "tile", "mask")
    assert one.rle.box == (10, 10, 20, 20)
    both = regions.from_polygon([square, other], SIZE)
    assert both.rle.area > one.rle.area
    assert (both.mask | one.mask).sum() == both.rle.area
    assert np.array_equal(regions.from_polygon(np.array(square), SIZE).mask, one.mask)


def drawings() -> dict[str, tuple[Image.Image, np.ndarray]]:
    """The same stroke as people store it."""
    stroke = np.zeros(SIZE, dtype=bool)
    stroke[30:40, 20:70] = True
    layer = np.zeros((*SIZE, 4), np.uint8)
    layer[stroke] = (200, 20, 20, 255)
    palette = Image.fromarray(stroke.astype(np.uint8) * 2, mode="P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    coloured = np.where(stroke[..., None], (0, 120, 40), 0).astype(np.uint8)
    bright_first = Image.fromarray((~stroke).astype(np.uint8), mode="P")  # as size optimisers order a palette
    bright_first.putpalette([255, 255, 255, 0, 0, 0])
    return {
        "white on black.png": (Image.fromarray(stroke.astype(np.uint8) * 255), stroke),
        "one on zero.png": (Image.fromarray(stroke.astype(np.uint8)), stroke),
        "bits.png": (Image.fromarray(stroke), stroke),
        "colour.png": (Image.fromarray(coloured), stroke),
        "clear layer.png": (Image.fromarray(layer), stroke),
        "palette.png": (palette, stroke),
        "optimised palette.png": (bright_first, stroke),
        "16 bit.png": (Image.fromarray(stroke.astype(np.uint16) * 65535), stroke),
        "compressed.jpg": (Image.fromarray(stroke.astype(np.uint8) * 255), stroke),
    }


@pytest.mark.parametrize("name", drawings())
def test_masks_and_scribbles_from_picture_files(tmp_path, name):
    image, stroke = drawings()[name]
    image.save(tmp_path / name)
    region = regions.from_mask(tmp_path / name, SIZE)
    assert (region.mask != stroke).sum() <= (60 if name.endswith("jpg") else 0)
    assert regions.from_scribble(tmp_path / name, SIZE).kind == "scribble"


def test_masks_from_memory():
    mask = disc(60, 40, 20)
    rle = RLE.encode(mask)
    flat = mask.ravel(order="F").astype(int)
    runs = np.diff(
        np.flatnonzero(np.concatenate([[1], np.diff(flat), [1]]))
    ).tolist()  # starts with zeros, as COCO wants
    sources = [mask, mask.astype(float), rle, rle.to_coco(), json.loads(json.dumps({"size": SIZE, "counts": runs}))]
    assert all(np.array_equal(regions.from_mask(source, SIZE).mask, mask) for source in sources)


def test_a_label_map_gives_one_region_per_object(tmp_path):
    ids = np.zeros(SIZE, np.uint8)
    ids[10:20, 10:20], ids[30:50, 60:80] = 3, 5
    image = Image.fromarray(ids, mode="P")
    image.putpalette([0, 0, 0] + [50] * 30)
    image.save(tmp_path / "00000.png")
    for source in (tmp_path / "00000.png", ids):
        found = regions.from_label_map(source, SIZE, frame=2)
        assert [(r.object_id, r.frame, r.rle.area) for r in found] == [(3, 2, 100), (5, 2, 400)]


BAD = {
    "point to the right": lambda: regions.from_points([(121, 10)], SIZE),
    "point above": lambda: regions.from_points([(5, -1)], SIZE),
    "point of NaN": lambda: regions.from_points([(float("nan"), 1)], SIZE),
    "point of three": lambda: regions.from_points([(1, 2, 3)], SIZE),
    "point of letters": lambda: regions.from_points([("a", 2)], SIZE),
    "no points": lambda: regions.from_points([], SIZE),
    "negative point outside": lambda: regions.from_points([(1, 1)], SIZE, negative=[(1, 500)]),
    "box by width and height": lambda: regions.from_box((100, 80, 20, 10), SIZE),
    "box outside": lambda: regions.from_box((100, 80, 130, 85), SIZE),
    "box of three": lambda: regions.from_box((1, 2, 3), SIZE),
    "box of infinity": lambda: regions.from_box((1, 2, float("inf"), 5), SIZE),
    "empty scribble": lambda: regions.from_scribble([], SIZE),
    "scribble outside": lambda: regions.from_scribble([(1, 1), (1, 91)], SIZE),
    "polygon of two": lambda: regions.from_polygon([(1, 1), (5, 5)], SIZE),
    "no polygon": lambda: regions.from_polygon([], SIZE),
    "empty mask": lambda: regions.from_mask(np.zeros(SIZE), SIZE),
    "mask of another size": lambda: regions.from_mask(np.ones((120, 90)), SIZE),
    "mask of NaN": lambda: regions.from_mask(np.full(SIZE, np.nan), SIZE),
    "mask of four axes": lambda: regions.from_mask(np.ones((1, 1, *SIZE)), SIZE),
    "missing file": lambda: regions.from_mask("nowhere.png", SIZE),
    "json without counts": lambda: regions.from_mask({"size": SIZE}, SIZE),
    "too long run": lambda: regions.from_mask({"size": SIZE, "counts": [0, 10**6]}, SIZE),
    "empty label map": lambda: regions.from_label_map(np.zeros(SIZE, np.uint8), SIZE),
    "label map in colour": lambda: regions.from_label_map(np.zeros((*SIZE, 3), np.uint8), SIZE),
    "text with one number": lambda: regions.parse_points(["12"]),
    "text with a strange sign": lambda: regions.parse_points(["1,2,?"]),
    "text with a word": lambda: regions.parse_points(["1,two"]),
    "text of three": lambda: regions.parse_box("1,2,3"),
    "unknown kind": lambda: regions.synthesize(np.ones(SIZE, bool), "circle", np.random.default_rng(0)),
    "nothing to synthesize from": lambda: regions.synthesize(np.zeros(SIZE, bool), "box", np.random.default_rng(0)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_prompts_get_one_clear_error(case):
    with pytest.raises(InputError, match=r"^Got .*Expected") as caught:
        BAD[case]()
    assert "\n" not in str(caught.value)


def test_texts_of_the_command_line():
    assert regions.parse_points(["1,2", "3.5, 4 ,-", "5,6,+"]) == ([(1, 2), (5, 6)], [(3.5, 4)])
    assert regions.parse_box("1,2,3,4.5") == (1, 2, 3, 4.5)


# --- what benchmarks draw ---------------------------------------------------------------------------------------------

KINDS = ["point", "scribble", "box", "mask"]


def blobs(seed: int, size=SIZE) -> np.ndarray:
    """A few random polygons; never empty."""
    rng = np.random.default_rng(seed)
    image = Image.new("1", size[::-1])
    for _ in range(rng.integers(1, 4)):
        corners = rng.uniform(0, 1, (rng.integers(3, 7), 2)) * size[::-1]
        ImageDraw.Draw(image).polygon([tuple(c) for c in corners], fill=1)
    mask = np.array(image)
    mask[rng.integers(size[0]), rng.integers(size[1])] = True
    return mask


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS))
def test_synthetic_prompts_mark_every_piece(seed, kind):
    mask = blobs(seed)
    drawn = regions.synthesize(mask, kind, np.random.default_rng(seed))
    again = regions.synthesize(mask, kind, np.random.default_rng(seed))
    assert drawn.shape == mask.shape
    assert drawn.dtype == bool
    assert np.array_equal(drawn, again), "the generator alone decides"
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    large = [i for i in range(1, count + 1) if (labels == i).sum() > 5] or [
        np.bincount(labels.ravel())[1:].argmax() + 1
    ]
    for i in large:
        rows, columns = np.nonzero(labels == i)
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        where = drawn[box] if kind == "scribble" else drawn & (labels == i)
        assert where.any(), f"piece {i} has no mark"


@pytest.mark.parametrize("seed", range(10))
def test_shapes_of_synthetic_prompts(seed):
    size = (1024, 1024)
    mask = np.zeros(size, dtype=bool)
    mask[300:500, 200:600] = True
    draw = {kind: regions.synthesize(mask, kind, np.random.default_rng(seed)) for kind in KINDS}
    rows, columns = np.nonzero(draw["point"])
    assert np.array_equal(draw["point"], disc(columns.mean(), rows.mean(), 10, size))
    assert np.hypot(columns.mean() - 399.5, rows.mean() - 399.5) < 0.25 * 400, "near the centroid"
    x0, y0, x1, y1 = RLE.encode(draw["box"]).box
    assert draw["box"][int(y0) : int(y1), int(x0) : int(x1)].all()
    assert 0.89 <= (x1 - x0) / 400 <= 1.11
    assert (y1 - y0) / 200 == pytest.approx((x1 - x0) / 400, abs=0.02)
    assert (x0 + x1) / 2 == pytest.approx(400, abs=1)
    x0, y0, x1, y1 = RLE.encode(draw["scribble"]).box
    assert min(x1 - x0, 2 * (y1 - y0)) > 240, "from corner to corner"
    assert ndimage.label(draw["scribble"])[1] == 1
    assert 5 <= ndimage.distance_transform_edt(draw["scribble"]).max() <= 12
    blurred = ndimage.gaussian_filter(mask.astype(float), 2, mode="constant")
    assert np.array_equal(draw["mask"], blurred >= blurred.mean())


@pytest.mark.parametrize(
    "mask", [np.ones((1, 1), bool), np.ones((1, 9), bool), np.ones((40, 40), bool), np.eye(2, dtype=bool)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_small_and_full_masks_get_a_prompt_too(mask, kind):
    for seed in range(20):
        assert regions.synthesize(mask, kind, np.random.default_rng(seed)).any()
