"""The writers of every format of `export.FORMATS`: each takes a result and the path of a file or folder to make.

Videos are read and written frame by frame; masks are unpacked one at a time.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from x2sam.errors import InputError, MissingExtraError
from x2sam.masks import RLE
from x2sam.media.opening import Clip
from x2sam.media.video import VideoWriter
from x2sam.results import draw, labelstudio
from x2sam.results.contents import Contents
from x2sam.results.files import staged
from x2sam.results.outlines import one_ring
from x2sam.types import Frame, FrameResult, Segment

if TYPE_CHECKING:
    import supervision


def write_json(content: Any, path: Path) -> None:
    """Numbers that json does not know (NaN) are refused."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8


def frame_stems(result: Contents) -> dict[int, str]:
    """For every frame the name that its files bear: its own without the ending, or whole where two would be one."""
    names = {frame.index: result.clip.frame_name(frame.index) for frame in result.frames}
    stems = {index: Path(name).stem for index, name in names.items()}
    count = Counter(stem.lower() for stem in stems.values())
    chosen = {i: stem if count[stem.lower()] == 1 else names[i] for i, stem in stems.items()}
    return {i: stem.encode(errors="replace").decode() for i, stem in chosen.items()}


# --- pictures ---------------------------------------------------------------------------------------------------------


def with_frames(result: Contents) -> Iterator[tuple[Frame, FrameResult]]:
    """Every result with its frame, read one at a time."""
    wanted = {frame.index: frame for frame in result.frames}
    for index, _, frame in result.clip:
        if index in wanted:
            yield frame, wanted.pop(index)
        if not wanted:
            return


@contextmanager
def overlay_video(path: Path, clip: Clip, **style: Any) -> Iterator[Callable[[Frame, FrameResult], None]]:
    """An mp4 of a clip with its masks, for results as they come; the clip's sound is kept.

    Gives a function that takes a frame and its result. ``style``: the options of `draw.overlay`.
    """
    with staged(path) as draft, VideoWriter(draft, clip.size, clip.fps, clip.sound) as writer:
        fps = clip.fps or 25

        def write(frame: Frame, found: FrameResult) -> None:
            time = found.index / fps if found.time is None else found.time
            writer.write(draw.overlay(frame, found.segments, ids=True, **style), time)

        yield write


def overlay(result: Contents, path: Path) -> None:
    if result.clip.kind == "image":
        result.draw(result.frames[0].index).save(path, quality=95)
        return
    with overlay_video(path, result.clip, colours=result.colours) as write:
        for frame, found in with_frames(result):
            write(frame, found)


def sheet(result: Contents, path: Path) -> None:
    result.sheet().save(path, quality=95)


def cutouts(result: Contents, path: Path) -> None:
    path.mkdir()
    stems = frame_stems(result)
    for frame, found in with_frames(result):
        for segment in found.segments:
            x0, y0, x1, y1 = (int(v) for v in segment.box)
            window = slice(y0, y1), slice(x0, x1)
            if x0 < x1:
                alpha = segment.rle.decode()[window].astype(np.uint8) * 255
                label = re.sub(r"[^\w-]+", "_", segment.label)[:60]
                cut = Image.fromarray(np.dstack([frame[window], alpha]))
                cut.save(path / f"{stems[found.index]}_{segment.object_id:03d}_{label}.png")


def as_json(result: Contents, path: Path) -> None:
    write_json(result.to_dict(), path)


def label_studio(result: Contents, path: Path) -> None:
    write_json([labelstudio.task(result)], path)


# --- masks ------------------------------------------------------------------------------------------------------------


def categories(result: Contents) -> dict[str, int]:
    """Every label and its number, from 1: those asked for, then those the answer brought."""
    labels = dict.fromkeys([*result.prompt.labels, *(segment.label for segment in result.segments)])
    return {label: number for number, label in enumerate(labels, start=1)}


def _category_rows(result: Contents) -> list[dict[str, Any]]:
    things = {segment.label: segment.is_thing for segment in result.segments}
    stuff = {label for label, c in zip(result.prompt.labels, result.prompt.conditions, strict=True) if not c.is_thing}
    return [
        {"id": number, "name": label, "isthing": int(things.get(label, label not in stuff))}
        for label, number in categories(result).items()
    ]


