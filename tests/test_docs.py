"""What the documentation says is run: its Python, its commands, its tables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from x2sam import cli
from x2sam.media.video import VideoWriter
from x2sam.results.export import FORMATS
from x2sam.tasks import TASKS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TABLES = {"README.md": set(TASKS), "docs/formats.md": set(FORMATS)}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the media that the README names."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save("photo.jpg")
    mask = np.zeros((300, 400), np.uint8)
    mask[50:200, 100:300] = 255
    Image.fromarray(mask).save("mask.png")
    Path("photos").mkdir()
    Image.fromarray(noise).save("photos/a.jpg")
    with VideoWriter(Path("clip.mp4"), (96, 144), 10.0) as writer:
        for i in range(3):
            writer.write(np.roll(noise[:96, :144], i, 1))
    return tmp_path


def test_the_python_of_the_readme_runs(folder: Path) -> None:
    (code,) = blocks("python")
    exec(compile(code.replace("from_pretrained()", 'from_pretrained("tiny")'), "README.md", "exec"), {})
    assert (folder / "rabbit.png").exists()
    assert (folder / "rabbit.json").exists()


def test_the_commands_of_the_readme_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("x2sam ")]
    assert len(commands) >= 6
    for words in commands:
        if words[0] in ("pull", "train", "serve"):  # they fetch, take long, or do not end; all are tested elsewhere
            continue
        with pytest.raises(SystemExit) as end:
            cli.main(words if words[0] in ("tasks", "data", "bench") else [*words, "--model", "tiny"])
        assert end.value.code in (0, None), (words, capsys.readouterr().err)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_complete(name: str) -> None:
    rows = [line for line in (ROOT / name).read_text().splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`([a-z_]+)`", row)}
    missing = {word for word in TABLES[name] if word not in named and not word.endswith("_chat")}
    assert not missing


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), (page.name, target)
            if anchor and "://" not in target:
                text = (page.parent / target).read_text() if target else page.read_text()
                titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
                heads = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                assert anchor in heads, (page.name, target, anchor)


def test_make_demo_says_what_it_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo: dict[str, Any] = {"__name__": "demo"}
    exec(compile((ROOT / "examples" / "demo.py").read_text(), "demo.py", "exec"), demo)
    demo["main"]()
    said = capsys.readouterr().out
    assert "random weights" in said or "with nano" in said
    assert len(list((folder / "outputs" / "demo").glob("photo-*.png"))) == 4
    assert (folder / "outputs" / "demo" / "film.mp4").stat().st_size > 0
    assert (folder / "outputs" / "demo" / "film.webp").stat().st_size > 0


def test_the_notebook_runs(folder: Path) -> None:
    """On the random model; what it prints is for people."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "examples" / "first_steps.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("from_pretrained()", 'from_pretrained("tiny", device="cpu")')
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    assert (folder / "cat.png").exists()
    assert "img_refseg" in str(notebook.cells[3].outputs)


def test_the_site_has_every_page() -> None:
    """`make docs` fails for one that is left out; this says so without building it."""
    site = (ROOT / "mkdocs.yml").read_text()
    assert all(page.name in site for page in (ROOT / "docs").glob("*.md"))
