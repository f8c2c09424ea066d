"""The public metrics of all tasks, one small file each, with one protocol: ``update``, ``merge``, ``compute``.

They take run-length coded masks, id maps and ids, nothing of the model. See ``base`` for what all of them share.
"""

from x2sam.metrics.average_precision import Instance, MaskAP, TrackAP
from x2sam.metrics.base import Metric
from x2sam.metrics.captions import CaptionScore, PhraseLikeness
from x2sam.metrics.grounded_caption import GroundedMasks, GroundedNouns
from x2sam.metrics.grouped import Grouped
from x2sam.metrics.identity import TrackIdentity
from x2sam.metrics.panoptic import PanopticQuality, VideoPanopticQuality
from x2sam.metrics.presence import Presence
from x2sam.metrics.referring import ReferringIoU
from x2sam.metrics.region_boundary import RegionBoundary
from x2sam.metrics.said import SaidNames
from x2sam.metrics.semantic import MeanIoU, VideoConsistency
from x2sam.metrics.stq import SegmentationTrackingQuality

__all__ = [
    "CaptionScore",
    "GroundedMasks",
    "GroundedNouns",
    "Grouped",
    "Instance",
    "MaskAP",
    "MeanIoU",
    "Metric",
    "PanopticQuality",
    "PhraseLikeness",
    "Presence",
    "ReferringIoU",
    "RegionBoundary",
    "SaidNames",
    "SegmentationTrackingQuality",
    "TrackAP",
    "TrackIdentity",
    "VideoConsistency",
    "VideoPanopticQuality",
]
