"""The image splits: rows of data, nothing else. Paths are relative to the root folder of all data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from x2sam.data.base import Split
from x2sam.types import RegionKind

PROMPTS: tuple[RegionKind, ...] = get_args(RegionKind)
PANOPTIC, SEMANTIC, INSTANCE, REFERRING, INTERACTIVE = (
    (name,) for name in ("pq", "miou", "mask_ap", "referring", "interactive")
)
GCG = ("gcg", "captions")

_COCO = "img_genseg/coco2017"
_ADE = "img_ovseg/ade20k"
_REF = "img_refseg/refcocos"
_LISA = "img_reaseg/lisa"
_GRANDF = "img_gcgseg/grand_f"
_INT = "img_intseg/coco_int"
_VGD = "img_vgdseg/coco_vgd"


def _generic() -> Iterator[Split]:
    def panoptic(part: str) -> dict[str, str]:
        return {
            "json": f"{_COCO}/annotations/panoptic_{part}.json",
            "images": f"{_COCO}/{part}",
            "masks": f"{_COCO}/panoptic_{part}",
        }

    row = "img_genseg_coco_panoptic"
    train = {**panoptic("train2017"), "categories": 128}
    yield Split(f"{row}_train", "img_genseg", "coco_panoptic", train, (), 118_287)
    yield Split(f"{row}_val", "img_genseg", "coco_panoptic", panoptic("val2017"), PANOPTIC, 5_000)
    semantic = {
        "names": f"{_COCO}/annotations/panoptic_val2017.json",
        "images": f"{_COCO}/val2017",
        "masks": f"{_COCO}/panoptic_semseg_val2017",
    }
    yield Split(f"{row}_semantic_val", "img_genseg", "coco_semantic", semantic, SEMANTIC, 5_000)
    instance = {"json": f"{_COCO}/annotations/instances_val2017.json", "images": f"{_COCO}/val2017"}
    yield Split("img_genseg_coco_instance_val", "img_genseg", "coco_instance", instance, INSTANCE, 5_000)


def _open_vocabulary() -> Iterator[Split]:
    images = f"{_ADE}/images/validation"
    panoptic = {"json": f"{_ADE}/ade20k_panoptic_val.json", "images": images, "masks": f"{_ADE}/ade20k_panoptic_val"}
    yield Split("img_ovseg_ade20k_panoptic_val", "img_ovseg", "coco_panoptic", panoptic, PANOPTIC, 2_000)
    semantic = {"names": panoptic["json"], "images": images, "masks": f"{_ADE}/annotations_detectron2/validation"}
    yield Split("img_ovseg_ade20k_panoptic_semantic_val", "img_ovseg", "coco_semantic", semantic, SEMANTIC, 2_000)
    instance = {"json": f"{_ADE}/ade20k_instance_val.json", "images": images}
    yield Split("img_ovseg_ade20k_instance_val", "img_ovseg", "coco_instance", instance, INSTANCE, 2_000)


REFERRED: dict[str, tuple[str, dict[str, int | None]]] = {
    "refcoco": ("refs(unc).p", {"val": 10_834, "testA": 5_657, "testB": 5_095}),
    "refcocop": ("refs(unc).p", {"val": 10_758, "testA": 5_726, "testB": 4_889}),
    "refcocog": ("refs(umd).p", {"val": 4_896, "test": 9_602}),
    "grefcoco": ("grefs(unc).json", {"val": None, "testA": None, "testB": None}),
}
"""File of the expressions, and the published number of expressions in every part."""


def _referring() -> Iterator[Split]:
    for name, (refs, parts) in REFERRED.items():
        files = {
            "refs": f"{_REF}/{name}/{refs}",
            "instances": f"{_REF}/{name}/instances.json",
            "images": f"{_REF}/images/train2014",
        }
        if name != "grefcoco":
            train = {**files, "part": "train", "phrases": 8}
            yield Split(f"img_refseg_{name}_train", "img_refseg", "refcoco", train, ())
        for part, count in parts.items():
            options = {**files, "part": part}
            yield Split(f"img_refseg_{name}_{part}", "img_refseg", "refcoco", options, REFERRING, count)


def _reasoning() -> Iterator[Split]:
    train = {"folder": f"{_LISA}/train", "joined": True, "explanations": f"{_LISA}/explanatory/train.json"}
    yield Split("img_reaseg_lisa_train", "img_reaseg", "reasonseg", train, (), 239)
    yield Split("img_reaseg_lisa_val", "img_reaseg", "reasonseg", {"folder": f"{_LISA}/val"}, REFERRING, 200)
    test = {"folder": f"{_LISA}/test"}
    for part, queries in (("short", "phrase"), ("long", "sentence")):
        options = {**test, "queries": queries}
        yield Split(f"img_reaseg_lisa_test_{part}", "img_reaseg", "reasonseg", options, REFERRING)
    yield Split("img_reaseg_lisa_test_all", "img_reaseg", "reasonseg", test, REFERRING, 779)


def _captions() -> Iterator[Split]:
    annotations, images = f"{_GRANDF}/annotations", f"{_GRANDF}/images"
    for name, form, file, folder in (
        ("grandf", "groundings", "GranDf_HA_GCG_train", "GranDf_HA_images/train"),
        ("refcocog", "refs", "RefCOCOg_GCG_train", "coco2014/train2014"),
        ("psg", "groundings", "OpenPsgGCG_train", "coco2017"),
        ("flickr", "flickr", "flickr_mergedGT_GCG_train", "flickr30k/images/train"),
    ):
        options = {"json": f"{annotations}/train/{file}.json", "images": f"{images}/{folder}", "form": form}
        yield Split(f"img_gcgseg_{name}_train", "img_gcgseg", "grandf", options, ())
    for part in ("val", "test"):
        stem = f"{annotations}/val_test/{part}_gcg_coco"
        options = {
            "json": f"{stem}_mask_gt.json",
            "captions": f"{stem}_caption_gt.json",
            "images": f"{images}/GranDf_HA_images/val_test",
            "form": "scored",
        }
        yield Split(f"img_gcgseg_{part}", "img_gcgseg", "grandf", options, GCG)


def _regions() -> Iterator[Split]:
    train = {"json": f"{_VGD}/annotations/img_vgdseg_coco_train.json", "images": f"{_VGD}/coco2017/train2017"}
    yield Split("img_vgdseg_coco_train", "img_vgdseg", "coco_vgd", train, ())
    shown = {"json": f"{_VGD}/annotations/img_vgdseg_coco_val.json", "images": f"{_VGD}/coco2017/val2017"}
    single = {
        "json": f"{_INT}/annotations/coco_interactive_val_psalm.json",
        "images": f"{_INT}/coco2017/val2017",
    }
    for kind in PROMPTS:
        options = {**single, "prompt": kind}
        yield Split(f"img_intseg_coco_{kind}_val", "img_intseg", "coco_interactive", options, INTERACTIVE)
    for kind in PROMPTS:
        yield Split(f"img_vgdseg_coco_{kind}_val", "img_vgdseg", "coco_vgd", {**shown, "prompt": kind}, INSTANCE)


def _others() -> Iterator[Split]:
    chat = "img_chat/llava"
    options = {
        "json": f"{chat}/LLaVA-Instruct-150K/llava_v1_5_mix665k.json",
        "images": f"{chat}/llava_images",
    }
    yield Split("img_chat_llava", "img_chat", "llava_chat", options, ())
    yield Split("img_sam_sa1b", "img_genseg", "sa1b", {"folder": "img_sam/SA1B", "most": 100}, ())


IMAGE_SPLITS = (
    *_generic(),
    *_open_vocabulary(),
    *_referring(),
    *_reasoning(),
    *_captions(),
    *_regions(),
    *_others(),
)
