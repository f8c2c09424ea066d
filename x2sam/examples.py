"""Examples: a thing that is marked in one medium, to be found in others.

from x2sam import X2Sam, example
model = X2Sam.from_pretrained()
model.segment("b.jpg", like=[example("a.jpg", box=(10, 10, 90, 80))])
parts = model.examples(like=[...], unlike=[...])   # read once ...
parts.save("parts.x2sam")
model.segment("c.jpg", like="parts.x2sam")         # ... and used as often as you like
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from x2sam.errors import InputError
from x2sam.marks import read_regions
from x2sam.media.opening import Clip, Source, open_media
from x2sam.regions import parse_box, parse_points
from x2sam.types import Frame, Region, Shown

Same = Literal["kind", "object"]
"""Every thing of the kind that is shown, or this very object: the column `Task.one_region`."""
VERSION = 1
"""Of the form of a saved set."""
_TENSORS = ("embedding", "look", "details", "rivals", "rival_details")
_WHOLE = "a file that Examples.save wrote"


@dataclass(frozen=True)
class Example:
    """A region of some medium that shows a thing; nothing is opened yet."""

    media: Source
    shape: Mapping[str, Any]
    """One of point, points, box, scribble, polygon, mask, and perhaps frame, in the forms of `x2sam.marks`."""
    name: str | None = None
    """What it is called. Examples of one name are one thing; so are those without."""

    def open(self) -> tuple[Clip, Region, Frame]:
        """The medium, the region on it, and the frame that it is drawn on.

        Raises InputError for a region that is empty, outside or of another size, and for several.
        """
        clip = open_media(self.media)
        regions = read_regions(dict(self.shape), clip.size)
        if len(regions) != 1:
            raise InputError(
                f"Got {len(regions)} regions for an example in {clip.name}", "one", "Make an example of each"
            )
        region = regions[0]
        if clip.length is not None and not 0 <= region.frame < clip.length:
            raise InputError(
                f"Got an example on frame {region.frame} of {clip.name}", f"a frame from 0 to {clip.length - 1}"
            )
        return clip, region, clip.frame_at(region.frame)


def example(media: Source, *, name: str | None = None, **shape: Any) -> Example:
    """A thing that is marked in a medium: ``example("a.jpg", box=(10, 10, 90, 80))``.

    Args:
        media: whatever `open_media` opens.
        name: what it is called; helps a model that knows the name, and tells several things apart.
        shape: one of ``point``, ``points``, ``box``, ``scribble``, ``polygon``, ``mask``; ``negative`` points; and of a
            film the ``frame``.
    """
    if not {"point", "points", "box", "scribble", "polygon", "mask"} & set(shape):
        raise InputError("Got an example without a region", "a box, mask, point(s), scribble or polygon that shows it")
    return Example(media, shape, name)


def parse_example(text: str) -> Example:
    """``photo.jpg:box=10,10,90,80``, ``photo.jpg:point=30,40:name=bolt``, ``clip.mp4:frame=12:mask=mask.png``."""
    parts = text.split(":")
    cut = len(parts)
    while cut > 1 and "=" in parts[cut - 1]:  # a medium may hold colons itself
        cut -= 1
    given = dict(part.split("=", 1) for part in parts[cut:])
    media, name = ":".join(parts[:cut]), given.pop("name", None)
    readers: dict[str, Callable[[str], Any]] = {
        "box": parse_box,
        "point": lambda text: parse_points([text])[0][0],
        "mask": str,
        "scribble": str,
        "frame": _frame,
    }
    unknown = set(given) - set(readers)
    if unknown or not media:
        raise InputError(f"Got the example {text!r}", "MEDIUM:box=x0,y0,x1,y1, or point, mask, scribble, frame, name")
    return example(media, name=name, **{key: readers[key](value) for key, value in given.items()})


def _frame(text: str) -> int:
    if not text.isdigit():
        raise InputError(f"Got the frame {text!r} of an example", "a number from 0")
    return int(text)


@dataclass(frozen=True)
class Examples:
    """Things that a model has read off their examples: used on any number of media at the cost of one reading."""

    things: tuple[Shown, ...]
    model: str = ""
    """By what the model that read them is known again."""

    def __repr__(self) -> str:
        return f"<examples of {', '.join(t.name or t.words or f'thing {i + 1}' for i, t in enumerate(self.things))}>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a safetensors file with a json header; read it with `Examples.load`, or hand its path to ``like``."""
        from safetensors.torch import save_file

        tensors, things = {}, []
        for i, thing in enumerate(self.things):
            things.append({"name": thing.name, "words": thing.words})
            for part in _TENSORS:
                if (tensor := getattr(thing, part)) is not None:
                    tensors[f"{i}.{part}"] = tensor.detach().cpu().contiguous()
        header = {"version": VERSION, "model": self.model, "things": things}
        target = Path(path)
        draft = target.with_name(target.name + ".part")
        save_file(tensors, draft, metadata={"x2sam.examples": json.dumps(header)})
        draft.replace(target)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Examples:
        """Read what `save` wrote. Raises InputError, a sentence for each way in which a file cannot be used."""
        import torch
        from safetensors import SafetensorError, safe_open

        name = os.fspath(path)
        try:
            with safe_open(name, "pt") as file:
                told = (file.metadata() or {}).get("x2sam.examples")
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        except (OSError, SafetensorError) as error:
            raise InputError(f"Got {name}, which is no set of examples or a damaged one ({error})", _WHOLE) from error
        if told is None:
            raise InputError(f"Got {name}, a safetensors file that is no set of examples", _WHOLE)
        try:
            header = json.loads(told)
            version, rows = header["version"], header["things"]
            if version != VERSION:
                raise InputError(
                    f"Got {name}, a set of examples of version {version}",
                    f"version {VERSION}, which this x2sam reads",
                    "Make it anew from the pictures" if version < VERSION else "Use the newer x2sam",
                )
            things = tuple(
                Shown(
                    **{field.name: rows[i][field.name] for field in fields(Shown) if field.name not in _TENSORS},
                    **{part: tensors.pop(f"{i}.{part}", None) for part in _TENSORS},
                )
                for i in range(len(rows))
            )
            whole = all(t is None or torch.isfinite(t).all() for s in things for t in (getattr(s, p) for p in _TENSORS))
            if tensors or not things or not whole:
                raise InputError(f"Got {name}, a set of examples that does not hold what it lists", _WHOLE)
            return cls(things, str(header["model"]))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"Got {name}, a set of examples with a damaged header ({error!r})", _WHOLE) from error


Like = Examples | Example | Sequence[Example] | str | os.PathLike[str]
"""What ``like`` takes: examples, a set that was read, or the path of a saved one."""


def listed(given: Any) -> list[Example]:
    """One example or several, as a list; anything else is refused."""
    several = [given] if isinstance(given, Example) else given
    if not isinstance(several, (list, tuple)) or not all(isinstance(item, Example) for item in several):
        raise InputError(f"Got {given!r:.80} for examples", "x2sam.example(medium, box=...), or a list of such")
    return list(several)
