"""VSPW: video semantic segmentation. PNG values are labels 1 to 124; 0 and what is above is void."""

from __future__ import annotations

from pathlib import Path

from x2sam.data.base import Records, Split, drawn_for, lazy_frames, read_json
from x2sam.data.families._folders import frame_names, read_list, sample_name, tracks_in, whole_number, windows
from x2sam.data.families.coco import Vocabulary
from x2sam.types import ObjectTrack, Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``names`` (json: name to label), ``list`` (names of videos), ``images`` and ``masks``, folders with
    ``<video>/<frame>``; ``categories``, ``window``. An object's id is its label.
    """
    path, images, masks = (root / split.options[key] for key in ("names", "images", "masks"))
    labels = {name: whole_number(label, path, name) for name, label in read_json(path, dict).items()}
    rows = [{"id": label, "name": name, "isthing": 0} for name, label in labels.items() if label > 0]
    vocabulary = Vocabulary.of(rows, path)
    videos = [(name, frame_names(images / name)) for name in read_list(root / split.options["list"])]
    index = [(name, stems, frames) for name, stems in videos for frames in windows(len(stems), split.options)]

    def make(number: int) -> Sample:
        name, stems, frames = index[number]
        tracks, void = tracks_in([masks / name / f"{stems[t]}.png" for t in frames], vocabulary.positions.keys())
        position = vocabulary.positions
        present = {position[label] for label in tracks}
        prompt, places = vocabulary.ask(present, split.options.get("categories"), drawn_for(seed, number))
        return Sample(
            sample_id=sample_name(name, frames, len(stems)),
            task=split.task,
            frames=lazy_frames([images / name / f"{stems[t]}.jpg" for t in frames]),
            prompt=prompt,
            objects=tuple(ObjectTrack(i, places[position[i]], track) for i, track in tracks.items()),
            ignore=void,
        )

    return Records(len(index), make)
