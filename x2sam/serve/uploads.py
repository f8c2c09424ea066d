"""What clients send: taken to the disk under limits, and judged by what it holds, not by what it is called.

Nothing here opens a path that a client names. Headers are read first, so that what unpacks to more than the limits is
refused before it is unpacked.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.error import FFmpegError
from PIL import Image

from x2sam.errors import InputError, MediaError, X2SamError
from x2sam.media import Clip, Kind, open_media
from x2sam.pictures import open_picture
from x2sam.serve.limits import Limits
from x2sam.video import CONTAINERS

Data = bytes | Path | BinaryIO
"""A medium: its bytes, a file of ours, or an open file."""
ROTATED = (5, 6, 7, 8)
"""EXIF orientations that swap the sides."""
PICTURE = "JPEG, PNG, WebP, GIF, TIFF, BMP"
VIDEO = "mp4, mov, webm, mkv, avi"


class TooLarge(InputError):  # noqa: N818
    """More bytes, pixels or frames than are taken."""


class Unsupported(MediaError):  # noqa: N818
    """Not a medium, or of a kind that is not taken."""


@dataclass(frozen=True)
class Upload:
    """A medium on the disk, checked: what a prompt must know of it without unpacking it."""

    path: Path
    name: str
    """What the client calls it, fit for showing; never a path."""
    kind: Kind
    size: tuple[int, int]
    """Height and width."""
    length: int | None

    def open(self) -> Clip:
        """The medium; pictures are unpacked now."""
        with judged(self.name):
            clip = open_media(self.path)
        clip.name, clip.path = self.name, None
        return clip


def take(data: Data, name: str, folder: Path, limits: Limits) -> Upload:
    """Put a medium into ``folder`` and check it. Raises TooLarge, Unsupported or MediaError."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            return take(file, name, folder, limits)
    source = BytesIO(data) if isinstance(data, bytes) else data
    length = source.seek(0, SEEK_END)
    if length > limits.upload_bytes:
        raise too_many_bytes(limits.upload_bytes)
    source.seek(0)
    path = folder / "upload"
    with path.open("wb") as target:
        shutil.copyfileobj(source, target)
    name = display_name(name)
    with judged(name):
        if not length:
            raise MediaError(f"Got {name}, which is empty (0 bytes)", "a picture or a video")
        picture = open_picture(path, name)
        if picture is None:
            return _video(path, name, limits)
        with picture:
            return _picture(picture, path, name, limits)


def too_many_bytes(most: int, hint: str = "") -> TooLarge:
    """The error for a file or a body that is too long."""
    shown = f"{most / 2**20:.0f} MB" if most >= 2**20 else f"{most} bytes"
    return TooLarge("Got an upload that is too large", f"at most {shown}", hint or "Send a smaller one")


def display_name(name: str | None) -> str:
    """The last part of a file's name, of letters, digits and ``. _ -``."""
    last = re.split(r"[/\\]", name or "")[-1]
    return re.sub(r"[^\w.-]+", "_", last).strip("._")[-80:] or "medium"


def embedded(text: str) -> bytes:
    """The bytes of a ``data:`` URL or of plain base64."""
    head, comma, body = text.partition(",")
    if text[:5].lower() == "data:":
        if not comma or not head.lower().endswith(";base64"):
            raise InputError("Got a data: URL without base64", "data:image/png;base64,...")
    else:
        body = text
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        start = text[:40].encode("ascii", "backslashreplace").decode()
        raise InputError(
            f"Got {start!r} for a medium", "a data: URL or base64", "Paths are never opened; send the file itself"
        ) from None


@contextmanager
def judged(name: str) -> Iterator[None]:
    """Whatever a decoder trips over in foreign bytes is the fault of the bytes."""
    try:
        yield
    except X2SamError as error:
        if isinstance(error.__context__, Image.DecompressionBombError):
            raise TooLarge(f"Got {name} of too many pixels", "a smaller picture", "Scale it down") from None
        raise
    except MemoryError:
        raise TooLarge(f"Got {name}, which does not fit into memory", "a smaller medium") from None
    except Exception as error:
        raise MediaError(f"Got {name}, which is damaged ({type(error).__name__})", "a whole file") from None


def _picture(picture: Image.Image, path: Path, name: str, limits: Limits) -> Upload:
    width, height = picture.size
    if width * height > limits.picture_pixels:
        most = f"at most {limits.picture_pixels / 1e6:g} million pixels"
        raise TooLarge(f"Got {name} of {width}x{height} pixels", most, "Scale it down")
    if picture.getexif().get(0x0112, 1) in ROTATED:
        width, height = height, width
    count = 1 if picture.format == "MPO" else _count(picture, name, limits)
    return Upload(path, name, "video" if count > 1 else "image", (height, width), count)


def _count(picture: Image.Image, name: str, limits: Limits) -> int:
    """Frames of a picture, one after the other, so that a file cannot make us count for ever."""
    most = min(limits.frames, limits.animation_pixels // max(1, picture.width * picture.height))
    stated = getattr(picture, "n_frames", 1) if picture.format not in ("GIF", "TIFF") else 1
    count = 1
    if stated == 1 and picture.format in ("GIF", "TIFF"):
        try:
            while count <= most:
                picture.seek(count)
                count += 1
        except (EOFError, OSError, SyntaxError, ValueError):
            picture.seek(0)
    if max(stated, count) > max(most, 1):
        raise TooLarge(f"Got {name} with too many frames", f"at most {max(most, 1)} of this size", "Send a video file")
    return max(stated, count)


def _video(path: Path, name: str, limits: Limits) -> Upload:
    with _container(path, name) as container:
        stream: Any = container.streams.best("video")
        if stream is not None:
            _check_video(name, stream.width * stream.height, limits.video_pixels)
            for count, packet in enumerate(container.demux(stream)):
                if count > limits.frames:
                    raise TooLarge(f"Got {name} with too many frames", f"at most {limits.frames}", "Cut it")
                del packet
    clip = open_media(path)
    clip.name = name
    _check_video(name, clip.size[0] * clip.size[1], limits.video_pixels)
    if clip.length is not None and clip.length > limits.frames:
        raise TooLarge(f"Got {name} of {clip.length} frames", f"at most {limits.frames}", "Cut it")
    return Upload(path, name, "video", clip.size, clip.length)


def _check_video(name: str, pixels: int, most: int) -> None:
    if pixels > most:
        raise TooLarge(
            f"Got {name} of {pixels / 1e6:.1f} million pixels a frame", f"at most {most / 1e6:g} million", "Scale it"
        )


@contextmanager
def _container(path: Path, name: str) -> Iterator[av.container.InputContainer]:
    """The file as PyAV sees it, up to where it stops being readable."""
    allowed = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(str(path), container_options=allowed, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise Unsupported(
            f"Got {name}, which is neither a picture nor a video that can be decoded ({type(error).__name__})",
            f"a picture ({PICTURE}) or a video ({VIDEO})",
        ) from None
    with container:
        try:
            yield container
        except FFmpegError:
            return  # cut off: what is whole is used
