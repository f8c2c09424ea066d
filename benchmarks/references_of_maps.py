"""Runs the public implementations of the metrics of id maps: panoptic, tracking and semantic quality."""

from __future__ import annotations

import ast
import collections
import contextlib
import copy
import os
import tempfile
import types
import typing
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import metric_cases as cases
import numpy as np
from PIL import Image

Numbers = dict[str, float]


def taken(path: Path, *names: str, **environment: Any) -> types.SimpleNamespace:
    """The functions, classes and constants ``names`` of a source file, without running the rest of it."""
    text = path.read_text().replace("np.float)", "float)").replace("np.bool)", "bool)")
    text = text.replace("np.round((.95 - .5) / .05) + 1", "10").replace("np.round((1.00 - .0) / .01) + 1", "101")
    text = text.replace("np.round((0.95 - .5) / .05) + 1", "10")
    found = []
    for node in ast.parse(text).body:
        targets = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        if getattr(node, "name", None) in names or set(targets) & set(names):
            node.decorator_list = []  # type: ignore[attr-defined]
            found.append(node)
    space = {
        **vars(typing),
        "np": np,
        "defaultdict": defaultdict,
        "OrderedDict": OrderedDict,
        "__name__": "taken",
        **environment,
    }
    exec(compile(ast.Module(found, []), str(path), "exec"), space)
    return types.SimpleNamespace(**{name: space[name] for name in names})


def categories() -> dict[int, dict[str, Any]]:
    return {i: {"id": i, "isthing": int(thing)} for i, thing in cases.THINGS.items()}


def write_map(path: Path, ids: np.ndarray) -> None:
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)).save(path)


def segments(ids: np.ndarray, names: dict[int, int], crowd: frozenset[int] = frozenset()) -> list[dict[str, Any]]:
    return [
        {"id": i, "category_id": c, "area": int((ids == i).sum()), "iscrowd": int(i in crowd)}
        for i, c in names.items()
        if (ids == i).any()
    ]


def averages(stat: Any, names: dict[str, str]) -> Numbers:
    """Of a statistic over categories: all, things and stuff; left out where there are none."""
    result = {}
    for kind, thing in {"": None, "_things": True, "_stuff": False}.items():
        with contextlib.suppress(ZeroDivisionError):
            score = stat.pq_average(categories(), thing)[0]
            result |= {ours.replace("*", kind): score[theirs] for theirs, ours in names.items()}
    return result


def panoptic(sources: Path, data: list[cases.PanopticCase]) -> Numbers:
    names = ("PQStatCat", "PQStat", "pq_compute_single_core", "OFFSET", "VOID")
    rgb2id = taken(sources / "panopticapi/panopticapi/utils.py", "rgb2id").rgb2id
    api = taken(sources / "panopticapi/panopticapi/evaluation.py", *names, rgb2id=rgb2id, Image=Image, os=os)
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for n, case in enumerate(data):
            write_map(Path(folder) / f"t{n}.png", case.truth[0])
            write_map(Path(folder) / f"p{n}.png", case.predicted[0])
            truth = segments(case.truth[0], case.truth_categories, case.crowd)
            pairs.append(
                (
                    {"image_id": n, "file_name": f"t{n}.png", "segments_info": truth},
                    {"file_name": f"p{n}.png", "segments_info": segments(case.predicted[0], case.predicted_categories)},
                )
            )
        stat = api.pq_compute_single_core(0, pairs, folder, folder, categories())
    return averages(stat, {"pq": "PQ*", "sq": "SQ*", "rq": "RQ*"})


