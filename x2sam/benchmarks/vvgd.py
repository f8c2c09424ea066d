"""V-VGD, video visual grounded segmentation: built from any annotated videos, read, and scored by two protocols.

A region on one frame shows one object; all objects of its category are to be found in the whole video. `build` draws a
point, a scribble, a box and a mask for every object on every frame and writes them once, so that everybody is asked
the same. The file has the released form, with two keys more for every object: ``object_id`` and ``category``.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
import typer
from PIL import Image

from x2sam.data.base import PictureFiles, Records, Split, clean_name, part, read_json
from x2sam.data.catalog import get_split, open_split
from x2sam.data.families import vgd_video
from x2sam.data.world import World
from x2sam.errors import DataError, InputError, X2SamError
from x2sam.masks import RLE
from x2sam.metrics import Grouped, Instance, MaskAP, Metric, TrackAP, TrackIdentity
from x2sam.regions import synthesize
from x2sam.types import FrameResult, ObjectTrack, RegionKind, Sample

KINDS: tuple[RegionKind, ...] = ("point", "scribble", "box", "mask")
"""In the order of the released files; what is drawn depends on it."""

SOURCES = {"ytvis19": "vid_genseg_yt19_instance_val", "vipseg": "vid_genseg_vipseg_panoptic_val"}
"""The parts of V-VGD, and the rows of the catalog that they are built from."""

CONFIDENT = 0.5
"""The score that a predicted object needs to count for HOTA and identity switches, which know no scores."""


@dataclass(frozen=True)
class Protocol:
    """How the samples are cut and pointed at, and what is scored."""

    name: str
    tracks: bool
    """Score whole tracks and identities; otherwise every frame as a picture of its own."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the family ``vgd_video``."""


RELEASED = Protocol("released", tracks=False, options={"window": 8, "shortest": 2, "first": True})
TRACK = Protocol("track", tracks=True)
PROTOCOLS = {protocol.name: protocol for protocol in (RELEASED, TRACK)}


@dataclass(frozen=True)
class Benchmark:
    """A benchmark file and the folder that its file names of frames start from."""

    path: Path
    images: Path
    names: Path | None = None
    """A json whose ``categories`` name the categories of a released file."""


def samples(
    benchmark: Benchmark | str | Path, protocol: Protocol | str = TRACK, kind: RegionKind = "box", seed: int = 0
) -> Records:
    """The evaluation samples of a protocol with prompts of one kind; of a path, frames are looked for beside the file.

    The seed decides which object of a category is pointed at, and on which frame.
    """
    if not isinstance(benchmark, Benchmark):
        benchmark = Benchmark(Path(benchmark), Path(benchmark).parent)
    if kind not in KINDS:
        raise InputError(f"Got the kind of region {kind!r}", f"one of: {', '.join(KINDS)}")
    options = {"json": benchmark.path, "images": benchmark.images, "prompt": kind, **find_protocol(protocol).options}
    if benchmark.names is not None:
        options["names"] = benchmark.names
    return vgd_video.read(Path(), Split("vvgd", "vid_vgdseg", "vgd_video", options, ("vvgd",)), seed)


