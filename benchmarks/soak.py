"""A service under load, killed in the middle of a film, started again, and kept busy for a while. Json lines.

    OMP_NUM_THREADS=1 python benchmarks/soak.py model=tiny clients=16 minutes=60

Starts `x2sam serve` as a process of its own. Load: so many clients ask at once, each for a picture, a film and words in
turn, and every answer is held against the first of its kind. Kill: SIGKILL while a film is followed; a new process at
the same folder must answer, and delete what the old one left. Soak: the load goes on for so many minutes; memory after
the first tenth is held against memory at the end. Limits turn clients away rather than make them wait: that counts as
refused, by its status.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from x2sam.client import Client
from x2sam.errors import X2SamError

SIDE, FRAMES = 96, 12


def media(folder: Path) -> tuple[Path, Path]:
    """A picture and a film."""
    ground = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    frames = [Image.fromarray(np.roll(ground, 4 * i, 1)) for i in range(FRAMES)]
    photo, film = folder / "photo.png", folder / "film.gif"
    frames[0].save(photo)
    frames[0].save(film, save_all=True, append_images=frames[1:], duration=100)
    return photo, film


class Service:
    """`x2sam serve` on a free port, with its files under ``folder``."""

    def __init__(self, model: str, folder: Path) -> None:
        environment = {**os.environ, "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "x2sam.cli", "serve", "--model", model, "--port", "0"]
        self._run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._run.stderr is not None
        found = next(m for line in self._run.stderr if (m := re.search(r"(http://\S+) \(reference", line)))
        self.url = found[1]
        threading.Thread(target=self._run.stderr.read, daemon=True).start()
        begun = time.monotonic()
        while not self.ready():
            assert time.monotonic() - begun < 900, "the service did not come up"
            time.sleep(0.2)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=30).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def megabytes(self) -> int:
        return round(psutil.Process(self._run.pid).memory_info().rss / 2**20)

    @property
    def files(self) -> int:
        return psutil.Process(self._run.pid).num_fds()

    def kill(self) -> None:
        self._run.kill()
        self._run.wait()


def kinds(photo: Path, film: Path) -> list[Callable[[Client], Any]]:
    def follow(client: Client) -> Any:
        with client.open(film) as remote:
            remote.start("the cat", threshold=0.0)
            return [len(frame.segments) for frame in remote.frames()]

    return [
        lambda client: [s.area for s in client.segment(photo, ["cat", "dog"], threshold=0.0).segments],
        follow,
        lambda client: client.chat(photo, "What is this?", max_new_tokens=8).text,
    ]


def load(service: Service, asks: list[Callable[[Client], Any]], clients: int, seconds: float) -> dict[str, Any]:
    """Everyone asks again as soon as they are answered, for so long."""
    with Client(service.url) as client:
        expected = [ask(client) for ask in asks]
    told: Counter[str] = Counter()
    taken: list[float] = []
    begun = time.monotonic()

    def work(number: int) -> None:
        with Client(service.url) as client:
            while time.monotonic() - begun < seconds:
                kind, start = number % len(asks), time.monotonic()
                try:
                    told["right" if asks[kind](client) == expected[kind] else "another answer"] += 1
                except X2SamError as error:
                    told[f"refused, {getattr(error, 'status', 0)}"] += 1
                    time.sleep(0.2)
                except Exception as error:
                    told[f"broke: {type(error).__name__}"] += 1
                taken.append(time.monotonic() - start)
                number += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    memory, files = [], []
    while any(thread.is_alive() for thread in threads):
        memory.append(service.megabytes)
        files.append(service.files)
        time.sleep(min(2.0, seconds / 40))
    early = len(memory) // 10
    return {
        "clients": clients,
        "minutes": round((time.monotonic() - begun) / 60, 1),
        **told,
        "median_s": round(float(np.median(taken)), 2),
        "slowest_s": round(max(taken), 2),
        "memory_mb": [memory[early], memory[-1]],
        "open_files": [files[early], files[-1]],
    }


def killed(service: Service, folder: Path, film: Path) -> dict[str, Any]:
    """SIGKILL while a film is followed: the reader gets an error of ours, and no more."""
    said = "nothing"
    with Client(service.url) as client:
        remote = client.open(film)
        remote.start("the cat", threshold=0.0)
        frames = remote.frames()
        next(frames)
        service.kill()
        try:
            for _ in frames:
                pass
        except X2SamError as error:
            said = "one sentence" if "\n" not in str(error) else "several lines"
        except Exception as error:
            said = type(error).__name__
    return {"reader_got": said, "files_left": sum(p.is_file() for p in folder.rglob("*"))}


def main(words: list[str]) -> int:
    given = {"model": "tiny", "clients": "16", "minutes": "60", **dict(word.split("=", 1) for word in words)}
    clients, minutes = int(given["clients"]), float(given["minutes"])
    with tempfile.TemporaryDirectory(prefix="x2sam-soak-") as base:
        folder = Path(base, "service")
        folder.mkdir()
        photo, film = media(Path(base))
        asks = kinds(photo, film)
        service = Service(given["model"], folder)
        first = load(service, asks, clients, 60 * min(minutes / 6, 2))
        print(json.dumps({"load": first}), flush=True)
        broken = killed(service, folder, film)
        service = Service(given["model"], folder)
        try:
            with Client(service.url) as client:
                answered = [ask(client) for ask in asks]
            broken |= {"answers_again": len(answered), "old_files": sum(p.is_file() for p in folder.rglob("*"))}
            print(json.dumps({"kill": broken}), flush=True)
            soak = load(service, asks, max(clients // 4, 1), 60 * minutes)
            print(json.dumps({"soak": soak}), flush=True)
        finally:
            service.kill()
    wrong = [name for part in (first, soak) for name in part if name.startswith(("another", "broke"))]
    return 1 if wrong or broken["reader_got"] != "one sentence" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