def _xywh(segment: Segment) -> list[float]:
    x0, y0, x1, y1 = segment.box
    return [x0, y0, x1 - x0, y1 - y0]


def _images(result: Contents) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "file_name": result.clip.frame_name(f.index),
            "height": f.height,
            "width": f.width,
            "frame": f.index,
        }
        for number, f in enumerate(result.frames, start=1)
    ]


def coco(result: Contents, path: Path) -> None:
    """COCO json with run-length masks, scores and, as ``track_id``, object ids; every frame is an image."""
    numbers = categories(result)
    rows = [(image, segment) for image, f in enumerate(result.frames, start=1) for segment in f.segments]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": numbers[segment.label],
            "segmentation": segment.rle.to_coco(),
            "area": segment.area,
            "bbox": _xywh(segment),
            "iscrowd": 0,
            "score": segment.score,
            "track_id": segment.object_id,
        }
        for number, (image, segment) in enumerate(rows, start=1)
    ]
    write_json({"images": _images(result), "annotations": annotations, "categories": _category_rows(result)}, path)


def youtube_vis(result: Contents, path: Path) -> None:
    """YouTube-VIS json: one annotation per object, with its mask on every frame.

    Run lengths are lists, as in the data set: tools that take it for the ground truth (TrackEval) read no others.
    """
    numbers = categories(result)
    video = {
        "id": 1,
        "height": result.clip.size[0],
        "width": result.clip.size[1],
        "length": len(result.frames),
        "file_names": [f"{_folder(result.clip)}/{result.clip.frame_name(frame.index)}" for frame in result.frames],
    }
    annotations: list[dict[str, Any]] = []
    for object_id, segments in result.objects.items():
        seen = {segment.frame: segment for segment in segments}
        track = [seen.get(frame.index) for frame in result.frames]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "track_id": object_id,
                "video_id": 1,
                "category_id": numbers[segments[0].label],
                "segmentations": [s and s.rle.to_coco(packed=False) for s in track],
                "bboxes": [s and _xywh(s) for s in track],
                "areas": [s and s.area for s in track],
                "iscrowd": 0,
                "height": video["height"],
                "width": video["width"],
                "length": len(track),
                "score": sum(s.score for s in segments) / len(segments),
            }
        )
    write_json({"videos": [video], "annotations": annotations, "categories": _category_rows(result)}, path)


def _folder(clip: Clip) -> str:
    """The folder that frames of a video are in: its own, or one called as the video."""
    return clip.name if clip.path is not None and clip.path.is_dir() else clip.stem


def yolo(result: Contents, path: Path) -> None:
    """One text file per frame and the names of the classes.

    A row is a segment: class, then one polygon in shares of the frame. Pieces and holes are joined to it by bridges. As
    YOLO's own tools have it, a polygon runs through its outermost pixels; its corners lie a quarter pixel past their
    column and row, so that readers find the same pixels whether they round or cut off.
    """
    path.mkdir()
    numbers, stems = categories(result), frame_stems(result)
    for frame in result.frames:
        rows = []
        for segment in frame.segments:
            corners = (one_ring(segment.rle.decode(), inset=0.5) - 0.25) / (frame.width, frame.height)
            if len(corners):
                points = " ".join(f"{v:.6g}" for v in corners.ravel())
                rows.append(f"{numbers[segment.label] - 1} {points}\n")
        (path / f"{stems[frame.index]}.txt").write_text("".join(rows), encoding="utf-8")
    names = "".join(f"  {number - 1}: {json.dumps(label, ensure_ascii=False)}\n" for label, number in numbers.items())
    (path / "data.yaml").write_text(f"names:\n{names}", encoding="utf-8")


def _id_map(frame: FrameResult, first: int) -> NDArray[np.int64]:
    """Object ids ``[H, W]``, from 1 for ``first``; 0 is background, and the best score wins where masks overlap."""
    ids = np.zeros((frame.height, frame.width), dtype=np.int64)
    for segment in sorted(frame.segments, key=lambda s: s.score):
        ids[segment.rle.decode()] = segment.object_id - first + 1
    return ids


