"""Tiny video data sets in their true layout on disk: each function writes one and says what should be read from it.

Two videos of three frames show the same two objects everywhere; only the files differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from x2sam.data.base import Split
from x2sam.masks import RLE

HEIGHT, WIDTH, LENGTH = 24, 32, 3
VIDEOS = ("alpha", "beta")
STEMS = ("00000", "00005", "00010")
Array = np.ndarray


def shapes(video: int) -> dict[int, Array]:
    """Two objects ``[T, H, W]``: 1 leaves before the last frame, 2 comes after the first."""
    masks = {i: np.zeros((LENGTH, HEIGHT, WIDTH), bool) for i in (1, 2)}
    for t in range(LENGTH):
        masks[1][t, 2 + t : 9 + t, 3 + 2 * video : 11] = t < 2
        masks[2][t, 12:20, 14 + t : 25 - video] = t > 0
    return masks


def colour(video: int, t: int) -> tuple[int, int, int]:
    return 90 * video + 30, 80 * t + 20, 120


def painted(video: int, t: int, values: Mapping[int, int], ground: int = 0) -> Array:
    """A map ``[H, W]`` with a value for every object."""
    ids = np.full((HEIGHT, WIDTH), ground)
    for i, masks in shapes(video).items():
        ids[masks[t]] = values[i]
    return ids


def save(path: Path, ids: Array) -> None:
    """A palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids.astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, *(7 * v % 256 for v in range(765))])
    picture.save(path)


def save_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save_frames(root: Path, ending: str = ".jpg", inside: str = "") -> None:
    for video, name in enumerate(VIDEOS):
        for t, stem in enumerate(STEMS):
            path = root / name / inside / f"{stem}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), colour(video, t)).save(path)


def save_palettes(root: Path) -> None:
    for video, name in enumerate(VIDEOS):
        for t, stem in enumerate(STEMS):
            save(root / name / f"{stem}.png", painted(video, t, {1: 1, 2: 2}))


def codes(video: int, i: int, plain: bool = False) -> list[Any]:
    """COCO run lengths a frame, compressed or plain; null where the object is not seen."""
    found: list[Any] = []
    for mask in shapes(video)[i]:
        column = mask.ravel(order="F")
        ends = np.append(np.flatnonzero(np.diff(column)) + 1, column.size)
        runs = np.diff(ends, prepend=0).tolist()
        code = {"size": [HEIGHT, WIDTH], "counts": runs} if plain else RLE.encode(mask).to_coco()
        found.append(code if mask.any() else None)
    return found


@dataclass(frozen=True)
class Expected:
    """A sample, as the files mean it."""

    name: str
    video: int
    labels: tuple[str, ...]
    objects: Mapping[tuple[int, int], int]
    """From an object's id and condition to the shape that it is."""
    void: tuple[Array, ...] | None = None
    answer: str | None = None
    crowds: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Layout:
    """What was written, and what should be read."""

    family: str
    task: str
    options: dict[str, Any]
    expected: Sequence[Expected]
    fragile: Sequence[str] = ()
    """Files whose damage must be named."""
    hidden: bool = False

    def split(self, **options: Any) -> Split:
        return Split("tiny", self.task, self.family, {**self.options, **options}, (), hidden=self.hidden)


def vipseg(root: Path) -> Layout:
    save_frames(root / "images")
    segments = {1: 13101, 2: 70005}
    videos, annotations = [], []
    for video, name in enumerate(VIDEOS):
        frames = []
        for t, stem in enumerate(STEMS):
            ids = painted(video, t, segments)
            (root / "pan" / name).mkdir(parents=True, exist_ok=True)
            rgb = np.dstack([ids, ids >> 8, ids >> 16]).astype(np.uint8)
            Image.fromarray(rgb).save(root / "pan" / name / f"{stem}.png")
            rows = [{"id": segments[i], "category_id": {1: 60, 2: 4}[i], "iscrowd": 0} for i in (1, 2)]
            rows = [row for row in rows if (ids == row["id"]).any()]
            frames.append({"image_id": stem, "file_name": f"{stem}.png", "segments_info": rows})
        images = [{"id": s, "file_name": f"{s}.png", "width": WIDTH, "height": HEIGHT} for s in STEMS]
        videos.append({"video_id": name, "images": images[::-1]})
        annotations.insert(0, {"video_id": name, "annotations": frames})
    categories = [{"id": 60, "name": "person (any)", "isthing": 1}, {"id": 4, "name": "road_side", "isthing": 0}]
    save_json(root / "pan.json", {"videos": videos, "annotations": annotations, "categories": categories})
    expected = [
        Expected(name, v, ("road side", "person"), {(13101, 1): 1, (70005, 0): 2}, tuple(void(v)))
        for v, name in enumerate(VIDEOS)
    ]
    options = {"json": "pan.json", "images": "images", "masks": "pan"}
    return Layout("vipseg", "vid_genseg", options, expected, ("pan.json", "pan/beta/00005.png"))


