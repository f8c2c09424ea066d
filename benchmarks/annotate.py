"""Bulk annotation: killed and gone on with, the driver's memory, a store that fails, and speed beside a plain loop.

    python benchmarks/annotate.py kills --photos 2000 --clips 20     # kill -9 three times: digits as of one process?
    python benchmarks/annotate.py memory                             # of the driver, 1,000 inputs beside 10,000
    python benchmarks/annotate.py store                              # S3 that cuts connections and answers 503
    python benchmarks/annotate.py speed --model nano --photos 64     # CPU seconds a picture: plain loop, batches

`kills`, `memory`: pip install 'x2sam[scale]'. `store`: also 'moto[server]' and s3fs. Pictures are generated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

SIDE = 128
ASK = ("--prompt", "person", "--prompt", "dog", "--threads", "1", "--device", "cpu")


def media(folder: Path, photos: int, clips: int) -> Path:
    """Generated photos and clips, two of them broken."""
    from x2sam.data.world import World
    from x2sam.media.video import VideoWriter

    folder.mkdir(parents=True)
    world = World("test", size=(SIDE, SIDE), frames=8)
    for i in range(photos):
        Image.fromarray(np.asarray(world.sample("img_genseg", i).frames[0])).save(folder / f"{i:05d}.jpg", quality=90)
    for i in range(clips):
        with VideoWriter(folder / f"clip{i:03d}.mp4", (SIDE, SIDE), 8) as film:
            for t, frame in enumerate(world.sample("vid_genseg", i).frames):
                film.write(np.asarray(frame), t / 8)
    for name in ("broken.jpg", "broken.mp4"):
        (folder / name).write_bytes(b"nothing that can be read")
    return folder


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "x2sam.cli", "annotate", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def report(run: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = run.communicate()
    if run.returncode:
        raise SystemExit(f"exit code {run.returncode}: {out}")
    return json.loads(out)


def sums(out: Path) -> dict[str, str]:
    """What every shard holds."""
    files = sorted((out / "shards").glob("*.parquet"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


# --- kills ------------------------------------------------------------------------------------------------------------


def workers(run: subprocess.Popen[str]) -> list[psutil.Process]:
    family = psutil.Process(run.pid).children(recursive=True)
    return [p for p in family if "MapWorker" in " ".join(p.cmdline())]


def wait_for(out: Path, run: subprocess.Popen[str], shards: int) -> None:
    """Until so many more shards are there, and an actor is at work."""
    before = len(sums(out))
    while run.poll() is None and len(sums(out)) < before + shards:
        time.sleep(0.5)


def kills(folder: Path, photos: int, clips: int, model: str) -> None:
    source = media(folder / "media", photos, clips)
    ask = (str(source), *ASK, "--model", model, "--shard", str(max(4, photos // 100)), "--batch", "4")
    out, told = folder / "ray", []
    for victim in ("worker", "driver", "both", ""):
        run = start(*ask, "--out", str(out), "--workers", "2")
        family = psutil.Process(run.pid)
        if victim:
            wait_for(out, run, 1)
            if run.poll() is not None:
                raise SystemExit(f"the run ended before the {victim} could be killed; take more photos")
            left = family.children(recursive=True)
            hit = workers(run)[:1] if victim != "driver" else []
            hit += [family] if victim != "worker" else []
            for process in hit:
                process.send_signal(signal.SIGKILL)
            done = len(sums(out))
            if victim == "worker":
                wait_for(out, run, 1)  # another actor has taken its place
                run.send_signal(signal.SIGKILL)
            run.wait()
            gone, alive = psutil.wait_procs(left, timeout=60)
            told.append({"killed": victim, "shards": done, "left_behind": len(alive), "ended": len(gone)})
            print(json.dumps(told[-1]), flush=True)
        else:
            print(json.dumps({"ray": report(run)}), flush=True)
    alone = report(start(*ask, "--out", str(folder / "alone"), "--engine", "one"))
    same = sums(out) == sums(folder / "alone")
    print(
        json.dumps({"inputs": alone["inputs"], "failures": alone["failures"], "shards": alone["shards"], "same": same})
    )
    if not same:
        raise SystemExit("the shards differ")


# --- memory -----------------------------------------------------------------------------------------------------------


def memory(folder: Path, counts: tuple[int, ...] = (1000, 10000)) -> None:
    """Peak memory of the driver; its inputs are files that are not there, so that no model has to work for hours."""
    folder.mkdir(parents=True, exist_ok=True)
    peaks = {}
    for count in counts:
        names = folder / f"{count}.txt"
        names.write_text("".join(f"nowhere/{'x' * 60}{i:06d}.jpg\n" for i in range(count)))
        run = start(str(names), *ASK, "--model", "tiny", "--out", str(folder / str(count)), "--workers", "2")
        driver, peak = psutil.Process(run.pid), 0
        while run.poll() is None:
            try:
                peak = max(peak, driver.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
        assert report(run)["failures"] == count
        peaks[count] = peak
        print(json.dumps({"inputs": count, "driver_peak_mb": round(peak / 2**20)}), flush=True)
    print(json.dumps({"ratio": round(peaks[counts[1]] / peaks[counts[0]], 3)}))


# --- a store that fails -----------------------------------------------------------------------------------------------


class Faulty(threading.Thread):
    """A proxy before a server that cuts every 7th connection after some bytes, and answers every 5th with 503."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.server, self.port_behind, self.count = socket.create_server(("127.0.0.1", 0)), port, 0
        self.cut = self.refused = 0
        self.port = self.server.getsockname()[1]

    def run(self) -> None:
        while True:
            client, _ = self.server.accept()
            self.count += 1
            threading.Thread(target=self._serve, args=(client, self.count), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        """One request a connection, so that faults are spread over all of them."""
        with client:
            if number % 5 == 0:
                self.refused += 1
                client.recv(65536)
                client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self.port_behind)) as behind:
                threading.Thread(target=_copy, args=(client, behind), daemon=True).start()
                limit = 200 if number % 7 == 0 else None
                self.cut += limit is not None
                _copy(behind, client, limit)


