"""Errors a user can act on. One base class to catch; every message says what was got, what was expected, what to do.

X2SamError
├── InputError        media, prompts, regions or arguments that cannot be used
│   └── MediaError    a file, stream or frame that cannot be read
├── CheckpointError   weights that do not fit the model
├── DataError         a data set record that is wrong
└── MissingExtraError an optional dependency that is not installed
"""

from __future__ import annotations


class X2SamError(Exception):
    """Base of every error that x2sam raises on purpose."""

    def __init__(self, got: str, expected: str = "", hint: str = "") -> None:
        self.got, self.expected, self.hint = got, expected, hint
        parts = [got.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected {expected.rstrip('.')}.")
        if hint:
            parts.append(hint if hint.endswith("?") or "?  " in hint else hint.rstrip(".") + ".")
        super().__init__(" ".join(parts))


class InputError(X2SamError, ValueError):
    """Media, prompts, regions or arguments that cannot be used."""


class MediaError(InputError):
    """A file, stream or frame that cannot be read."""


class CheckpointError(X2SamError):
    """Weights that do not fit the model."""


class DataError(X2SamError, ValueError):
    """A data set record that is wrong; names the file and the record."""

    others: tuple[DataError, ...] = ()
    """What else is wrong in the same record, where all of it was looked at."""


class MissingExtraError(X2SamError, ImportError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package {package!r}, which is not installed",
            hint=f"Install it with: {install_line(package, extra)} (the extra x2sam[{extra}])",
        )


def install_line(package: str, extra: str) -> str:
    """A command that installs what an extra needs, wherever x2sam itself came from."""
    import re
    from importlib.metadata import PackageNotFoundError, requires

    try:
        needs = [need.partition(";") for need in requires("x2sam") or ()]
    except PackageNotFoundError:
        needs = []
    wanted = [name.strip() for name, _, marker in needs if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", marker)]
    return "pip install " + " ".join(f"'{name}'" for name in wanted or [package])
