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
from collections.abc import Iterator
from typing import Any

import torch

from x2sam.errors import InputError
from x2sam.integrations.pushing import show
from x2sam.integrations.transformers_session import (
    X2SamVideoInferenceSession,
    X2SamVideoProcessor,
    X2SamVideoSegmentationOutput,
    channels_last,
)
from x2sam.media.pictures import as_array
from x2sam.predictor import X2Sam
from x2sam.tracking.track import Track
from x2sam.types import FrameResult

INSIDE = 10.0
"""What stands for a logit inside a mask; outside its negative."""
__all__ = ["X2SamVideoInferenceSession", "X2SamVideoModel", "X2SamVideoProcessor", "X2SamVideoSegmentationOutput"]


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
        self._take_up(session, reverse)
        _advance(session, frame_idx)
        return _output(session, session._results[frame_idx])

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
                _changed(session, session.track.add(text))
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
                _advance(session, at)
            if obj_id in session._followed:
                _changed(session, session.track.correct(obj_id, region, frame=at, backward=backward))
            else:
                _changed(session, session.track.add(regions=[shown], frame=at, backward=backward))
        session._followed.add(obj_id)

    def _backward(self, session: X2SamVideoInferenceSession, start: int) -> None:
        """Follow what was pointed at on ``start`` backward from there, too."""
        track = self._take_up(session)
        _advance(session, start)
        for (obj_id, frame_idx), region in session._given.items():
            if frame_idx == start and obj_id in session._followed:
                _changed(session, track.correct(obj_id, region, frame=start, backward=True))

    def _pushed(
        self, session: X2SamVideoInferenceSession, frame: Any, index: int | None
    ) -> X2SamVideoSegmentationOutput:
        if session.clip is not None:
            raise InputError(
                "Got a frame for a session that has a video", "frame_idx", "init_video_session(video=None)"
            )
        picture = as_array(channels_last(frame))
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


def _changed(session: X2SamVideoInferenceSession, frames: Any) -> None:
    """Run what changes frames, whether it gives them all at once or one after the other."""
    for frame in frames or ():
        if session.clip is not None:
            session._results[frame.index] = frame


def _advance(session: X2SamVideoInferenceSession, index: int) -> None:
    """Go on until a frame of the video has its result."""
    if session._walk is None:
        assert session.track is not None
        session._walk = iter(session.track)
    while index not in session._results:
        frame = next(session._walk, None)
        if frame is None:
            raise InputError(f"Got frame_idx={index}", f"a frame that can be read, up to {max(session._results)}")
        session._results[frame.index] = frame


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