def video_panoptic(sources: Path, data: list[cases.PanopticCase]) -> Numbers:
    path = sources / "VIPSeg-Dataset/ClipPanoFCN/eval_vpq_vspw.py"
    api = taken(path, "PQStatCat", "PQStat", "vpq_compute_single_core", Image=Image, copy=copy)
    result: Numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        for k in (1, 2, 4, 6):
            total = api.PQStat()
            for n, case in enumerate(data):
                video = []
                for t, (p, g) in enumerate(zip(case.predicted, case.truth, strict=True)):
                    files = [Path(folder) / f"{n}_{t}_{side}.png" for side in "tp"]
                    write_map(files[0], g)
                    write_map(files[1], p)
                    truth = {"segments_info": segments(g, case.truth_categories, case.crowd)}
                    video.append((truth, {"segments_info": segments(p, case.predicted_categories)}, *files, None))
                total += api.vpq_compute_single_core(categories(), k, video)
            result |= averages(total, {"pq": f"VPQ*@{k}"})
    return result


def tracking(sources: Path, data: list[cases.PanopticCase]) -> Numbers:
    path = sources / "deeplab2/evaluation/numpy/segmentation_and_tracking_quality.py"
    api = taken(
        path,
        "STQuality",
        "_update_dict_stats",
        "_check_weights",
        "_EPSILON",
        warnings=warnings,
        collections=collections,
    )
    order = {category: n for n, category in enumerate(cases.THINGS)}
    things = [order[c] for c, thing in cases.THINGS.items() if thing]
    metric = api.STQuality(len(order), things, 255, 16, 2**24)

    def labels(ids: np.ndarray, names: dict[int, int], crowd: frozenset[int]) -> np.ndarray:
        result = np.full(ids.shape, (255 << 16) + 255, dtype=np.int64)
        for number, (i, c) in enumerate(names.items(), start=1):
            result[ids == i] = (order[c] << 16) + (0 if i in crowd else number)
        return result

    for n, case in enumerate(data):
        truth = labels(case.truth, case.truth_categories, case.crowd)
        predicted = labels(case.predicted, case.predicted_categories, frozenset())
        for g, p in zip(truth, predicted, strict=True):
            metric.update_state(g, p, n)
    with np.errstate(all="ignore"):
        result = metric.result()
    return {"STQ": result["STQ"], "AQ": result["AQ"], "SQ": result["IoU"]}


def semantic(sources: Path, data: list[tuple[np.ndarray, np.ndarray]]) -> Numbers:
    path = sources / "detectron2/detectron2/evaluation/sem_seg_evaluation.py"
    api = taken(path, "SemSegEvaluator", DatasetEvaluator=object, load_image_into_numpy_array=0)
    metric = api.SemSegEvaluator.__new__(api.SemSegEvaluator)
    frames = {str(n): frame for n, frame in enumerate(f for _, truth in data for f in truth)}
    vars(metric).update(
        {"_num_classes": cases.CLASSES, "_ignore_label": 255, "_cpu_device": "cpu", "_compute_boundary_iou": False}
    )
    vars(metric).update({"_distributed": False, "_output_dir": None, "_logger": mock.MagicMock()})
    metric._class_names = list("abcdef")
    metric.input_file_to_gt_file = {name: name for name in frames}
    metric.sem_seg_loading_fn = lambda name, dtype: frames[name].astype(dtype)
    metric.encode_json_sem_seg = lambda *a: []
    metric.reset()
    for n, frame in enumerate(f for predicted, _ in data for f in predicted):
        scores = mock.MagicMock()
        scores.argmax.return_value.to.return_value = frame
        metric.process([{"file_name": str(n)}], [{"sem_seg": scores}])
    result = metric.evaluate()["sem_seg"]
    return {name: result[name] / 100 for name in ("mIoU", "fwIoU", "mACC", "pACC")}


def consistency(sources: Path, data: list[tuple[np.ndarray, np.ndarray]]) -> Numbers:
    get_common = taken(sources / "VSPW_baseline/VC_perclip.py", "get_common").get_common
    result = {}
    for n in (8, 16):
        shares: list[float] = []
        for predicted, truth in data:
            with np.errstate(all="ignore"):
                shares += get_common(list(truth), list(predicted), n, *truth.shape[1:]) if len(truth) > n else []
        result[f"mVC@{n}"] = float(np.nanmean(shares))
    return result