def find_protocol(protocol: Protocol | str) -> Protocol:
    """The protocol with a name."""
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise InputError(f"Got the protocol {protocol!r}", f"one of: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]


# --- building ---------------------------------------------------------------------------------------------------------


def build(
    source: Sequence[Sample], out: Path, images: Path, seed: int = 0, category_ids: Mapping[str, int] | None = None
) -> Benchmark:
    """Write the benchmark of some annotated videos; the same arguments give the same bytes.

    Objects of stuff and crowds, frames without objects and videos with fewer than two frames left are left out, as in
    the release.

    Args:
        source: samples whose conditions are categories, such as those of YouTube-VIS, VIPSeg or the generated world.
        out: json file to write.
        images: the folder that names of frames start from; frames that are not files in it are written there, as PNGs.
        seed: of the prompts; those of a video do not depend on which others there are.
        category_ids: the number of every category (absent: counted from 1 as they come).
    """
    numbers = dict(category_ids or {})
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(out.name + ".part")
    with draft.open("w", encoding="ascii", newline="\n") as file:
        before = "[\n"
        for index in range(len(source)):
            sample = source[index]
            for label in sample.prompt.labels:
                if category_ids is None:
                    numbers.setdefault(label, len(numbers) + 1)
                elif label not in numbers:
                    raise InputError(f"Got the category {label!r} in {sample.sample_id}", "one of category_ids")
            record = _record(sample, images, (seed, zlib.crc32(sample.sample_id.encode())), numbers)
            if record is not None:
                file.write(before + json.dumps(record, separators=(",", ":")))
                before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")
    draft.replace(out)
    return Benchmark(out, images)


def build_from(source: str, root: Path, out: Path, seed: int = 0, count: int = 50) -> Benchmark:
    """Write the benchmark of a data set below ``root``: ``ytvis19``, ``vipseg``, or a row of the catalog with a json of
    categories, whose numbers the file keeps; or of ``count`` test clips of the generated ``world``, whose frames are
    written beside the file.
    """
    if source == "world":
        world = World("test", size=(224, 224))
        clips = Records(count, lambda index: world.sample("vid_genseg", index))
        return build(clips, out, out.parent, seed)
    split = get_split(SOURCES.get(source, source))
    options = {key: value for key, value in split.options.items() if key in ("json", "images", "masks")}
    names, images = root / options["json"], root / options["images"]
    categories = part(read_json(names, dict), "categories", list, names, None)
    ids = {clean_name(part(c, "name", str, names, n)): part(c, "id", int, names, n) for n, c in enumerate(categories)}
    whole = replace(split, options=options, hidden=False)  # whole videos and all categories, of training splits, too
    return build(open_split(whole, root, seed), out, images, seed, ids)


def _record(sample: Sample, images: Path, key: tuple[int, int], numbers: Mapping[str, int]) -> dict[str, Any] | None:
    """A video in the released form; None if it shows too little."""
    tracks = [t for t in sample.objects if sample.prompt.conditions[t.condition].is_thing and not t.is_crowd]
    rows = [
        [_annotation(sample, track, t, key, numbers) for track in tracks if _seen(track, t)]
        for t in range(len(sample.frames))
    ]
    kept = [t for t, row in enumerate(rows) if row]
    if len(kept) < 2:
        return None
    files = [_file_name(sample, t, images) for t in kept]
    sizes = [rows[t][0]["segmentation"]["size"] for t in kept]
    height, width = sizes[0]
    return {
        "video_id": sample.sample_id,
        "image_files": files,
        "image_sizes": sizes,
        "video_info": {"video_id": sample.sample_id, "image_files": files, "height": height, "width": width},
        "annotations": [rows[t] for t in kept],
    }


def _annotation(
    sample: Sample, track: ObjectTrack, t: int, key: tuple[int, int], numbers: Mapping[str, int]
) -> dict[str, Any]:
    """An object on a frame, with a prompt of every kind."""
    rle, label = track.masks[t], sample.prompt.labels[track.condition]
    assert rle is not None
    mask, rng = rle.decode(), np.random.default_rng((*key, track.object_id, t))
    return {
        "id": track.object_id * 100 + t,
        "category_id": numbers[label],
        "iscrowd": 0,
        "area": rle.area,
        "bbox": [0.0, 0.0, rle.width, rle.height],  # of the whole frame, as in the release
        "bbox_mode": 0,
        "segmentation": rle.to_coco(),
        "visual_prompts": {
            f"{kind}_visual_prompt": RLE.encode(synthesize(mask, kind, rng)).to_coco() for kind in KINDS
        },
        "object_id": track.object_id,
        "category": label,
    }


def _seen(track: ObjectTrack, t: int) -> bool:
    rle = track.masks[t]
    return rle is not None and rle.area > 0


def _file_name(sample: Sample, t: int, images: Path) -> str:
    """The name of a frame's file; a frame that has none in the folder is written."""
    if isinstance(sample.frames, PictureFiles) and sample.frames.paths[t].is_relative_to(images):
        return sample.frames.paths[t].relative_to(images).as_posix()
    path = images / quote(sample.sample_id, safe=" ") / f"{t:05d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample.frames[t]).save(path)
    return path.relative_to(images).as_posix()


# --- scoring ----------------------------------------------------------------------------------------------------------


class GroundingScore(Metric):
    """The numbers of a protocol, over all samples and for every category.

    released: COCO mask AP with every frame as a picture. track: YouTube-VIS AP over whole tracks, and HOTA and identity
    switches over all objects. Memory grows as that of `MaskAP` and `TrackAP`.
    """

    state = ("precision", "identity")

    def __init__(self, protocol: Protocol | str = TRACK) -> None:
        self.protocol = find_protocol(protocol)
        self.precision = Grouped(TrackAP if self.protocol.tracks else MaskAP)
        self.identity = TrackIdentity()

    def update(self, sample: Sample, frames: Sequence[FrameResult]) -> None:
        """Count in one sample and what was found in it; a frame without a result has nothing."""
        found = _found(sample, frames)
        for condition, label in enumerate(sample.prompt.labels):
            ours = [o for o in found if o.condition == condition]
            theirs = [Instance(o.masks) for o in sample.objects if o.condition == condition]
            if self.protocol.tracks:
                self.precision.update(label, sample.sample_id, [o.instance for o in ours], theirs)
                continue
            for t in range(len(sample.frames)):
                here = [Instance((o.masks[t],), score=o.scores[t]) for o in ours if o.masks[t]]
                there = [Instance((truth.masks[t],)) for truth in theirs if truth.masks[t]]
                if here or there:
                    self.precision.update(label, (sample.sample_id, t), here, there)
        if self.protocol.tracks:
            sure = [(o.object_id, o.masks) for o in found if o.instance.score >= CONFIDENT]
            truth = [(o.object_id, o.masks) for o in sample.objects]
            self.identity.update(*([_by_id(side, t) for t in range(len(sample.frames))] for side in (sure, truth)))

    def compute(self) -> dict[str, float]:
        """``AP``, ``AP50``, ... as `MaskAP`, their values for every category as ``category/AP``; with tracks also
        ``HOTA``, ``AssA``, ..., ``IDSW`` as `TrackIdentity`."""
        return self.precision.compute() | (self.identity.compute() if self.protocol.tracks else {})


@dataclass
class _Found:
    """A predicted object."""

    object_id: int
    condition: int
    masks: list[RLE | None]
    scores: list[float]

    @property
    def instance(self) -> Instance:
        """As a track; its score is the mean over the frames that show it."""
        seen = [score for score, mask in zip(self.scores, self.masks, strict=True) if mask]
        return Instance(self.masks, score=sum(seen) / len(seen))


def _found(sample: Sample, frames: Sequence[FrameResult]) -> list[_Found]:
    """The segments of all frames as objects."""
    length = len(sample.frames)
    found: dict[tuple[int, int], _Found] = {}
    given: set[tuple[int, int]] = set()
    for frame in frames:
        if not 0 <= frame.index < length:
            raise DataError(f"Got a result for frame {frame.index} of {sample.sample_id}", f"0 to {length - 1}")
        for s in frame.segments:
            if (frame.index, s.object_id) in given:
                got = f"Got two masks of object {s.object_id} on frame {frame.index} of {sample.sample_id}"
                raise DataError(got, "every object once a frame")
            given.add((frame.index, s.object_id))
            key = s.object_id, s.condition
            track = found.setdefault(key, _Found(*key, [None] * length, [0.0] * length))
            track.masks[frame.index], track.scores[frame.index] = s.rle, s.score
    return list(found.values())


def _by_id(tracks: Sequence[tuple[int, Sequence[RLE | None]]], t: int) -> dict[int, RLE]:
    return {i: mask for i, masks in tracks if (mask := masks[t]) is not None}


# --- the command ------------------------------------------------------------------------------------------------------

app = typer.Typer(help="V-VGD, video visual grounded segmentation.", no_args_is_help=True, add_completion=False)


@app.callback()
def _verbs() -> None:
    """With a callback, a single command keeps its name."""


@app.command("build")
def build_command(
    source: Annotated[str, typer.Option(help=f"{', '.join(SOURCES)}, world, or a row of the catalog.")],
    out: Annotated[Path, typer.Option(help="Json file to write.")],
    root: Annotated[Path, typer.Option(help="Folder that the paths of the data set start from.")] = Path(),
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    count: Annotated[int, typer.Option(help="Clips of the world.")] = 50,
) -> None:
    """Draw the prompts of a data set and write them to a file."""
    build_from(source, root, out, seed, count)
    print(json.dumps({"outputs": [str(out)]}))


if __name__ == "__main__":
    try:
        app()
    except X2SamError as error:
        print(f"x2sam: {error}", file=sys.stderr)
        sys.exit(2)
