"""Feeds mutated files and requests to x2sam: nothing may come back but its own errors, in time, in bounded memory.

    python benchmarks/fuzz.py media=14000 annotations=4000 states=600 requests=1500 seed=0

Every case is made from its number and the seed alone, so that one which fails can be run again (``only=media:123``).
A child process runs them one after the other; it is killed, and the case counted, where one takes over 10 seconds of
processor time, or over two minutes in all: other work on the machine hangs nothing. Large campaigns go in chunks
(``first=5000``). The last line says how many there were, what they gave, and how the memory of the child grew after the
first tenth.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from PIL import Image

SECONDS, WAIT = 10.0, 120.0
"""A case may take so much of the processor, and so long in all."""
JUNK: list[Any] = [None, True, -1, 0, 10**12, 1e308, "", "x" * 2000, "\udce9", [], {}, [[]], [None], "../..", 0.5]

Case = Callable[[np.random.Generator, Path], object]


# --- what is mutated --------------------------------------------------------------------------------------------------


def frames(count: int = 12) -> Iterator[np.ndarray]:
    ground = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    return (np.roll(ground, 3 * n, 1) for n in range(count))


def film(ending: str, codec: str, rate: int = 25, **options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.{ending}"
        with av.open(path, "w") as container:
            video = container.add_stream(codec, rate=rate, options=options)
            video.height, video.width, video.pix_fmt, video.gop_size = 48, 64, "yuv420p", 5
            for frame in frames():
                container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(video.encode(None))
        return Path(path).read_bytes()


def picture(form: str, **options: Any) -> bytes:
    out, all_ = io.BytesIO(), [Image.fromarray(frame) for frame in frames(3)]
    all_[0].save(out, form, **({"save_all": True, "append_images": all_[1:], **options} if options else {}))
    return out.getvalue()


@cache
def media() -> list[bytes]:
    return [
        *(picture(form) for form in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")),
        *(picture(form, duration=50) for form in ("PNG", "WEBP", "GIF")),
        picture("TIFF", compression="tiff_lzw"),
        *(film(ending, "libx264", bf="2") for ending in ("mp4", "mkv", "ts", "flv", "avi")),
        film("mpg", "mpeg2video"),
        film("avi", "mpeg4", bf="2"),
        film("webm", "libvpx"),
        film("mov", "libx264"),
    ]


def coco() -> dict[str, Any]:
    code = {"size": [48, 64], "counts": [100, 200, 2772]}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 48, "width": 64}],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "dog (big)", "supercategory": "cup"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 2, "segmentation": code, "iscrowd": 1},
        ],
    }


def ytvis() -> dict[str, Any]:
    code = {"size": [48, 64], "counts": [100, 200, 2772]}
    return {
        "videos": [{"id": 1, "file_names": ["a.jpg", "a.jpg"], "height": 48, "width": 64, "length": 2}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [{"id": 1, "video_id": 1, "category_id": 1, "segmentations": [code, None], "iscrowd": 0}],
    }


def line() -> dict[str, Any]:
    mask = {"size": [48, 64], "counts": [100, 200, 2772]}
    conditions = [{"text": "the cup"}, {"region": mask, "kind": "box"}]
    objects = [{"id": 1, "condition": 0, "masks": [mask]}]
    return {"id": "1", "frames": ["a.jpg"], "task": "img_refseg", "conditions": conditions, "objects": objects}


# --- how --------------------------------------------------------------------------------------------------------------


def bent(data: bytes, rng: np.random.Generator, other: bytes = b"") -> bytes:
    """Bytes with one to eight things done to them."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if not out:
            break
        at, length = int(rng.integers(len(out))), int(rng.integers(1, 64))
        match int(rng.integers(7)):
            case 0:
                out[at] ^= 1 << int(rng.integers(8))
            case 1:
                out[at : at + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
            case 2:
                out[at : at + length] = bytes(length)
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = out[at : at + length]
            case 5:
                out[at : at + 4] = b"\xff\xff\xff\xff"
            case _:
                out[at:] = other[at:] if other and rng.random() < 0.5 else b""
    return bytes(out)


def shaken(value: Any, rng: np.random.Generator, chance: float = 0.06) -> Any:
    """A json value in which some parts are something else, twice there or gone."""
    if rng.random() < chance:
        return JUNK[int(rng.integers(len(JUNK)))]
    if isinstance(value, dict):
        return {k: shaken(v, rng, chance) for k, v in value.items() if rng.random() > chance / 2}
    if isinstance(value, list):
        return [shaken(v, rng, chance) for v in value for _ in range(2 if rng.random() < chance / 2 else 1)]
    return value


def play(rng: np.random.Generator, folder: Path) -> None:
    from x2sam.media.opening import open_media

    every = media()
    path = folder / "file"
    path.write_bytes(bent(every[int(rng.integers(len(every)))], rng, every[int(rng.integers(len(every)))]))
    clip = open_media(path)
    for index, _, frame in clip:
        assert frame.dtype == np.uint8
        if index >= 20:
            break
    length = clip.length or 1
    assert clip.times is None or len(clip.times) == length
    clip.sample(4)
    clip.frame_at(length // 2)


def learn(rng: np.random.Generator, folder: Path) -> None:
    from x2sam.data.own import check_own, open_own

    content = (coco, ytvis, line)[int(rng.integers(3))]
    text = json.dumps(shaken(content(), rng, (0.01, 0.06)[int(rng.integers(2))])).encode()
    Image.fromarray(next(frames())).save(folder / "a.jpg")
    (folder / ("a.jsonl" if content is line else "a.json")).write_bytes(bent(text, rng) if rng.random() < 0.3 else text)
    list(check_own(folder))
    data = open_own(folder)
    for task in data.records:
        data.sample(task, 0)


@cache
def model() -> Any:
    from x2sam import X2Sam

    return X2Sam.from_pretrained("tiny")


@cache
def state() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        track = model().open(list(frames(4)), kind="video").track(["cup"], threshold=0.0)
        next(iter(track))
        track.save(f"{folder}/state")
        return Path(f"{folder}/state").read_bytes()


def resume(rng: np.random.Generator, folder: Path) -> None:
    (folder / "state").write_bytes(bent(state(), rng))
    track = model().open(list(frames(4)), kind="video").restore(folder / "state")
    next(iter(track))


@cache
def service() -> Any:
    from starlette.testclient import TestClient

    from x2sam.serve.api import create_app
    from x2sam.serve.limits import Limits

    client = TestClient(
        create_app(model(), Limits(), None, True, ()), "http://127.0.0.1", raise_server_exceptions=False
    )
    client.__enter__()
    return client


def ask(rng: np.random.Generator, folder: Path) -> None:
    import base64

    whole = media()[int(rng.integers(10))]
    data = bent(whole, rng) if rng.random() < 0.5 else whole
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    body: dict[str, Any] = {"media": url, "prompt": "the cup", "options": {"threshold": 0.1}}
    part = {"type": "image_url", "image_url": {"url": url}}
    chat = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "what?"}]}], "max_tokens": 3}
    match int(rng.integers(4)):
        case 0:
            answer = service().post("/v1/segment", json=safe(shaken(body, rng)))
        case 1:
            answer = service().post("/v1/chat/completions", json=safe(shaken(chat, rng)))
        case 2:
            fields = {"regions": json.dumps(shaken([{"box": [1, 1, 9, 9]}, {"point": [3, 3]}], rng, 0.2))}
            answer = service().post("/v1/segment", files={"file": ("a\n.png", data)}, data=fields)
        case _:
            raw = bent(json.dumps(body).encode(), rng)
            answer = service().post("/v1/segment", content=raw, headers={"content-type": "application/json"})
    if answer.status_code >= 500:
        raise RuntimeError(f"status {answer.status_code}: {answer.text[:300]}")
    if answer.status_code >= 400:
        from x2sam.errors import InputError

        raise InputError("refused")


