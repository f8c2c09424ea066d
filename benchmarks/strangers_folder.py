"""A folder of what people have: phones, camcorders, screen recorders, scanners, editors, downloads that broke off.

    python benchmarks/strangers_folder.py model=tiny out=outputs/stranger

Makes 80 files (with FFmpeg's command line, Pillow and, for HEIC, x265 through FFmpeg), runs

    x2sam 'stranger/*' "the cat" --out results --format result

on them as a user would, and holds every line against what is known of its file: how many frames, how large, that its
first frame stands upright (each shows a red corner at its upper left), or that it is refused in one sentence. Says what
is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT, FRAMES = 96, 64, 6
SILENT = ("-x265-params", "log-level=none")


@dataclass
class Folder:
    """Files as they are made, and what is known of them."""

    root: Path
    known: dict[str, tuple[int, int, int] | str] = field(default_factory=dict)
    """Frames, width and height as shown; or a word of the sentence that refuses it."""

    def add(self, name: str, known: tuple[int, int, int] | str) -> Path:
        assert name not in self.known
        self.known[name] = known
        return self.root / name


def picture(level: int = 90, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Grey with a red upper left quarter."""
    pixels = np.full((height, width, 3), level, np.uint8)
    pixels[: height // 2, : width // 2] = (210, 20, 20)
    return Image.fromarray(pixels)


def still(frames: int = 1) -> tuple[int, int, int]:
    return frames, WIDTH, HEIGHT


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera stores if EXIF says so."""


def exif(turned: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Maker", turned
    return tags


def stored(turned: int) -> Image.Image:
    way = TURNS[turned]
    return picture() if way is None else picture().transpose(way)


def ffmpeg(*arguments: Any) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


# --- who made them ----------------------------------------------------------------------------------------------------


def phones(folder: Folder, film: Path) -> None:
    for turned in range(1, 9):
        stored(turned).save(folder.add(f"IMG_000{turned}.JPG", still()), exif=exif(turned))
    picture().save(folder.add("PXL_20260101_120000.jpg", still()), progressive=True, quality=60)
    picture().convert("L").save(folder.add("bw.jpg", still()))
    picture().convert("CMYK").save(folder.add("print CMYK.jpg", still()))
    picture().save(folder.add("3D.mpo", still()), "MPO", save_all=True, append_images=[picture(20)])
    heic(folder.add("IMG_0100.HEIC", still()), 0)
    heic(folder.add("IMG_0101.heic", (1, HEIGHT, WIDTH)), 1, upright=False)
    Path(folder.add("named wrongly.jpg", still())).write_bytes((folder.root / "IMG_0100.HEIC").read_bytes())
    picture().save(folder.add("shot.avif", still()), quality=90)
    for degrees in (90, 180, 270):
        turn = {90: "transpose=1", 180: "hflip,vflip", 270: "transpose=2"}[degrees]  # shown anticlockwise again
        flat = folder.root / "flat.mp4"
        ffmpeg("-i", film, "-vf", turn, "-c:v", "libx264", "-pix_fmt", "yuv420p", flat)
        shown = folder.add(f"VID_{degrees}.mp4", still(FRAMES))
        if newer():
            ffmpeg("-display_rotation", degrees, "-i", flat, "-c", "copy", shown)
        else:
            ffmpeg("-i", flat, "-c", "copy", "-metadata:s:v", f"rotate={degrees}", shown)
        flat.unlink()
    ffmpeg("-i", film, "-c:v", "libx265", *SILENT, "-tag:v", "hvc1", folder.add("IMG_0200.MOV", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "libx264", "-s", "176x144", folder.add("old phone.3gp", (FRAMES, 176, 144)))


def newer() -> bool:
    """FFmpeg 6 and later write display matrices from ``-display_rotation``; earlier ones from a tag."""
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2].lstrip("n").split(".")[0] >= "6"


def camcorders(folder: Folder, film: Path) -> None:
    ts = ("-c:v", "libx264", "-bf", 2, "-g", 4, "-f", "mpegts")
    ffmpeg("-i", film, *ts, folder.add("00001.MTS", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "mpeg2video", "-b:v", "2M", "-f", "mpegts", folder.add("hdv.m2t", still(FRAMES)))
    ffmpeg("-i", film, *ts, "-mpegts_m2ts_mode", 1, folder.add("00002.m2ts", still(FRAMES)))
    one = (folder.root / "00001.MTS").read_bytes()
    folder.add("joined.ts", still(2 * FRAMES)).write_bytes(one + one)
    ffmpeg("-i", film, "-c:v", "mpeg2video", "-b:v", "2M", "-f", "vob", folder.add("VTS_01_1.VOB", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "mpeg1video", folder.add("MOV001.MPG", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", folder.add("MVI_0001.AVI", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "mpeg4", "-bf", 2, folder.add("divx.avi", still(FRAMES)))
    interlaced = ("-vf", "scale=96:64", "-flags", "+ilme+ildct", "-c:v", "mpeg2video", "-b:v", "2M")
    ffmpeg("-i", film, *interlaced, folder.add("interlaced.mpg", still(FRAMES)))
    wide = folder.add("anamorphic.mp4", (FRAMES, 2 * WIDTH, HEIGHT))
    ffmpeg("-i", film, "-vf", "setsar=2", "-c:v", "libx264", wide)
    dv = ("-vf", "scale=720:576,setsar=16/15", "-r", 25, "-c:v", "dvvideo", "-pix_fmt", "yuv420p")
    ffmpeg("-i", film, *dv, "-frames:v", 3, folder.add("tape.dv", (3, 768, 576)))


def recorders(folder: Folder, film: Path) -> None:
    uneven = ("-vf", "setpts='(N*0.1+0.05*mod(N,3))/TB'", "-vsync", "vfr")
    ffmpeg("-i", film, *uneven, "-c:v", "libx264", folder.add("Screen 1.mkv", still(FRAMES)))
    ffmpeg("-i", film, *uneven, "-c:v", "libvpx", folder.add("Screen 2.webm", still(FRAMES)))
    ffmpeg("-i", film, *uneven, "-c:v", "libvpx-vp9", "-lossless", 1, folder.add("screencast.webm", still(FRAMES)))
    live = ("-c:v", "libx264", "-f", "matroska", "-live", 1)
    ffmpeg("-i", film, *live, folder.add("OBS live.mkv", still(FRAMES)))
    ffmpeg(
        "-i", film, "-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", folder.add("DASH.mp4", still(FRAMES))
    )
    ffmpeg("-i", film, "-c:v", "flv", folder.add("stream.flv", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "wmv2", folder.add("Bildschirm.wmv", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "libtheora", "-q:v", 9, folder.add("gnome.ogv", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "libx264rgb", "-qp", 0, folder.add("lossless rgb.mkv", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "libaom-av1", "-cpu-used", 8, "-crf", 20, folder.add("av1.mkv", still(FRAMES)))


def scanners(folder: Folder) -> None:
    sheets = [picture(60 + 40 * n) for n in range(3)]
    many: dict[str, Any] = {"save_all": True, "append_images": sheets[1:]}
    sheets[0].save(folder.add("scan0001.tif", still(3)), compression="tiff_lzw", **many)
    sheets[0].save(folder.add("scan jpeg.tiff", still(3)), compression="jpeg", quality=95, **many)
    bits = [sheet.convert("1") for sheet in sheets]
    bits[0].save(folder.add("fax.tif", "gray"), compression="group4", save_all=True, append_images=bits[1:])
    folder.known["fax.tif"] = still(3)
    stored(6).save(folder.add("turned.tif", still()), tiffinfo={274: 6})
    deep = np.asarray(picture().convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder.add("16 bit.tif", still()))
    Image.fromarray(deep).save(folder.add("16 bit.png", still()))
    picture().save(folder.add("scan.bmp", still()))
    picture().save(folder.add("scan.jp2", still()))
    picture().convert("P").save(folder.add("palette.png", still()))
    picture().save(folder.add("faded.pgm.ppm", still()))
    folder.add("scan.pdf", "PDF").write_bytes(b"%PDF-1.4\n" + (folder.root / "IMG_0001.JPG").read_bytes())


def editors(folder: Folder, film: Path) -> None:
    late = ("-itsoffset", 0.4, "-i", film, "-c:v", "libx264", "-bf", 2, "-vsync", "passthrough")
    ffmpeg(*late, folder.add("offset.mov", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "prores_ks", "-profile:v", 0, folder.add("edit ProRes.mov", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "qtrle", folder.add("animation.mov", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "ffv1", folder.add("archive.mkv", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "huffyuv", folder.add("capture.avi", still(FRAMES)))
    ffmpeg("-i", film, "-pix_fmt", "yuv420p10le", "-c:v", "libx264", folder.add("10 bit.mp4", still(FRAMES)))
    ffmpeg("-i", film, "-c:v", "mpeg2video", "-f", "mxf", folder.add("broadcast.mxf", still(FRAMES)))
    ffmpeg("-i", film, folder.add("raw.y4m", still(FRAMES)))
    frames = [picture(60 + 25 * n) for n in range(FRAMES)]
    many: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 80}
    frames[0].save(folder.add("meme.gif", still(FRAMES)), **many)
    frames[0].save(folder.add("sticker.png", still(FRAMES)), **many)
    frames[0].save(folder.add("sticker.webp", still(FRAMES)), lossless=True, **many)
    frames[0].save(folder.add("loop.avif", still(FRAMES)), quality=90, **many)
    frames[0].save(folder.add("once.apng", still(FRAMES)), "PNG", **many)
    seen = picture().convert("RGBA")
    seen.putalpha(255)
    seen.save(folder.add("cut out.png", still()))
    folder.add("layers.psd", "Photoshop").write_bytes(b"8BPS\x00\x01" + bytes(60))


def broken(folder: Folder) -> None:
    """Cut off, empty, of another kind, or with a name that is none."""
    whole = {
        name: (folder.root / name).read_bytes() for name in ("IMG_0001.JPG", "VID_180.mp4", "00001.MTS", "meme.gif")
    }
    for name, content in whole.items():
        folder.add(f"cut {name}", "or").write_bytes(content[: len(content) * 3 // 5])
    folder.add("empty.jpg", "empty").touch()
    folder.add("zeros.mp4", "neither").write_bytes(bytes(4000))
    folder.add("page.png", "neither").write_text("<html><body>404 Not Found</body></html>")
    folder.add("notes.txt", "neither").write_text("the cat is in IMG_0001.JPG\n")
    folder.add("sound.mp4", "no video")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", folder.root / "sound.mp4")
    (folder.root / "album").mkdir()
    folder.known["album"] = "without any frame"
    names = {"a:b?.jpg": "IMG_0001.JPG", "[1] copy.jpg": "IMG_0001.JPG", "Größe 猫 🐈.jpg": "IMG_0006.JPG"}
    for name, source in names.items():
        folder.add(name, still()).write_bytes((folder.root / source).read_bytes())
    folder.add("IMG_0001.png", still())
    picture().save(folder.root / "IMG_0001.png")
    folder.known["gone.jpg"] = "gone.jpg"
    (folder.root / "gone.jpg").symlink_to("nowhere.jpg")


# --- HEIC -------------------------------------------------------------------------------------------------------------


def box(kind: bytes, *parts: bytes, version: int | None = None, flags: int = 0) -> bytes:
    head = b"" if version is None else struct.pack(">I", version << 24 | flags)
    body = head + b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def heic(path: Path, quarters: int, upright: bool = True) -> None:
    """One picture as x265 packs it, with a box that turns it anticlockwise by so many quarters as it is shown."""
    shown = picture() if upright else picture(width=HEIGHT, height=WIDTH)
    raw, packed = path.with_suffix(".raw.png"), path.with_suffix(".hevc")
    shown.rotate(-90 * quarters, expand=True).save(raw)
    width, height = Image.open(raw).size
    ffmpeg("-i", raw, "-frames:v", 1, "-pix_fmt", "yuv420p", "-c:v", "libx265", *SILENT, packed)
    units = [unit.rstrip(b"\x00") for unit in packed.read_bytes().split(b"\x00\x00\x01")[1:]]
    raw.unlink()
    packed.unlink()
    sets = {kind: next(unit for unit in units if unit[0] >> 1 & 63 == kind) for kind in (32, 33, 34)}
    slices = b"".join(struct.pack(">I", len(u)) + u for u in units if u[0] >> 1 & 63 < 32)
    arrays = b"".join(bytes([0x80 | kind, 0, 1]) + struct.pack(">H", len(u)) + u for kind, u in sets.items())
    profile = sets[33][3:15]  # general profile, compatibility, constraints and level, as the sequence has them
    hvcc = b"\x01" + profile + b"\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f\x03" + arrays
    properties = [
        box(b"hvcC", hvcc),
        box(b"ispe", struct.pack(">II", width, height), version=0),
        box(b"irot", bytes([quarters])),
    ]
    links = box(b"ipma", struct.pack(">IHB", 1, 1, 3), bytes([0x81, 2, 0x83]), version=0)
    meta = [
        box(b"hdlr", bytes(4) + b"pict" + bytes(13), version=0),
        box(b"pitm", struct.pack(">H", 1), version=0),
        box(b"iinf", struct.pack(">H", 1), box(b"infe", struct.pack(">HH", 1, 0) + b"hvc1\x00", version=2), version=0),
        box(b"iprp", box(b"ipco", *properties), links),
    ]
    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")

    def located(at: int) -> bytes:
        place = struct.pack(">HH", 0x4400, 1) + struct.pack(">HHHII", 1, 0, 1, at, len(slices))
        return box(b"meta", *meta, box(b"iloc", place, version=0), version=0)

    at = len(head) + len(located(0)) + 8
    path.write_bytes(head + located(at) + box(b"mdat", slices))


# --- the run ----------------------------------------------------------------------------------------------------------


def made(root: Path) -> Folder:
    folder = Folder(root)
    film = root.parent / "film.mkv"
    for n in range(FRAMES):
        picture(60 + 25 * n).save(root.parent / f"film{n}.png")
    ffmpeg("-framerate", 25, "-i", root.parent / "film%d.png", "-pix_fmt", "yuv420p", "-c:v", "ffv1", film)
    makers: list[Callable[..., None]] = [phones, camcorders, recorders, editors]
    for maker in makers:
        maker(folder, film)
    scanners(folder)
    broken(folder)
    return folder


def faults(name: str, known: tuple[int, int, int] | str, line: dict[str, Any] | None, root: Path) -> list[str]:
    """What is wrong with a line."""
    from x2sam.media import open_media

    if line is None:
        return ["no line"]
    if isinstance(known, str):
        said = line.get("error", "")
        cut = known == "or"  # a file that broke off is read as far as it goes, or refused
        if not said:
            return [] if cut and line.get("frames") else [f"not refused: {line}"]
        return [] if "\n" not in said and (cut or known in said) else [f"said: {said}"]
    if "error" in line:
        return [f"refused: {line['error']}"]
    found = []
    frames, width, height = known
    media = json.loads(Path(line["outputs"][0]).read_text())["media"]
    if line["frames"] != frames or (media["width"], media["height"]) != (width, height):
        found.append(f"{line['frames']} frames of {media['width']}x{media['height']}, expected {known}")
    shown = open_media(root / name).frame_at(0).astype(int)
    red = shown[..., 0] - shown[..., 1]
    corners = [red[: height // 2, : width // 2], red[height // 2 :], red[: height // 2, width // 2 :]]
    if name not in GREY and not (np.median(corners[0]) > 60 > max(abs(np.median(c)) for c in corners[1:])):
        found.append("the red corner is not at the upper left")
    return found


GREY = ("bw.jpg", "fax.tif", "16 bit.tif", "16 bit.png")
"""Files without colours."""


def main(words: list[str]) -> int:
    given = {"model": "tiny", "out": "outputs/stranger", **dict(word.split("=", 1) for word in words)}
    base = Path(given["out"]).resolve()
    shutil.rmtree(base, ignore_errors=True)
    (base / "stranger").mkdir(parents=True)
    folder = made(base / "stranger")
    command = [sys.executable, "-m", "x2sam.cli", "stranger/*", "the cat", "--model", given["model"]]
    command += ["--out", "results", "--format", "result"]
    done = subprocess.run(command, cwd=base, capture_output=True, text=True, check=False)
    (base / "stdout.jsonl").write_text(done.stdout)
    (base / "stderr.txt").write_text(done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    by_name = {Path(line["input"]).name: line for line in lines}
    wrong = {}
    warnings.simplefilter("ignore")
    for name, known in folder.known.items():
        line = by_name.get(name)
        if line is not None and "outputs" in line:
            line["outputs"] = [str(base / place) for place in line["outputs"]]
        if found := faults(name, known, line, base / "stranger"):
            wrong[name] = found
    places = [place for line in lines for place in line.get("outputs", [])]
    refused = sum("error" in line for line in lines)
    whole = {
        "a line for each": len(lines) == len(by_name) == len(folder.known),
        "no traceback": "Traceback" not in done.stderr,
        "no output lost": len(set(places)) == len(places) and all(Path(base, place).exists() for place in places),
        "exit code": done.returncode == (2 if refused else 0),
    }
    for name, found in wrong.items():
        print(f"WRONG {name}: {'; '.join(found)}")
    print(json.dumps({"files": len(folder.known), "read": len(lines) - refused, "refused": refused, **whole}))
    return 1 if wrong or not all(whole.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
