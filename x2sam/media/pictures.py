"""Pictures: files, arrays and PIL images become frames: upright, 8 bit, RGB. The only reader of such files."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from x2sam.errors import MediaError
from x2sam.signatures import CAMERA_RAW, MOTION_JPEG, RAW_ENDINGS, Stranger, head_of, is_heif, stranger, turns_itself
from x2sam.types import Frame

MAX_PIXELS = 160_000_000
"""Larger pictures are refused before they are unpacked: a small file can unpack to more than the memory holds."""
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "TGA", "JPEG2000")
"""What is read; other formats that PIL knows, such as EPS, would run foreign programs."""
STILLS = ("MPO", "HEIF")
"""Formats whose further pictures are views of the same moment, or other photos: the first is meant."""
REDUCED, MASK = 1, 4
"""Bits of a TIFF page's new subfile type: a smaller copy of another page, and a page that says what is seen through."""
SHORTEST = 20
"""Milliseconds; shorter delays of animations, and none, count as ``USUAL``, as in browsers."""
USUAL = 100
DNG_VERSION = 50706
BROKEN: tuple[type[Exception], ...] = (
    *(EOFError, OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, RuntimeError, struct.error),
    Image.DecompressionBombError,
)
"""What Pillow and its plug-ins raise over files that are damaged."""


def open_picture(source: Path | bytes, name: str) -> Image.Image | None:
    """The picture, not unpacked yet; None if it may be a film. A TIFF stands at its first page of full size.

    Raises MediaError for what is damaged, too large, or of a kind that is not read, such as a PDF or camera raw.
    """
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = BytesIO(source) if isinstance(source, bytes) else source
            image: Image.Image = Image.open(file, formats=[f for f in FORMATS if f in Image.OPEN])
    except UnidentifiedImageError:
        head = head_of(source)
        if not is_heif(head):
            if (kind := stranger(head)) is not None:
                raise _refused(name, kind) from None
            return None
        image = _open_heif(source, name, head)
    except BROKEN as error:
        raise MediaError(f"Got {name}, which cannot be opened ({error})", "a picture or a video") from None
    if image.format in ("JPEG", "MPO") and Path(name).suffix.lower() in MOTION_JPEG:
        image.close()
        return None
    if image.format == "TIFF":
        _turn_to_page(image, name)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise MediaError(
            f"Got {name} of {image.width}x{image.height} pixels",
            f"at most {MAX_PIXELS // 10**6} million pixels",
            "Scale it down first",
        )
    return image


def _refused(name: str, kind: Stranger) -> MediaError:
    return MediaError(f"Got {name}, {kind.what}", "a picture (JPEG, PNG, WebP, HEIC ...) or a video", kind.hint)


def _open_heif(source: Path | bytes, name: str, head: bytes) -> Image.Image:
    """A HEIC: its tiles joined, and turned as it says."""
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        raise MediaError(
            f"Got {name}, a HEIC picture", "JPEG, PNG, WebP or the like", "To read HEIC: pip install pi-heif"
        ) from None
    try:
        image = HeifImageFile(BytesIO(source) if isinstance(source, bytes) else source)
        if not turns_itself(head):
            image.getexif()[0x0112] = image.info.get("original_orientation") or 1
    except BROKEN as error:
        raise MediaError(f"Got {name}, a HEIC picture that is damaged ({_line(error)})", "a whole picture") from None
    return image


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]


def _turn_to_page(image: Any, name: str) -> None:
    """Stand at the first page of a TIFF that is not a smaller copy; camera raw is a TIFF without such a page."""
    if DNG_VERSION in image.tag_v2 or Path(name).suffix.lower() in RAW_ENDINGS or next(pages(image), None) is None:
        image.close()
        raise _refused(name, CAMERA_RAW)


def pages(image: Any, look: Callable[[], object] = lambda: None) -> Iterator[int]:
    """Numbers of the frames of a picture file, one after the other: more than one if it is an animation.

    Of a TIFF, pages of the first one's size; the image stands at each as it comes. Smaller copies, masks, and the still
    picture that an animated PNG has for programs that know no animation, are none. ``look`` is called at every page of
    a TIFF and every frame of a GIF, one that is left out or not.
    """
    if image.format == "TIFF":
        size = None
        for number in _seek_on(image, look):
            reduced = image.tag_v2.get(254, 0) & (REDUCED | MASK) or image.tag_v2.get(255) == 2
            if not reduced and image.size == (size or image.size):
                size = image.size
                yield number
    elif image.format in STILLS:
        yield image.tell()
    elif image.format == "GIF":
        yield from _seek_on(image, look)
    else:
        yield from range(int(bool(image.info.get("default_image"))), getattr(image, "n_frames", 1))


def _seek_on(image: Any, look: Callable[[], object]) -> Iterator[int]:
    """0, 1, 2 ... as long as there is such a frame, which is only known where there is none; ``look`` sees each."""
    for number in count():
        try:
            image.seek(number)
        except BROKEN:
            return
        look()
        yield number


def is_animated(image: Image.Image) -> bool:
    """Whether a picture file has several frames."""
    found = pages(image)
    first, second = next(found, None), next(found, None)
    if first is not None and image.format in ("TIFF", "GIF"):
        image.seek(first)
    return second is not None


def upright_size(image: Any) -> tuple[int, int]:
    """Height and width of a picture that is not unpacked, as it is shown."""
    (height, width), turned = stored(image)
    return (width, height) if turned >= 5 else (height, width)


