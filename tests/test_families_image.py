"""Every image family reads its data set's true layout: masks pixel by pixel, names, ids, void, crowds, and its errors.

The files are written by the tests from small masks; each builder says what must come out of them.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from x2sam.cli import main
from x2sam.data import base
from x2sam.data.base import Records, Split, choose_categories, clean_name, mask_of
from x2sam.data.catalog import FAMILIES, SPLITS, family_of, get_split, list_splits, open_split
from x2sam.data.check import check
from x2sam.data.families import sample_jsonl
from x2sam.errors import DataError, InputError
from x2sam.masks import RLE
from x2sam.tasks import TASKS
from x2sam.types import Condition, ObjectTrack, Prompt, Region, Sample

SIZES = ((24, 32), (40, 30))
"""Height and width of the two pictures of a data set."""
GREYS = (40, 200)


def box(size: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """The pixels in columns x0 to x1 - 1 and rows y0 to y1 - 1."""
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def polygon(x0: int, y0: int, x1: int, y1: int) -> list[int]:
    """The outline of `box` in COCO's way."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def code(mask: np.ndarray) -> dict[str, Any]:
    return RLE.encode(mask).to_coco()


def runs(mask: np.ndarray) -> dict[str, Any]:
    """COCO's code that is not compressed: lengths of runs down the columns, beginning with what is not in the mask."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    ends = np.flatnonzero(np.diff(flat.astype(int)))
    counts = np.diff(np.concatenate([[0], ends, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def save(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def picture(path: Path, number: int) -> Path:
    """Picture 0 or 1: flat, so that its grey tells it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZES[number], 3), GREYS[number], np.uint8)).save(path, quality=95)
    return path


def id_png(path: Path, ids: np.ndarray, coloured: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1) if coloured else ids
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@dataclass
class Want:
    """What a record must be."""

    sample_id: str
    picture: int
    conditions: tuple[str | tuple[str, np.ndarray], ...] = ()
    """Texts, or kind and pixels of regions."""
    objects: list[tuple[int, int, np.ndarray]] = field(default_factory=list)
    """Id, condition, pixels."""
    crowd: set[int] = field(default_factory=set)
    things: tuple[bool, ...] | None = None
    ignore: np.ndarray | None = None
    answer: str | None = None
    text: str = ""


Made = tuple[dict[str, Any], list[Want]]
A, B = ((SIZES[0], SIZES[1])[i] for i in (0, 1))


