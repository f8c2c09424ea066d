"""What the words of a command line mean, and what is wrong with them: judged before anything heavy is loaded."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2sam.errors import InputError, X2SamError
from x2sam.examples import Example, Examples, parse_example
from x2sam.media.opening import ENDINGS, FILMS, Clip, open_media
from x2sam.regions import parse_box, parse_points
from x2sam.requests import Request, listed, make_request
from x2sam.tasks import get_task
from x2sam.types import Condition, Shown

CHOICES = {
    "form": ("panoptic", "instance", "semantic"),
    "protocol": ("public", "released"),
    "identity": ("x2sam", "released"),
    "kind": (None, "image", "video"),
    "same": ("kind", "object"),
}
"""Options that take one of a few words."""
NEAR = 0.75
"""How alike two names must be for one to be meant by the other."""


@dataclass(frozen=True)
class Settings:
    """What holds for all inputs of a run."""

    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    task: str | None = None
    kind: str | None = None
    fps: float | None = None
    frame: int = 0
    identity: Any = "x2sam"
    out: str | None = None
    formats: tuple[str, ...] = ()
    overwrite: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `X2Sam.from_pretrained`."""
    quiet: bool = False
    verbose: bool = False
    save_state: str | None = None
    """File that the running state of a video is written to at its end."""
    resume: str | None = None
    """File with such a state, from which is gone on."""
    like: tuple[str, ...] = ()
    """Examples of what to find, or the path of a saved set."""
    unlike: tuple[str, ...] = ()
    same: Any = "kind"
    everything: bool = False


# --- which words are media ----------------------------------------------------------------------------------------


def split_inputs(words: Sequence[str], asked: bool = False) -> tuple[list[str], list[str]]:
    """Media, and the words after the last of them, which say what to segment. Globs are expanded.

    The first word is a medium. If nothing else says what to segment (``asked``), the last one is not, unless it can be
    nothing else: a word may be called as a file or folder that happens to lie there.
    """
    protected = len(words) - 1 if len(words) > 1 and not asked else len(words)
    media_at = [i for i, w in enumerate(words) if _names_media(w) or (i < protected and _may_be_medium(w, words[:i]))]
    last = max(media_at, default=0)
    media: list[str] = []
    for word in words[: last + 1]:
        found = [] if os.path.lexists(word) else _globbed(word)
        media += found or [word]
    return media, list(words[last + 1 :])


def _names_media(word: str) -> bool:
    """It is a URL, a path or the name of a medium, or a glob of such: not words."""
    separated = "/" in word or os.sep in word
    ending = Path(word).suffix.lower() in ENDINGS | FILMS
    return "://" in word or (ending and " " not in word) or ((separated or ending) and _there(word))


def _may_be_medium(word: str, before: Sequence[str]) -> bool:
    """There is such a file or folder, or it is the number of a camera after such numbers."""
    return _there(word) or (word.isdigit() and all(w.isdigit() for w in before))


def _there(word: str) -> bool:
    return os.path.lexists(word) or bool(_globbed(word))


def _globbed(word: str) -> list[str]:
    return sorted(glob.glob(word, recursive=True)) if glob.has_magic(word) else []


def elsewhere(source: str) -> bool:
    """Whether a medium is no file here: a URL or a camera, which is opened once and late."""
    return "://" in source or source[:5].lower() == "data:" or (source.isdigit() and not os.path.lexists(source))


# --- what is wrong, and what was meant ----------------------------------------------------------------------------


def check_order(words: Sequence[str], media: Sequence[str], commands: Sequence[str] = ()) -> None:
    """Raise InputError where the words stand before the medium, or name a command that is mistyped."""
    first = media[0]
    if _names_media(first) or _there(first) or elsewhere(first):
        return
    command = difflib.get_close_matches(first, commands, n=1, cutoff=NEAR)
    files = [word for word in media[1:] if _names_media(word) or _there(word)]
    if command:
        meant = " ".join(["x2sam", command[0], *(_quoted(word) for word in words[1:])])
    elif files:
        said = [word for word in words if word not in files]
        meant = " ".join(["x2sam", *map(_quoted, files), *map(_quoted, said)])
    else:
        return
    raise InputError(f"Got {first!r} for a photo or a film, which does not exist", "", f"Did you mean this?  {meant}")


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word or not word else word


def check_missing(source: str) -> None:
    """Raise InputError for a file that is not there, with one that may have been meant."""
    path = Path(source).expanduser() if source.startswith("~") and os.environ.get("HOME") else Path(source)
    if elsewhere(source) or os.path.lexists(path):
        return
    if glob.has_magic(source):
        raise InputError(f"Got {source!r}, which no file is called like", "a picture or a video", "See: ls")
    near: list[str] = []
    if os.path.isdir(path.parent):
        try:
            near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
        except OSError:
            near = []
    hint = f"Did you mean {path.parent / near[0]!s}?" if near else ""
    raise InputError(f"Got {source!r:.200}, which does not exist", "a picture, a video or a folder of frames", hint)


