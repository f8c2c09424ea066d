"""Where the results of a run go: no two to one place, none over what is there; known before the work is done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from x2sam.errors import InputError
from x2sam.media.opening import Clip
from x2sam.results.export import FORMATS, check_format, default_name, inferred
from x2sam.results.result import Result

DEFAULT = "x2sam-out"
USUAL = ("overlay", "result")
"""Formats that are written where none is asked for."""
ENDINGS = {ending for row in FORMATS.values() for endings in row.endings.values() for ending in endings}

Plan = list[tuple[Path, str]]
"""Places and formats of one result."""


class Outputs:
    """The places of one run.

    Args:
        out: a file (for one input) or a folder; None: ``x2sam-out``.
        formats: names of `export.FORMATS`; none: an overlay and a json.
        inputs: how many media there are.
        overwrite: write over what is there already.
        say: takes a sentence for the user.
        dry: nothing will be written, so no folder is made.

    Raises:
        InputError: what cannot be written to, or holds what would be lost.
    """

    def __init__(
        self,
        out: str | None,
        formats: tuple[str, ...],
        inputs: int,
        overwrite: bool,
        say: Callable[[str], None],
        dry: bool = False,
    ) -> None:
        for name in formats:
            check_format(name)
        self._formats, self._inputs, self._overwrite, self._say = formats, inputs, overwrite, say
        self._taken: set[str] = set()
        self.place = Path(out or DEFAULT)
        self.is_file = out is not None and self._names_a_file(out)
        if self.is_file and inputs > 1:
            raise InputError(f"Got the one file {out!r} for the results of {inputs} inputs", "a folder")
        if self.is_file and self.place.exists() and not overwrite:
            raise _exists(self.place)
        if not dry:
            _probe(self.place.parent if self.is_file else self.place)

    def _names_a_file(self, out: str) -> bool:
        folder = len(self._formats) > 1 or (self._formats and not FORMATS[self._formats[0]].endings)
        ending = self.place.suffix.lower() in ENDINGS
        return ending and not folder and not self.place.is_dir() and not out.endswith(("/", os.sep))

    def plan(self, clip: Clip) -> Plan:
        """Where the result of a medium will be; asked before it is made."""
        if self.is_file:
            name = self._formats[0] if self._formats else inferred(self.place, clip.kind)
            check_format(name, clip.kind, self.place)
            return [(self.place, name)]
        names = self._formats or USUAL
        for name in names:
            check_format(name, clip.kind)
        if self._inputs == len(names) == 1 and not FORMATS[names[0]].endings:
            if self.place.is_dir() and any(self.place.iterdir()) and not self._overwrite:
                raise _exists(self.place)
            return [(self.place, names[0])]
        number, places = 1, self._places(clip, names, 1)
        while any(self._is_taken(path) for path in places):
            number += 1
            places = self._places(clip, names, number)
        if number > 1:
            self._say(f"its results are called {_numbered(clip.stem, number)!r}: {clip.stem!r} is taken")
        self._taken |= {str(path).lower() for path in places}
        return list(zip(places, names, strict=True))

    def _is_taken(self, path: Path) -> bool:
        """By this run (whatever the case of its letters, as some file systems have it), or by what is there."""
        return str(path).lower() in self._taken or (not self._overwrite and os.path.lexists(path))

    def _places(self, clip: Clip, names: tuple[str, ...], number: int) -> list[Path]:
        return [self.place / default_name(clip, name, _numbered(clip.stem, number)) for name in names]

    def write(self, result: Result, plan: Plan) -> list[Path]:
        """Write a result where it was planned."""
        return [result.save(path, name) for path, name in plan] if result.frames else []


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"


def _exists(path: Path) -> InputError:
    return InputError(f"Got {str(path)!r} to write to, which exists", "a new place", "Or say --overwrite")


def _probe(folder: Path) -> None:
    """Make the folder, and see that a file can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".x2sam-", dir=folder):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"Got {str(folder)[:200]!r} to write to, which cannot be done ({why})", "a place to write to", "Say --out"
        ) from None
