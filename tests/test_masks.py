"""Run-length masks against plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from x2sam.errors import InputError
from x2sam.masks import RLE, iou_matrix, union

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MASKS)
def test_everything_agrees_with_the_array(mask: np.ndarray) -> None:
    rle = RLE.encode(mask)
    assert (rle.decode() == mask).all()
    assert rle.area == mask.sum()
    rows, columns = mask.nonzero()
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else (0, 0, 0, 0)
    assert rle.box == box
    assert RLE.from_coco(rle.to_coco()) == rle
    flat, runs, last = mask.T.ravel(), [0], False
    for pixel in flat:  # column-major runs, beginning with zeros
        if pixel != last:
            runs.append(0)
            last = pixel
        runs[-1] += 1
    assert RLE.from_coco({"size": list(mask.shape), "counts": runs}) == rle


@given(st.integers(0, 2**32 - 1))
def test_overlap_and_union_agree_with_arrays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.random((3, 9, 7)) < 0.4, rng.random((2, 9, 7)) < 0.4
    a, b = RLE.encode_many(ours), RLE.encode_many(theirs)
    both = (ours[:, None] & theirs).sum((2, 3))
    either = (ours[:, None] | theirs).sum((2, 3))
    assert iou_matrix(a, b) == pytest.approx(both / np.maximum(either, 1))
    assert iou_matrix(a, b, [True, False])[:, 0] == pytest.approx(both[:, 0] / np.maximum(ours.sum((1, 2)), 1))
    assert (union(a).decode() == ours.any(0)).all()
    assert iou_matrix([], b).shape == (0, 2)


@pytest.mark.parametrize("counts", [[1, 2], [50, 60], [-5, 105], "12", b"0"])
def test_runs_that_do_not_fit_are_refused(counts: object) -> None:
    with pytest.raises(InputError, match="100 pixels"):
        RLE.from_coco({"size": [10, 10], "counts": counts})


def test_polygons_fill_their_union() -> None:
    rle = RLE.from_polygons([[0, 0, 4, 0, 4, 4, 0, 4], [6, 6, 9, 6, 9, 9, 6, 9]], 10, 10)
    assert rle.area == 16 + 9
    with pytest.raises(InputError, match="three x,y pairs"):
        RLE.from_polygons([[1, 2, 3, 4]], 10, 10)


@given(MASKS)
def test_run_lengths_as_a_list_are_the_same_mask(mask: np.ndarray) -> None:
    code = RLE.encode(mask).to_coco(packed=False)
    assert sum(code["counts"]) == mask.size
    assert np.array_equal(RLE.from_coco(code).decode(), mask)
