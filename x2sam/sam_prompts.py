"""Points and boxes nested as SAM's users write them: ``[image][object][point][x, y]``, with labels beside them.

A level that is missing is of length one: ``[point][2]`` is one object, ``[object][point][2]`` are several.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from x2sam.errors import InputError

Pairs = list[list[float]]
PADDING = (-1, -10)
"""Labels of points that only fill a tensor up."""


def depth(value: Any) -> int:
    """How deep lists are nested; arrays and tensors have as many levels as dimensions, a number none."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    if not isinstance(value, (list, tuple)):
        return 0
    return 1 + max((depth(inner) for inner in value), default=0)


def listed(value: Any) -> Any:
    """Arrays, tensors and tuples, wherever they are, as lists of numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [listed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def by_object(value: Any, leaf: int, what: str) -> list[Any]:
    """The objects of a nesting whose leaves have ``leaf`` levels of their own (points 2, labels 1).

    Raises InputError for several images, or for what is too deep.
    """
    nested = listed(value)
    level = depth(nested)
    if level == leaf + 2:
        if len(nested) != 1:
            raise InputError(f"Got {what} for {len(nested)} images", "one image at a time", "Ask once for each")
        nested, level = nested[0], level - 1
    if level == leaf:
        nested, level = [nested], level + 1
    if level != leaf + 1:
        raise InputError(f"Got {what} nested {level} levels deep", f"{leaf} to {leaf + 2}: [image][object][point]")
    return list(nested)


def objects_of(points: Any, labels: Any = None) -> list[tuple[Pairs, Pairs]]:
    """Positive and negative points ``[x, y]`` of every object; without labels all are positive."""
    given = by_object(points, 2, "points")
    signs = [[1] * len(of_one) for of_one in given] if labels is None else by_object(labels, 1, "labels")
    if [len(of_one) for of_one in given] != [len(of_one) for of_one in signs]:
        shapes = f"{[len(o) for o in given]} points and {[len(o) for o in signs]} labels"
        raise InputError(f"Got {shapes} for the objects", "a label for each point: 1 on it, 0 not on it")
    strange = {sign for of_one in signs for sign in of_one} - {0, 1, *PADDING}
    if strange:
        raise InputError(
            f"Got the labels {sorted(map(str, strange))}", "1 (on the object), 0 (not on it), -1 (padding)"
        )
    return [
        ([p for p, s in zip(ps, ss, strict=True) if s == 1], [p for p, s in zip(ps, ss, strict=True) if s == 0])
        for ps, ss in zip(given, signs, strict=True)
    ]


def boxes_of(boxes: Any) -> Pairs:
    """Boxes ``[x0, y0, x1, y1]``, nested or not."""
    nested = np.asarray(listed(boxes), dtype=float)
    if nested.ndim == 3 and len(nested) == 1:
        nested = nested[0]
    nested = nested[None] if nested.ndim == 1 else nested
    if nested.ndim != 2 or nested.shape[1] != 4:
        raise InputError(f"Got boxes of shape {list(nested.shape)}", "[image][box][x0, y0, x1, y1]")
    return nested.tolist()


def is_nest(value: Any, size: tuple[int, int], leaf: int = 2) -> bool:
    """Whether a list or an array is a nesting of points, three or four levels deep, and no masks of this size.

    leaf: numbers of the innermost level; 4 for boxes.
    """
    if depth(value) not in (3, 4):
        return False
    if hasattr(value, "shape"):
        return value.shape[-1] == leaf and tuple(value.shape[-2:]) != size
    if any(tuple(getattr(inner, "shape", ())) == size for inner in value):
        return False
    return all(len(pair) == leaf for pair in _leaves(listed(value)))


def _leaves(nested: Any) -> list[Any]:
    """The innermost lists."""
    if not isinstance(nested, list) or not any(isinstance(inner, list) for inner in nested):
        return [nested] if isinstance(nested, list) else [[]]
    return [leaf for inner in nested for leaf in _leaves(inner)]
