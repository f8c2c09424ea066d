"""A model of X-AnyLabeling-Server: words, boxes and points in; polygons out (docs/integrations/x_anylabeling.md).

The server's models are classes with `load`, `predict` and `unload` under ``app/models``; a file of two lines there
registers this one.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.predictor import X2Sam
from x2sam.results.outlines import outlines
from x2sam.types import Segment

MARKED = "AUTOLABEL_OBJECT"
"""The label that the program asks a name for."""


class X2SamModel:
    """One entry of the server. config: the content of its yaml file."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.params = config, config.get("params") or {}
        self.model_id, self.display_name = config["model_id"], config["display_name"]
        self.predictor: X2Sam | None = None

    def load(self) -> None:
        name, device = self.params.get("model_path", "auto"), self.params.get("device", "auto")
        self.predictor = X2Sam.from_pretrained(name, device=device)

    def unload(self) -> None:
        self.predictor = None

    def get_metadata(self) -> dict[str, Any]:
        return {"display_name": self.display_name, "widgets": self.config.get("widgets", []), "params": self.params}

    def predict(self, image: NDArray[np.uint8], params: dict[str, Any]) -> dict[str, Any]:
        """Shapes of one picture.

        Args:
            image: ``[H, W, 3]``, blue, green, red, as the server reads files.
            params: ``text_prompt`` (several names with commas or full stops between them; one is a phrase), ``marks``
                (rectangles and points; label 1: of the object, 0: not), ``conf_threshold``.
        """
        assert self.predictor is not None, "the server loads a model before it asks it"
        frame = np.ascontiguousarray(image[..., ::-1])
        least = params.get("conf_threshold", self.params.get("conf_threshold"))
        regions = _regions(params.get("marks") or [])
        text = str(params.get("text_prompt") or "").strip()
        if regions:
            result = self.predictor.segment(frame, regions=regions, threshold=0.0)
        elif text:
            names = [name.strip() for name in re.split(r"[,.]", text) if name.strip()]
            asked = names[0] if len(names) == 1 else names
            result = self.predictor.segment(frame, asked, threshold=least)
        else:
            return {"shapes": [], "description": ""}
        shapes = [shape for segment in result.segments for shape in _shapes(segment, MARKED if regions else "")]
        return {"shapes": shapes, "description": result.text}


def _regions(marks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every rectangle of an object is one; points are one more; what is not of it belongs to all."""
    boxes = [m["data"] for m in marks if m.get("type") == "rectangle" and m.get("label") == 1]
    points = [m["data"] for m in marks if m.get("type") == "point" and m.get("label") == 1]
    negative = [m["data"] for m in marks if m.get("type") == "point" and m.get("label") == 0]
    regions: list[dict[str, Any]] = [{"box": box} for box in boxes]
    if points:
        regions.append({"points": points, **({"negative": negative} if negative else {})})
    return regions


def _shapes(segment: Segment, label: str) -> list[dict[str, Any]]:
    """The polygons of a segment's pieces; those of one object are a group."""
    pieces = list(outlines(segment.mask)) if segment.area else []
    return [
        {
            "label": label or segment.label,
            "shape_type": "polygon",
            "points": [*ring.tolist(), ring[0].tolist()],
            "score": segment.score,
            "group_id": segment.object_id if len(pieces) > 1 else None,
        }
        for ring in pieces
    ]
