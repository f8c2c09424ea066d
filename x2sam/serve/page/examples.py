"""Pictures and films to try the page with: free photos where scikit-image is installed, else and besides, drawn ones.

Nothing is fetched: the photos are those of scikit-image's wheel, and the drawings are the generator's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from x2sam.data.world import World
from x2sam.data.world.casting import Recipe
from x2sam.data.world.photos import photo
from x2sam.data.world.scene import build
from x2sam.data.world.vocabulary import held_back
from x2sam.media.video import VideoWriter
from x2sam.serve.store import Unknown
from x2sam.types import Frame

SIZE = (360, 480)
"""Height and width of a drawing."""
RECIPE = Recipe(count=(2, 3), radius=(0.24, 0.34), photo=0.0, stuff=1.0, repeat=0.0, moves=0.0)
"""A few large things on named ground."""
RATE = 10.0


@dataclass(frozen=True)
class Example:
    """A picture or a film, and something to say about it."""

    title: str
    prompt: str
    photo: str = ""
    """Name in scikit-image; empty: it is drawn."""
    seed: int = 0
    frames: int = 1

    @property
    def name(self) -> str:
        """Of the file that is made."""
        return self.title.lower().replace(" ", "-") + (".mp4" if self.frames > 1 else ".png")


EXAMPLES = (
    Example("Cat", "the cat", photo="chelsea"),
    Example("Coffee", "the cup", photo="coffee"),
    Example("Astronaut", "the person", photo="astronaut"),
    Example("A cat in a film", "the cat", photo="chelsea", frames=24),
    Example("Fish", "the orange fish", seed=160),
    Example("Envelope", "the red envelope", seed=184),
    Example("A rocket in a film", "the yellow rocket", seed=190, frames=16),
)
"""The drawings' seeds are such that no surface is cut out of a photo."""


def available() -> list[Example]:
    """Those that can be made here."""
    return [example for example in EXAMPLES if not example.photo or find_spec("skimage") is not None]


class Gallery:
    """The examples as files in a folder, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.examples = folder, available()
        self._locks = [threading.Lock() for _ in self.examples]

    def file(self, index: int) -> Path:
        """The picture or film. Raises Unknown."""
        if not 0 <= index < len(self.examples):
            raise Unknown(f"Got the example {index}", f"0 to {len(self.examples) - 1}")
        example = self.examples[index]
        path = self.folder / example.name
        with self._locks[index]:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                frames = draw(example)
                if example.frames == 1:
                    Image.fromarray(frames[0]).save(path)
                else:
                    with VideoWriter(path, frames[0].shape[:2], RATE) as writer:
                        for frame in frames:
                            writer.write(frame)
                small(frames[0]).save(self.folder / f"{index}.jpg", quality=85)
        return path

    def thumbnail(self, index: int) -> Path:
        """A small picture of it."""
        self.file(index)
        return self.folder / f"{index}.jpg"


@lru_cache(maxsize=8)
def gallery(folder: Path) -> Gallery:
    """The gallery of one service."""
    return Gallery(folder)


def draw(example: Example) -> list[Frame]:
    """The frames ``[H, W, 3]``."""
    if example.photo:
        whole = photo(example.photo)
        if example.frames == 1:
            return [np.asarray(whole)]
        height, width = SIZE
        room = whole.width - whole.height * width / height, 0.12 * whole.height
        boxes = [(room[0] * t, room[1] * t * (1 - t)) for t in np.linspace(0, 1, example.frames)]
        side = whole.height - room[1]
        return [
            np.asarray(whole.resize((width, height), box=(x, y, x + side * width / height, y + side))) for x, y in boxes
        ]
    names = World("train").categories
    allowed = lambda *look: not held_back(*look)  # noqa: E731
    return build(np.random.default_rng(example.seed), RECIPE, names, allowed, example.frames, SIZE).frames


def small(frame: Frame) -> Image.Image:
    picture = Image.fromarray(frame)
    picture.thumbnail((240, 240))
    return picture
