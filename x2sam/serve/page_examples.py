"""Pictures and clips to try the page with, drawn by the generator when somebody looks: no file comes from elsewhere."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from x2sam.data.world import World
from x2sam.data.world.casting import Recipe
from x2sam.data.world.scene import build
from x2sam.data.world.vocabulary import held_back
from x2sam.media.video import VideoWriter
from x2sam.types import Frame

SIZE = (360, 480)
"""Height and width."""
RECIPE = Recipe(count=(2, 3), radius=(0.24, 0.34), photo=0.0, stuff=1.0, repeat=0.0, moves=0.0)
"""A few large things on named ground."""
RATE = 10.0


@dataclass(frozen=True)
class Example:
    """A scene, and something to say about it."""

    title: str
    prompt: str
    seed: int
    frames: int = 1

    @property
    def name(self) -> str:
        """Of the file that is made."""
        return self.title.lower().replace(" ", "-") + (".mp4" if self.frames > 1 else ".png")


EXAMPLES = (
    Example("Vase", "the orange vase", 132),
    Example("Turtle", "the white turtle", 18, frames=24),
    Example("Fish", "the orange fish", 160),
    Example("Train", "the cyan train", 24),
    Example("Shoe", "the brown shoe", 15, frames=24),
    Example("Penguin", "the black penguin", 36),
)


class Gallery:
    """The examples as files in a folder, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._locks = folder, [threading.Lock() for _ in EXAMPLES]

    def file(self, index: int) -> Path:
        """The picture or clip."""
        example = EXAMPLES[index]
        path = self.folder / example.name
        with self._locks[index]:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                frames = draw(example)
                if example.frames == 1:
                    Image.fromarray(frames[0]).save(path)
                else:
                    with VideoWriter(path, SIZE, RATE) as writer:
                        for frame in frames:
                            writer.write(frame)
                small(frames[0]).save(self.folder / f"{index}.jpg", quality=85)
        return path

    def thumbnail(self, index: int) -> Path:
        """A small picture of it."""
        self.file(index)
        return self.folder / f"{index}.jpg"


def draw(example: Example) -> list[Frame]:
    """The frames ``[H, W, 3]``."""
    names = World("train").categories
    allowed = lambda *look: not held_back(*look)  # noqa: E731
    return build(np.random.default_rng(example.seed), RECIPE, names, allowed, example.frames, SIZE).frames


def small(frame: Frame) -> Image.Image:
    picture = Image.fromarray(frame)
    picture.thumbnail((240, 240))
    return picture
