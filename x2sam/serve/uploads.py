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
from x2sam.media.opening import Clip, Kind, open_media
from x2sam.media.pictures import STILLS, open_picture, pages, upright_size
from x2sam.media.videofile import CONTAINERS, VideoFile
from x2sam.serve.limits import Limits
from x2sam.signatures import MOTION_JPEG

Data = bytes | Path | BinaryIO
"""A medium: its bytes, a file of ours, or an open file."""
PICTURE = "JPEG, PNG, WebP, HEIC, GIF, TIFF, BMP"
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
    pixels: int | None = None
    """Of each frame of a video file, at most."""

    def open(self) -> Clip:
        """The medium; pictures are unpacked now."""
        with judged(self.name):
            if self.pixels is not None:
                return Clip(Bounded(self.path, self.name, self.pixels), "video", self.name)
            clip = open_media(self.path)
        clip.name, clip.path = self.name, None
        return clip


class Bounded(VideoFile):
    """A video file whose frames have at most so many pixels.

    The header speaks of the first one, and a stream may grow on its way. The decoder then refuses the frame before
    there is room for it, and goes on behind it.
    """

    def __init__(self, path: Path, name: str, pixels: int) -> None:
        self._pixels = pixels
        super().__init__(path, name)

    def _stream(self, container: Any) -> Any:
        stream = super()._stream(container)
        stream.codec_context.options = {"max_pixels": str(self._pixels)}
        return stream


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
    """The last part of a file's name, without what could be taken for markup; at most 80 bytes, so that endings fit."""
    last = re.split(r"[/\\]", name or "")[-1]
    end = re.sub(r"[^\w .()\[\]@+,=~!-]+", "_", last).strip("._ ").encode()[-80:]
    return end.decode(errors="ignore").strip("._ ") or "medium"


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
    _check_picture(picture, name, limits)
    size = upright_size(picture)
    count = _count(picture, name, limits)
    return Upload(path, name, "video" if count > 1 else "image", size, count)


def _check_picture(picture: Image.Image, name: str, limits: Limits) -> int:
    """Pixels of the picture, or of the page that it is at."""
    pixels = picture.width * picture.height
    if pixels > limits.picture_pixels:
        most = f"at most {limits.picture_pixels / 1e6:g} million pixels"
        raise TooLarge(f"Got {name} of {picture.width}x{picture.height} pixels", most, "Scale it down")
    return pixels


def _count(picture: Image.Image, name: str, limits: Limits) -> int:
    """Frames of a picture; one after the other, so that a file cannot make us count for ever."""

    def check(count: int, pixels: int) -> None:
        if count > limits.frames or (count > 1 and pixels > limits.animation_pixels):
            most = f"at most {limits.frames}, of {limits.animation_pixels / 1e6:g} million pixels together"
            raise TooLarge(f"Got {name} with too many frames", most, "Send a video file")

    if picture.format in STILLS:
        return 1
    if picture.format not in ("GIF", "TIFF"):  # the header says, before one is unpacked
        stated = getattr(picture, "n_frames", 1)
        check(stated, stated * picture.width * picture.height)
        return sum(1 for _ in pages(picture))
    count = pixels = 0

    def look() -> None:
        nonlocal count, pixels
        count, pixels = count + 1, pixels + _check_picture(picture, name, limits)  # pages have sizes of their own
        check(count, pixels)

    return max(sum(1 for _ in pages(picture, look)), 1)


def _video(path: Path, name: str, limits: Limits) -> Upload:
    with _container(path, name) as container:
        stream: Any = container.streams.best("video")
        if stream is not None:
            if stream.width * stream.height > limits.video_pixels:
                raise TooLarge(
                    f"Got {name} of {stream.width}x{stream.height} pixels a frame",
                    f"at most {limits.video_pixels / 1e6:g} million pixels",
                    "Scale it down",
                )
            for count, packet in enumerate(container.demux(stream)):
                if count > limits.frames:
                    raise TooLarge(f"Got {name} with too many frames", f"at most {limits.frames}", "Cut it")
                del packet
    film = Bounded(path, name, limits.video_pixels)
    if film.length > limits.frames:
        raise TooLarge(f"Got {name} of {film.length} frames", f"at most {limits.frames}", "Cut it")
    return Upload(path, name, "video", film.size, film.length, limits.video_pixels)


@contextmanager
def _container(path: Path, name: str) -> Iterator[av.container.InputContainer]:
    """The file as PyAV sees it, up to where it stops being readable."""
    allowed = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    format = "mjpeg" if Path(name).suffix.lower() in MOTION_JPEG else None
    try:
        container = av.open(str(path), format=format, container_options=allowed, metadata_errors="replace")
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
