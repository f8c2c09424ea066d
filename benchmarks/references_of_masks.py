"""Runs the public implementations of the metrics of masks: AP, J&F, IoU of expressions, identity, grounded captions."""

from __future__ import annotations

import contextlib
import copy
import datetime
import math
import time
from pathlib import Path
from typing import Any
from unittest import mock

import metric_cases as cases
import numpy as np
from references_of_maps import Numbers, taken

from x2sam.masks import RLE
from x2sam.metrics.average_precision import SUMMARY


def coco(_: Path, data: list[tuple[cases.Instances, cases.Instances]]) -> Numbers:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def annotation(n: int, i: Any) -> dict[str, Any]:
        base = {"image_id": n, "category_id": i.category, "segmentation": i.masks[0].to_coco()}
        return base | {"area": i.masks[0].area, "iscrowd": int(i.crowd), "bbox": [0, 0, 1, 1], "score": i.score}

    truth, predicted = COCO(), COCO()
    for side, index in ((truth, 1), (predicted, 0)):
        rows = [annotation(n, i) for n, sample in enumerate(data) for i in sample[index]]
        side.dataset = {
            "images": [{"id": n} for n in range(len(data))],
            "categories": [{"id": c} for c in range(1, 6)],
            "annotations": [row | {"id": i} for i, row in enumerate(rows, start=1)],
        }
        side.createIndex()
        for image in side.imgs.values():
            image.update(height=60, width=80)
    return summary(COCOeval(truth, predicted, "segm"))


def youtube_vis(sources: Path, data: list[tuple[cases.Instances, cases.Instances]]) -> Numbers:
    from pycocotools import mask

    path = sources / "cocoapi/PythonAPI/pycocotools"
    env = {"copy": copy, "time": time, "maskUtils": mask, "datetime": datetime}
    api = taken(path / "ytvoseval.py", "YTVOSeval", "Params", **env)

    def annotation(n: int, i: Any) -> dict[str, Any]:
        masks = [m and {"size": [m.height, m.width], "counts": m.counts} for m in i.masks]
        return {"video_id": n, "category_id": i.category, "segmentations": masks, "iscrowd": int(i.crowd)} | {
            "areas": [m and m.area for m in i.masks],
            "score": i.score,
        }

    class Annotations:
        """As much of YTVOS as its evaluator asks for."""

        def __init__(self, index: int) -> None:
            rows = [annotation(n, i) for n, sample in enumerate(data) for i in sample[index]]
            self.rows = {i: row | {"id": i} for i, row in enumerate(rows, start=1)}

        def getVidIds(self) -> list[int]:  # noqa: N802
            return list(range(len(data)))

        def getCatIds(self) -> list[int]:  # noqa: N802
            return list(range(1, 6))

        def getAnnIds(self, vidIds: Any, catIds: Any) -> list[int]:  # noqa: N802, N803
            return list(self.rows)

        def loadAnns(self, ids: list[int]) -> list[dict[str, Any]]:  # noqa: N802
            return [self.rows[i] for i in ids]

        def annToRLE(self, row: dict[str, Any], frame: int) -> Any:  # noqa: N802
            return row["segmentations"][frame]

    return summary(api.YTVOSeval(Annotations(1), Annotations(0), "segm"))


def summary(evaluator: Any) -> Numbers:
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return {n: float(v) if v >= 0 else math.nan for n, v in zip(SUMMARY, evaluator.stats, strict=True)}


def davis(sources: Path, data: list[tuple[np.ndarray, np.ndarray]]) -> Numbers:
    import cv2

    names = ("db_eval_iou", "db_eval_boundary", "f_measure", "_seg2bmap")
    api = taken(sources / "davis2017-evaluation/davis2017/metrics.py", *names, cv2=cv2, math=math)
    with np.errstate(all="ignore"):
        region = np.mean([np.mean(api.db_eval_iou(t, p)) for p, t in data])
    boundary = np.mean([np.mean(api.db_eval_boundary(t, p)) for p, t in data])
    return {"J": float(region), "F": float(boundary), "J&F": float(region + boundary) / 2}


def gres(sources: Path, data: list[tuple[np.ndarray, np.ndarray]]) -> Numbers:
    path = sources / "ReLA/gres_model/evaluation/refer_evaluation.py"
    api = taken(path, "ReferEvaluator", "computeIoU", DatasetEvaluator=object, itertools=None)
    metric = api.ReferEvaluator.__new__(api.ReferEvaluator)
    vars(metric).update({"_distributed": False, "_output_dir": None, "_logger": mock.MagicMock(), "_save_imgs": False})
    metric._available_sources = ["grefcoco"]
    metric._predictions = [
        {"source": "grefcoco", "img_id": n, "sent": "", "sent_info": {}, "pred_mask": p, "gt_mask": t}
        | {"pred_nt": not p.any(), "gt_nt": not t.any()}
        for n, (p, t) in enumerate(data)
    ]
    score = metric.evaluate()["grefcoco"]
    result = {"cIoU": score["cIoU"] / 100, "gIoU": score["gIoU"] / 100}
    absent = any(not t.any() for _, t in data)
    return result | ({"N-acc": score["N_acc"], "T-acc": score["T_acc"]} if absent else {})