def void(video: int) -> list[Array]:
    return [painted(video, t, {1: 1, 2: 2}) == 0 for t in range(LENGTH)]


def vspw(root: Path) -> Layout:
    save_frames(root / "images")
    for video, name in enumerate(VIDEOS):
        for t, stem in enumerate(STEMS):
            ids = painted(video, t, {1: 124, 2: 1}, ground=(0, 254, 255)[t])
            save(root / "semmasks" / name / f"{stem}.png", ids)
    save_json(root / "names.json", {"others": "0", "wall": "1", **{f"kind-{n}": str(n) for n in range(2, 125)}})
    (root / "val.txt").write_text("alpha\nbeta\n")
    labels = ("wall", *(f"kind {n}" for n in range(2, 125)))
    expected = [Expected(n, v, labels, {(124, 123): 1, (1, 0): 2}, tuple(void(v))) for v, n in enumerate(VIDEOS)]
    options = {"names": "names.json", "list": "val.txt", "images": "images", "masks": "semmasks"}
    return Layout("vspw", "vid_genseg", options, expected, ("names.json", "val.txt", "semmasks/alpha/00010.png"))


def ytvis(root: Path) -> Layout:
    save_frames(root / "JPEGImages")
    videos = [
        {"id": v + 1, "file_names": [f"{n}/{s}.jpg" for s in STEMS], "height": HEIGHT, "width": WIDTH, "length": LENGTH}
        for v, n in enumerate(VIDEOS)
    ]
    annotations = [
        {"id": 10 * v + i, "video_id": v + 1, "category_id": {1: 7, 2: 3}[i], "iscrowd": int(i == 2 and v == 1)}
        | {"segmentations": codes(v, i, plain=v == 0), "bboxes": [], "areas": []}
        for v in (0, 1)
        for i in (1, 2)
    ]
    categories = [{"id": 7, "name": "Giant_Panda"}, {"id": 3, "name": "dog"}]
    save_json(root / "valid.json", {"videos": videos, "annotations": annotations, "categories": categories})
    expected = [
        Expected(str(v + 1), v, ("dog", "giant panda"), {(10 * v + 1, 1): 1, (10 * v + 2, 0): 2}, crowds=crowds)
        for v, crowds in ((0, frozenset[int]()), (1, frozenset({12})))
    ]
    options = {"json": "valid.json", "images": "JPEGImages"}
    return Layout("ytvis", "vid_genseg", options, expected, ("valid.json",))


def ref_youtube_vos(root: Path) -> Layout:
    save_frames(root / "JPEGImages")
    save_palettes(root / "Annotations")
    said = {"0": {"exp": "the left one", "obj_id": "1"}, "1": {"exp": "who comes late", "obj_id": "2"}}
    content = {"videos": {name: {"frames": list(STEMS), "expressions": said} for name in VIDEOS}}
    save_json(root / "meta.json", content)
    expected = [
        Expected(f"{name}/0,1", v, ("the left one", "who comes late"), {(1, 0): 1, (2, 1): 2})
        for v, name in enumerate(VIDEOS)
    ]
    options = {"expressions": "meta.json", "images": "JPEGImages", "masks": "Annotations", "phrases": 8}
    files = ("meta.json", "Annotations/alpha/00000.png", "JPEGImages/beta/00010.jpg")
    return Layout("ref_youtube_vos", "vid_refseg", options, expected, files)


