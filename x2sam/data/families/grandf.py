"""GranD-f: captions whose phrases have masks (GLaMM), in the four forms in which the data set comes.

Options: json, images, form ("groundings": GranD-f's own and PSG; "refs": RefCOCOg; "flickr": COCO json with captions;
"scored": the json of masks of the val and test parts), captions (of "scored": the json of captions and phrases).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, lazy_frames, mask_of, part, picture_size, read_json, record_error
from x2sam.data.families.coco import with_annotations
from x2sam.types import ObjectTrack, Prompt, Sample

Found = tuple[int, int, list[Any]]
"""Where a phrase starts and ends in the caption, in characters, and the codes of its masks."""
Entry = tuple[str, str, str, list[Found]]
"""Id, file name, caption, phrases."""


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per caption. Its answer has each phrase between ``<p>`` and ``</p>``, objects point to the phrases.

    A phrase that overlaps an earlier one, or that the caption does not have, is left out. In the form "scored" none
    is: what the caption does not have stands behind it, since every mask counts.
    """
    options = split.options
    file, images = root / options["json"], root / options["images"]
    data = read_json(file, dict if options["form"] in ("flickr", "scored") else list)
    if options["form"] == "scored":
        records = Packed(_scored(data, file, root / options["captions"]))
    else:
        records = Packed(_FORMS[options["form"]](data, file))

    def make(index: int) -> Sample:
        key, file_name, caption, found = records[index]
        picture = images / file_name
        height, width = picture_size(picture)
        answer, objects, end = "", [], 0
        for phrase, (start, stop, codes) in enumerate(found):
            answer += f"{caption[end:start]}<p>{caption[start:stop]}</p>"
            end = stop
            name = f"the phrase {caption[start:stop]!r} of {key}"
            mask = mask_of(codes, height, width, file, name)
            objects += [ObjectTrack(phrase + 1, phrase, (mask,))] if mask is not None else []
        return Sample(key, split.task, lazy_frames([picture]), Prompt(), tuple(objects), answer + caption[end:])

    return Records(len(records), make)


def _groundings(data: list[Any], file: Path) -> Iterable[Entry]:
    for number, row in enumerate(data):
        caption = _caption(part(row, "caption", str, file, number))
        found = []
        for phrase, grounding in part(row, "groundings", dict, file, number).items():
            span = _span(part(grounding, "token_positives", list, file, number), file, number)
            if phrase.strip().lower() in caption:
                found.append((*span, part(grounding, "rle_masks", list, file, number)))
        name = part(row, "file_name", str, file, number)
        yield str(row.get("image_id", name)), name, caption, _apart(found, caption)


def _refs(data: list[Any], file: Path) -> Iterable[Entry]:
    for number, only in enumerate(data):
        if not isinstance(only, dict) or len(only) != 1:
            raise record_error(file, number, f"{only!r:.80}", "an object of one key")
        key, row = next(iter(only.items()))
        caption = _caption(part(row, "caption", str, file, number))
        found = []
        for ref in part(row, "refs", list, file, number):
            phrase = part(ref, "sentence", str, file, number).strip().lower()
            start = caption.find(phrase)
            if phrase and start >= 0:
                found.append(
                    (start, start + len(phrase), _listed(part(ref, "segmentation", (list, dict), file, number)))
                )
        yield str(key), part(row, "img_file_name", str, file, number), caption, _apart(found, caption)


def _flickr(data: Any, file: Path) -> Iterable[Entry]:
    for number, (image, rows) in enumerate(with_annotations(data, file)):
        caption = _caption(part(image, "caption", str, file, number))
        if len(caption.split()) < 3:  # no sentence
            continue
        found = []
        for row in rows:
            name = f"annotation {row.get('id')}"
            if spans := part(row, "tokens_positive", list, file, name):
                found.append((*_span(spans[0], file, name), [part(row, "sam_mask", dict, file, name)]))
        yield str(image["id"]), part(image, "file_name", str, file, number), caption, _apart(found, caption)


def _scored(data: Any, file: Path, captions_file: Path) -> Iterable[Entry]:
    captions: dict[str, Any] = {}
    for number, row in enumerate(part(read_json(captions_file, dict), "annotations", list, captions_file, None)):
        captions[str(part(row, "image_id", (int, str), captions_file, number))] = row
    for image, rows in with_annotations(data, file):
        key = str(image["id"])
        row = part(captions, key, dict, captions_file, None)
        caption = part(row, "caption", str, captions_file, f"image {key}").strip()
        listed = part(row, "labels", list, captions_file, f"image {key}")
        labels = [part(listed, i, str, captions_file, f"image {key}") for i in range(len(listed))]
        if len(labels) != len(rows):
            got = f"{len(labels)} labels for {len(rows)} masks of {file.name}"
            raise record_error(captions_file, f"image {key}", got, "a label for every mask")
        masks = [_listed(part(a, "segmentation", (dict, list), file, f"annotation {a.get('id')}")) for a in rows]
        yield (key, f"{key}.jpg", *_placed(caption, list(zip(labels, masks, strict=True))))


def _placed(caption: str, labels: list[tuple[str, list[Any]]]) -> tuple[str, list[Found]]:
    """Every label at the first free place where the caption has it; what it has not is put behind it."""
    found: list[Found] = []
    for label, codes in labels:
        start = caption.lower().find(label.lower())
        while start >= 0 and any(start < stop and begin < start + len(label) for begin, stop, _ in found):
            start = caption.lower().find(label.lower(), start + 1)
        if start < 0:
            caption += f" {label}"
            start = len(caption) - len(label)
        found.append((start, start + len(label), codes))
    return caption, sorted(found, key=lambda f: f[0])


def _caption(text: str) -> str:
    """As GLaMM stores offsets: without surrounding quotes, in lower case."""
    return text.strip(" \"'").lower()


def _apart(found: list[Found], caption: str) -> list[Found]:
    """Phrases in their order, those that touch an earlier one or leave the caption left out."""
    kept: list[Found] = []
    for start, stop, codes in sorted(found, key=lambda f: f[:2]):
        if 0 <= start < stop <= len(caption) and (not kept or start > kept[-1][1]):
            kept.append((start, stop, codes))
    return kept


def _span(value: Any, file: Path, name: int | str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(v, int) for v in value):
        raise record_error(file, name, f"the positions {value!r:.80}", "where the phrase starts and ends")
    return value[0], value[1]


def _listed(code: Any) -> list[Any]:
    return code if isinstance(code, list) else [code]


_FORMS: dict[str, Callable[[Any, Path], Iterable[Entry]]] = {
    "groundings": _groundings,
    "refs": _refs,
    "flickr": _flickr,
}