def coco_rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two images (given out of order) and three annotations, one of them a crowd."""
    images = [
        {"id": 9, "coco_url": "http://x/val2017/b.jpg", "height": B[0], "width": B[1]},
        {"id": 7, "file_name": "a.jpg", "height": A[0], "width": A[1]},
    ]
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 18, "iscrowd": 0, "segmentation": [polygon(2, 3, 12, 9)]},
        {"id": 2, "image_id": 7, "category_id": 1, "iscrowd": 1, "segmentation": runs(box(A, 15, 10, 30, 20))},
        {"id": 3, "image_id": 7, "category_id": 18, "iscrowd": 0, "segmentation": [[1, 1, 2, 2]]},  # no polygon
    ]
    return images, annotations


def coco_instance(root: Path) -> Made:
    images, annotations = coco_rows()
    categories = [{"id": 18, "name": "potted_dog (pet)."}, {"id": 1, "name": "Person"}]
    save(root / "i.json", {"images": images, "annotations": annotations, "categories": categories})
    picture(root / "p/a.jpg", 0), picture(root / "p/b.jpg", 1)
    names = ("person", "potted dog")
    first = Want("7", 0, names, [(1, 1, box(A, 2, 3, 12, 9)), (2, 0, box(A, 15, 10, 30, 20))], {2})
    return {"json": "i.json", "images": "p"}, [first, Want("9", 1, names)]


def panoptic(root: Path, keys: tuple[Any, Any]) -> Made:
    ids = np.zeros(A, int)
    ids[box(A, 0, 0, 20, 10)], ids[box(A, 5, 5, 10, 15)], ids[box(A, 25, 20, 32, 24)] = 70_000, 300, 5
    more = np.full(B, 9)
    id_png(root / "g/a.png", ids, True)
    id_png(root / "g/b.png", more, True)
    picture(root / "p/a.jpg", 0), picture(root / "p/b.jpg", 1)

    def segment(key: int, category: int, crowd: int = 0) -> dict[str, int]:
        return {"id": key, "category_id": category, "iscrowd": crowd}

    content = {
        "images": [
            {"id": keys[1], "file_name": "b.jpg", "height": B[0], "width": B[1]},
            {"id": keys[0], "file_name": "a.jpg", "height": A[0], "width": A[1]},
        ],
        "annotations": [
            {
                "image_id": keys[0],
                "file_name": "a.png",
                "segments_info": [segment(70_000, 199), segment(300, 1), segment(5, 1, 1)],
            },
            {"image_id": keys[1], "file_name": "b.png", "segments_info": [segment(9, 199)]},
        ],
        "categories": [
            {"id": 199, "name": "wall-other-merged", "isthing": 0},
            {"id": 1, "name": "person", "isthing": 1},
        ],
    }
    save(root / "g.json", content)
    names, things = ("person", "wall other"), (True, False)
    objects = [(key, place, ids == key) for key, place in ((70_000, 1), (300, 0), (5, 0))]
    first = Want(str(keys[0]), 0, names, objects, {5}, things, ids == 0)
    second = Want(str(keys[1]), 1, names, [(9, 1, more == 9)], set(), things, more == 0)
    return {"json": "g.json", "images": "p", "masks": "g"}, [first, second]


def coco_panoptic(root: Path) -> Made:
    options, want = panoptic(root, (139, 1000))
    return {key: value for key, value in options.items() if key != "masks"}, want  # found by the json's name


def ade_panoptic(root: Path) -> Made:
    return panoptic(root, ("ADE_val_00000001", "ADE_val_00000002"))


def semantic(root: Path, stored: Callable[[np.ndarray], np.ndarray]) -> list[Want]:
    """Maps of category 0, 1 and nothing (-1) in the way that ``stored`` says."""
    maps = [np.where(box(A, 4, 4, 20, 20), 1, np.where(box(A, 0, 0, 32, 2), -1, 0)), np.full(B, -1)]
    want = []
    for n, (name, ids) in enumerate(zip(("a", "b"), maps, strict=True)):
        id_png(root / f"m/{name}.png", stored(ids), False)
        picture(root / f"p/{name}.jpg", n)
        objects = [(i + 1, i, ids == i) for i in (0, 1) if (ids == i).any()]
        want.append(Want(name, n, ("wall", "door, double door"), objects, ignore=ids == -1))
    return want


def coco_semantic(root: Path) -> Made:
    save(root / "n.json", {"categories": [{"id": 5, "name": "door, double door"}, {"id": 2, "name": "wall-merged"}]})
    return {"names": "n.json", "images": "p", "masks": "m"}, semantic(root, lambda ids: np.where(ids < 0, 255, ids))


def ade_semantic(root: Path) -> Made:
    """As ADE20K comes: 0 is nothing, and a table of names."""
    (root / "t.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n1\t0.1\t9\t9\twall\n2\t0.1\t9\t9\tdoor, double door\n")
    return {"names": "t.txt", "images": "p", "masks": "m", "shift": -1}, semantic(root, lambda ids: ids + 1)


def ref(split: str, image: int, annotation: Any, *sentences: str) -> dict[str, Any]:
    rows = [{"sent_id": i, "tokens": s.split(), "raw": s, "sent": s} for i, s in enumerate(sentences)]
    return {"ref_id": 1, "ann_id": annotation, "image_id": image, "category_id": 18, "split": split, "sentences": rows}


def refer_files(root: Path, refs: list[Any], pickled: bool) -> dict[str, Any]:
    images, annotations = coco_rows()
    annotations[2] = {**annotations[2], "image_id": 9, "segmentation": [polygon(0, 0, 30, 10), polygon(0, 20, 5, 40)]}
    save(root / "instances.json", {"images": images, "annotations": annotations, "categories": []})
    picture(root / "p/a.jpg", 0), picture(root / "p/b.jpg", 1)
    if pickled:
        (root / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=0))
        return {"refs": "refs(unc).p", "instances": "instances.json", "images": "p", "part": "val"}
    save(root / "grefs(unc).json", refs)
    return {"refs": "grefs(unc).json", "instances": "instances.json", "images": "p", "part": "val"}


DOG, CROWD = (1, 0, box(A, 2, 3, 12, 9)), (2, 0, box(A, 15, 10, 30, 20))
PARTS = box(B, 0, 0, 30, 10) | box(B, 0, 20, 5, 40)


def refcoco(root: Path) -> Made:
    refs = [ref("train", 7, 2, "x"), ref("val", 9, 3, "left", "left"), ref("val", 7, 1, "the dog")]
    want = [
        Want("9/0", 1, ("left",), [(3, 0, PARTS)]),
        Want("9/1", 1, ("left",), [(3, 0, PARTS)]),  # the benchmarks count every sentence
        Want("7/2", 0, ("the dog",), [DOG]),
    ]
    return refer_files(root, refs, True), want


def refcoco_train(root: Path) -> Made:
    """Every sentence is asked; an object with fewer of them repeats its own; equal ones are one condition."""
    refs = [ref("val", 7, 1, "dog", "pet", "it"), ref("val", 7, 2, "all", "it"), ref("val", 9, 3, "left")]
    both = [DOG, (2, 1, CROWD[2])]
    want = [
        Want("7/0", 0, ("dog", "all"), both, {2}),
        Want("7/1", 0, ("pet", "it"), both, {2}),
        Want("7/2", 0, ("it", "all"), both, {2}),
        Want("9/3", 1, ("left",), [(3, 0, PARTS)]),
    ]
    return {**refer_files(root, refs, True), "phrases": 2}, want


def grefcoco(root: Path) -> Made:
    refs = [ref("val", 7, [1, 2], "both"), {**ref("val", 9, [-1], "the whale"), "no_target": True}]
    want = [Want("7/0", 0, ("both",), [DOG, CROWD], {2}), Want("9/1", 1, ("the whale",))]
    return refer_files(root, refs, False), want


def lisa_files(root: Path) -> tuple[np.ndarray, np.ndarray]:
    def shape(label: str, *points: tuple[float, float]) -> dict[str, Any]:
        return {"label": label, "points": points, "shape_type": "polygon"}

    shapes = [
        shape("ignore", (6, 6), (9, 6), (9, 9), (6, 9)),
        shape("flag", (0, 0), (0, 0)),
        shape("target", (4.9, 4.2), (20, 4), (20, 15), (4, 15)),
    ]
    save(root / "val/a.json", {"text": ["where to sit?", "what is soft?"], "is_sentence": True, "shapes": shapes})
    old = {"text": ["a caf\u00e9"], "is_sentence": False, "shapes": []}
    (root / "val/b.json").write_bytes(json.dumps(old, ensure_ascii=False).encode("cp1252"))
    picture(root / "val/a.jpg", 0), picture(root / "val/b.jpg", 1)
    left_out = box(A, 6, 6, 10, 10)
    return box(A, 4, 4, 21, 16) & ~left_out, left_out  # outlines belong to their shape


def reasonseg(root: Path) -> Made:
    target, left_out = lisa_files(root)
    first = Want("a/0", 0, ("where to sit?",), [(1, 0, target)], ignore=left_out)
    return {"folder": "val"}, [first, Want("b/1", 1, ("a café",), ignore=np.zeros(B, bool))]


def reasonseg_train(root: Path) -> Made:
    target, left_out = lisa_files(root)
    texts = ("where to sit?", "what is soft?")
    first = Want("a/0", 0, texts, [(1, 0, target), (1, 1, target)], ignore=left_out)
    return {"folder": "val", "joined": True, "queries": "sentence"}, [first]


def grandf(root: Path, form: str, rows: Any, *names: str) -> dict[str, Any]:
    save(root / "c.json", rows)
    for n, name in enumerate(names):
        picture(root / "p" / name, n)
    return {"json": "c.json", "images": "p", "form": form}


MAN, HORSE = box(A, 1, 1, 9, 20), box(A, 5, 10, 30, 22)
RIDES = "<p>a man</p> rides <p>a horse</p>"


def grandf_groundings(root: Path) -> Made:
    groundings = {
        "a horse": {"token_positives": [12, 19], "rle_masks": [code(HORSE & MAN), runs(HORSE & ~MAN)]},
        "a man": {"token_positives": [0, 5], "rle_masks": [code(MAN)]},
        "man rides": {"token_positives": [2, 11], "rle_masks": [code(MAN)]},  # overlaps
        "a ghost": {"token_positives": [0, 7], "rle_masks": [code(MAN)]},  # not said
    }
    row = {"image_id": "sa_1", "file_name": "sa_1.jpg", "caption": ' "A man rides a horse"', "groundings": groundings}
    want = Want("sa_1", 0, (), [(1, 0, MAN), (2, 1, HORSE)], answer=RIDES)
    return grandf(root, "groundings", [row], "sa_1.jpg"), [want]


def grandf_refs(root: Path) -> Made:
    refs = [
        {"sentence": "A horse", "segmentation": [polygon(5, 10, 30, 22)]},
        {"sentence": "a man", "segmentation": code(MAN)},
    ]
    row = {"img_file_name": "r.jpg", "caption": "a man rides a horse", "image_id": 5, "refs": refs}
    want = Want("1719310", 0, (), [(1, 0, MAN), (2, 1, HORSE)], answer=RIDES)
    return grandf(root, "refs", [{"1719310": row}], "r.jpg"), [want]


def grandf_flickr(root: Path) -> Made:
    images = [
        {"id": 1, "file_name": "f.jpg", "caption": "A man rides a horse", "height": A[0], "width": A[1]},
        {"id": 2, "file_name": "g.jpg", "caption": "two words", "height": B[0], "width": B[1]},
    ]
    rows = [
        {"id": 8, "image_id": 1, "tokens_positive": [[12, 19], [0, 5]], "sam_mask": code(HORSE)},
        {"id": 9, "image_id": 1, "tokens_positive": [[0, 5]], "sam_mask": code(MAN)},
    ]
    want = Want("1", 0, (), [(1, 0, MAN), (2, 1, HORSE)], answer=RIDES)
    return grandf(root, "flickr", {"images": images, "annotations": rows, "categories": []}, "f.jpg"), [want]


def grandf_scored(root: Path) -> Made:
    """Masks and labels come in one order; a label that is said twice is found twice, one that is not said is kept."""
    masks = [HORSE, MAN, box(A, 0, 22, 32, 24), box(A, 0, 0, 2, 2)]
    rows = [{"id": i, "image_id": "q", "category_id": 1, "segmentation": code(m)} for i, m in enumerate(masks)]
    labels = ["horse", "A man", "horse", "sky"]
    caption = {"id": 1, "image_id": "q", "caption": "A man rides a horse beside a horse.", "labels": labels}
    save(root / "t.json", {"images": [], "annotations": [caption]})
    options = grandf(root, "scored", {"images": [{"id": "q", "height": A[0], "width": A[1]}], "annotations": rows})
    picture(root / "p/q.jpg", 0)
    answer = "<p>A man</p> rides a <p>horse</p> beside a <p>horse</p>. <p>sky</p>"
    order = [(1, 0, MAN), (2, 1, HORSE), (3, 2, masks[2]), (4, 3, masks[3])]
    return {**options, "captions": "t.json"}, [Want("q", 0, (), order, answer=answer)]


def coco_interactive(root: Path, kind: str = "scribble") -> Made:
    line = box(A, 10, 12, 16, 13)
    thick = np.zeros(A, bool)
    yy, xx = np.mgrid[: A[0], : A[1]]
    for x in range(10, 16):
        thick |= (xx - x) ** 2 + (yy - 12) ** 2 <= 25
    row = {
        "image": "a.jpg",
        "new_img_id": 0,
        "image_info": {"id": 139, "file_name": "a.jpg", "height": A[0], "width": A[1]},
        "anns": [
            {"id": i, "image_id": 139, "category_id": 1, "segmentation": [polygon(1, 1, 9 + i, 20)]}
            | {f"{k}_visual_prompt_mask": code(line) for k in ("point", "scribble", "box", "mask")}
            for i in (4, 6)
        ],
    }
    save(root / "s.json", [row])
    picture(root / "p/a.jpg", 0)
    shown = {"scribble": thick, "box": line}[kind]
    want = [Want(f"139/{i}", 0, ((kind, shown),), [(i, 0, box(A, 1, 1, 9 + i, 20))]) for i in (4, 6)]
    return {"json": "s.json", "images": "p", "prompt": kind}, want


def coco_interactive_box(root: Path) -> Made:
    return coco_interactive(root, "box")


def coco_vgd(root: Path) -> Made:
    """One region per category; objects and images without a prompt of the kind are left out."""
    nothing, spot = np.zeros(A, bool), box(A, 3, 3, 5, 5)

    def annotation(key: int, category: int, drawn: np.ndarray) -> dict[str, Any]:
        prompts = {"point_visual_prompt": code(drawn), "box_visual_prompt": code(MAN)}
        mask = [polygon(1, 1, 9, 10 + key)]
        return {"id": key, "category_id": category, "segmentation": mask, "visual_prompts": prompts}

    rows = [
        (139, [annotation(1, 62, spot), annotation(2, 3, spot), annotation(3, 62, nothing), annotation(4, 62, spot)]),
        (140, [annotation(5, 1, nothing)]),
    ]
    save(
        root / "v.json",
        [
            {"image_info": {"id": k, "image_id": k, "file_name": "a.jpg", "height": A[0], "width": A[1]}}
            | {"annotations": annotations}
            for k, annotations in rows
        ],
    )
    picture(root / "p/a.jpg", 0)
    objects = [(k, place, box(A, 1, 1, 9, 10 + k)) for k, place in ((2, 0), (1, 1), (4, 1))]
    want = Want("139", 0, (("point", spot), ("point", spot)), objects)
    return {"json": "v.json", "images": "p", "prompt": "point"}, [want]


def llava_chat(root: Path) -> Made:
    said = ("What is it?\n<image>", "A bird.", "What colour?", "Blue.")
    turns = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    rows = [{"id": "33", "image": "coco/a.jpg", "conversations": turns}, {"id": "t", "conversations": turns}]
    save(root / "l.json", rows)
    picture(root / "p/coco/a.jpg", 0)
    return {"json": "l.json", "images": "p"}, [Want("33", 0, answer="Blue.", text="What colour?")]


def sa1b(root: Path) -> Made:
    want = []
    for n, (folder, number) in enumerate((("sa_000000", 12), ("sa_000001", 3))):
        path, size = root / "SA1B" / folder / f"sa_{number}.json", SIZES[n]
        masks = [box(size, i, i, 20, 20) for i in range(3)]
        rows = [{"id": i, "segmentation": code(mask), "area": 1} for i, mask in enumerate(masks)]
        about = {"image_id": number, "height": size[0], "width": size[1], "file_name": f"sa_{number}.jpg"}
        save(path, {"image": about, "annotations": rows})
        picture(path.with_suffix(".jpg"), n)
        want.append(Want(f"sa_{number}", n, ("object",), [(i, 0, masks[i]) for i in range(2)]))
    return {"folder": "SA1B", "most": 2}, want


def jsonl(root: Path) -> Made:
    first = {
        "id": 1,
        "frames": ["p/a.jpg"],
        "conditions": [{"text": "dog"}, {"text": "grass", "is_thing": False}],
        "objects": [
            {"id": 4, "condition": 0, "masks": [[polygon(2, 3, 12, 9)]]},
            {"id": 5, "condition": 1, "masks": [runs(MAN)], "crowd": True},
            {"id": 6, "condition": 0, "masks": [None]},
        ],
        "ignore": [code(HORSE)],
    }
    region = {"region": code(box(B, 3, 3, 9, 9)), "kind": "box", "name": "cup"}
    second = {"id": "two", "task": "img_intseg", "frames": ["p/b.jpg"], "conditions": [region]}
    picture(root / "p/a.jpg", 0), picture(root / "p/b.jpg", 1)
    (root / "own.jsonl").write_text(f"{json.dumps(first)}\n\n{json.dumps(second)}")
    objects = [(4, 0, box(A, 2, 3, 12, 9)), (5, 1, MAN), (6, 0, np.zeros(A, bool))]
    one = Want("1", 0, ("dog", "grass"), objects, {5}, (True, False), HORSE)
    return {"json": "own.jsonl"}, [one, Want("two", 1, (("box", box(B, 3, 3, 9, 9)),))]


CASES: dict[str, tuple[str, str, Callable[[Path], Made]]] = {
    "coco_instance": ("coco_instance", "img_genseg", coco_instance),
    "coco_panoptic": ("coco_panoptic", "img_genseg", coco_panoptic),
    "ade_panoptic": ("coco_panoptic", "img_ovseg", ade_panoptic),
    "coco_semantic": ("coco_semantic", "img_genseg", coco_semantic),
    "ade_semantic": ("coco_semantic", "img_ovseg", ade_semantic),
    "refcoco": ("refcoco", "img_refseg", refcoco),
    "refcoco_train": ("refcoco", "img_refseg", refcoco_train),
    "grefcoco": ("refcoco", "img_refseg", grefcoco),
    "reasonseg": ("reasonseg", "img_reaseg", reasonseg),
    "reasonseg_train": ("reasonseg", "img_reaseg", reasonseg_train),
    "grandf_groundings": ("grandf", "img_gcgseg", grandf_groundings),
    "grandf_refs": ("grandf", "img_gcgseg", grandf_refs),
    "grandf_flickr": ("grandf", "img_gcgseg", grandf_flickr),
    "grandf_scored": ("grandf", "img_gcgseg", grandf_scored),
    "coco_interactive": ("coco_interactive", "img_intseg", coco_interactive),
    "coco_interactive_box": ("coco_interactive", "img_intseg", coco_interactive_box),
    "coco_vgd": ("coco_vgd", "img_vgdseg", coco_vgd),
    "llava_chat": ("llava_chat", "img_chat", llava_chat),
    "sa1b": ("sa1b", "img_genseg", sa1b),
    "sample_jsonl": ("sample_jsonl", "img_genseg", jsonl),
}


def opened(case: str, root: Path, **options: Any) -> tuple[Records, Split, list[Want]]:
    family, task, make = CASES[case]
    made, want = make(root)
    split = Split(case, task, family, {**made, **options}, (), len(want))
    return open_split(split, root), split, want


def agrees(sample: Sample, want: Want) -> None:
    """Everything about one record."""
    size = SIZES[want.picture]
    assert sample.sample_id == want.sample_id
    assert sample.frames[0].shape == (*size, 3)
    assert abs(float(sample.frames[0].mean()) - GREYS[want.picture]) < 3
    assert len(sample.prompt.conditions) == len(want.conditions)
    for condition, wanted in zip(sample.prompt.conditions, want.conditions, strict=True):
        if isinstance(wanted, str):
            assert condition.text == wanted
        else:
            assert condition.region is not None
            assert condition.region.kind == wanted[0]
            np.testing.assert_array_equal(condition.region.mask, wanted[1])
    if want.things is not None:
        assert tuple(c.is_thing for c in sample.prompt.conditions) == want.things
    assert [(o.object_id, o.condition) for o in sample.objects] == [w[:2] for w in want.objects]
    for track, (_, _, pixels) in zip(sample.objects, want.objects, strict=True):
        (rle,) = track.masks
        np.testing.assert_array_equal(np.zeros(size, bool) if rle is None else rle.decode(), pixels)
    assert {o.object_id for o in sample.objects if o.is_crowd} == want.crowd
    assert (sample.ignore is None) == (want.ignore is None)
    if sample.ignore is not None and want.ignore is not None:
        assert sample.ignore[0] is not None
        np.testing.assert_array_equal(sample.ignore[0].decode(), want.ignore)
    assert (sample.answer, sample.prompt.text) == (want.answer, want.text)


@pytest.mark.parametrize("case", CASES)
def test_a_family_reads_its_true_layout(case: str, tmp_path: Path) -> None:
    records, split, want = opened(case, tmp_path)
    assert len(records) == len(want)
    for sample, wanted in zip(records, want, strict=True):
        assert sample.task == (sample.task if case == "sample_jsonl" else split.task)
        agrees(sample, wanted)
    assert not list(check(records, split, pixels=True))
    agrees(records[-1], want[-1])
    agrees(records[1:][0] if len(want) > 1 else records[:1][0], want[min(1, len(want) - 1)])


@pytest.mark.parametrize("case", CASES)
def test_opening_reads_no_picture_and_a_record_one(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    read = base.to_frame

    def noted(path: Path) -> Any:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(base, "to_frame", noted)
    records, _, _ = opened(case, tmp_path)
    sample = records[0]
    assert len(sample.frames) == 1
    assert not seen
    _ = sample.frames[0]
    assert len(seen) == 1


@pytest.mark.parametrize("case", CASES)
def test_a_missing_picture_is_named(case: str, tmp_path: Path) -> None:
    records, split, _ = opened(case, tmp_path)
    gone = records[0].frames.paths[0]  # type: ignore[attr-defined]
    shown = sum(s.frames.paths[0] == gone for s in records)  # type: ignore[attr-defined]
    gone.unlink()
    problems = list(check(records, split))
    assert len(problems) == shown
    assert all(str(gone) in p.text and "missing" in p.text for p in problems)
    with pytest.raises(DataError, match="missing"):
        _ = records[0].frames[0]


@pytest.mark.parametrize("case", CASES)
def test_a_missing_annotation_file_is_named(case: str, tmp_path: Path) -> None:
    family, task, make = CASES[case]
    options, _ = make(tmp_path)
    key = next(k for k in ("json", "refs", "folder", "names") if k in options)
    with pytest.raises(DataError, match="nowhere"):
        open_split(Split(case, task, family, {**options, key: "nowhere"}, ()), tmp_path)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c not in ("ade_semantic", "sa1b", "reasonseg", "reasonseg_train")]
)
def test_a_cut_off_annotation_file_is_named(case: str, tmp_path: Path) -> None:
    family, task, make = CASES[case]
    options, _ = make(tmp_path)
    file = tmp_path / options[next(k for k in ("json", "refs", "names") if k in options)]
    file.write_bytes(file.read_bytes()[:-9] + b"\t")
    with pytest.raises(DataError) as caught:
        list(open_split(Split(case, task, family, options, ()), tmp_path))
    assert file.name in str(caught.value)


def damaged(root: Path, case: str, file: str, old: str, new: str) -> str:
    """What is said about the first record after ``old`` has become ``new`` in a file."""
    family, task, make = CASES[case]
    options, _ = make(root)
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    split = Split(case, task, family, options, ())
    with pytest.raises(DataError) as caught:
        for _ in open_split(split, root):
            pass
    return str(caught.value)


@pytest.mark.parametrize(
    ("case", "file", "old", "new", "said"),
    [
        ("coco_instance", "i.json", '"category_id": 18', '"category_id": 77', ("annotation 1 of image 7", "77")),
        ("coco_instance", "i.json", '"image_id": 7', '"image_id": 8', ("image 8",)),
        ("coco_instance", "i.json", '"image_id": 7, ', "", ("annotation 0", "image_id")),
        ("coco_instance", "i.json", '"height": 24', '"height": "24"', ("image 7", "height", "int")),
        ("coco_instance", "i.json", '"size": [24, 32]', '"size": [32, 24]', ("annotation 2", "24x32")),
        ("coco_instance", "i.json", '"counts": [', '"counts": [1, ', ("annotation 2", "pixels")),
        ("coco_instance", "i.json", "[[2, 3, 12", '[["x", 3, 12', ("annotation 1",)),
        ("coco_instance", "i.json", '"id": 18', '"id": 1', ("category 1", "second time")),
        ("coco_panoptic", "g.json", '"id": 300', '"id": 301', ("a.png", "301", "image 139")),
        ("coco_panoptic", "g.json", '{"id": 9, "category_id": 199, "iscrowd": 0}', "", ("image 1000", "9", "b.png")),
        ("coco_panoptic", "g.json", '"height": 24', '"height": 25', ("a.png", "32x24")),
        ("coco_semantic", "n.json", '{"id": 5, "name": "door, double door"}, ', "", ("a.png", "1 categories")),
        ("ade_semantic", "t.txt", "2\t0.1", "two\t0.1", ("t.txt", "row of a table")),
        ("ade_semantic", "t.txt", "1\t0.1\t9\t9\twall\n", "", ("a.png", "1 categories")),
        ("grefcoco", "instances.json", '"id": 2', '"id": 22', ("annotation 2",)),
        ("grefcoco", "grefs(unc).json", '"sent": "both"', '"said": 1', ("record 0", "'sent'", "said")),
        ("reasonseg", "val/a.json", '"is_sentence": true, ', "", ("a.json", "is_sentence")),
        ("reasonseg", "val/a.json", "[6, 6]", "[6]", ("a.json", "shape 0", "pairs")),
        ("grandf_groundings", "c.json", "[12, 19]", "[12]", ("record 0", "positions")),
        ("grandf_scored", "t.json", '"sky"', '"sky", "sun"', ("image q", "5 labels for 4 masks")),
        ("grandf_refs", "c.json", '"caption"', '"title"', ("record 0", "caption")),
        ("coco_interactive", "s.json", '"scribble_visual_prompt_mask"', '"no"', ("annotation 4", "scribble")),
        ("coco_vgd", "v.json", '"category_id": 62, ', "", ("annotation 1 of image 139", "category_id")),
        ("llava_chat", "l.json", '"gpt"', '"human"', ("record 0", "turn")),
        ("sa1b", "SA1B/sa_000000/sa_12.json", '"segmentation"', '"mask"', ("sa_12.json", "annotation 0")),
        ("sample_jsonl", "own.jsonl", '"id": "two", ', "", ("line 3", "'id'")),
        ("sample_jsonl", "own.jsonl", '"img_intseg"', '"img_int"', ("line 3", "Did you mean")),
        ("sample_jsonl", "own.jsonl", '"kind": "box"', '"kind": "ring"', ("line 3", "ring", "scribble")),
        ("sample_jsonl", "own.jsonl", '"condition": 1', '"condition": 2', ("line 1", "condition 2")),
        ("sample_jsonl", "own.jsonl", '"masks": [null]', '"masks": []', ("line 1", "0 masks for 1 frames")),
        ("sample_jsonl", "own.jsonl", '"objects": [', '"objects": [,', ("line 1", "not json")),
    ],
)
def test_a_damaged_record_is_named(
    case: str, file: str, old: str, new: str, said: tuple[str, ...], tmp_path: Path
) -> None:
    message = damaged(tmp_path, case, file, old, new)
    for words in said:
        assert words in message
    assert str(tmp_path) in message


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything in a json value."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, child in below for p in places(child, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("case", CASES)
def test_whatever_a_file_says_errors_are_ours(case: str, tmp_path: Path) -> None:
    """One value anywhere in a file becomes another: it is read, or said to be wrong; nothing else is raised."""
    family, task, make = CASES[case]
    options, _ = make(tmp_path)
    split = Split(case, task, family, options, ())
    rng = np.random.default_rng(0)
    said: list[str] = []
    others: tuple[Any, ...] = (None, True, -1, 10**12, 0.5, "x", [], {}, [[]], [None], {"size": [1, 1], "counts": "0"})
    for file in [p for p in tmp_path.rglob("*") if p.suffix in (".json", ".jsonl", ".p")]:
        whole = file.read_bytes()
        content = pickle.loads(whole) if file.suffix == ".p" else json.loads(whole.decode("cp1252").split("\n")[0])
        ways = places(content)
        for number in rng.choice(len(ways), min(len(ways), 40), replace=False):
            wrong = changed(content, ways[number], others[rng.integers(len(others))])
            file.write_bytes(pickle.dumps(wrong) if file.suffix == ".p" else json.dumps(wrong).encode())
            try:
                list(check(open_split(split, tmp_path), split))
            except DataError as error:
                said.append(str(error))
        file.write_bytes(whole)
    assert all(str(tmp_path) in text for text in said)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "bait", [Bomb(), [{"split": Bomb()}], np.arange(3), print], ids=["bomb", "inside", "array", "function"]
)
def test_a_pickle_that_would_run_something_is_refused(
    bait: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = refer_files(tmp_path, [], True)
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(bait, protocol))
    with pytest.raises(DataError, match=r"refs\(unc\)\.p.*wants to load"):
        open_split(Split("x", "img_refseg", "refcoco", options, ()), tmp_path)
    assert not Path("exploded").exists()


# --- what families share ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("wall-other-merged", "wall other"),
        ("mirror-stuff", "mirror"),
        ("stop sign", "stop sign"),
        ("gaint_panda", "gaint panda"),
        ("Potted_Plant (indoor).", "potted plant"),
        ("road, route", "road, route"),
    ],
)
def test_names_are_cleaned(name: str, spoken: str) -> None:
    assert clean_name(name) == spoken


@given(st.sets(st.integers(0, 19), max_size=12), st.none() | st.integers(1, 30), st.integers(0, 2**31))
def test_sampled_categories_hold_what_is_there(present: set[int], most: int | None, seed: int) -> None:
    chosen = choose_categories(present, 20, most, np.random.default_rng(seed))
    assert len(set(chosen)) == len(chosen)
    assert present <= set(chosen) <= set(range(20))
    assert most is not None or chosen == list(range(20))
    assert most is None or len(chosen) <= max(most, len(present))


def test_sampled_categories_follow_the_seed_and_the_record(tmp_path: Path) -> None:
    content = {"images": coco_rows()[0], "annotations": coco_rows()[1]}
    content["categories"] = [{"id": i, "name": f"c{i}"} for i in range(30)]
    save(tmp_path / "i.json", content)
    split = Split("x", "img_genseg", "coco_instance", {"json": "i.json", "images": ".", "categories": 20}, ())

    def asked(seed: int) -> list[tuple[str, ...]]:
        return [record.prompt.labels for record in open_split(split, tmp_path, seed)]

    assert asked(0) == asked(0)
    assert len({asked(seed)[0] for seed in range(8)}) > 4
    for record in open_split(split, tmp_path, 3):
        assert all(record.prompt.labels[o.condition] == {1: "c18", 2: "c1"}[o.object_id] for o in record.objects)


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_every_way_to_say_a_mask_says_the_same(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    halves = [mask & (np.arange(width) % 2 == i) for i in (0, 1)]
    for said in (code(mask), runs(mask), [code(half) for half in halves], [runs(halves[0]), code(halves[1])]):
        rle = mask_of(said, height, width, Path("f"), 1)
        assert rle is not None
        np.testing.assert_array_equal(rle.decode(), mask)


def test_training_prompts_are_drawn_of_every_kind(tmp_path: Path) -> None:
    _, split, _ = opened("coco_vgd", tmp_path)
    free = Split("x", split.task, split.family, {k: v for k, v in split.options.items() if k != "prompt"}, ())
    drawn = [record.prompt.regions for seed in range(20) for record in open_split(free, tmp_path, seed)]
    assert {region.kind for regions in drawn for region in regions} == {"point", "box"}  # the file has no others
    shown = {regions[1].object_id for regions in drawn if len(regions) == 2}
    assert shown == {1, 3, 4}


def test_explanations_are_said_in_half_of_the_samples(tmp_path: Path) -> None:
    save(tmp_path / "why.json", [{"image": "a.jpg", "query": "?", "outputs": "Because it is soft."}])
    answers = [
        open_split(opened("reasonseg", tmp_path, explanations="why.json")[1], tmp_path, seed)[0].answer
        for seed in range(40)
    ]
    assert 8 < answers.count("Because it is soft.") < 32
    assert set(answers) == {None, "Because it is soft."}


# --- own samples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_family_survives_being_written_as_json_lines(case: str, tmp_path: Path) -> None:
    records, split, want = opened(case, tmp_path)
    assert sample_jsonl.write(records, tmp_path / "out/all.jsonl") == len(want)
    again = open_split(Split("x", split.task, "sample_jsonl", {"json": "out/all.jsonl"}, ()), tmp_path)
    for sample, wanted in zip(again, want, strict=True):
        agrees(sample, wanted)


def test_a_clip_without_files_is_written_with_its_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, *A, 3), dtype=np.uint8)
    region = Region(RLE.encode(MAN), "scribble", 2, 5, "man")
    track = ObjectTrack(5, 0, (RLE.encode(MAN), None, RLE.encode(HORSE)))
    sample = Sample(
        "v/1", "vid_objseg", list(frames), Prompt((Condition(region=region),)), (track,), times=(0, 0.5, 1.25)
    )
    sample_jsonl.write([sample], tmp_path / "clip.jsonl")
    (again,) = open_split("sample_jsonl:clip.jsonl", tmp_path)
    np.testing.assert_array_equal(np.stack(list(again.frames)), frames)
    assert (again.prompt, again.objects, again.times, again.task) == (
        sample.prompt,
        (track,),
        sample.times,
        sample.task,
    )


def test_a_large_file_of_lines_costs_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    picture(tmp_path / "a.jpg", 0)
    line = json.dumps({"id": "x", "frames": ["a.jpg"], "conditions": [{"text": "dog " * 40}]}) + "\n"
    (tmp_path / "l.jsonl").write_text(line * 20_000)
    tracemalloc.start()
    records = open_split("sample_jsonl:l.jsonl", tmp_path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(records) == 20_000
    assert kept < 20_000 * 32
    assert records[19_999].prompt.labels == (("dog " * 40),)


# --- the catalog and the command line ------------------------------------------------------------------------------


def test_every_row_of_the_catalog_stands() -> None:
    scored = {"pq", "miou", "mask_ap", "referring", "interactive", "gcg", "captions"}
    scored |= {"vpq", "stq", "mvc", "track_ap", "jf", "vvgd", "identity"}
    scored |= {"best_of", "names", "presence", "listed", "said"}
    assert len(SPLITS) > 80
    for name, split in SPLITS.items():
        task = TASKS[split.task]
        assert name.startswith((split.task.replace("img_genseg", "img_")[:7], "photos_"))
        assert set(split.metrics) <= scored
        assert bool(split.metrics) != ("train" in name or task.is_chat or split.family == "sa1b")
        assert not any(str(value).startswith("/") for value in split.options.values())
    assert {split.task for split in SPLITS.values()} == set(TASKS)
    assert {split.family for split in SPLITS.values()} == set(FAMILIES) - {"sample_jsonl", "packed"}
    for family in {split.family for split in SPLITS.values()}:
        assert callable(family_of(next(s for s in SPLITS.values() if s.family == family)))


def test_published_counts() -> None:
    assert get_split("img_refseg_refcoco_testA").count == 5_657
    assert get_split("img_refseg_refcocog_test").count == 9_602
    assert get_split("img_genseg_coco_panoptic_train").count == 118_287
    assert [s.name for s in list_splits("img_reaseg") if s.count == 779] == ["img_reaseg_lisa_test_all"]


def test_an_unknown_split_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean img_refseg_refcoco_val"):
        get_split("refcoco_val")


def run(words: list[Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]], str]:
    with pytest.raises(SystemExit) as stop:
        main([str(w) for w in words])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), [json.loads(line) for line in out.splitlines()], err


def test_data_list(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(["data", "list", "--task", "img_intseg", "--json"], capsys)
    assert code == 0
    drawn = [line["options"]["prompt"] for line in lines if line["family"] == "coco_interactive"]
    assert drawn == ["point", "box", "scribble", "mask"]


def test_data_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl(tmp_path)
    words = ["data", "check", "sample_jsonl:own.jsonl", "--root", tmp_path]
    code, lines, _ = run(words, capsys)
    assert (code, lines[0]["problems"]) == (0, 0)
    noise = np.random.default_rng(0).integers(0, 256, (*B, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "p/b.jpg", quality=95)
    (tmp_path / "p/b.jpg").write_bytes((tmp_path / "p/b.jpg").read_bytes()[:-200])
    assert run(words, capsys)[0] == 0  # its head is whole
    code, lines, err = run([*words, "--pixels"], capsys)
    assert code == 2
    assert lines == [{"split": "sample_jsonl:own.jsonl", "record": 1, "problem": lines[0]["problem"]}]
    assert "b.jpg" in lines[0]["problem"]
    assert err.startswith("x2sam: Got 1 problem in 2 records")
    assert err.count("\n") == 1


def test_check_compares_the_count(tmp_path: Path) -> None:
    records, split, _ = opened("refcoco", tmp_path)
    (problem,) = check(records[:2], split)
    assert problem.text == "refcoco has 2 records; 3 are published"


def test_data_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl(tmp_path)
    words = ["data", "preview", "sample_jsonl:own.jsonl", "--root", tmp_path, "--out", tmp_path / "s.png"]
    code, lines, err = run([*words, "--count", 1], capsys)
    assert code == 0, err
    with Image.open(lines[0]["outputs"][0]) as sheet:
        assert min(sheet.size) > 200
