"""What a file is by its first bytes where Pillow does not read it: a HEIC, a stranger to be named, or a film."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

HEAD = 1 << 16
"""Bytes that are looked at."""


class Stranger(NamedTuple):
    """A kind of file that is not read."""

    what: str
    hint: str


_RAW = "Develop it with the camera's program first, to JPEG, PNG or TIFF"
_PAGES = "Save its pages or pictures as PNG first"
RAW_ENDINGS = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"),
    *(".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
}
"""Endings of camera raw files, many of which are TIFFs whose first picture is a small preview."""
DAMAGED = Stranger("a picture that is damaged, or of a kind that is rarely used", "Save it as PNG first")
STRANGERS: tuple[tuple[int, bytes, Stranger], ...] = (
    (0, b"PK\x03\x04", Stranger("a zip archive or an office document", _PAGES)),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Stranger("an office document", _PAGES)),
    (0, b"{\\rtf", Stranger("a text document", _PAGES)),
    (0, b"Rar!\x1a\x07", Stranger("an archive", "Unpack it first")),
    (0, b"7z\xbc\xaf\x27\x1c", Stranger("an archive", "Unpack it first")),
    (0, b"\x1f\x8b", Stranger("an archive", "Unpack it first")),
    (0, b"8BPS", Stranger("a Photoshop document", "Save it as PNG first")),
    (0, b"gimp xcf", Stranger("a GIMP document", "Save it as PNG first")),
    (0, b"\x76\x2f\x31\x01", Stranger("an OpenEXR picture", "Save it as PNG first")),
    (0, b"DICM", Stranger("a DICOM picture", "Save it as PNG first")),
    (128, b"DICM", Stranger("a DICOM picture", "Save it as PNG first")),
    (0, b"II*\x00\x10\x00\x00\x00CR", Stranger("a camera raw file", _RAW)),
    (0, b"FUJIFILMCCD-RAW", Stranger("a camera raw file", _RAW)),
    (0, b"IIU\x00", Stranger("a camera raw file", _RAW)),
    (0, b"IIRO", Stranger("a camera raw file", _RAW)),
    (0, b"IIRS", Stranger("a camera raw file", _RAW)),
    (0, b"MMOR", Stranger("a camera raw file", _RAW)),
    (0, b"\x00MRM", Stranger("a camera raw file", _RAW)),
    (0, b"FOVb", Stranger("a camera raw file", _RAW)),
    (4, b"ftypcrx ", Stranger("a camera raw file", _RAW)),
    (0, b"\xff\xd8\xff", DAMAGED),
    (0, b"\x89PNG\r\n\x1a\n", DAMAGED),
    (0, b"GIF8", DAMAGED),
    (0, b"II*\x00", DAMAGED),
    (0, b"MM\x00*", DAMAGED),
    (0, b"II+\x00", DAMAGED),
    (0, b"MM\x00+", DAMAGED),
    (8, b"WEBP", DAMAGED),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", DAMAGED),
)
"""Where a file begins like this, it is not read. Films may hold any of it further on, and so may these hold a film."""
MOTION_JPEG = {".mjpeg", ".mjpg"}
"""Endings of films that are JPEGs one behind the other."""
CAMERA_RAW = Stranger("a camera raw file", _RAW)
STILL_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf"}
"""Brands of HEIF files that are pictures; those of sequences (msf1, hevc) are films."""
AVIF_BRANDS = {b"avif", b"avis"}
RAW_STREAMS = {
    "mjpeg": (b"\xff\xd8",),
    "h264": (b"\x00\x00\x01", b"\x00\x00\x00\x01"),
    "hevc": (b"\x00\x00\x01", b"\x00\x00\x00\x01"),
    "mpegvideo": (b"\x00\x00\x01",),
    "m4v": (b"\x00\x00\x01",),
}
"""Formats that FFmpeg takes almost anything for that holds such a picture somewhere, and how they really begin."""


def head_of(source: Path | bytes) -> bytes:
    """The first bytes of a file."""
    if isinstance(source, bytes):
        return source[:HEAD]
    with source.open("rb") as file:
        return file.read(HEAD)


def stranger(head: bytes) -> Stranger | None:
    """What kind of file, of those that are not read, begins like this."""
    if b"%PDF-" in head[:1024]:
        return Stranger("a PDF", _PAGES)
    for offset, magic, kind in STRANGERS:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if head[4:8] == b"ftyp" and head[8:12] in AVIF_BRANDS:
        return Stranger("an AVIF picture, for which this Pillow is not built", "Install a newer Pillow")
    return None


def is_heif(head: bytes) -> bool:
    """Whether it is a HEIC (or another HEIF) picture."""
    return head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS


def turns_itself(head: bytes) -> bool:
    """Whether a HEIF says, in boxes of its own, how it is turned; then it counts no more what its EXIF says."""
    return b"irot" in head or b"imir" in head


def begins_like(format: str, head: bytes) -> bool:
    """Whether a file that FFmpeg takes for ``format`` begins as such files do."""
    return head.startswith(RAW_STREAMS.get(format, (b"",)))
