"""`x2sam serve` as a process: what it refuses to be, how it stops, how it comes back; and that the guide works."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from test_serve_api import film, noise, predictor, served, wait_for

from x2sam import X2Sam, cli
from x2sam.client import Client
from x2sam.errors import X2SamError
from x2sam.serve.api import create_app
from x2sam.serve.command import read_limits
from x2sam.serve.front import Front
from x2sam.serve.limits import Limits

__all__ = ["film", "predictor"]
GUIDE = (Path(__file__).parent.parent / "docs" / "service.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "which other machines can reach, without a token"),
        (["--host", "::"], "without a token"),
        (["--host", "example.test"], "without a token"),
        (["--host", "0.0.0.0", "--token", "short"], "Got a token of 5 letters"),
        (["--port", "99999"], "Got 127.0.0.1:99999, which cannot be served"),
        (["--limit", "frames=many"], "Got the limit 'frames=many'"),
        (["--limit", "colour=1"], "one of: upload_bytes"),
    ],
)
def test_what_it_refuses(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("X2SAM_TOKEN", raising=False)
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", "--model", "tiny", *arguments])
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


def test_it_lives_before_the_model_is_loaded(predictor: X2Sam, tmp_path: Path) -> None:
    loaded, heard = threading.Event(), []

    def make() -> Any:
        loaded.wait(60)
        return create_app(predictor, folder=tmp_path, page=False)

    with TestClient(Front(make, lambda: heard.append("ready"), lambda: heard.append("failed"))) as web:
        assert web.get("/healthz").json() == {"status": "ok"}
        for path in ("/readyz", "/v1/tasks"):
            answer = web.get(path)
            assert answer.status_code == 503
            assert answer.json()["error"]["message"].startswith("Got a request while the model is loaded.")
        assert heard == []
        loaded.set()
        wait_for(lambda: web.get("/readyz").status_code == 200)
        assert heard == ["ready"]
        assert web.get("/v1/tasks").status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", "--model", str(tmp_path / "none"), "--port", "0"])
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_command_imports_nothing_that_is_slow() -> None:
    """The port answers before that."""
    found = "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, x2sam.serve.command; {found}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_limits_by_name() -> None:
    assert read_limits(["frames=5", "fetch_urls=1", "idle_seconds=2.5"]) == Limits(
        frames=5, fetch_urls=True, idle_seconds=2.5
    )


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service in a process of its own, and where it is; killed at the end if it still runs."""
    command = [sys.executable, "-m", "x2sam.cli", "serve", "--model", "tiny", "--port", "0", *arguments]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert run.stderr is not None
        said: list[str] = []
        for line in run.stderr:
            said.append(line)
            if found := re.search(r"(http://\S+) \(reference", line):
                break
        else:
            raise AssertionError("".join(said))
        wait_for(lambda: answers(found[1]), 120)
        yield run, found[1]
    finally:
        run.kill()
        run.wait(60)
        assert run.stderr is not None
        run.stderr.close()


def answers(url: str) -> bool:
    try:
        with Client(url) as client:
            return bool(client._json("GET", "/readyz"))
    except X2SamError:
        return False


def left(folder: Path) -> list[Path]:
    return [path for parent in folder.glob("x2sam-serve-*") for path in parent.iterdir()]


def test_it_stops_cleanly_and_comes_back_clean(tmp_path: Path, film: Callable[[int], Path]) -> None:
    """Killed, it leaves files; restarted, they are gone; told to stop, it tells its readers and leaves nothing."""
    with process(tmp_path) as (killed, url), Client(url) as client:
        client.open(film(5))
        killed.kill()
        killed.wait(60)
        assert len(left(tmp_path)) == 1
        (old,) = left(tmp_path)
    with (
        process(tmp_path, "--limit", "finish_seconds=0.5", "--limit", "frames=5000") as (run, url),
        Client(url) as client,
    ):
        assert not old.exists()
        remote = client.open(film(400))
        remote.start(regions=[{"box": (5, 5, 60, 60)}], threshold=0.0)
        frames = remote.frames()
        next(frames)
        run.send_signal(signal.SIGTERM)
        with pytest.raises(X2SamError, match="shuts down"):
            for _ in frames:
                pass
        assert run.wait(60) == 0
        assert left(tmp_path) == []
        assert not answers(url)


# --- the guide ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(
    tmp_path: Path, film: Callable[[int], Path], predictor: X2Sam, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, str]]:
    """A working folder with the media that the guide names, and where a service runs."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise(300, 400)).save("photo.jpg")
    shutil.copy(film(5), "clip.mp4")
    with served(predictor, tmp_path / "served") as app:
        yield tmp_path, app.url


def blocks(language: str, url: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert found
    return "\n".join(found).replace("http://127.0.0.1:7860", url)


def test_the_python_of_the_guide_runs(folder: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python", folder[1]), "service.md", "exec"), {})
    assert (folder[0] / "rabbit.png").exists()
    assert (folder[0] / "clip.coco.json").exists()


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
def test_the_commands_of_the_guide_run(folder: tuple[Path, str]) -> None:
    script = "set -eo pipefail\n" + blocks("bash", folder[1])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[-500:]
    assert "event: done" in done.stdout
    assert "chat.completion" in done.stdout
    assert (folder[0] / "clip.masks.mp4").stat().st_size > 0


def test_the_guide_names_every_limit() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.,]+|no) \|", GUIDE, flags=re.MULTILINE))
    stated = {name: 0 if value == "no" else float(value.replace(",", "")) for name, value in rows.items()}
    assert stated == asdict(Limits())
