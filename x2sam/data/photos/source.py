"""`PhotoSource`: training samples from a folder of photos and clips; a `Source` (see `train.sampler`)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from x2sam.data.photos.augment import Scene, augmented, plain
from x2sam.data.photos.drafts import Content, Draft, categories, markable, marked, phrases
from x2sam.data.photos.films import filmed
from x2sam.data.photos.folder import Photo, PhotoFolder, mask_in
from x2sam.data.photos.grounding import groundable, grounded
from x2sam.data.photos.talk import spoken, talk
from x2sam.data.photos.uses import reasoned, useful
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.types import Sample

SPLITS = ("train", "val")
VARIANTS = 16
"""How often a photo is counted: every time it is cut, coloured and asked about otherwise."""
ATTEMPTS = 10
STRIDES = 3
"""Frames of a clip are at most so many apart."""
OFTEN: dict[str, int] = {
    "coco-full": 3,
    "coco-oneperson": 2,
    "coco-panoptic-train": 3,
    "coco-stuff-sample": 3,
    "voc07": 3,
    "bsds": 14,
}
"""Sets whose photos come so many times in a round, since each of them holds much."""


@dataclass(frozen=True)
class _Maker:
    """How a task's samples are made."""

    make: Callable[[Draft], Content | None]
    fits: Callable[[Photo], bool]
    clips: bool = False
    least: float = 0.45
    """The smallest side of a cut, as a part."""
    made: float = 0.0
    """Share of the training clips that are films made of photos (`films`)."""
    variants: int = VARIANTS
    """How often `PhotoSource.lengths` counts each photo or clip."""


MAKERS: dict[str, _Maker] = {
    "img_intseg": _Maker(marked, lambda photo: bool(markable(photo))),
    "img_refseg": _Maker(phrases, lambda photo: bool(photo.names)),
    "img_genseg": _Maker(categories, lambda photo: bool(photo.names)),
    "vid_objseg": _Maker(marked, lambda photo: bool(photo.shapes), clips=True, least=0.7, made=0.6, variants=256),
    "vid_refseg": _Maker(phrases, lambda photo: bool(photo.phrases), clips=True, least=0.7),
    "img_chat": _Maker(talk, spoken, least=0.85),
    "img_gcgseg": _Maker(grounded, groundable, least=0.85),
    "img_reaseg": _Maker(reasoned, useful),
}


class PhotoSource:
    """Samples of a folder's training part (or of its validation tenth, as they are), each a pure function of
    (split, seed, task, index).

    Args:
        root: the folder (`folder` says its layout).
        split: ``train``: all but the validation tenth, mirrored, cut and coloured at random; ``val``: that tenth.
        frames: frames of a clip's window.
        seed: of everything that is drawn.
        absent: share of phrases that match nothing, where the set allows to say so.
        negatives: most names of a list that match nothing.
        asked: most regions or phrases of one photo.

    Index ``i`` is the ``i % n``-th of a task's n photos, so that consecutive indices pass over all of them; any index
    is served, whatever `lengths` says.
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        frames: int = 8,
        seed: int = 0,
        absent: float = 0.25,
        negatives: int = 10,
        asked: int = 6,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"Got the split {split!r}", f"one of: {', '.join(SPLITS)}")
        self.split, self.frames, self.seed = split, frames, seed
        self.absent, self.negatives, self.asked = absent, negatives, asked
        self.folder = PhotoFolder(Path(root), validation=split == "val")
        self._rows = {task: self._able(maker) for task, maker in MAKERS.items()}

    @property
    def lengths(self) -> dict[str, int]:
        """Number of samples per task."""
        return {task: MAKERS[task].variants * len(rows) for task, rows in self._rows.items() if rows}

    def sample(self, task: str, index: int) -> Sample:
        """The sample of a task at an index: the same call gives the same bytes, in any process and order."""
        rows = self._rows.get(task, [])
        if not rows:
            raise InputError(f"Got the task {task}", f"one that the photos serve: {', '.join(self.lengths)}")
        maker = MAKERS[task]
        source = self.folder.clips if maker.clips else self.folder.photos
        for attempt in range(ATTEMPTS * len(rows)):  # one that the cut left nothing of gives its turn to the next
            rng = np.random.default_rng((self.seed, zlib.crc32(task.encode()), index, attempt))
            if self.split == "train" and maker.made and rng.random() < maker.made:
                scene = self._film(maker, rng)
                photo = scene.photo
            else:
                photo = source[rows[(index + attempt // ATTEMPTS) % len(rows)]]
                scene = self._scene(photo, maker, rng)
            others, sure = self.folder.absent(photo), self.folder.everywhere(photo)
            draft = Draft(rng, scene, others, sure, self.absent, self.negatives, self.asked, self.folder.things)
            content = maker.make(draft)
            if content is not None:
                name = "/".join(("photos", self.split, f"seed {self.seed}", task, str(index), photo.id))
                void = None
                if photo.void:
                    void = tuple(RLE.encode(mask_in(ids, photo.void)) for ids in scene.maps)
                return Sample(name, task, scene.frames, content.prompt, content.objects, content.answer, ignore=void)
        raise InputError(f"Got no photo that serves {task}", "one with something to ask for", "Look at photos.jsonl")

    def _able(self, maker: _Maker) -> list[int]:
        """Places of photos that serve a task; some sets' come several times."""
        source = self.folder.clips if maker.clips else self.folder.photos
        able = [(i, photo) for i, photo in enumerate(source) if maker.fits(photo)]
        often = OFTEN if self.split == "train" else {}
        return [i for turn in range(max(often.values(), default=1)) for i, p in able if turn < often.get(p.set, 1)]

    def _scene(self, photo: Photo, maker: _Maker, rng: np.random.Generator) -> Scene:
        times = self._times(photo, rng)
        if self.split == "val":
            return plain(photo, times)
        focus = [s.id for s in (markable(photo) or photo.shapes)]
        chosen = [focus[rng.integers(len(focus))]] if focus else []
        return augmented(photo, times, rng, chosen, maker.least)

    def _film(self, maker: _Maker, rng: np.random.Generator) -> Scene:
        """A film made of one photo, and perhaps of an object of another."""
        rows = self._rows["img_intseg"]
        photo, other = (self.folder.photos[rows[i]] for i in rng.integers(0, len(rows), 2))
        return filmed(photo, other, rng, self.frames)

    def _times(self, photo: Photo, rng: np.random.Generator) -> list[int]:
        """Frames of a window, evenly apart; in training sometimes backwards."""
        count = len(photo.pictures)
        if self.split == "val":
            return list(range(min(count, self.frames)))
        stride = int(rng.integers(1, max(1, min(STRIDES, (count - 1) // max(1, self.frames - 1))) + 1))
        length = min(self.frames, 1 + (count - 1) // stride)
        start = int(rng.integers(0, count - (length - 1) * stride))
        times = [start + t * stride for t in range(length)]
        return times[::-1] if rng.random() < 0.5 else times