def safe(value: Any) -> Any:
    """What can be sent as UTF-8."""
    return json.loads(json.dumps(value).replace("\\udce9", "?").replace("Infinity", "0"))


KINDS: dict[str, Case] = {"media": play, "annotations": learn, "states": resume, "requests": ask}


# --- running ----------------------------------------------------------------------------------------------------------


def one(kind: str, number: int, seed: int) -> str:
    """What a case gave: ``whole``, ``refused``, or what went wrong."""
    from x2sam.errors import X2SamError

    rng = np.random.default_rng((list(KINDS).index(kind), number, seed))
    with tempfile.TemporaryDirectory(prefix="x2sam-fuzz-") as folder:
        try:
            KINDS[kind](rng, Path(folder))
        except X2SamError as error:
            return "refused" if "\n" not in str(error) else f"an error of several lines: {error}"
        except BaseException:
            return traceback.format_exc()
    return "whole"


def child(pipe: Any, kind: str, first: int, count: int, seed: int) -> None:
    warnings.simplefilter("ignore")
    for number in range(first, count):
        begun = time.process_time()
        outcome = one(kind, number, seed)
        pipe.send((number, outcome, time.process_time() - begun, psutil.Process().memory_info().rss))
    pipe.send(None)


def heard(pipe: Any, process: Any, first: bool) -> Any:
    """The child's next word; ``hung`` where it takes too long over it. The first also loads a model."""
    watched = psutil.Process(process.pid)
    begun, spent = time.monotonic(), sum(watched.cpu_times()[:2])
    while not pipe.poll(1):
        try:
            busy = sum(watched.cpu_times()[:2]) - spent
        except psutil.NoSuchProcess:
            break
        if not first and (busy > SECONDS or time.monotonic() - begun > WAIT):
            return "hung"
        if time.monotonic() - begun > 10 * WAIT:
            return "hung"
    try:
        return pipe.recv()
    except EOFError:
        return "died"


