"""The video splits: rows of data, nothing else. Paths are relative to the root folder of all data sets.

Evaluation reads whole videos, as the public protocols do; training and the grounded captions read windows of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from x2sam.data.base import Split
from x2sam.data.catalog_image import PROMPTS

TRACKS, JF, GCG = ("track_ap", "identity"), ("jf",), ("gcg", "captions")
WINDOW = 8
"""Frames of a training sample."""
PHRASES = 8
"""Expressions or objects of a training sample."""

_TRAIN = {"window": WINDOW}
_SPREAD = {"window": WINDOW, "spread": True}


def _generic() -> Iterator[Split]:
    metrics: tuple[str, ...]
    vipseg = "vid_genseg/vipseg_720p"
    for part, more, metrics, count in (
        ("train", {**_TRAIN, "categories": 128}, (), None),
        ("val", {}, ("vpq", "stq", "identity"), 343),
    ):
        options: dict[str, Any] = {
            "json": f"{vipseg}/panoptic_gt_VIPSeg_{part}.json",
            "images": f"{vipseg}/images",
            "masks": f"{vipseg}/panomasksRGB",
            **more,
        }
        yield Split(f"vid_genseg_vipseg_panoptic_{part}", "vid_genseg", "vipseg", options, metrics, count)
    vspw = "vid_genseg/vspw_480p"
    for part, more, metrics, count in (
        ("train", {**_TRAIN, "categories": 128}, (), None),
        ("val", {}, ("miou", "mvc"), 343),
    ):
        options = {
            "names": f"{vspw}/label_num_dic_final.json",
            "list": f"{vspw}/{part}.txt",
            "images": f"{vspw}/images",
            "masks": f"{vspw}/semmasks",
            **more,
        }
        yield Split(f"vid_genseg_vspw_semantic_{part}", "vid_genseg", "vspw", options, metrics, count)
    root = "vid_genseg/ytvis19"
    train = {"json": f"{root}/train/train.json", "images": f"{root}/train/JPEGImages", **_TRAIN, "categories": 128}
    yield Split("vid_genseg_yt19_instance_train", "vid_genseg", "ytvis", train, ())
    val = {"json": f"{root}/valid/valid.json", "images": f"{root}/valid/JPEGImages"}
    yield Split("vid_genseg_yt19_instance_val", "vid_genseg", "ytvis", val, TRACKS, 302, hidden=True)
    opened = {"json": "vid_ovseg/ytvis21/valid/gt.json", "images": "vid_ovseg/ytvis21/valid/JPEGImages"}
    yield Split("vid_ovseg_yt21_instance_val", "vid_ovseg", "ytvis", opened, TRACKS, 421, hidden=True)


def _referring() -> Iterator[Split]:
    root = "vid_refseg/ytrvos21"
    for part, more, metrics in (
        ("train", {**_TRAIN, "phrases": PHRASES}, ()),
        ("valid", {"per_expression": True}, JF),
    ):
        options = {
            "expressions": f"{root}/meta_expressions/{part}/meta_expressions.json",
            "images": f"{root}/{part}/JPEGImages",
            "masks": f"{root}/{part}/Annotations",
            **more,
        }
        name = "train" if part == "train" else "val"
        yield Split(f"vid_refseg_yt21_{name}", "vid_refseg", "ref_youtube_vos", options, metrics, hidden=bool(metrics))
    root = "vid_refseg/davis17"
    texts = [f"{root}/davis_text_annotations/Davis17_annot{n}.txt" for n in ("1_full_video", "1", "2_full_video", "2")]
    for part, more, metrics in (("train", {**_TRAIN, "phrases": PHRASES}, ()), ("val", {}, JF)):
        options = {
            "texts": texts,
            "list": f"{root}/ImageSets/2017/{part}.txt",
            "images": f"{root}/davis_supervised/JPEGImages/480p",
            "masks": f"{root}/davis_supervised/Annotations/480p",
            **more,
        }
        yield Split(f"vid_refseg_davis17_{part}", "vid_refseg", "ref_davis", options, metrics)


def _reasoning() -> Iterator[Split]:
    root = "vid_reaseg/revos"
    for name, part, types, more, metrics in (
        ("all_train", "train", [0, 1], {**_SPREAD, "phrases": PHRASES}, ()),
        ("referring_val", "valid", [0], {}, JF),
        ("reasoning_val", "valid", [1], {}, JF),
        ("all_val", "valid", [0, 1], {}, JF),
    ):
        options = {
            "expressions": f"{root}/annotations/meta_expressions_{part}_.json",
            "masks": f"{root}/annotations/mask_dict.json",
            "images": f"{root}/JPEGImages",
            "types": types,
            **more,
        }
        yield Split(f"vid_reaseg_revos_{name}", "vid_reaseg", "revos", options, metrics)
    root = "vid_reaseg/reason_vos"
    options = {
        "expressions": f"{root}/meta_expressions.json",
        "images": f"{root}/JPEGImages",
        "masks": f"{root}/Annotations",
    }
    yield Split("vid_reaseg_reasonvos_val", "vid_reaseg", "reasonvos", options, JF)


def _captions() -> Iterator[Split]:
    glamm = "vid_gcgseg/video_glamm"

    def mevis(part: str) -> dict[str, Any]:
        return {
            "form": "mevis",
            "captions": f"{glamm}/mevis_gcg/{part}",
            "expressions": f"{glamm}/mevis/{part}/meta_expressions.json",
            "masks": f"{glamm}/mevis/{part}/mask_dict.json",
            "images": f"{glamm}/mevis/{part}/JPEGImages",
        }

    def folders(name: str, part: str) -> dict[str, Any]:
        root = f"{glamm}/{name}"
        return {"form": "folders", "captions": f"{root}/{part}_captions", "images": f"{root}/{part}"}

    def words(part: str) -> dict[str, Any]:
        root = f"{glamm}/video_gcg"
        return {"form": "words", "captions": f"{root}/instruction_data/{part}.json", "images": root}

    ytvos = {
        "form": "ytvos",
        "captions": f"{glamm}/ytvos_gcg/train",
        "meta": f"{glamm}/ytrvos21/train/meta.json",
        "masks": f"{glamm}/ytrvos21/train/Annotations",
        "images": f"{glamm}/ytrvos21/train/JPEGImages",
    }
    for name, options in (
        ("mevis", mevis("train")),
        ("ytvos", ytvos),
        ("vidstg", folders("vidstg_gcg", "train")),
        ("hcstvg", folders("hcstvg_gcg", "train")),
        ("video", words("train")),
    ):
        yield Split(f"vid_gcgseg_{name}_train", "vid_gcgseg", "video_gcg", {**options, **_SPREAD}, ())
    for name, options in (
        ("video", words("test")),
        ("mevis", mevis("valid_u")),
        ("vidstg", folders("vidstg_gcg", "val")),
    ):
        yield Split(f"vid_gcgseg_{name}_val", "vid_gcgseg", "video_gcg", options, GCG)


def _objects() -> Iterator[Split]:
    root = "vid_objseg/ytvos19"

    def files(part: str) -> dict[str, Any]:
        folder = f"{root}/{part}"
        return {
            "meta": f"{folder}/meta.json",
            "images": f"{folder}/JPEGImages",
            "masks": f"{folder}/Annotations",
        }

    train = {**files("train"), "part": "seen", "objects": PHRASES, **_TRAIN}
    yield Split("vid_objseg_yt19_train", "vid_objseg", "youtube_vos", train, ())
    for part in ("seen", "unseen", "all"):
        options = {**files("valid"), "part": part}
        count = 507 if part == "all" else None
        yield Split(f"vid_objseg_yt19_{part}_val", "vid_objseg", "youtube_vos", options, JF, count, hidden=True)
    root = "vid_refseg/davis17"
    davis = {
        "list": f"{root}/ImageSets/2017/val.txt",
        "images": f"{root}/davis_supervised/JPEGImages/480p",
        "masks": f"{root}/davis_supervised/Annotations/480p",
    }
    yield Split("vid_objseg_davis17_val", "vid_objseg", "davis", davis, JF, 30)


def _regions() -> Iterator[Split]:
    ytvis, vipseg = "vid_vgdseg/ytvis_vgd", "vid_vgdseg/vipseg_vgd"
    for name, part, root, names, images in (
        ("yt19", "train", ytvis, "ytvis19/train/train.json", "ytvis19/train/JPEGImages"),
        ("yt19", "val", ytvis, "ytvis19/valid/valid.json", "ytvis19/valid/JPEGImages"),
        ("vipseg", "train", vipseg, "vipseg_720p/panoptic_gt_VIPSeg_train.json", "vipseg_720p/images"),
        ("vipseg", "val", vipseg, "vipseg_720p/panoptic_gt_VIPSeg_val.json", "vipseg_720p/images"),
    ):
        options = {
            "json": f"{root}/annotations/vid_vgdseg_{name}_{part}.json",
            "names": f"{root}/{names}",
            "images": f"{root}/{images}",
        }
        if part == "train":
            yield Split(f"vid_vgdseg_{name}_train", "vid_vgdseg", "vgd_video", {**options, **_TRAIN}, ())
        for kind in PROMPTS if part == "val" else ():
            row = {**options, "prompt": kind, "released": {**_TRAIN, "first": True, "shortest": 2}}
            yield Split(f"vid_vgdseg_{name}_{kind}_val", "vid_vgdseg", "vgd_video", row, ("vvgd",))


def _chat() -> Iterator[Split]:
    root = "vid_chat/video_chatgpt"
    options = {"json": f"{root}/VideoInstruct100K.json", "videos": f"{root}/ActivityNet/train", "frames": 64}
    yield Split("vid_chat_videochatgpt_train", "vid_chat", "video_chat", options, ())


VIDEO_SPLITS = (
    *_generic(),
    *_referring(),
    *_reasoning(),
    *_captions(),
    *_objects(),
    *_regions(),
    *_chat(),
)
