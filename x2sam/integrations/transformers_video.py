"""The names of transformers' video models over a track: sessions, points ``[image][object][point]``, an iterator.

    model = X2SamVideoModel.from_pretrained("nano")
    processor = X2SamVideoProcessor.from_pretrained("nano")
    session = processor.init_video_session(video=frames)
    processor.add_inputs_to_inference_session(session, 0, 1, input_points=[[[[210, 350]]]], input_labels=[[[1]]])
    for output in model.propagate_in_video_iterator(session): ...

Pictures are RGB, as PIL gives them; OpenCV's are BGR: pass ``frame[..., ::-1]``. Coordinates are pixels of the video.
"""

from __future__ import annotations

import math
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
from x2sam.integrations.pushing import show
from x2sam.marks import plain
from x2sam.media.opening import Clip, open_media
from x2sam.media.pictures import as_array
from x2sam.predictor import X2Sam
from x2sam.tracking.session import Session
from x2sam.tracking.track import Track
from x2sam.types import FrameResult, Segment

INSIDE = 10.0
"""What stands for a logit inside a mask; outside its negative."""


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
        clip = open_media(_channels_last(images), kind="image")
        frame = torch.from_numpy(np.array(clip.frame_at(0)))
        return BatchFeature({"pixel_values": frame[None], "original_sizes": torch.tensor([list(clip.size)])})

    def init_video_session(self, video: Any = None, **devices: Any) -> X2SamVideoInferenceSession:
        """Open a video: a list of pictures, an array ``[T, H, W, 3]``, a tensor, a path; None: frames are pushed.

        ``inference_device`` and the other settings of places and types are taken; the model's own are used.
        """
        if video is None:
            return X2SamVideoInferenceSession()
        clip = open_media(_channels_last(video), kind="video")
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


class X2SamVideoModel:
    """What `Sam2VideoModel` and `Sam3VideoModel` are called for, over `X2Sam`."""

    def __init__(self, predictor: X2Sam) -> None:
        self.predictor = predictor

    @classmethod
    def from_pretrained(cls, name_or_path: Any = "auto", device_map: Any = None, **kwargs: Any) -> X2SamVideoModel:
        """As `X2Sam.from_pretrained`; ``device_map`` may be ``"auto"`` or a device."""
        if isinstance(device_map, (str, torch.device)):
            kwargs.setdefault("device", str(device_map))
        return cls(X2Sam.from_pretrained(name_or_path, **kwargs))

    @property
    def device(self) -> torch.device:
        return self.predictor.model.device

    def to(self, *args: Any, **kwargs: Any) -> X2SamVideoModel:
        self.predictor.model.to(*args, **kwargs)
        return self

    def eval(self) -> X2SamVideoModel:
        return self

    def __call__(
        self,
        inference_session: X2SamVideoInferenceSession,
        frame_idx: int | None = None,
        frame: Any = None,
        reverse: bool = False,
        **kwargs: Any,
    ) -> X2SamVideoSegmentationOutput:
        """The masks of one frame: of the video by its index, or of one that is pushed."""
        session = inference_session
        if frame is not None:
            return self._pushed(session, frame, frame_idx)
        if frame_idx is None or session.clip is None:
            raise InputError("Got neither a frame nor its index", "frame_idx of a video, or frame of a stream")
        if session.num_frames is not None and not 0 <= frame_idx < session.num_frames:
            raise InputError(f"Got frame_idx={frame_idx}", f"0 to {session.num_frames - 1}")
        track = self._take_up(session, reverse)
        _advance(track, frame_idx)
        return _output(session, next(f for f in track.done.frames if f.index == frame_idx))

    forward = __call__

    def propagate_in_video_iterator(
        self,
        inference_session: X2SamVideoInferenceSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        show_progress_bar: bool = False,
    ) -> Iterator[X2SamVideoSegmentationOutput]:
        """Every frame from the first with inputs (or ``start_frame_idx``) on, or backward from the last with inputs."""
        session = inference_session
        if session.clip is None or session.num_frames is None:
            raise InputError("Got a session of pushed frames to go through", "model(inference_session, frame=...)")
        drawn = [frame for _, frame in session._given] or [0]
        start = (max(drawn) if reverse else min(drawn)) if start_frame_idx is None else start_frame_idx
        most = session.num_frames if max_frame_num_to_track is None else max_frame_num_to_track
        last = session.num_frames - 1
        order = range(start, max(start - most, 0) - 1, -1) if reverse else range(start, min(start + most, last) + 1)
        if show_progress_bar:
            from rich.progress import track as progress

            order = progress(order, "propagate in video")  # type: ignore[assignment]
        if reverse:
            self._backward(session, start)
        for index in order:
            yield self(session, frame_idx=index)

    # --- from inputs to a track -----------------------------------------------------------------------------------

    def _take_up(self, session: X2SamVideoInferenceSession, backward: bool = False) -> Track:
        """The session's track, with every input that came since."""
        if not session._pending and not session._texts and session.track is None:
            raise InputError("Got a session without inputs", "points, boxes, masks or text first")
        if session._session is None:
            session._session = self.predictor.live() if session.clip is None else self.predictor.open(session.clip)
        for text in _asked(session):
            if session.track is None:
                session.track = session._session.track(text, keep=session.clip is not None)
            else:
                _consumed(session.track.add(text))
        session._texts.clear()
        for frame_idx, obj_id, region in sorted(session._pending, key=lambda p: p[0]):
            self._point(session, frame_idx, obj_id, region, backward)
        session._pending.clear()
        assert session.track is not None
        return session.track

    def _point(
        self, session: X2SamVideoInferenceSession, frame_idx: int, obj_id: int, region: dict[str, Any], backward: bool
    ) -> None:
        assert session._session is not None
        shown = {**region, "id": obj_id}
        at = None if session.clip is None else frame_idx
        if at is not None:
            shown["frame"] = at
        if session.track is None:
            session.track = session._session.track(regions=[shown], threshold=0.0, keep=at is not None)
        else:
            if at is not None:
                _advance(session.track, at)
            if obj_id in session._followed:
                _consumed(session.track.correct(obj_id, region, frame=at, backward=backward))
            else:
                _consumed(session.track.add(regions=[shown], frame=at, backward=backward))
        session._followed.add(obj_id)

    def _backward(self, session: X2SamVideoInferenceSession, start: int) -> None:
        """Follow what was pointed at on ``start`` backward from there, too."""
        track = self._take_up(session)
        _advance(track, start)
        for (obj_id, frame_idx), region in session._given.items():
            if frame_idx == start and obj_id in session._followed:
                _consumed(track.correct(obj_id, region, frame=start, backward=True))

    def _pushed(
        self, session: X2SamVideoInferenceSession, frame: Any, index: int | None
    ) -> X2SamVideoSegmentationOutput:
        if session.clip is not None:
            raise InputError(
                "Got a frame for a session that has a video", "frame_idx", "init_video_session(video=None)"
            )
        picture = as_array(_channels_last(frame))
        session.video_height, session.video_width = picture.shape[:2]
        index = session._next if index is None else index
        session._next = index + 1
        if session._session is None:
            session._session = self.predictor.live()
        if session.track is None:
            show(session._session, picture, index)
        elif session._pending or session._texts:
            session.track.step(picture, index)
        track = self._take_up(session)
        return _output(session, track.step(picture, index))  # one that was there already gets the result that it has