def ref_youtube_vos_valid(root: Path) -> Layout:
    layout = ref_youtube_vos(root)
    for video, name in enumerate(VIDEOS):
        for i in (1, 2):
            for t, stem in enumerate(STEMS):
                (root / "valid" / name / str(i - 1)).mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(shapes(video)[i][t])  # 0 and 255, one bit
                picture.convert("L").save(root / "valid" / name / str(i - 1) / f"{stem}.png")
    expected = [
        Expected(f"{name}/{i - 1}", v, (("the left one", "who comes late")[i - 1],), {(i, 0): i})
        for v, name in enumerate(VIDEOS)
        for i in (1, 2)
    ]
    options = {**layout.options, "masks": "valid", "per_expression": True, "phrases": 1}
    return replace(layout, options=options, expected=expected, fragile=("valid/beta/1/00005.png",))


def ref_youtube_vos_server(root: Path) -> Layout:
    """The public validation split: no masks, and no word about which object is meant."""
    save_frames(root / "JPEGImages")
    video = {"frames": list(STEMS), "expressions": {"4": {"exp": "the left one"}}}
    save_json(root / "meta.json", {"videos": dict.fromkeys(VIDEOS, video)})
    expected = [Expected(f"{name}/4", v, ("the left one",), {}) for v, name in enumerate(VIDEOS)]
    options = {"expressions": "meta.json", "images": "JPEGImages", "masks": "Annotations", "per_expression": True}
    return Layout("ref_youtube_vos", "vid_refseg", options, expected, hidden=True)


def ref_davis(root: Path) -> Layout:
    names = ("classic-car", "dogs-scale")
    save_frames(root / "480p")
    save_palettes(root / "masks")
    for folder in ("480p", "masks"):
        for old, new in zip(VIDEOS, names, strict=True):
            (root / folder / old).rename(root / folder / new)
    lines = ['clasic-car 1 "the café\'s car"', 'dog-scale 2 "the dog that comes"', 'elsewhere 1 "nothing"', ""]
    (root / "annot1.txt").write_bytes("\n".join(lines).encode("utf-8"))
    (root / "annot2.txt").write_bytes("\n".join(lines[:2]).replace("car 1", "car 2").encode("latin-1"))
    (root / "val.txt").write_text("\n".join(names))
    expected = [
        Expected("0/classic-car/1", 0, ("the café's car",), {(1, 0): 1}),
        Expected("0/dogs-scale/2", 1, ("the dog that comes",), {(2, 0): 2}),
        Expected("1/classic-car/2", 0, ("the café's car",), {(2, 0): 2}),
        Expected("1/dogs-scale/2", 1, ("the dog that comes",), {(2, 0): 2}),
    ]
    options = {"texts": ["annot1.txt", "annot2.txt"], "list": "val.txt", "images": "480p", "masks": "masks"}
    return Layout("ref_davis", "vid_refseg", options, expected, ("annot2.txt", "masks/dogs-scale/00000.png"))


def revos(root: Path) -> Layout:
    save_frames(root / "JPEGImages" / "set")
    codes_by_id = {f"{10 * v + i}": codes(v, i) for v in (0, 1) for i in (1, 2)}
    save_json(root / "mask_dict.json", codes_by_id)
    videos = {}
    for v, name in enumerate(VIDEOS):
        said = [("Which of them moves?", [1, 2], 1), ("the small one", [2], 0), ("a horse", [], 2)]
        expressions = {
            str(n): {"exp": text, "obj_id": ids, "anno_id": [10 * v + i for i in ids], "type_id": kind}
            for n, (text, ids, kind) in enumerate(said)
        }
        videos[f"set/{name}"] = {"frames": list(STEMS), "height": HEIGHT, "width": WIDTH, "expressions": expressions}
    save_json(root / "meta.json", {"videos": videos})
    expected = []
    for v, name in enumerate(VIDEOS):
        both = {(10 * v + 1, 0): 1, (10 * v + 2, 0): 2}
        expected += [
            Expected(f"set/{name}/0", v, ("Which of them moves?",), both),
            Expected(f"set/{name}/2", v, ("a horse",), {}),
        ]
    options = {"expressions": "meta.json", "masks": "mask_dict.json", "images": "JPEGImages", "types": [1, 2]}
    return Layout("revos", "vid_reaseg", options, expected, ("meta.json", "mask_dict.json"))