def campaign(kind: str, count: int, seed: int, start: int = 0) -> dict[str, Any]:
    gave: Counter[str] = Counter()
    wrong: list[str] = []
    memory: dict[int, int] = {}
    slowest, first, begun = 0.0, start, time.monotonic()
    count += start
    context = multiprocessing.get_context("spawn")
    while first < count:
        ours, theirs = context.Pipe()
        process = context.Process(target=child, args=(theirs, kind, first, count, seed), daemon=True)
        process.start()
        theirs.close()
        opening = True
        while isinstance(message := heard(ours, process, opening), tuple):
            number, outcome, seconds, rss = message
            first, memory[number] = number + 1, rss
            slowest = slowest if opening else max(slowest, seconds)
            opening = False
            gave[outcome if outcome in ("whole", "refused") else "wrong"] += 1
            if outcome not in ("whole", "refused"):
                wrong.append(f"{kind}:{number}\n{outcome}")
        if message is None:
            process.join()
            break
        process.kill()
        process.join()
        gave[message] += 1
        wrong.append(f"{kind}:{first} {message}")
        first += 1
    for text in wrong[:20]:
        print(text, file=sys.stderr)
    early = memory.get(start + (count - start) // 10, 0)
    grown = (memory[max(memory)] - early) / 2**20 if early else 0.0
    return {
        "kind": kind,
        "cases": count - start,
        "first": start,
        "seed": seed,
        **gave,
        "slowest_s": round(slowest, 2),
        "grown_mb": round(grown),
        "largest_mb": round(max(memory.values(), default=0) / 2**20),
        "minutes": round((time.monotonic() - begun) / 60, 1),
    }


def main(words: list[str]) -> int:
    given = dict(word.split("=", 1) for word in words)
    seed, start = int(given.pop("seed", 0)), int(given.pop("first", 0))
    if only := given.pop("only", ""):
        kind, _, number = only.partition(":")
        print(one(kind, int(number), seed))
        return 0
    bad = 0
    for kind, count in given.items():
        found = campaign(kind, int(count), seed, start)
        print(json.dumps(found), flush=True)
        bad += sum(found.get(name, 0) for name in ("wrong", "hung", "died"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["media=14000", "annotations=4000", "states=600", "requests=1500"]))
