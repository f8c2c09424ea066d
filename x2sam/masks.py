"""Binary masks kept as COCO run-length codes, and the geometry on them. The only user of pycocotools' mask code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import InputError

BoolMask = NDArray[np.bool_]


def _code() -> Any:
    """pycocotools' mask code, imported with the first mask: the network alone runs where it is not installed."""
    from pycocotools import mask

    return mask


@dataclass(frozen=True)
class RLE:
    """A binary mask in COCO's compressed run-length code: kilobytes where the array takes megabytes."""

    height: int
    width: int
    counts: bytes

    @classmethod
    def encode(cls, mask: NDArray[Any]) -> RLE:
        """Encode a mask ``[H, W]``; every non-zero pixel belongs to it."""
        if mask.ndim != 2:
            raise InputError(f"Got a mask of shape {mask.shape}", "one mask of shape [height, width]")
        code = _code().encode(np.asfortranarray(mask != 0, dtype=np.uint8))
        return cls(mask.shape[0], mask.shape[1], code["counts"])

    @classmethod
    def encode_many(cls, masks: NDArray[Any]) -> list[RLE]:
        """Encode masks ``[N, H, W]`` in one call."""
        height, width = masks.shape[1:]
        codes = _code().encode(np.asfortranarray((masks != 0).transpose(1, 2, 0), dtype=np.uint8))
        return [cls(height, width, code["counts"]) for code in codes]

    @classmethod
    def encode_patch(cls, patch: BoolMask, top: int, left: int, height: int, width: int) -> RLE:
        """Encode a mask ``[height, width]`` that is empty outside of ``patch``, whose first pixel is (top, left)."""
        line = np.zeros(patch.shape[1] * height + 2, dtype=bool)  # column after column, empty at both ends
        line[1:-1].reshape(-1, height)[:, top : top + patch.shape[0]] = patch.T
        edges = np.flatnonzero(line[1:] != line[:-1]) + left * height
        ends = np.concatenate([[0], edges, [height * width]])
        runs = ends[1:] - ends[:-1]
        code = _code().frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)
        return cls(height, width, code["counts"])

    @classmethod
    def from_polygons(cls, polygons: Sequence[Sequence[float]], height: int, width: int) -> RLE:
        """The union of polygons, each a flat list ``[x0, y0, x1, y1, ...]`` in pixels (at least three corners)."""
        for polygon in polygons:
            if len(polygon) < 6 or len(polygon) % 2:
                raise InputError(
                    f"Got a polygon of {len(polygon)} numbers", "at least three x,y pairs, as [x0, y0, x1, y1, x2, y2]"
                )
        if not polygons:
            return cls.encode(np.zeros((height, width), dtype=bool))
        codes = _code().frPyObjects([list(map(float, p)) for p in polygons], height, width)
        return cls(height, width, _code().merge(codes)["counts"])

    @classmethod
    def from_coco(cls, code: dict[str, Any]) -> RLE:
        """From COCO's json form, compressed (text or bytes) or not (a list of run lengths).

        Raises:
            InputError: runs that do not add up to the size; decoding them would read beyond the mask.
        """
        height, width = (int(v) for v in code["size"])
        counts = code["counts"]
        counts = counts.encode() if isinstance(counts, str) else counts
        runs = counts if isinstance(counts, list) else _runs(counts)
        if sum(runs) != height * width or min(runs, default=0) < 0:
            raise InputError(
                f"Got run lengths of {sum(runs)} pixels for a mask of {width}x{height}", f"{height * width} pixels"
            )
        if isinstance(counts, list):
            counts = _code().frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]
        return cls(height, width, counts)

    def to_coco(self, packed: bool = True) -> dict[str, Any]:
        """COCO's json form: ``{"size": [H, W], "counts": text}``; not ``packed``: with the run lengths as a list."""
        if not packed:
            return {"size": [self.height, self.width], "counts": _runs(self.counts)}
        return {"size": [self.height, self.width], "counts": self.counts.decode("ascii")}

    def decode(self) -> BoolMask:
        """The mask as an array ``[H, W]`` of bool."""
        return _code().decode(self._coco).astype(bool)

    @property
    def area(self) -> int:
        """Pixels in the mask."""
        return int(_code().area(self._coco))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The tight box ``(x0, y0, x1, y1)`` in pixels, right and bottom edge exclusive; zeros for an empty mask."""
        x, y, w, h = (float(v) for v in _code().toBbox(self._coco))
        return x, y, x + w, y + h

    @property
    def _coco(self) -> dict[str, Any]:
        return {"size": [self.height, self.width], "counts": self.counts}


def _runs(counts: bytes) -> list[int]:
    """Run lengths of COCO's compressed code: numbers in groups of five bits, from the third on as differences."""
    runs: list[int] = []
    value = shift = 0
    for byte in counts:
        group = byte - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if not group & 0x20:
            if group & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def iou_matrix(ours: Sequence[RLE], theirs: Sequence[RLE], crowd: Sequence[bool] | None = None) -> NDArray[np.float64]:
    """Pairwise intersection over union ``[len(ours), len(theirs)]``; a crowd in ``theirs`` counts over our area."""
    if not ours or not theirs:
        return np.zeros((len(ours), len(theirs)))
    flags = [int(c) for c in crowd] if crowd is not None else [0] * len(theirs)
    return np.asarray(_code().iou([m._coco for m in ours], [m._coco for m in theirs], flags), dtype=np.float64)


def union(masks: Sequence[RLE]) -> RLE:
    """The union of masks of one size."""
    return RLE(masks[0].height, masks[0].width, _code().merge([m._coco for m in masks])["counts"])