def reasonvos(root: Path) -> Layout:
    save_frames(root / "JPEGImages")
    videos = {}
    for v, name in enumerate(VIDEOS):
        for t, stem in enumerate(STEMS):
            save(root / "Annotations" / f"mevis_{name}_2" / f"{stem}.png", 255 * shapes(v)[2][t])
        expression = {"exp_text": "who is late?", "is_sent": True, "obj_id": 2}
        videos[name] = {"source": "MeViS", "expressions": {"7": expression}}
    save_json(root / "meta.json", {"videos": videos})
    expected = [Expected(f"{name}/7", v, ("who is late?",), {(2, 0): 2}) for v, name in enumerate(VIDEOS)]
    options = {"expressions": "meta.json", "images": "JPEGImages", "masks": "Annotations"}
    return Layout("reasonvos", "vid_reaseg", options, expected, ("meta.json", "Annotations/mevis_beta_2/00005.png"))


SAID = "One [tall box](1) and [both of them](1, 2)."
ANSWER = "One <p>tall box</p> and <p>both of them</p>."


def spoken(ids: Callable[[int, int], int]) -> list[Expected]:
    return [
        Expected(name, v, (), {(ids(v, 1), 0): 1, (ids(v, 1), 1): 1, (ids(v, 2), 1): 2}, answer=ANSWER)
        for v, name in enumerate(VIDEOS)
    ]


def gcg_mevis(root: Path) -> Layout:
    save_frames(root / "JPEGImages")
    save_json(root / "mask_dict.json", {f"{10 * v + i}": codes(v, i) for v in (0, 1) for i in (1, 2)})
    videos = {}
    for v, name in enumerate(VIDEOS):
        said = {"0": {"exp": "x", "obj_id": [1, 2], "anno_id": [10 * v + 1, 10 * v + 2]}}
        videos[name] = {"frames": list(STEMS), "vid_id": v, "expressions": said}
        save_json(root / "gcg" / f"{name}.json", {"caption": SAID})
    save_json(root / "meta.json", {"videos": videos})
    options = {"form": "mevis", "captions": "gcg", "expressions": "meta.json", "masks": "mask_dict.json"}
    options["images"] = "JPEGImages"
    fragile = ("gcg/beta.json", "meta.json", "mask_dict.json")
    return Layout("video_gcg", "vid_gcgseg", options, spoken(lambda v, i: i), fragile)


def gcg_ytvos(root: Path) -> Layout:
    save_frames(root / "JPEGImages")
    save_palettes(root / "Annotations")
    for name in VIDEOS:
        save_json(root / "gcg" / f"{name}.json", {"caption": SAID})
    options = {"form": "ytvos", "captions": "gcg", "masks": "Annotations", "images": "JPEGImages"}
    fragile = ("gcg/alpha.json", "Annotations/alpha/00000.png")
    return Layout("video_gcg", "vid_gcgseg", options, spoken(lambda v, i: i), fragile)


def gcg_folders(root: Path) -> Layout:
    save_frames(root / "train", ".png", "frames")
    for v, name in enumerate(VIDEOS):
        save_json(root / "train_captions" / f"{name}.json", {"caption": SAID})
        for i in (1, 2):
            for t, stem in enumerate(STEMS):
                save(root / "train" / name / "masks" / f"{i:03d}" / f"{stem}.png", 255 * shapes(v)[i][t])
    options = {"form": "folders", "captions": "train_captions", "images": "train"}
    fragile = ("train_captions/beta.json", "train/alpha/masks/002/00005.png", "train/beta/frames/00010.png")
    return Layout("video_gcg", "vid_gcgseg", options, spoken(lambda v, i: i), fragile)


