"""The splits of a folder of photos and clips (`families.photos`): rows of data, nothing else.

The root is the folder itself. ``trivial`` names answers that need no model and stand beside the model's.
"""

from __future__ import annotations

from x2sam.data.base import Split

_OBJECTS = {"form": "marked", "objects": 4}
_NAMES = {"present": 4, "absent": 4}

# fmt: off
_ROWS: tuple[tuple[str, str, dict[str, object], tuple[str, ...], tuple[str, ...]], ...] = (
    ("box", "img_intseg", {**_OBJECTS, "kind": "box"}, ("best_of",), ("box", "ellipse", "whole")),
    ("click", "img_intseg", {**_OBJECTS, "kind": "point"}, ("best_of",), ("disc", "felzenszwalb", "whole")),
    ("scribble", "img_intseg", {**_OBJECTS, "kind": "scribble"}, ("best_of",), ("box", "ellipse", "disc")),
    ("regions", "img_intseg", {"form": "marked", "set": "bsds", "objects": 8, "kind": "point"}, ("best_of",),
     ("disc", "felzenszwalb")),
    ("names", "img_refseg", {"form": "names", **_NAMES}, ("names", "presence"), ("whole", "middle")),
    ("phrases", "img_refseg", {"form": "phrases", "present": 4}, ("referring",), ("whole", "middle")),
    ("list", "img_genseg", {"form": "list", "absent": 5}, ("listed",), ("largest",)),
    ("everything", "img_genseg", {"form": "everything", "set": "coco-panoptic-train"}, ("pq",), ("largest",)),
    ("captions", "img_gcgseg", {"form": "captions", "set": "coco-full"}, ("said",), ("person",)),
    ("clips_mask", "vid_objseg", {"form": "clip", "kind": "mask"}, ("jf",), ("drawn",)),
    ("clips_click", "vid_objseg", {"form": "clip", "kind": "point"}, ("jf",), ("disc",)),
    ("clips_box", "vid_objseg", {"form": "clip", "kind": "box"}, ("jf",), ("box", "ellipse")),
    ("clips_phrases", "vid_refseg", {"form": "clip_phrases"}, ("jf", "referring"), ("whole", "middle")),
)
# fmt: on

PHOTO_SPLITS = tuple(
    Split(f"photos_{name}", task, "photos", options, metrics, trivial=trivial)
    for name, task, options, metrics, trivial in _ROWS
)