def _asked(session: X2SamVideoInferenceSession) -> list[Any]:
    """One text is a phrase; several at once are names."""
    return [] if not session._texts else [session._texts[0] if len(session._texts) == 1 else list(session._texts)]


def _consumed(frames: Any) -> None:
    """Run what changes frames, whether it gives them all at once or one after the other."""
    for _ in frames or ():
        pass


def _advance(track: Track, index: int) -> None:
    """Go on until a frame has its result."""
    if track.position is not None and track.position >= index:
        return
    for frame in track:
        if frame.index >= index:
            return


def _output(session: X2SamVideoInferenceSession, frame: FrameResult) -> X2SamVideoSegmentationOutput:
    found = {segment.object_id: segment for segment in frame.segments}
    texts = list(session.prompts)
    for segment in frame.segments:
        if segment.label in texts and segment.object_id not in session.prompts[segment.label]:
            session.prompts[segment.label].append(segment.object_id)
    ids = [*session.obj_ids, *(i for i in found if i not in session.obj_ids)]
    masks = torch.full((len(ids), 1, frame.height, frame.width), -INSIDE)
    scores = torch.full((len(ids), 1), -INSIDE)
    for row, obj_id in enumerate(ids):
        if obj_id in found:
            masks[row, 0][torch.from_numpy(found[obj_id].mask)] = INSIDE
            share = min(max(found[obj_id].score, 1e-4), 1 - 1e-4)
            scores[row] = math.log(share / (1 - share))
    return X2SamVideoSegmentationOutput(ids, masks, scores, frame.index, frame.segments)


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


def _channels_last(media: Any) -> Any:
    """Tensors as torch has pictures, ``[(T,) 3, H, W]``, as ``[(T,) H, W, 3]``; all else as it is."""
    shape = tuple(getattr(media, "shape", ()))
    if isinstance(media, Tensor) and len(shape) in (3, 4) and shape[-3] == 3 and shape[-1] != 3:
        return media.movedim(-3, -1)
    return media
