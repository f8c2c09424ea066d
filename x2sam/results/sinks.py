"""Files that results are written to as they come, for streams without end: ``with sink: sink.write(frame, found)``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from PIL import Image

from x2sam.errors import InputError
from x2sam.media.pictures import to_frame
from x2sam.media.video import VideoWriter
from x2sam.results import draw
from x2sam.results.contents import frame_dict
from x2sam.types import FrameResult

ENDINGS = (".mp4", ".jsonl")


class Sink:
    """An mp4 of the frames with their masks, or json lines, told by the ending. Nothing but the file grows.

        with Sink("out.mp4", fps=25) as sink:
            for frame in camera():
                sink.write(frame, track.step(frame))

    The mp4 has the size of its first frame; it is called ``out.part.mp4`` until it is finished, which it also is where
    the loop is left by an error. Each json line is there as soon as it is written.

    Args:
        path: where to; what is there is replaced.
        fps: frames a second of an mp4, where results have no times.
        style: options of `draw.overlay`.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float | None = None, **style: Any) -> None:
        self.path, self.fps, self.style = Path(path), fps, style
        if self.path.suffix.lower() not in ENDINGS:
            raise InputError(f"Got {self.path.name!r} to write a stream to", f"an ending of: {', '.join(ENDINGS)}")
        self.count = 0
        """Frames that were written."""
        self._video: VideoWriter | None = None
        self._lines: IO[str] | None = None
        self._size = (0, 0)

    def __enter__(self) -> Sink:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.suffix.lower() == ".jsonl":
            self._lines = self.path.open("w", encoding="utf-8")
        return self

    def write(self, frame: Any, found: FrameResult) -> None:
        """Append a frame ``[H, W, 3]`` (or any other picture; None where there was none) and its result."""
        if self._lines is not None:
            self._lines.write(json.dumps(frame_dict(found), ensure_ascii=False, allow_nan=False) + "\n")
            self._lines.flush()
        elif frame is not None:
            self._show(found, to_frame(frame, "the frame"))
        self.count += 1

    def _show(self, found: FrameResult, pixels: Any) -> None:
        if self._video is None:
            self._size = pixels.shape[0], pixels.shape[1]
            self._video = VideoWriter(self._part, self._size, self.fps)
        drawn = draw.overlay(pixels, found.segments, **{"ids": True, **self.style})
        if drawn.shape[:2] != self._size:
            drawn = np.asarray(Image.fromarray(drawn).resize(self._size[::-1]))
        self._video.write(drawn, found.time)

    @property
    def _part(self) -> Path:
        return self.path.with_suffix(f".part{self.path.suffix}")

    def close(self) -> None:
        """Finish the file."""
        if self._lines is not None:
            self._lines.close()
        if self._video is not None:
            self._video.close()
            os.replace(self._part, self.path)
        self._lines = self._video = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
