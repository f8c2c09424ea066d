"""Frames by number and first looks: processor time against plain decoding, and against another checkout of x2sam.

    OMP_NUM_THREADS=1 python benchmarks/by_number.py before=../x2sam-before minutes=10

Writes an mp4 (H.264 with B-frames, a key every 50 frames) and a transport stream of so many minutes. Asks the mp4 for
frames here and there, in both checkouts in turns, each in a process of its own; and takes the first look into the
stream (``frame_at``, ``sample(16)``, ``length``) beside decoding it plainly. Prints ratios of processor time, of the
best of each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

ROUNDS = 3
ASK = """
import sys, time
from x2sam.media import open_media
def asked(path):
    begun = time.process_time()
    clip = open_media(path)
    {what}
    clip.sample(16)
    return time.process_time() - begun
asked(sys.argv[2])  # loads what is loaded on first use
print(asked(sys.argv[1]))
"""
BY_NUMBER = ASK.format(what="[clip.frame_at(i % clip.length) for i in (0, 700, 350, 351, 352, 10, 999, 500)]")
FIRST_LOOK = ASK.format(what="clip.frame_at(clip.length // 2)")
PLAIN = """
import sys, time
import av
begun = time.process_time()
with av.open(sys.argv[1]) as container:
    container.streams.video[0].thread_type = "AUTO"
    for frame in container.decode(video=0):
        pass
print(time.process_time() - begun)
"""


def film(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Noise that moves, 25 frames a second."""
    ground = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    options = {"bf": "2", "g": "50", "preset": "ultrafast", "crf": "35"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        moved = [av.VideoFrame.from_ndarray(np.roll(ground, 2 * i, 1), format="rgb24") for i in range(25)]
        yuv = [frame.reformat(format="yuv420p") for frame in moved]
        for i in range(frames):
            yuv[i % 25].pts = i
            container.mux(stream.encode(yuv[i % 25]))
        container.mux(stream.encode(None))


def seconds(code: str, path: Path, checkout: Path) -> float:
    small = path.with_stem("small")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(small)], cwd=checkout, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def best(codes: dict[str, tuple[str, Path]], path: Path) -> dict[str, float]:
    """The least time of each, taken in turns."""
    least = dict.fromkeys(codes, float("inf"))
    for _ in range(ROUNDS):
        for name, (code, checkout) in codes.items():
            least[name] = min(least[name], seconds(code, path, checkout))
    return least


def main(words: list[str]) -> None:
    given = dict(word.split("=", 1) for word in words)
    here = Path(__file__).resolve().parent.parent
    before, minutes = Path(given.get("before", here)).resolve(), float(given.get("minutes", 10))
    with tempfile.TemporaryDirectory() as folder:
        clip, stream = Path(folder, "a.mp4"), Path(folder, "a.ts")
        for path, frames, size in ((clip, 1000, (320, 240)), (stream, round(minutes * 60 * 25), (320, 180))):
            film(path, frames, size)
            film(path.with_stem("small"), 60, (160, 120))
        found = best({"now": (BY_NUMBER, here), "before": (BY_NUMBER, before)}, clip)
        print(json.dumps({"mp4": "by number", **found, "ratio": round(found["now"] / found["before"], 3)}), flush=True)
        found = best({"first look": (FIRST_LOOK, here), "plain decoding": (PLAIN, here)}, stream)
        ratio = round(found["first look"] / found["plain decoding"], 3)
        print(json.dumps({"ts": f"{minutes:g} minutes", **found, "ratio": ratio}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