def _first_id(result: Contents) -> int:
    """Ids are written as they are if they start above 0; otherwise all move up, as 0 means background."""
    return min([1, *result.objects])


def davis(result: Contents, path: Path) -> None:
    """One palette PNG per frame whose indices are object ids."""
    path.mkdir()
    first, stems = _first_id(result), frame_stems(result)
    if max(result.objects, default=0) - first + 1 > 255:
        raise InputError("Got object ids above 255 for a palette", "at most 255", "Use the format 'panoptic'")
    for frame in result.frames:
        picture = Image.fromarray(_id_map(frame, first).astype(np.uint8), mode="P")
        picture.putpalette(DAVIS_PALETTE)
        picture.save(path / f"{stems[frame.index]}.png")


def _davis_palette() -> bytes:
    """As in DAVIS and Pascal VOC: an index gives its bits, three at a time, to red, green and blue, top bit first."""
    index = np.arange(256)
    channels = [sum(((index >> (3 * k + c)) & 1) << (7 - k) for k in range(3)) for c in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8).tobytes()


DAVIS_PALETTE = _davis_palette()


def panoptic(result: Contents, path: Path) -> None:
    """COCO panoptic: one PNG per frame whose colours are segment ids (R + 256 G + 65536 B), and ``panoptic.json``."""
    path.mkdir()
    numbers, first, stems = categories(result), _first_id(result), frame_stems(result)
    if max(result.objects, default=0) - first + 1 >= 2**24:
        raise InputError("Got object ids above 16777215 for colours", "ids of 24 bits", "Use the format 'coco'")
    images, annotations = _images(result), []
    for image, frame in zip(images, result.frames, strict=True):
        ids = _id_map(frame, first)
        name = f"{stems[frame.index]}.png"
        Image.fromarray(np.dstack([ids, ids >> 8, ids >> 16]).astype(np.uint8)).save(path / name)
        rows = []
        for segment in frame.segments:
            shown = RLE.encode(ids == segment.object_id - first + 1)  # what others hide of it is not counted
            if shown.area:
                x0, y0, x1, y1 = shown.box
                rows.append(
                    {
                        "id": segment.object_id - first + 1,
                        "category_id": numbers[segment.label],
                        "area": shown.area,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "iscrowd": 0,
                        "score": segment.score,
                    }
                )
        annotations.append({"image_id": image["id"], "file_name": name, "segments_info": rows})
    content = {"images": images, "annotations": annotations, "categories": _category_rows(result)}
    write_json(content, path / "panoptic.json")


def detections(frame: FrameResult, numbers: dict[str, int], compact: bool = False) -> supervision.Detections:
    """The segments of one frame as supervision's ``Detections``, with dense masks ``[N, H, W]`` or compact ones."""
    try:
        import supervision
    except ImportError:
        raise MissingExtraError("supervision", "export") from None
    segments = frame.segments
    if not segments:
        return supervision.Detections.empty()
    return supervision.Detections(
        xyxy=np.array([s.box for s in segments], dtype=float),
        mask=_compact(frame) if compact else np.stack([s.rle.decode() for s in segments]),
        confidence=np.array([s.score for s in segments], dtype=float),
        class_id=np.array([numbers[s.label] - 1 for s in segments]),
        tracker_id=np.array([s.object_id for s in segments]),
        data={"class_name": np.array([s.label for s in segments])},
    )


def _compact(frame: FrameResult) -> Any:
    """Masks as supervision's `CompactMask`, from run lengths to run lengths; its boxes include their last pixels."""
    try:
        from supervision.detection.compact_mask import CompactMask
    except ImportError:
        raise MissingExtraError("supervision>=0.30", "export") from None
    boxes = np.array([(x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)) for x0, y0, x1, y1 in (s.box for s in frame.segments)])
    return CompactMask.from_coco_rle([s.rle.to_coco() for s in frame.segments], boxes, (frame.height, frame.width))
