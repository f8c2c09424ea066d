"""Sessions and the processor of `transformers_video`: what is asked of a video, in the forms of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BatchFeature
from transformers.utils import ModelOutput

from x2sam import sam_prompts
from x2sam.errors import InputError
from x2sam.marks import plain
from x2sam.media.opening import Clip, open_media
from x2sam.tracking.session import Session
from x2sam.tracking.track import Track
from x2sam.types import FrameResult, Segment


@dataclass
class X2SamVideoInferenceSession:
    """A video, what was asked of it, and the track that answers. Memory stays bounded where frames are pushed."""

    clip: Clip | None = None
    """None: frames are pushed one by one."""
    obj_ids: list[int] = field(default_factory=list)
    """Objects that were pointed at, in that order."""
    prompts: dict[str, list[int]] = field(default_factory=dict)
    """Texts that are looked for, and the ids of what was found for each."""
    track: Track | None = None
    video_height: int | None = None
    video_width: int | None = None
    _pending: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    """Frame, object and region of inputs that no run has taken up."""
    _given: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    """All inputs by object and frame."""
    _texts: list[str] = field(default_factory=list)
    _followed: set[int] = field(default_factory=set)
    """Objects that the track knows."""
    _results: dict[int, FrameResult] = field(default_factory=dict)
    """Of a video, frame by frame."""
    _walk: Iterator[FrameResult] | None = None
    _session: Session | None = None
    _next: int = 0

    @property
    def num_frames(self) -> int | None:
        return None if self.clip is None else self.clip.length

    def get_obj_num(self) -> int:
        return len(self.obj_ids)

    def reset_inference_session(self) -> None:
        """Forget inputs and results; the video stays."""
        self.__dict__.update(X2SamVideoInferenceSession(self.clip).__dict__)
        if self.clip is not None:
            self.video_height, self.video_width = self.clip.size

    reset_tracking_data = reset_inference_session

    def remove_object(self, obj_id: int) -> None:
        """Follow an object no longer."""
        self._pending = [pending for pending in self._pending if pending[1] != obj_id]
        if self.track is not None and obj_id in self._followed:
            self.track.remove(obj_id)
        self._followed.discard(obj_id)
        self.obj_ids = [i for i in self.obj_ids if i != obj_id]


@dataclass
class X2SamVideoSegmentationOutput(ModelOutput):
    """One frame.

    object_ids: of the rows below; the objects that were pointed at, then those found by text.
    pred_masks: ``[objects, 1, H, W]`` of the video's own size; above 0 inside, below outside.
    object_score_logits: ``[objects, 1]``; low where an object is not to be seen.
    frame_idx: the frame. segments: the same as x2sam has it.
    """

    object_ids: list[int] | None = None
    pred_masks: Tensor | None = None
    object_score_logits: Tensor | None = None
    frame_idx: int | None = None
    segments: tuple[Segment, ...] | None = None


class X2SamVideoProcessor:
    """What `Sam2VideoProcessor` and `Sam3VideoProcessor` are called for."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> X2SamVideoProcessor:
        """Takes what the model takes and needs none of it: pictures are scaled by the model."""
        return cls()

    def __call__(self, images: Any, **kwargs: Any) -> BatchFeature:
        """A picture, for pushing: ``pixel_values`` ``[1, H, W, 3]`` uint8 as it is, and ``original_sizes``."""
        clip = open_media(channels_last(images), kind="image")
        frame = torch.from_numpy(np.array(clip.frame_at(0)))
        return BatchFeature({"pixel_values": frame[None], "original_sizes": torch.tensor([list(clip.size)])})

    def init_video_session(self, video: Any = None, **devices: Any) -> X2SamVideoInferenceSession:
        """Open a video: a list of pictures, an array ``[T, H, W, 3]``, a tensor, a path; None: frames are pushed.

        ``inference_device`` and the other settings of places and types are taken; the model's own are used.
        """
        if video is None:
            return X2SamVideoInferenceSession()
        clip = open_media(channels_last(video), kind="video")
        return X2SamVideoInferenceSession(clip, video_height=clip.size[0], video_width=clip.size[1])

    def add_inputs_to_inference_session(
        self,
        inference_session: X2SamVideoInferenceSession,
        frame_idx: int,
        obj_ids: int | Sequence[int],
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        original_size: Any = None,
        clear_old_inputs: bool = True,
    ) -> X2SamVideoInferenceSession:
        """Point at objects on a frame; the next run of the model takes it up.

        Args:
            obj_ids: one for each object of the inputs. One that is followed already is corrected from this frame on.
            input_points, input_labels: ``[image][object][point][2]`` and ``[image][object][point]``, 1 or 0.
            input_boxes: ``[image][box][4]``, one for each object; points beside it that are 0 are left out of it.
            input_masks: one mask ``[H, W]`` for each object.
            original_size: taken, not needed.
            clear_old_inputs: False: points join those given for the same object and frame before.
        """
        ids = [obj_ids] if isinstance(obj_ids, int) else list(obj_ids)
        if (input_points is None) != (input_labels is None):
            raise InputError("Got points or labels alone", "both", "Labels are 1 on the object and 0 beside it")
        regions = _regions(input_points, input_labels, input_boxes, input_masks)
        if len(regions) != len(ids):
            raise InputError(f"Got inputs for {len(regions)} objects and {len(ids)} ids", "an id for each")
        for obj_id, region in zip(ids, regions, strict=True):
            old = inference_session._given.get((obj_id, frame_idx), {})
            if not clear_old_inputs:
                for name in ("points", "negative"):
                    if old.get(name):
                        region[name] = [*old[name], *region.get(name, [])]
            inference_session._given[obj_id, frame_idx] = region
            inference_session._pending.append((frame_idx, obj_id, region))
            if obj_id not in inference_session.obj_ids:
                inference_session.obj_ids.append(obj_id)
        return inference_session

    def add_text_prompt(
        self, inference_session: X2SamVideoInferenceSession, text: str | list[str]
    ) -> X2SamVideoInferenceSession:
        """Look for a phrase, or for everything of several names."""
        for one in [text] if isinstance(text, str) else text:
            inference_session._texts.append(one)
            inference_session.prompts.setdefault(one, [])
        return inference_session

    def post_process_masks(
        self, masks: Any, original_sizes: Any, mask_threshold: float = 0.0, binarize: bool = True, **kwargs: Any
    ) -> list[Tensor]:
        """Masks ``[objects, 1, H, W]`` of each entry at its original size; bool, or with ``binarize`` False numbers."""
        sizes = [tuple(map(int, size)) for size in sam_prompts.listed(original_sizes)]
        out = []
        for mask, size in zip(masks, sizes, strict=True):
            numbers = torch.as_tensor(mask, dtype=torch.float32)
            if tuple(numbers.shape[-2:]) != size:
                numbers = F.interpolate(numbers, size, mode="bilinear", align_corners=False)
            out.append(numbers > mask_threshold if binarize else numbers)
        return out

    def postprocess_outputs(
        self,
        inference_session: X2SamVideoInferenceSession,
        model_outputs: X2SamVideoSegmentationOutput,
        original_sizes: Any = None,
    ) -> dict[str, Any]:
        """What is to be seen: object_ids, scores, boxes (xyxy), masks ``[N, H, W]`` bool, prompt_to_obj_ids."""
        segments = model_outputs.segments or ()
        height, width = inference_session.video_height or 0, inference_session.video_width or 0
        masks = [torch.from_numpy(segment.mask) for segment in segments]
        seen = {segment.object_id for segment in segments}
        by_text = {text: [i for i in ids if i in seen] for text, ids in inference_session.prompts.items()}
        return {
            "object_ids": torch.tensor([segment.object_id for segment in segments], dtype=torch.int64),
            "scores": torch.tensor([segment.score for segment in segments]),
            "boxes": torch.tensor([segment.box for segment in segments]).reshape(-1, 4),
            "masks": torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool),
            "prompt_to_obj_ids": {text: ids for text, ids in by_text.items() if ids},
        }


