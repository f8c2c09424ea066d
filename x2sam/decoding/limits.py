"""What a caller does not want: more than so many of a thing, small pieces, what lies elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from x2sam.decoding.candidates import AnswerOptions, Candidate
from x2sam.masks import RLE, BoolMask


def limited(candidates: Sequence[Candidate], options: AnswerOptions) -> list[Candidate]:
    """Candidates within ``options.within``, of ``min_area`` at least, the surest ``max_objects`` of each condition."""
    found = list(candidates)
    if options.within is not None:
        found = [cut_to(candidate, options.within) for candidate in found]
    least = max(options.min_area, 1 if options.within is not None else 0)
    found = [candidate for candidate in found if candidate.rle.area >= least]
    if options.max_objects is None:
        return found
    taken, kept = Counter[int](), set[int]()
    for i in sorted(range(len(found)), key=lambda i: -found[i].score):
        if taken[found[i].condition] < options.max_objects:
            taken[found[i].condition] += 1
            kept.add(i)
    return [candidate for i, candidate in enumerate(found) if i in kept]


def cut_to(found: Candidate, box: tuple[float, float, float, float]) -> Candidate:
    """What of a candidate lies in a box of the medium, at each of the sizes that it has."""
    height, width = found.rle.height, found.rle.width

    def inside(rows: int, columns: int) -> BoolMask:
        x0, x1 = (round(x * columns / width) for x in box[::2])
        y0, y1 = (round(y * rows / height) for y in box[1::2])
        window = np.zeros((rows, columns), dtype=bool)
        window[max(y0, 0) : max(y1, y0 + 1, 0), max(x0, 0) : max(x1, x0 + 1, 0)] = True
        return window

    low, soft = found.low, found.soft
    return replace(
        found,
        rle=RLE.encode(found.rle.decode() & inside(height, width)),
        low=None if low is None else RLE.encode(low.decode() & inside(low.height, low.width)),
        soft=None if soft is None else soft * soft.new_tensor(inside(soft.shape[0], soft.shape[1])),
    )