def stored(image: Any) -> tuple[tuple[int, int], int]:
    """Height and width of a picture that is not unpacked, as it is stored, and EXIF's number of how it is turned."""
    width, height = image.size
    if image.format == "TIFF":  # newer versions of PIL have turned its size already, and only its
        width, height = image.tag_v2.get(256, width), image.tag_v2.get(257, height)
    turned = image.getexif().get(0x0112, 1)
    return (height, width), turned if turned in range(1, 9) else 1


def turn(pixels: NDArray[Any], turned: int) -> NDArray[Any]:
    """Stored pixels ``[H, W, ...]`` as they are shown, by EXIF's number."""
    if turned >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, across = turned in (3, 4, 7, 8), turned in (2, 3, 6, 7)
    return pixels[:: -1 if down else 1, :: -1 if across else 1]


class Animation:
    """An animated GIF, WebP, AVIF or PNG, or the pages of a TIFF, unpacked one frame at a time."""

    def __init__(self, image: Image.Image, name: str, source: Path | bytes) -> None:
        self._image: Any = image
        self._name, self._source = name, source
        self.warnings: list[str] = []
        self._pages: list[int] = []
        starts = [0.0]
        for page in pages(image):
            try:
                image.seek(page)
                if image.format != "TIFF":  # whose pages have no times
                    image.load()
            except BROKEN as error:
                got = f"only {len(self._pages)} of its frames can be read ({error})"
                self.warnings.append(f"{name} ends early: {got}")
                break
            delay = image.info.get("duration") or 0
            starts.append(starts[-1] + (delay if delay >= SHORTEST else USUAL) / 1000)
            self._pages.append(page)
        self.length = len(self._pages)
        self.times = starts[:-1]
        """Seconds of every frame."""
        self.fps = self.length / starts[-1] if self.length else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_image": None}  # an open file cannot be passed on

    def read(self, index: int) -> Frame:
        """One frame ``[H, W, 3]``."""
        if self._image is None:
            self._image = open_picture(self._source, self._name)
        try:
            self._image.seek(self._pages[index])
        except BROKEN as error:
            got = f"Got {self._name}, whose frame {index} cannot be read ({_line(error)})"
            raise MediaError(got, "a whole animation") from None
        return flatten(self._image, self._name)


def to_frame(picture: Any, name: str = "a picture") -> Frame:
    """A path, PIL image, array or tensor as a frame ``[H, W, 3]`` uint8: upright, transparent parts over white."""
    if isinstance(picture, (str, Path)) or hasattr(picture, "__fspath__"):
        picture = Path(picture)
        image = open_picture(Path(picture), Path(picture).name)
        if image is None:
            raise MediaError(f"Got {Path(picture).name}, which is not a picture", "JPEG, PNG, WebP or the like")
        with image:
            return flatten(image, Path(picture).name)
    if isinstance(picture, Image.Image):
        return flatten(picture, name)
    return _array_frame(as_array(picture), name)


def as_array(value: Any) -> NDArray[Any]:
    """Whatever holds numbers as an array: NumPy's, tensors on any device and of any type, PIL images, nested lists."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) in ("torch.bfloat16", "torch.float16"):  # NumPy does not know the one
            value = value.float()
    return np.asarray(value)


def read_pixels(path: str | Path, indices: bool = False) -> tuple[NDArray[Any], bool]:
    """The stored numbers of a picture file, upright, and whether they are palette indices.

    ``[H, W]`` or ``[H, W, 3 or 4]``. A palette counts as one of object ids if its first colour is black and nothing is
    transparent, or if the caller knows that it is (``indices``); otherwise its colours are given.
    """
    image = open_picture(Path(path), Path(path).name)
    if image is None:
        raise MediaError(f"Got {Path(path).name}, which is not a picture", "a PNG or another picture file")
    with image:
        _load(image, Path(path).name)
        plain = not image.has_transparency_data and (image.getpalette() or [0])[:3] == [0, 0, 0]
        indexed = image.mode == "P" and (indices or plain)
        if image.mode in ("P", "PA", "LA", "CMYK", "YCbCr", "RGBa", "La") and not indexed:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        return np.asarray(ImageOps.exif_transpose(image)), indexed


def _load(image: Image.Image, name: str) -> None:
    try:
        image.load()
    except BROKEN as error:
        raise MediaError(
            f"Got {name}, which is damaged or cut off ({error})", "a whole picture", "Copy or download it again"
        ) from None


def flatten(image: Image.Image, name: str) -> Frame:
    """Upright, 8 bit, RGB, transparent parts over white."""
    _load(image, name)
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "I":  # 16-bit files, which PIL keeps in 32 bits
        return _array_frame(np.asarray(image).clip(0, 65535).astype(np.uint16), name)
    if image.mode in ("1", "L", "F") or image.mode.startswith("I;16"):
        return _array_frame(np.asarray(image), name)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # converting would copy


def _array_frame(array: NDArray[Any], name: str) -> Frame:
    """An array as a frame; the number type says what white is."""
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise MediaError(
            f"Got {name} of shape {array.shape}", "[height, width] or [height, width, 3], channels last", "Transpose it"
        )
    if array.dtype.kind == "f" and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1:
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype.kind == "b":
        array = array * np.uint8(255)
    elif array.dtype.kind == "u" and array.itemsize == 2:
        array = (array >> 8).astype(np.uint8)
    elif array.dtype.kind not in "ui" or array.min() < 0 or array.max() > 255:
        raise MediaError(
            f"Got {name} of type {array.dtype} with values {array.min()} to {array.max()}"
            if array.dtype.kind in "uif"
            else f"Got {name} of type {array.dtype}",
            "uint8, uint16, bool, or floats from 0 to 1",
        )
    array = array.astype(np.uint8, copy=False)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.dstack([array] * 3)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint16)
        array = ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(array)