def check_options(shapes: Mapping[str, Sequence[str]], settings: Settings, options: Mapping[str, Any]) -> None:
    """Raise InputError for whatever is wrong without looking at a medium: task, shapes, files, numbers."""
    if settings.task is not None:
        get_task(settings.task)
    for name, value in {
        **options,
        **{"kind": settings.kind, "identity": settings.identity, "same": settings.same},
    }.items():
        if name in CHOICES and value not in CHOICES[name]:
            near = difflib.get_close_matches(str(value), [c for c in CHOICES[name] if c], n=1)
            known = ", ".join(c for c in CHOICES[name] if c)
            raise InputError(f"Got --{name} {value}", f"one of: {known}", f"Did you mean {near[0]}?" if near else "")
        if name in ("threshold", "mask_threshold") and value is not None and not 0 <= value <= 1:
            raise InputError(f"Got {name} {value}", "a number from 0 to 1")
    if settings.frame < 0:
        raise InputError(f"Got --frame {settings.frame}", "a number of a frame, from 0")
    for one in (*(read_like(settings.like) or ()), *map(parse_example, settings.unlike)):
        one.open()
    if settings.unlike and not settings.like:
        raise InputError("Got --unlike without --like", "what is meant beside what is not")
    parse_points(shapes.get("point", ()))
    for text in shapes.get("box", ()):
        parse_box(text)
    for kind in ("scribble", "mask"):
        for path in shapes.get(kind, ()):
            if not os.path.isfile(path):
                raise InputError(f"Got --{kind} {path!r:.200}, which does not exist", "a picture that shows it")


def read_shapes(shapes: Mapping[str, Sequence[str]], frame: int) -> list[dict[str, Any]]:
    """Options of the command line -> regions: all points are one object; every box, scribble and mask is its own."""
    regions: list[dict[str, Any]] = []
    if shapes.get("point"):
        positive, negative = parse_points(shapes["point"])
        regions.append({"points": positive, "negative": negative, "frame": frame})
    regions += [{"box": parse_box(text), "frame": frame} for text in shapes.get("box", ())]
    for kind in ("scribble", "mask"):
        regions += [{kind: path, "frame": frame} for path in shapes.get(kind, ())]
    return regions


def read_like(texts: Sequence[str]) -> list[Example] | None:
    """Examples of the command line; None for the path of a saved set, which is read with the model."""
    if len(texts) == 1 and "=" not in texts[0]:
        Examples.load(texts[0])
        return None
    return [parse_example(text) for text in texts]


def read_prompts(prompts: Sequence[str], task: str | None, marked: bool) -> str | list[str] | None:
    """A phrase, a question, or names: several words, or one with commas (as on the page)."""
    if len(prompts) != 1:
        return list(prompts) or None
    return (None if task or marked else listed(prompts[0])) or prompts[0]


# --- one medium, understood ---------------------------------------------------------------------------------------


def understand(
    source: str, prompt: Any, shapes: Mapping[str, Sequence[str]], settings: Settings
) -> tuple[Clip, Request]:
    """Open a file and understand what is asked of it. Raises X2SamError."""
    check_missing(source)
    clip = open_media(source, kind=settings.kind, fps=settings.fps)  # type: ignore[arg-type]
    if settings.like:
        shown = (Condition(example=Shown()),)
        return clip, make_request(
            clip, None, read_shapes(shapes, settings.frame) or None, settings.task, shown, settings.same
        )
    return clip, make_request(clip, prompt, read_shapes(shapes, settings.frame) or None, settings.task)


def problem_of(source: str, prompt: Any, shapes: Mapping[str, Sequence[str]], settings: Settings, alone: bool) -> str:
    """What is wrong with an input, in a sentence; of many inputs only whether they are there is looked at."""
    try:
        check_missing(source)
        if alone and not elsewhere(source):
            understand(source, prompt, shapes, settings)
    except (X2SamError, OSError, UnicodeError) as error:
        return str(error) if isinstance(error, X2SamError) else f"Got {source!r:.200}, which cannot be used ({error})"
    return ""


def describe(source: str, prompt: Any, shapes: Mapping[str, Sequence[str]], settings: Settings) -> dict[str, Any]:
    """What an input would be taken for, ready for json; nothing is segmented."""
    if elsewhere(source):
        return {"input": source, "kind": "opened when it is run", "prompt": prompt}
    clip, request = understand(source, prompt, shapes, settings)
    height, width = clip.size
    regions = [{"kind": r.kind, "frame": r.frame, "pixels": r.rle.area} for r in request.prompt.regions]
    return {
        "input": source,
        "kind": clip.kind,
        "frames": clip.length,
        "size": [width, height],
        "task": request.task.name,
        "takes": request.task.title,
        "names": [condition.text for condition in request.prompt.conditions if condition.text],
        **({"regions": regions} if regions else {}),
    }
