"""Files that look like something else: each is read as what its owner takes it for, or named in one sentence."""

from __future__ import annotations

import base64
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import AppendingTiffWriter

from x2sam.data.base import picture_size
from x2sam.errors import MediaError
from x2sam.media import open_media
from x2sam.serve.limits import Limits
from x2sam.serve.uploads import take

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
SHADES = [Image.new("RGB", (32, 24), (0, level, 0)) for level in (10, 120, 240)]

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAAB8AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoDCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xy"
    "bmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABgAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAACdt"
    "ZGF0AAAAGygBrxOA5TPAn//lMo//mUzw+x0ytUPRZ072wA=="
)
"""96x64 pixels of one colour."""


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "JPEG")
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("word/media/image1.jpg", jpeg())
    return out.getvalue()


def tiff(path: Path, kinds: list[int], sizes: list[tuple[int, int]] | None = None) -> Path:
    """Pages with these subfile types and sizes."""
    sheets = [Image.fromarray(PIXELS).resize(size) for size in sizes or [(32, 24)] * len(kinds)]
    with path.open("w+b") as file, AppendingTiffWriter(file, new=True) as writer:
        for sheet, kind in zip(sheets, kinds, strict=True):
            sheet.save(writer, format="TIFF", tiffinfo={254: kind})
            writer.newFrame()
    return path


def both(path: Path, folder: Path) -> tuple[str, int, tuple[int, int]]:
    """Kind, length and size, for the library and for the service alike."""
    clip = open_media(path)
    upload = take(path, path.name, folder, Limits())
    assert (clip.kind, clip.length, clip.size) == (upload.kind, upload.length, upload.size)
    assert len(list(clip)) == clip.length
    assert upload.open().size == upload.size
    return clip.kind, clip.length, clip.size


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("scan.pdf", b"%PDF-1.4\n" + jpeg(), "PDF"),
        ("text.docx", zipped(), "zip archive"),
        ("layers.psd", b"8BPS" + bytes(40) + jpeg(), "Photoshop"),
        ("IMG_1.CR3", b"\x00\x00\x00\x18ftypcrx " + bytes(200) + jpeg(), "camera raw"),
        ("a.raf", b"FUJIFILMCCD-RAW" + bytes(99) + jpeg(), "camera raw"),
        ("mail.eml", b"From: me\n\n" + jpeg(), "neither"),
        ("blob.bin", bytes(500) + jpeg(), "neither"),
        ("cut.jpg", jpeg()[:20], "damaged"),
        ("cut.heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(60), "HEIC"),
    ],
)
def test_what_holds_a_picture_somewhere_is_none(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    for ask in (lambda: open_media(path), lambda: take(path, name, tmp_path / "up", Limits())):
        (tmp_path / "up").mkdir(exist_ok=True)
        with pytest.raises(MediaError) as caught:
            ask()
        assert said in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("kinds", "sizes", "length"),
    [
        ([0, 1], [(32, 24), (16, 12)], 1),
        ([1, 0], [(16, 12), (32, 24)], 1),
        ([2, 2, 2], None, 3),
        ([0, 4], None, 1),
        ([0, 0], [(32, 24), (20, 20)], 1),
        ([0, 0, 0], None, 3),
    ],
)
def test_smaller_copies_and_masks_are_no_pages(tmp_path, kinds, sizes, length):
    path = tiff(tmp_path / "a.tif", kinds, sizes)
    assert both(path, tmp_path) == ("video" if length > 1 else "image", length, (24, 32))
    assert open_media(path, kind="image").frame_at(0).shape == (24, 32, 3)


def test_a_tiff_that_is_only_a_preview_is_camera_raw(tmp_path):
    for name, kinds in (("a.tif", [1]), ("a.nef", [0])):
        with pytest.raises(MediaError, match="camera raw"):
            open_media(tiff(tmp_path / name, kinds))


@pytest.mark.parametrize("form", ["jpg", "tif", "webp", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_has_one_size_everywhere(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{form}"
    Image.fromarray(PIXELS).save(path, exif=exif)
    size = (32, 24) if orientation >= 5 else (24, 32)
    assert both(path, tmp_path) == ("image", 1, size)
    assert picture_size(path) == size


def test_the_still_of_an_animated_png_is_no_frame(tmp_path):
    path = tmp_path / "a.png"
    SHADES[0].save(path, save_all=True, append_images=SHADES[1:], default_image=True, duration=200)
    assert both(path, tmp_path) == ("video", 2, (24, 32))
    assert [int(frame[0, 0, 1]) for _, _, frame in open_media(path)] == [120, 240]
    assert open_media(path, kind="image").frame_at(0)[0, 0, 1] == 10


@pytest.mark.parametrize("form", ["gif", "webp"])
@pytest.mark.parametrize(("delay", "seconds"), [(0, 0.1), (10, 0.1), (20, 0.02), (50, 0.05)])
def test_delays_are_those_of_browsers(tmp_path, form, delay, seconds):
    path = tmp_path / f"a.{form}"
    SHADES[0].save(path, save_all=True, append_images=SHADES[1:], duration=delay, lossless=True)
    assert open_media(path).times == pytest.approx([0, seconds, 2 * seconds])


def test_jpegs_one_behind_the_other_are_a_film(tmp_path):
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(jpeg() * 5)
    clip = open_media(path)
    assert (clip.kind, clip.length, len(list(clip))) == ("video", 5, 5)


def test_heic_is_read_where_its_reader_is_installed(tmp_path, monkeypatch):
    pytest.importorskip("pi_heif")
    path = tmp_path / "photo.heic"
    path.write_bytes(HEIC)
    assert both(path, tmp_path) == ("image", 1, (64, 96))
    assert np.abs(open_media(path).frame_at(0)[32, 48].astype(int) - (200, 60, 30)).max() < 12
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(MediaError, match="pip install pi-heif"):
        open_media(path)