def _copy(source: socket.socket, target: socket.socket, limit: int | None = None) -> None:
    try:
        while data := source.recv(65536 if limit is None else limit):
            target.sendall(data)
            if limit is not None:
                return
    except OSError:
        return


def store(folder: Path, photos: int) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    source = media(folder / "media", photos, 1)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = Faulty(server.get_host_and_port()[1])
    proxy.start()
    own = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {**own, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
    direct = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    direct.create_bucket(Bucket="bucket")
    for file in source.iterdir():
        direct.upload_file(str(file), "bucket", f"in/{file.name}")
    ask = (*ASK, "--model", "tiny", "--shard", "4", "--batch", "2")
    far = report(start("s3://bucket/in", *ask, "--out", "s3://bucket/out", "--format", "coco"))
    near = report(start(str(source), *ask, "--out", str(folder / "near"), "--format", "coco"))
    same = True
    for shard in range(near["shards"]):
        name = f"shards/{shard:08d}.parquet"
        theirs = direct.get_object(Bucket="bucket", Key=f"out/{name}")["Body"].read()
        same &= list(_digits(theirs)) == list(_digits((folder / "near" / name).read_bytes()))
    told = {"inputs": far["inputs"], "failures": far["failures"], "left": far["left"], "same": same}
    print(json.dumps({**told, "connections": proxy.count, "cut": proxy.cut, "answered_503": proxy.refused}))
    if not same or far["left"] or far["inputs"] != near["inputs"]:
        raise SystemExit("something was lost")


def _digits(parquet: bytes) -> Iterator[Any]:
    """Rows without the addresses."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in pq.read_table(pa.BufferReader(parquet)).to_pylist():
        yield row["index"], row["name"], row["frame"], row["segments"], row["error"] is None


# --- speed ------------------------------------------------------------------------------------------------------------


def speed(folder: Path, photos: int, model: str, batch: int) -> None:
    """CPU seconds a picture, in turns, so that both see the same machine."""
    import torch

    from x2sam.annotate.plan import Settings, make_plan
    from x2sam.annotate.worker import Annotator
    from x2sam.predictor import X2Sam
    from x2sam.store import Store

    torch.set_num_threads(1)
    files = sorted(media(folder / "media", photos, 0).glob("0*.jpg"))
    settings = Settings((str(folder / "media" / "0*.jpg"),), ("person", "dog"), model=model, batch=batch, shard=batch)
    dest = str(folder / "out")
    annotator = Annotator(dest, make_plan(Store(dest), settings), "cpu", 1)
    plain: X2Sam = annotator.model
    spent = {"loop": 0.0, "batches": 0.0}
    plain.segment(files[0], ["person", "dog"])  # warm
    for shard in range(annotator.plan.shards):
        began = time.process_time()
        for file in files[shard * batch : (shard + 1) * batch]:
            plain.segment(file, ["person", "dog"])
        spent["loop"] += time.process_time() - began
        began = time.process_time()
        annotator.shard(shard)
        spent["batches"] += time.process_time() - began
    each = {name: round(seconds / photos, 4) for name, seconds in spent.items()}
    print(json.dumps({"cpu_seconds_a_picture": each, "ratio": round(spent["loop"] / spent["batches"], 2)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "memory", "store", "speed"))
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--model", default="tiny")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "kills":
            kills(folder, given.photos, given.clips, given.model)
        elif given.what == "memory":
            memory(folder / "memory")
        elif given.what == "store":
            store(folder, given.photos)
        else:
            speed(folder, given.photos, given.model, given.batch)


if __name__ == "__main__":
    main()
