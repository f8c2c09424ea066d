"""The package as a whole: its layers, its speed of import, its public names."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import x2sam
from x2sam.tasks import TASKS
from x2sam.testing import files

ROOT = Path(x2sam.__file__).parent

# fmt: off
ORDER = [
    "version", "errors", "threads", "store", "names", "masks", "types", "tasks", "config",
    "signatures", "media", "regions", "sam_prompts", "marks", "examples", "prompts", "requests", "vision", "processing",
    "model", "released", "checkpoints", "decoding", "results", "client",
    "tracking", "speed", "onnx", "predictor", "bench", "annotate",
    "data", "metrics", "benchmarks", "evaluate",
    "train", "serve", "integrations",
    "commands", "cli",
]
# fmt: on
"""A block (module or folder) imports only from blocks that stand before it."""

ASIDE = {"testing.tiny": {"predictor", "train"}}
"""What stands aside for users and tests, and the blocks that may reach for it: the random model is a model by name."""

FILES = sorted(ROOT.rglob("*.py"))


def name_of(file: Path) -> str:
    """``model.layers`` for x2sam/model/layers.py; a folder's own file is called as the folder."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def block_of(module: str) -> str:
    return module.split(".")[0]


BLOCKS = sorted({block_of(name_of(file)) for file in FILES} - {"__init__", "__main__", "testing"})


@cache
def imported(file: Path) -> tuple[str, ...]:
    """Names inside x2sam that a file imports: when it is loaded, when it runs, and for type checkers."""
    return tuple(_imported(file))


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names = [node.module] if node.module != "x2sam" else [f"x2sam.{a.name}" for a in node.names]
        else:
            continue
        yield from (name.removeprefix("x2sam.") for name in names if name and name.startswith("x2sam."))


def test_every_block_has_its_place() -> None:
    assert set(BLOCKS) <= set(ORDER), "a new block: say in ORDER where it stands"


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_imports_only_from_blocks_above_it(block: str) -> None:
    above = ORDER[: ORDER.index(block) + 1]
    if block == "cli":
        above = [*above, "testing"]
    for file in FILES:
        if block_of(name_of(file)) == block:
            wrong = {n for n in imported(file) if block_of(n) not in above and block not in ASIDE.get(n, ())}
            assert not wrong, f"x2sam/{file.relative_to(ROOT)} imports {', '.join(sorted(wrong))} from below"


def test_there_is_no_circle_of_imports() -> None:
    """Not among modules either, whoever the import is for."""
    modules = {name_of(file): file for file in FILES if name_of(file) != "__init__"}
    arrows: dict[str, set[str]] = {}
    for name, file in modules.items():
        targets = {n if n in modules else n.rpartition(".")[0] for n in (*imported(file), *imported_from(file))}
        arrows[name] = {target for target in targets if target in modules and target != name}
    left = dict(arrows)
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"these import each other: {sorted(left)}"


def imported_from(file: Path) -> Iterator[str]:
    """``from x2sam.a import b``: b may be a module."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("x2sam"):
            base = (node.module or "").removeprefix("x2sam").lstrip(".")
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def test_the_hall_is_not_full() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 27, "25 modules beside __init__ and version; a new one belongs into a wing"


def test_code_never_branches_on_the_name_of_a_task() -> None:
    """Differences between tasks are columns of their table."""
    names = {*TASKS, *(name.split("_")[1] for name in TASKS)} - {"chat"}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare):
                told = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
                assert not told & names, f"x2sam/{file.relative_to(ROOT)}:{node.lineno} asks for {told & names}"


def test_the_map_of_the_files_is_true() -> None:
    """One line a file, in its own words: `python -m x2sam.testing.files > docs/files.md`."""
    assert (ROOT.parent / "docs" / "files.md").read_text() == files.page()
    readme = (ROOT.parent / "README.md").read_text()
    listed = dict(re.findall(r"^\| `x2sam/([\w/.]+)` \| (.+?) \|$", readme, flags=re.MULTILINE))
    blocks = {f"{b}/" if (ROOT / b).is_dir() else f"{b}.py" for b in BLOCKS} | {"testing/"}
    assert set(listed) == blocks, "the README's map has a line for each module and folder of x2sam/"


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import x2sam` is instant because it does nothing."""
    heavy = ("torch", "transformers", "numpy", "PIL", "av", "scipy", "pycocotools", "typer", "rich")
    out = in_a_fresh_process(f"import sys, x2sam; print([m for m in {heavy} if m in sys.modules], dir(x2sam))")
    assert out.startswith("[] ")


def test_importing_the_package_loads_no_tool_that_it_works_with() -> None:
    """Nor do the parts that everybody uses."""
    tools = ("mcp", "cvat_sdk", "fiftyone", "anywidget", "ipywidgets", "label_studio_sdk", "supervision", "fastapi")
    parts = "x2sam.predictor, x2sam.results.result, x2sam.results.sinks, x2sam.cli"
    code = f"import sys, x2sam, {parts}; found = [m for m in {tools} if m in sys.modules]"
    out = in_a_fresh_process(f"{code}; print(found, [m for m in sys.modules if m.startswith('x2sam.integrations')])")
    assert out == "[] []\n"


def test_public_names() -> None:
    """Sorted: constants, classes, the rest."""
    assert x2sam.__all__ == sorted(set(x2sam.__all__), key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert set(x2sam.__all__) == {*x2sam._PUBLIC, "__version__"}
    for name in x2sam.__all__:
        assert getattr(x2sam, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'; it offers"):
        _ = x2sam.nothing


def test_public_names_are_declared_for_type_checkers() -> None:
    """The lazy table and the imports that type checkers read say the same."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    guards = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    declared = {
        a.asname or a.name: i.module for g in guards for i in g.body if isinstance(i, ast.ImportFrom) for a in i.names
    }
    assert declared == x2sam._PUBLIC


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_module_says_what_it_is_for_and_runs_on_any_device(file: Path) -> None:
    text = file.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module opens with a docstring"
    assert ".cuda(" not in text


@pytest.mark.parametrize("module", ["errors", "types", "tasks", "masks"])
def test_the_shared_vocabulary_is_light(module: str) -> None:
    """What every part imports must not bring torch along."""
    assert in_a_fresh_process(f"import sys, x2sam.{module}; print('torch' in sys.modules)") == "False\n"


def test_the_docs_name_every_error_that_the_package_has() -> None:
    page = (ROOT.parent / "docs" / "errors.md").read_text()
    errors = importlib.import_module("x2sam.errors")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.X2SamError):
            assert f"`{name}`" in page
