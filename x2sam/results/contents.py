"""What a request gives back: text and the segments of every frame, with ways to look at them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from x2sam.errors import InputError
from x2sam.media.opening import Clip
from x2sam.results import draw
from x2sam.types import Arrays, Frame, FrameResult, Prompt, Segment, Usage


@dataclass(frozen=True, repr=False)
class Contents(Arrays):
    """The answer to one prompt on one medium. Masks stay run-length coded until they are asked for.

    ``masks``, ``boxes``, ``scores``, ``labels`` and ``ids`` are arrays with a row for each of ``segments``: those of a
    picture, or of all frames of a film (``result.frame(12).masks`` are those of one).
    """

    task: str
    """Name of the row of the task table."""
    text: str
    frames: tuple[FrameResult, ...]
    """In the order of time; an image has one, a chat none."""
    prompt: Prompt
    clip: Clip = field(repr=False, compare=False)
    """The medium, from which drawings and cut-outs take their pixels."""
    usage: Usage = field(default_factory=Usage, repr=False, compare=False)
    """Tokens that the first prompt took."""
    colours: Mapping[int, draw.Colour] = field(default_factory=dict, repr=False, compare=False)
    """Colours of objects, by id, that are not to be `draw.colour`'s."""

    def __repr__(self) -> str:
        height, width = self.clip.size
        where = f"{self.clip.name} ({width}x{height})"
        if not self.frames:
            return f"<{self.task} of {where}: {self.text[:60]!r}>"
        if self.clip.kind == "image":
            return f"<{self.task} of {where}: {self._told() or 'nothing found'}>"
        count = len(self.objects)
        return f"<{self.task} of {where}: {count} object{'s' * (count != 1)} on {len(self.frames)} frames>"

    @property
    def _size(self) -> tuple[int, int]:
        return self.clip.size

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """All segments of all frames."""
        return tuple(segment for frame in self.frames for segment in frame.segments)

    @cached_property
    def objects(self) -> dict[int, tuple[Segment, ...]]:
        """The segments of each object by its id, in the order of time."""
        found: dict[int, list[Segment]] = defaultdict(list)
        for segment in self.segments:
            found[segment.object_id].append(segment)
        return {object_id: tuple(found[object_id]) for object_id in sorted(found)}

    @property
    def found(self) -> bool:
        """Whether anything of what was asked for is there."""
        return bool(self.segments)

    @cached_property
    def presence(self) -> dict[str, float]:
        """By name, how sure it is that the thing is there: a probability, in a film that of the surest frame.

        It is told for what was not found as well; `FrameResult.presence` says it frame by frame.
        """
        sure: dict[str, float] = {}
        for frame in self.frames:
            for condition, probability in frame.presence.items():
                if condition < len(self.prompt.labels):
                    name = self.prompt.labels[condition]
                    sure[name] = max(probability, sure.get(name, 0.0))
        return sure

    @cached_property
    def appearances(self) -> dict[str, list[tuple[int, int]]]:
        """By name, the first and the last frame of every time that it was to be seen; none of what was not found."""
        seen: dict[str, list[tuple[int, int]]] = {name: [] for name in self.prompt.labels}
        before: set[str] = set()
        for at, frame in enumerate(self.frames):
            here = {segment.label for segment in frame.segments}
            for name in sorted(here):
                spans = seen.setdefault(name, [])
                start = spans.pop()[0] if name in before and at and spans else frame.index
                spans.append((start, frame.index))
            before = here
        return seen

    def frame(self, index: int) -> FrameResult:
        """The result of the frame with this index in the medium."""
        for frame in self.frames:
            if frame.index == index:
                return frame
        span = f"one of the {len(self.frames)} frames with a result"
        raise InputError(f"Got frame {index} of {self.clip.name}", span, "See result.frames")

    def draw(self, frame: int = 0, *, panel: bool = False, **style: Any) -> Image.Image:
        """One frame (by its index in the medium) with its masks.

        panel: put the prompt's regions beside it. ``style``: options of `draw.overlay`, such as opacity or tags.
        """
        found, pixels = self.frame(frame), self.clip.frame_at(frame)
        picture = draw.overlay(
            pixels, found.segments, **{"ids": self.clip.kind == "video", "colours": self.colours, **style}
        )
        if panel and self.prompt.regions:
            shown_on = self.prompt.regions[0].frame
            ground = pixels if shown_on == frame else self.clip.frame_at(shown_on)
            regions = [region for region in self.prompt.regions if region.frame == shown_on]
            picture = draw.side_by_side(draw.prompt_panel(ground, regions), picture)
        return Image.fromarray(picture)

    def plot(self, frame: int | None = None, **style: Any) -> Frame:
        """`draw` as an array ``[H, W, 3]`` uint8 of blue, green, red, as ``cv2.imshow`` and Ultralytics have it.

        frame: the first with a result, unless said.
        """
        if frame is None:
            frame = self.frames[0].index if self.frames else 0
        return np.ascontiguousarray(np.asarray(self.draw(frame, **style))[..., ::-1])

    def sheet(self, n: int = 9, width: int = 1280) -> Image.Image:
        """At most ``n`` frames, evenly spread, with their masks on one sheet ``width`` pixels wide."""
        chosen = np.unique(np.linspace(0, len(self.frames) - 1, n).round().astype(int)).tolist() if self.frames else []
        if not chosen:
            raise InputError("Got a result without frames to draw", "a task that segments")
        pictures = []
        for i in chosen:
            frame = self.frames[i]
            caption = f"frame {frame.index}" + ("" if frame.time is None else f", {frame.time:.2f} s")
            pictures.append((np.asarray(self.draw(frame.index)), caption))
        return Image.fromarray(draw.contact_sheet(pictures, width=width))

    def show(self) -> None:
        """Show the picture (of a video: a sheet of frames), in the notebook or in the system's viewer."""
        picture = self._preview()
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ImportError:
            get_ipython = None
        if get_ipython is not None and get_ipython() is not None:
            display(picture)
        else:
            picture.show()

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for json; masks in COCO's run-length code."""
        height, width = self.clip.size
        return {
            "task": self.task,
            "text": self.text,
            "found": self.found,
            "media": {"name": self.clip.name, "kind": self.clip.kind, "height": height, "width": width},
            "prompt": {"labels": list(self.prompt.labels), "text": self.prompt.text},
            "presence": {name: round(p, 4) for name, p in self.presence.items()},
            "frames": [frame_dict(frame) for frame in self.frames],
            "warnings": list(self.clip.warnings),
        }

    def _preview(self) -> Image.Image:
        return self.draw(self.frames[0].index) if len(self.frames) == 1 else self.sheet()

    def _repr_png_(self) -> bytes | None:
        """What notebooks show; nothing for a chat."""
        if not self.frames:
            return None
        picture, buffer = self._preview(), BytesIO()
        picture.thumbnail((1280, 1280))
        picture.save(buffer, "PNG")
        return buffer.getvalue()


def frame_dict(frame: FrameResult) -> dict[str, Any]:
    return {
        "index": frame.index,
        "time": frame.time,
        "height": frame.height,
        "width": frame.width,
        "segments": [{**segment_dict(segment), "rle": segment.rle.to_coco()} for segment in frame.segments],
    }


def segment_dict(segment: Segment) -> dict[str, Any]:
    """One segment, ready for json; its mask is left to the caller, who says in which code."""
    return {
        "label": segment.label,
        "score": segment.score,
        "object_id": segment.object_id,
        "condition": segment.condition,
        "is_thing": segment.is_thing,
        "box": list(segment.box),
        "area": segment.area,
    }
