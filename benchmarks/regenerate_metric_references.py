"""Recomputes tests/data/metrics_reference.json with the public implementations of the metrics. Not run in tests.

    python benchmarks/regenerate_metric_references.py --sources DIR

needs, beside x2sam: pycocotools, trackeval, pycocoevalcap (and Java), opencv-python-headless, scikit-image; and in DIR
clones named panopticapi, davis2017-evaluation, cocoapi (youtubevos), VIPSeg-Dataset, VSPW_baseline, deeplab2,
detectron2, ReLA, LISA, groundingLMM. Only the functions that score are taken from those; nothing of them is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))
import metric_cases as cases  # noqa: E402
import references_of_maps as maps  # noqa: E402
import references_of_masks as masks  # noqa: E402

OUTPUT = TESTS / "data" / "metrics_reference.json"

REFERENCES: dict[str, tuple[Callable[[Path, Any], maps.Numbers], dict[str, Any]]] = {
    "PanopticQuality": (maps.panoptic, cases.panoptic_cases(1)),
    "VideoPanopticQuality": (maps.video_panoptic, cases.panoptic_cases(7)),
    "SegmentationTrackingQuality": (maps.tracking, cases.panoptic_cases(7)),
    "MeanIoU": (maps.semantic, {k: v for k, v in cases.semantic_cases().items() if k != "never steady"}),
    "VideoConsistency": (maps.consistency, cases.semantic_cases()),
    "MaskAP": (masks.coco, cases.instance_cases(1)),
    "TrackAP": (masks.youtube_vis, cases.instance_cases(4)),
    "RegionBoundary": (masks.davis, cases.mask_cases()),
    "ReferringIoU": (masks.gres, {k: v for k, v in cases.referring_cases().items() if k != "only no targets"}),
    "ReferringIoU, as LISA": (masks.lisa, cases.referring_cases()),
    "TrackIdentity": (masks.identity, cases.identity_cases()),
    "GroundedMasks": (masks.grounded, cases.grounded_cases(1)),
    "GroundedMasks, video": (masks.grounded, cases.grounded_cases(3)),
    "CaptionScore": (masks.captions, {"captions": cases.caption_cases()}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True)
    sources = parser.parse_args().sources
    result = {}
    for name, (reference, data) in REFERENCES.items():
        print(name, file=sys.stderr)
        with contextlib.redirect_stdout(io.StringIO()):
            scores = {case: reference(sources, samples) for case, samples in data.items()}
        result[name] = {
            case: {k: None if math.isnan(v) else round(float(v), 10) for k, v in score.items()}
            for case, score in scores.items()
        }
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
