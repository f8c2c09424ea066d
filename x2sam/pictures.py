"""Pictures: files, arrays and PIL images become frames: upright, 8 bit, RGB. The only reader of such files."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from x2sam.errors import MediaError
from x2sam.types import Frame

MAX_PIXELS = 160_000_000
"""Larger pictures are refused before they are unpacked: a small file can unpack to more than the memory holds."""
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "TGA", "JPEG2000")
"""What is read; other formats that PIL knows, such as EPS, would run foreign programs."""


def open_picture(source: Path | bytes, name: str) -> Image.Image | None:
    """The picture, not unpacked yet; None if it is none."""
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = BytesIO(source) if isinstance(source, bytes) else source
            image = Image.open(file, formats=[f for f in FORMATS if f in Image.OPEN])
    except UnidentifiedImageError:
        return None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(f"Got {name}, which cannot be opened ({error})", "a picture or a video") from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise MediaError(
            f"Got {name} of {image.width}x{image.height} pixels",
            f"at most {MAX_PIXELS // 10**6} million pixels",
            "Scale it down first",
        )
    return image


class Animation:
    """An animated GIF, WebP or PNG, unpacked one frame at a time."""

    def __init__(self, image: Image.Image, name: str) -> None:
        self._image, self._name = image, name
        self.warnings: list[str] = []
        starts = [0.0]
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            try:
                image.seek(index)
                image.load()
            except (EOFError, OSError, SyntaxError, ValueError) as error:
                self.warnings.append(f"{name} ends early: only {index} of its frames can be read ({error})")
                break
            starts.append(starts[-1] + (image.info.get("duration") or 100) / 1000)  # 0 counts as 100 ms, as in browsers
        self.length = len(starts) - 1
        self.times = starts[:-1]
        """Seconds of every frame."""
        self.fps = self.length / starts[-1] if self.length else None

    def read(self, index: int) -> Frame:
        """One frame ``[H, W, 3]``."""
        self._image.seek(index)
        return flatten(self._image, self._name)


def to_frame(picture: Any, name: str = "a picture") -> Frame:
    """A path, PIL image or array as a frame ``[H, W, 3]`` uint8: upright, 8 bit, transparent parts over white."""
    if isinstance(picture, (str, Path)):
        image = open_picture(Path(picture), Path(picture).name)
        if image is None:
            raise MediaError(f"Got {Path(picture).name}, which is not a picture", "JPEG, PNG, WebP or the like")
        with image:
            return flatten(image, Path(picture).name)
    if isinstance(picture, Image.Image):
        return flatten(picture, name)
    return _array_frame(np.asarray(picture), name)


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
    except (OSError, ValueError, SyntaxError) as error:
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