def _regions(points: Any, labels: Any, boxes: Any, masks: Any) -> list[dict[str, Any]]:
    """What was given for each object."""
    if masks is not None:
        if points is not None or boxes is not None:
            raise InputError("Got masks beside points or boxes", "one of them")
        given = masks if isinstance(masks, (list, tuple)) else [masks]
        return [{"mask": mask} for one in given for mask in _flat_masks(one)]
    signed = [] if points is None else sam_prompts.objects_of(points, labels)
    framed = [] if boxes is None else sam_prompts.boxes_of(boxes)
    if not signed and not framed:
        raise InputError("Got no input", "points with labels, boxes, or masks")
    if signed and framed and len(signed) != len(framed):
        raise InputError(f"Got {len(signed)} objects of points and {len(framed)} boxes", "as many")
    if not framed:
        return [_points(positive, negative) for positive, negative in signed]
    if not signed:
        return [{"box": box} for box in framed]
    return [
        {"points": positive, "negative": negative} if positive else {"box": box}
        for (positive, negative), box in zip(signed, framed, strict=True)
    ]


def _points(positive: list[Any], negative: list[Any]) -> dict[str, Any]:
    region: dict[str, Any] = {"points": positive} if positive else {}
    return {**region, "negative": negative} if negative else region


def _flat_masks(mask: Any) -> Iterator[Any]:
    array = plain(mask)
    if isinstance(array, np.ndarray) and array.ndim > 2:
        yield from array.reshape(-1, *array.shape[-2:])
    else:
        yield mask


def channels_last(media: Any) -> Any:
    """Tensors as torch has pictures, ``[(T,) 3, H, W]``, as ``[(T,) H, W, 3]``; all else as it is."""
    shape = tuple(getattr(media, "shape", ()))
    if isinstance(media, Tensor) and len(shape) in (3, 4) and shape[-3] == 3 and shape[-1] != 3:
        return media.movedim(-3, -1)
    return media