def lisa(sources: Path, data: list[tuple[np.ndarray, np.ndarray]]) -> Numbers:
    import torch

    api = taken(sources / "LISA/utils/utils.py", "intersectionAndUnionGPU", torch=torch)
    inside, union, each = torch.zeros(2), torch.zeros(2), []
    for predicted, truth in data:
        masks = [torch.from_numpy(m.astype(np.float32)) for m in (predicted, truth)]
        i, u, _ = api.intersectionAndUnionGPU(*masks, 2, ignore_index=255)
        inside, union = inside + i, union + u
        each.append(float(i[1] / u[1]) if u[1] else 1.0)  # its 1e-5 against division by zero is left out
    return {"cIoU": float(inside.double()[1] / union.double()[1]), "gIoU": float(np.mean(each))}


def identity(_: Path, data: list[list[tuple[cases.Masks, cases.Masks]]]) -> Numbers:
    import trackeval

    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.Identity(), trackeval.metrics.CLEAR()]
    videos = {}
    for n, video in enumerate(data):
        ids = [sorted({i for frame in video for i in frame[side]}) for side in (1, 0)]
        rows = [
            [np.array([known.index(i) for i in f[s]], int) for f in video] for s, known in zip((1, 0), ids, strict=True)
        ]
        overlaps = [
            np.array([[iou(t, p) for p in f[0].values()] for t in f[1].values()]).reshape(len(f[1]), len(f[0]))
            for f in video
        ]
        videos[n] = {
            "num_gt_ids": len(ids[0]),
            "num_tracker_ids": len(ids[1]),
            "num_gt_dets": sum(map(len, rows[0])),
            "num_tracker_dets": sum(map(len, rows[1])),
            "num_timesteps": len(video),
            "gt_ids": rows[0],
            "tracker_ids": rows[1],
            "similarity_scores": overlaps,
        }
    hota, ids1, clear = (m.combine_sequences({n: m.eval_sequence(v) for n, v in videos.items()}) for m in metrics)
    result = {name: float(np.mean(hota[name])) for name in ("HOTA", "DetA", "AssA")}
    return result | {"IDF1": float(ids1["IDF1"]), "IDSW": float(clear["IDSW"])}


def iou(a: RLE, b: RLE) -> float:
    a, b = a.decode(), b.decode()  # type: ignore[assignment]
    return np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1)  # type: ignore[operator]


def grounded(sources: Path, data: list[tuple[cases.Instances, cases.Instances, np.ndarray]]) -> Numbers:
    from pycocotools import mask

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        return np.sum(np.logical_and(a, b)) / np.sum(np.logical_or(a, b))

    now = np.zeros((0, 0))
    env = {"maskUtils": mask, "compute_iou": overlap, "text_similarity_bert": lambda t, p: now[p, t]}
    names = ("compute_miou", "compute_iou_matrix", "find_best_matches")
    api = taken(sources / "groundingLMM/eval/gcg/evaluate.py", *names, **env)
    means, recalled, phrases = [], 0, 0
    for predicted, truth, likeness in data:
        ours, theirs = ([cubes(i) for i in side] for side in (predicted, truth))
        means.append(api.compute_miou(ours, theirs))
        now = likeness
        with mock.patch.object(mask, "decode", lambda cube: cube):
            rows = [[{"segmentation": m} for m in side] for side in (theirs, ours)]
            recalled += len(api.find_best_matches(rows[0], range(len(theirs)), rows[1], range(len(ours)), 0.5, 0.5))
        phrases += len(truth)
    precision = coco(sources, [(p, t) for p, t, _ in data])["AP50"] if len(data[0][0][0].masks) == 1 else None
    result = {"mIoU": float(np.mean(means)), "Recall": recalled / phrases}
    return result if precision is None else result | {"AP50": precision}


def cubes(instance: Any) -> np.ndarray:
    """``[T, H, W]``."""
    size = next((m.height, m.width) for m in instance.masks if m)
    return np.stack([m.decode() if m else np.zeros(size, bool) for m in instance.masks])


def captions(_: Path, data: dict[int, tuple[str, list[str]]]) -> Numbers:
    from pycocoevalcap.eval import COCOEvalCap
    from pycocotools.coco import COCO

    truth, predicted = COCO(), COCO()
    rows = [{"image_id": k, "caption": t} for k, (_, texts) in data.items() for t in texts]
    for side, captions in ((truth, rows), (predicted, [{"image_id": k, "caption": p} for k, (p, _) in data.items()])):
        side.dataset = {
            "images": [{"id": k} for k in data],
            "annotations": [row | {"id": n} for n, row in enumerate(captions)],
        }
        side.createIndex()
    with mock.patch("pycocoevalcap.eval.Spice"), contextlib.suppress(TypeError, ValueError):
        evaluator = COCOEvalCap(truth, predicted)
        evaluator.evaluate()
    return {name: float(evaluator.eval[name]) for name in ("METEOR", "CIDEr")}
