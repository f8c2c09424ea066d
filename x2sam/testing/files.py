"""The map of all files, one line each, from their own docstrings: `python -m x2sam.testing.files > docs/files.md`."""

from __future__ import annotations

import ast
from pathlib import Path

import x2sam

ROOT = Path(x2sam.__file__).parent


def sentence(file: Path) -> str:
    """What a module says first of itself."""
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def page() -> str:
    """The whole map."""
    lines = [
        "# Files",
        "",
        "What every file is for, in its own words. `python -m x2sam.testing.files` prints this page.",
    ]
    folders = sorted({file.parent for file in ROOT.rglob("*.py")})
    for folder in folders:
        name = folder.relative_to(ROOT.parent).as_posix()
        about = "" if folder == ROOT else sentence(folder / "__init__.py")
        lines += ["", f"## {name}/", ""] + ([about, ""] if about else [])
        files = sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")
        lines += [f"- `{file.name}`: {sentence(file)}" for file in files]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