def gcg_words(root: Path) -> Layout:
    save_frames(root / "yt19" / "train" / "JPEGImages")
    videos: list[Any] = []
    for v, name in enumerate(VIDEOS):
        caption = {"caption": "A man rides  a bike.", "token_pos": [5, 1, 5], "mask_id": [10 * v + 2, 10 * v + 1] * 2}
        caption["mask_id"] = caption["mask_id"][:3]
        about = {"id": v, "dataset_split": "yt19", "height": HEIGHT, "width": WIDTH, "dense_cap": caption}
        videos.append({**about, "file_names": [f"{name}/{s}.jpg" for s in STEMS]})
    videos.append({"id": 9, "dense_cap": {"caption": None, "token_pos": None, "mask_id": None}})
    rows = [{"id": 10 * v + i, "video_id": v, "segmentations": codes(v, i, plain=True)} for v in (0, 1) for i in (1, 2)]
    save_json(root / "test.json", {"videos": videos, "annotations": rows})
    answer = "A <p>man</p> rides  a <p>bike.</p>"
    expected = [
        Expected(str(v), v, (), {(10 * v + 1, 0): 1, (10 * v + 2, 1): 2}, answer=answer) for v in range(len(VIDEOS))
    ]
    return Layout("video_gcg", "vid_gcgseg", {"form": "words", "captions": "test.json", "images": "."}, expected)


def youtube_vos(root: Path) -> Layout:
    save_frames(root / "JPEGImages")
    save_palettes(root / "Annotations")
    objects = {
        "1": {"category": "gaint_panda", "frames": list(STEMS[:2])},
        "2": {"category": "ball", "frames": list(STEMS[1:])},
    }
    save_json(root / "meta.json", {"videos": {name: {"objects": objects} for name in VIDEOS}})
    expected = [Expected(n, v, ("giant panda", "ball"), {(1, 0): 1, (2, 1): 2}) for v, n in enumerate(VIDEOS)]
    options = {"meta": "meta.json", "images": "JPEGImages", "masks": "Annotations", "part": "all"}
    files = ("meta.json", "Annotations/beta/00000.png", "JPEGImages/alpha/00005.jpg")
    return Layout("youtube_vos", "vid_objseg", options, expected, files)


def davis(root: Path) -> Layout:
    save_frames(root / "480p")
    save_palettes(root / "masks")
    (root / "val.txt").write_text("alpha\nbeta\n")
    expected = [Expected(n, v, ("region 1", "region 2"), {(1, 0): 1, (2, 1): 2}) for v, n in enumerate(VIDEOS)]
    options = {"list": "val.txt", "images": "480p", "masks": "masks"}
    return Layout("davis", "vid_objseg", options, expected, ("val.txt", "masks/alpha/00005.png"))


def vgd_video(root: Path) -> Layout:
    """The released file; both objects are of one category, the frame ids hold the objects' ids."""
    save_frames(root / "JPEGImages")
    entries = []
    for v, name in enumerate(VIDEOS):
        rows: list[Any] = [[] for _ in STEMS]
        for i in (1, 2):
            for t, code in enumerate(codes(v, i)):
                dot = np.zeros((HEIGHT, WIDTH), bool)
                dot[12 * (i - 1) + 4, 14] = True
                drawn = {f"{kind}_visual_prompt": RLE.encode(dot).to_coco() for kind in ("point", "box")}
                empty = {f"{kind}_visual_prompt": RLE.encode(dot * 0).to_coco() for kind in ("scribble", "mask")}
                if code:
                    row = {"id": 100 * (40 + i) + t, "category_id": 30, "iscrowd": 0, "bbox_mode": 0}
                    rows[t].append({**row, "segmentation": code, "visual_prompts": drawn | empty})
        files = [f"{name}/{s}.jpg" for s in STEMS]
        sizes = [[HEIGHT, WIDTH]] * LENGTH
        entries.append({"video_id": v + 1, "image_files": files, "image_sizes": sizes, "annotations": rows})
    save_json(root / "vgd.json", entries)
    save_json(root / "source.json", {"categories": [{"id": 30, "name": "person"}]})
    expected = [Expected(str(v + 1), v, ("person",), {(41, 0): 1, (42, 0): 2}) for v in (0, 1)]
    options = {"json": "vgd.json", "names": "source.json", "images": "JPEGImages", "prompt": "point"}
    return Layout("vgd_video", "vid_vgdseg", options, expected, ("vgd.json", "source.json"))


LAYOUTS = {
    f.__name__: f
    for f in (
        vipseg,
        vspw,
        ytvis,
        ref_youtube_vos,
        ref_youtube_vos_valid,
        ref_youtube_vos_server,
        ref_davis,
        revos,
        reasonvos,
        gcg_mevis,
        gcg_ytvos,
        gcg_folders,
        gcg_words,
        youtube_vos,
        davis,
        vgd_video,
    )
}
