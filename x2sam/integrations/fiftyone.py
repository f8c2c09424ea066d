"""A model of FiftyOne's zoo: ``integrations/fiftyone`` is the remote source that loads this one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import InputError, MissingExtraError
from x2sam.predictor import X2Sam
from x2sam.types import Segment

try:
    import fiftyone.core.labels as labels
    import fiftyone.core.models as models
except ImportError:
    raise MissingExtraError("fiftyone", "fiftyone") from None


class X2SamModel(models.Model):
    """Detections with masks for ``dataset.apply_model(model, label_field="x2sam")``.

    Args:
        classes: names, of which everything is found.
        prompt: instead of them a phrase, or a question. Without both a picture is described.
        model, device: as in `X2Sam.from_pretrained`.
        options: of `X2Sam.segment`.
    """

    def __init__(
        self,
        classes: list[str] | None = None,
        prompt: str | None = None,
        model: str = "auto",
        device: str = "auto",
        **options: Any,
    ) -> None:
        if classes and prompt:
            raise InputError("Got classes and a prompt", "one of them")
        self.asked: Any = classes or prompt
        self.options = options
        self.predictor = X2Sam.from_pretrained(model, device=device)

    @property
    def media_type(self) -> str:
        return "image"

    @property
    def ragged_batches(self) -> bool:
        return False

    @property
    def transforms(self) -> None:
        return None

    @property
    def preprocess(self) -> bool:
        return False

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        pass

    def predict(self, arg: NDArray[np.uint8]) -> labels.Detections:
        """The detections of one picture ``[H, W, 3]``, RGB."""
        result = self.predictor.segment(arg, self.asked, **self.options)
        return labels.Detections(detections=[_detection(segment) for segment in result.segments if segment.area])


def _detection(segment: Segment) -> labels.Detection:
    """A box in shares of the picture, and the mask within it."""
    x0, y0, x1, y1 = (int(v) for v in segment.box)
    height, width = segment.rle.height, segment.rle.width
    return labels.Detection(
        label=segment.label,
        confidence=segment.score,
        bounding_box=[x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height],
        mask=segment.mask[y0:y1, x0:x1],
    )
