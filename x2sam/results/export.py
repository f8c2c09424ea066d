"""Saving results in the formats that others read. `FORMATS` is the table; the command line and the docs print it.

Every file is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from x2sam.errors import InputError
from x2sam.media.opening import Clip
from x2sam.results import formats
from x2sam.results.contents import Contents
from x2sam.results.files import staged


@dataclass(frozen=True)
class Format:
    """One row of the table."""

    description: str
    media: tuple[str, ...]
    """What it can hold: image, video."""
    endings: Mapping[str, tuple[str, ...]]
    """For each medium the file endings it takes, the usual one first; none: it is a folder."""
    write: Callable[[Contents, Path], None]
    """Writes a result to a file, or into a folder that it makes."""


def save(result: Contents, path: str | Path, format: str | None = None) -> Path:
    """Write a result; returns the file or folder.

    path: a file (its ending tells the format), a folder to put a file of the given ``format`` into, or, for formats
        that are folders, that folder.
    """
    path = Path(path)
    name = format or inferred(path, result.clip.kind)
    check_format(name, result.clip.kind)
    row = FORMATS[name]
    if row.endings.get(result.clip.kind) and (path.is_dir() or not path.suffix):
        path = path / default_name(result.clip, name)
    check_format(name, result.clip.kind, path)
    if result.clip.path is not None and path.resolve() == result.clip.path.resolve():
        raise InputError(f"Got {str(path)!r} to write to, which is the medium itself", "another file or folder")
    try:
        with staged(path) as draft:
            row.write(result, draft)
    except OSError as error:
        raise InputError(
            f"Got {str(path)!r}, which cannot be written ({error.strerror or error})", "a place to write to"
        ) from None
    return path


def save_as_file(result: Contents, folder: Path, format: str) -> Path:
    """Write a result into ``folder`` under its default name, as one file: formats that are folders are zipped."""
    check_format(format)
    path = save(result, folder / default_name(result.clip, format), format)
    if not path.is_dir():
        return path
    zipped = shutil.make_archive(str(path), "zip", path)
    shutil.rmtree(path)
    return Path(zipped)


def check_format(name: str, kind: str | None = None, path: Path | None = None) -> None:
    """Raise InputError for a format that does not exist, cannot hold results of this kind, or has other endings."""
    if name not in FORMATS:
        raise InputError(f"Got the format {name[:40]!r}, which does not exist", f"one of: {', '.join(FORMATS)}")
    row = FORMATS[name]
    if kind is not None and kind not in row.media:
        raise InputError(f"Got the format {name!r} for {kind} results", f"{' or '.join(row.media)} results")
    endings = row.endings.get(kind or "", ())
    if path is not None and endings and path.suffix.lower() not in endings:
        raise InputError(f"Got the file {path.name!r} for the format {name!r}", f"an ending of: {', '.join(endings)}")


def default_name(clip: Clip, format: str, stem: str | None = None) -> str:
    """Name of the file (or folder) of one format for one medium, such as ``photo.coco.json``; ``stem``: for another."""
    return f"{stem or clip.stem}.{format}{FORMATS[format].endings.get(clip.kind, ('',))[0]}"


def inferred(path: Path, kind: str) -> str:
    """The format that a file's ending tells for results of this kind."""
    for name, row in FORMATS.items():
        if path.suffix.lower() in row.endings.get(kind, ()):
            return name
    raise InputError(f"Got {str(path)!r}, whose format is not clear", f"a format: {', '.join(FORMATS)}")


_BOTH = ("image", "video")
_JSON = {"image": (".json",), "video": (".json",)}
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")

FORMATS: dict[str, Format] = {
    "overlay": Format(
        "the medium with its masks; of a video an mp4 with its sound",
        _BOTH,
        {"image": _PICTURES, "video": (".mp4",)},
        formats.overlay,
    ),
    "sheet": Format("a sheet of frames with their masks", ("video",), {"video": _PICTURES}, formats.sheet),
    "result": Format("everything there is, as json with run-length masks", _BOTH, _JSON, formats.as_json),
    "coco": Format("COCO json with run-length masks; every frame is an image", _BOTH, _JSON, formats.coco),
    "ytvis": Format("YouTube-VIS json: one track per object", ("video",), {"video": (".json",)}, formats.youtube_vis),
    "labelstudio": Format(
        "Label Studio tasks: brush masks, in videos moving boxes", _BOTH, _JSON, formats.label_studio
    ),
    "yolo": Format("YOLO segmentation: a folder of text files with polygons", _BOTH, {}, formats.yolo),
    "davis": Format("DAVIS: a folder of palette PNGs whose indices are object ids", _BOTH, {}, formats.davis),
    "panoptic": Format("COCO panoptic: a folder of PNGs and a json", _BOTH, {}, formats.panoptic),
    "cutouts": Format("a folder of the objects cut out, as PNGs with a clear ground", _BOTH, {}, formats.cutouts),
}
"""Every format by name; where an ending fits several, the first is meant."""
