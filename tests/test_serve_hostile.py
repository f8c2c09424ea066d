"""What must not come in: every refusal is a 4xx with a sentence, and the service goes on as if nothing had been."""

from __future__ import annotations

import base64
import http.server
import json
import pickle
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from test_serve_api import film, noise, png, predictor, served, url_of, wait_for

from x2sam import X2Sam
from x2sam.client import Client
from x2sam.errors import InputError, MediaError
from x2sam.serve import fetch, gate
from x2sam.serve.limits import Limits
from x2sam.serve.uploads import TooLarge, display_name, embedded, take

__all__ = ["film", "predictor"]
WEB = httpx.Client(timeout=120)
LIMITS = Limits(upload_bytes=3 * 2**20, json_bytes=2**20, frames=50, inline_frames=10, video_pixels=200_000)


@pytest.fixture(scope="module")
def service(predictor: X2Sam, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with served(predictor, tmp_path_factory.mktemp("serve"), LIMITS) as app:
        yield app
        answer = WEB.post(f"{app.url}/v1/segment", files={"file": png()}, data={"prompt": "x"})
        assert answer.status_code == 200, answer.text
        assert 'status="5' not in WEB.get(f"{app.url}/metrics").text


@pytest.fixture(autouse=True)
def unharmed(service: Any) -> Iterator[None]:
    """After every test it is ready, holds no file and runs no job; at the end it answers."""
    yield
    assert WEB.get(f"{service.url}/readyz").status_code == 200
    wait_for(lambda: not list(service.state.store.folder.iterdir()))  # what streams arrives before it is cleaned up
    assert service.state.worker.queue == 0


def refused(answer: httpx.Response, *statuses: int) -> str:
    """The sentence of a refusal."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    error = answer.json()["error"]
    assert error["got"]
    assert error["message"].endswith((".", "?"))
    return str(error["message"])


# --- media ------------------------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG of so many pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(4000))) + chunk(b"IEND", b"")
    )


def gif(frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * frames + b";"


def saved(format: str, **how: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(noise()).save(buffer, format, **how)
    return buffer.getvalue()


MOVED = [Image.fromarray(np.roll(noise(), 3 * i, 1)) for i in range(1, 60)]


def pages(*sides: int) -> bytes:
    """A TIFF with pages of these sizes."""
    first, *others = [Image.new("1", (side, side)) for side in sides]
    buffer = BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=others, compression="group4")
    return buffer.getvalue()


MEDIA: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "nothing": (lambda: b"", (422,)),
    "text": (lambda: b"hello" * 100, (415,)),
    "a web page": (lambda: b"<html><body><script>alert(1)</script></body></html>", (415,)),
    "a drawing": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', (415,)),
    "a program": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n", (415,)),
    "a pickle": (lambda: pickle.dumps({"a": np.zeros(3)}), (415,)),
    "a playlist": (lambda: b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", (415,)),
    "a concat list": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", (415,)),
    "noise": (lambda: np.random.default_rng(1).bytes(20_000), (415, 422)),
    "a bomb": (lambda: bomb(60_000, 60_000), (413,)),
    "a bomb that Pillow calls one": (lambda: bomb(20_000, 20_000), (413,)),
    "a header without pixels": (lambda: bomb(900, 900), (422,)),
    "half a picture": (lambda: saved("JPEG")[:900], (422,)),
    "a hundred thousand frames": (lambda: gif(100_000), (413,)),
    "too many pages": (lambda: saved("TIFF", save_all=True, append_images=[Image.new("1", (9, 9))] * 60), (413,)),
    "a page that is a bomb": (lambda: pages(9, 8000), (413,)),
    "pages that are one together": (lambda: pages(9, *[6000] * 15), (413,)),
    "a long animation": (lambda: saved("WEBP", save_all=True, append_images=MOVED), (413,)),
    "a large upload": (lambda: bytes(4 * 2**20), (413,)),
}


@pytest.mark.parametrize("make", [m for m, _ in MEDIA.values()], ids=list(MEDIA))
def test_media_that_are_none(make: Callable[[], bytes], service: Any, request: pytest.FixtureRequest) -> None:
    statuses = next(s for m, s in MEDIA.values() if m is make)
    for path in ("/v1/segment", "/v1/sessions"):
        fields = {"prompt": "x"} if path == "/v1/segment" else {}
        answer = WEB.post(service.url + path, files={"file": ("photo.png", make(), "image/png")}, data=fields)
        refused(answer, *statuses)


def test_clips_that_are_too_long_or_too_large(service: Any, film: Callable[[int], Path], tmp_path: Path) -> None:
    from x2sam.media.video import VideoWriter

    with VideoWriter(tmp_path / "large.mp4", (512, 512), 10.0) as writer:
        writer.write(np.zeros((512, 512, 3), np.uint8))
    for path, statuses, words in (
        (film(60), (413,), "frames"),
        (film(20), (413,), "session"),
        (tmp_path / "large.mp4", (413,), "million pixels"),
    ):
        answer = WEB.post(f"{service.url}/v1/segment", files={"file": path.read_bytes()}, data={"prompt": "x"})
        assert words in refused(answer, *statuses)


def h264(*parts: tuple[int, int, int]) -> bytes:
    """A stream whose pictures change their size: width, height and number of frames of every part."""
    stream = b""
    for width, height, count in parts:
        buffer = BytesIO()
        with av.open(buffer, "w", format="h264") as container:
            track: Any = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
            track.width, track.height, track.pix_fmt = width, height, "yuv420p"
            for _ in range(count):
                container.mux(track.encode(av.VideoFrame.from_ndarray(noise(height, width), format="rgb24")))
            container.mux(track.encode(None))
        stream += buffer.getvalue()
    return stream


def test_a_clip_that_grows_on_its_way_is_unpacked_under_limits(service: Any, tmp_path: Path) -> None:
    """What is too large is left out; what is not takes the size of the first frame."""
    for part, count in (((128, 96, 3), 9), ((1024, 1024, 3), 6)):
        upload = take(h264((96, 64, 3), part, (96, 64, 3)), "clip", tmp_path, LIMITS)
        frames = [frame for _, _, frame in upload.open()]
        assert [frame.shape for frame in frames] == [(64, 96, 3)] * count
    data = h264((96, 64, 2), (1024, 1024, 1), (96, 64, 2))
    answer = WEB.post(f"{service.url}/v1/segment", files={"file": data}, data={"prompt": "x"})
    assert len(answer.json()["frames"]) == 4
    assert "packets were skipped" in answer.json()["warnings"][0]


def test_damaged_media_never_break_the_service(service: Any, film: Callable[[int], Path]) -> None:
    rng = np.random.default_rng(7)
    whole = [png(), saved("JPEG"), saved("GIF"), saved("WEBP"), saved("TIFF"), film(5).read_bytes()]
    for number in range(24):
        data = bytearray(whole[number % len(whole)])
        for place in rng.integers(0, len(data), rng.integers(1, 40)):
            data[place] = rng.integers(256)
        data = data[: rng.integers(len(data) // 2, len(data) + 1)]
        answer = WEB.post(f"{service.url}/v1/segment", files={"file": bytes(data)}, data={"prompt": "x"})
        assert answer.status_code in (200, 413, 415, 422), answer.text


# --- bodies -----------------------------------------------------------------------------------------------------------

MASK = {"size": [60, 80], "counts": [4800]}
BODIES: dict[str, Any] = {
    "a path": {"media": "/etc/passwd"},
    "a path as an address": {"media": "file:///etc/passwd"},
    "an address": {"media": "http://127.0.0.1:1/a.png"},
    "a path for a mask": {"regions": [{"mask": "/etc/passwd"}]},
    "a path for a scribble": {"regions": [{"scribble": "/etc/passwd"}]},
    "a path as a region": {"regions": ["/etc/passwd"]},
    "not a number": {"regions": [{"point": [float("nan"), 1]}]},
    "a point outside": {"regions": [{"point": [1e300, 1]}]},
    "a mask of another size": {"regions": [{"mask": {"size": [65536, 65536], "counts": [2**31, 2**31]}}]},
    "runs that do not add up": {"regions": [{"mask": {"size": [60, 80], "counts": [1]}}]},
    "runs without end": {"regions": [{"mask": {"size": [60, 80], "counts": "o" * 200_000}}]},
    "runs that go back": {"regions": [{"mask": {"size": [60, 80], "counts": "0O0O0O"}}]},
    "a bomb for a mask": {"regions": [{"mask": url_of(bomb(60_000, 60_000))}]},
    "a long scribble": {"regions": [{"scribble": [[0, 0], [79, 59]] * 400}]},
    "many regions": {"regions": [{"point": [1, 1]}] * 1000},
    "an empty region": {"regions": [{}]},
    "two shapes": {"regions": [{"point": [1, 1], "box": [1, 1, 5, 5]}]},
    "a frame that is not there": {"regions": [{"point": [1, 1], "frame": 9}]},
    "much text": {"prompt": "x" * 100_000},
    "many names": {"categories": ["x"] * 10_000},
    "half a letter": {"prompt": "\ud800"},
    "an empty prompt": {"prompt": ""},
    "markers alone": {"prompt": "<SEG><p></p>"},
    "an unknown field": {"prompt": "x", "path": "/etc/passwd"},
    "an unknown task": {"prompt": "x", "task": "img_everything"},
    "a task for clips": {"prompt": "x", "task": "vid_refseg"},
    "a threshold of two": {"prompt": "x", "options": {"threshold": 2}},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_bodies_that_do_not_fit(body: dict[str, Any], service: Any) -> None:
    content = json.dumps({"media": url_of(png()), **body})
    headers = {"Content-Type": "application/json"}
    answer = WEB.post(f"{service.url}/v1/segment", content=content, headers=headers)
    assert "root:" not in refused(answer, 413, 422)


RAW: dict[str, tuple[bytes, str, tuple[int, ...]]] = {
    "no json": (b"{", "application/json", (422,)),
    "deep json": (b"[" * 100_000, "application/json", (422,)),
    "no text": (b"\xff\xfe\x00", "application/json", (422,)),
    "long json": (b'{"media": "' + b"a" * 2**21 + b'"}', "application/json", (413,)),
    "another type": (b"<a/>", "application/xml", (415,)),
    "no boundary": (b"abc", "multipart/form-data", (400,)),
    "a broken form": (b"--x\r\nContent-Disposition: nonsense\r\n\r\n", "multipart/form-data; boundary=x", (400, 422)),
}


@pytest.mark.parametrize("case", RAW.values(), ids=list(RAW))
@pytest.mark.parametrize("streamed", [False, True])
def test_bodies_that_are_none(case: tuple[bytes, str, tuple[int, ...]], streamed: bool, service: Any) -> None:
    data, kind, statuses = case
    pieces = iter([data[:1], data[1:]])
    content: Any = pieces if streamed else data
    refused(WEB.post(f"{service.url}/v1/segment", content=content, headers={"Content-Type": kind}), *statuses)


def shown(role: str, url: str) -> dict[str, Any]:
    """A message with a picture."""
    return {"role": role, "content": [{"type": "image_url", "image_url": {"url": url}}]}


@pytest.mark.parametrize("depth", [500, *range(960, 1000, 4), 100_000])
def test_fields_that_are_deep(depth: int, service: Any) -> None:
    fields = {"prompt": "x", "options": "[" * depth + "]" * depth}
    refused(WEB.post(f"{service.url}/v1/segment", files={"file": png()}, data=fields), 422)


def test_half_an_upload(service: Any) -> None:
    """Whoever hangs up in the middle is no fault of the service (see `service`)."""
    head = "POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n"
    for kind, begun in (("multipart/form-data; boundary=x", "--x\r\nContent-Disp"), ("application/json", '{"media"')):
        with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as line:
            line.sendall(f"{head}Content-Type: {kind}\r\n\r\n{begun}".encode())
    counted = 'x2sam_requests_total{method="POST",route="/v1/segment",status="400"}'
    wait_for(lambda: counted in WEB.get(f"{service.url}/metrics").text)


@pytest.mark.parametrize(("bound", "drips"), [("CHUNK_SECONDS", False), ("BODY_SECONDS", True)])
def test_a_body_that_does_not_come(bound: str, drips: bool, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, bound, 0.5)
    about = "Host: localhost\r\nContent-Length: 999\r\nContent-Type: application/json"
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as line:
        line.settimeout(0.1)
        line.sendall(f"POST /v1/segment HTTP/1.1\r\n{about}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}}"):
            with suppress(TimeoutError):
                answer += line.recv(9999)
            if drips and not answer:
                line.sendall(b" ")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"Got a body that stopped coming" in answer


def test_methods_that_are_made_up_are_counted_as_one(service: Any) -> None:
    for method in ("SPELL", "SPELLS"):
        assert WEB.request(method, f"{service.url}/v1/tasks").status_code in (400, 405)
    assert "SPELL" not in WEB.get(f"{service.url}/metrics").text


CHATS: dict[str, Any] = {
    "nothing": {"messages": []},
    "nobody asks": {"messages": [shown("system", url_of(png()))]},
    "no medium": {"messages": [{"role": "user", "content": "hello"}]},
    "an address": {"messages": [shown("user", "http://localhost/")]},
    "two media": {"messages": [shown("user", url_of(png())), shown("user", url_of(png()))]},
    "an unknown part": {"messages": [{"role": "user", "content": [{"type": "file", "file": "/etc/passwd"}]}]},
    "another's session": {"messages": [{"role": "user", "content": "hello"}], "session": "abc"},
    "roles out of turn": {"messages": [shown("assistant", url_of(png()))]},
}


@pytest.mark.parametrize("body", CHATS.values(), ids=list(CHATS))
@pytest.mark.parametrize("stream", [False, True])
def test_chats_that_cannot_be_held(body: dict[str, Any], stream: bool, service: Any) -> None:
    with WEB.stream("POST", f"{service.url}/v1/chat/completions", json={**body, "stream": stream}) as answer:
        answer.read()
        if answer.status_code == 200:  # found out when it was asked: told within the stream
            assert stream
            assert '"error"' in answer.text
        else:
            refused(answer, 404, 413, 415, 422)


@pytest.mark.parametrize(
    "body",
    [
        {"action": "correct"},
        {"action": "correct", "object_id": 99, "regions": [{"point": [1, 1]}]},
        {"action": "correct", "object_id": 1, "regions": [{"negative": [[1, 1]]}], "frame": 3},
        {"action": "remove", "object_id": 99},
        {"action": "add", "regions": [{"point": [999, 1]}]},
    ],
)
def test_prompts_that_do_not_fit(body: dict[str, Any], service: Any) -> None:
    with Client(service.url) as client, client.open(png()) as remote:
        remote.start("x", threshold=0.0)
        headers = {"X-Client": client._http.headers["x-client"]}
        url = f"{service.url}/v1/sessions/{remote.id}/prompts"
        refused(WEB.post(url, json=body, headers=headers), 422)


@pytest.mark.parametrize(
    "body",
    [
        {"action": "add", "prompt": "x", "frame": 99},
        {"action": "add", "regions": [{"point": [1, 1], "frame": 99}]},
        {"action": "start", "regions": [{"point": [1, 1]}], "frame": 99},
        {"action": "correct", "object_id": 1, "regions": [{"point": [1, 1]}], "frame": 99},
        {"action": "correct", "object_id": 1, "regions": [{"point": [1, 1]}, {"box": [1, 1, 9, 9], "frame": 99}]},
    ],
)
def test_prompts_on_frames_that_are_not_there(body: dict[str, Any], service: Any, film: Callable[[int], Path]) -> None:
    with Client(service.url) as client, client.open(film(5)) as remote:
        remote.start(regions=[{"point": (9, 9), "id": 1}], threshold=0.0)
        assert len(list(remote.frames())) == 5
        headers = {"X-Client": client._http.headers["x-client"]}
        refused(WEB.post(f"{service.url}/v1/sessions/{remote.id}/prompts", json=body, headers=headers), 422)


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.test"}, 403),
        ({"Host": "localhost.evil.test:7860"}, 403),
        ({"Host": "127.0.0.1@evil.test"}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "http://["}, 403),
    ],
)
def test_other_pages_cannot_reach_it(headers: dict[str, str], status: int, service: Any) -> None:
    answer = WEB.get(f"{service.url}/v1/tasks", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert WEB.options(f"{service.url}/v1/tasks", headers={"Origin": "https://evil.test"}).status_code in (403, 405)


def test_a_token_is_asked_for(predictor: X2Sam, tmp_path: Path) -> None:
    origins = ("https://friend.test",)
    with served(predictor, tmp_path, token="a secret word", local=False, origins=origins) as app:
        assert WEB.get(f"{app.url}/healthz").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "x2sam_token=wrong"}, {"Cookie": "=;;,"}):
            for path in ("/v1/tasks", "/metrics", "/docs", "/openapi.json"):
                refused(WEB.get(app.url + path, headers=headers), 401)
        right = {"Authorization": "Bearer a secret word"}
        assert WEB.get(f"{app.url}/v1/tasks", headers=right).status_code == 200
        friend = WEB.get(f"{app.url}/v1/tasks", headers={**right, "Origin": origins[0], "Host": "models.test"})
        assert friend.headers["access-control-allow-origin"] == origins[0]
        with Client(app.url, token="a secret word") as client:
            assert client.segment(png(), "x").task == "img_refseg"
        with httpx.Client(base_url=app.url, timeout=120) as browser:
            refused(browser.get("/?token=wrong"), 401)
            assert browser.get("/?token=a%20secret%20word").status_code == 303
            assert browser.get("/v1/tasks").status_code == 200


# --- addresses --------------------------------------------------------------------------------------------------------


PRIVATE = ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"]
PRIVATE += ["2130706433", "0x7f.1", "::1", "::ffff:127.0.0.1", "fe80::1", "fd00::1", "64:ff9b::7f00:1"]


@pytest.mark.parametrize("host", [*PRIVATE, ""])
def test_private_addresses_are_never_fetched(host: str) -> None:
    with pytest.raises((InputError, MediaError)):
        fetch.public_address(host)


def test_addresses_are_fetched_if_allowed_and_redirects_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = {"/away": "http://private.test/a.png", "/round": "/round"}.get(self.path)
            self.send_response(302 if place else 404 if self.path == "/missing" else 200)
            if place:
                self.send_header("Location", place)
            self.end_headers()
            self.wfile.write(b"" if place else b"x" * 100)

        def log_message(self, *_: object) -> None: ...

    judge = fetch.public_address
    monkeypatch.setattr(fetch, "public_address", lambda h: "127.0.0.1" if h == "public.test" else judge("10.0.0.1"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://public.test:{server.server_port}"
        allowed = Limits(fetch_urls=True)
        assert fetch.fetch(f"{url}/a.png", allowed) == b"x" * 100
        for path, limits, error in (
            ("/a.png", Limits(), InputError),
            ("/away", allowed, InputError),
            ("/round", allowed, MediaError),
            ("/missing", allowed, MediaError),
            ("/a.png", Limits(fetch_urls=True, json_bytes=50), TooLarge),
        ):
            with pytest.raises(error):
                fetch.fetch(url + path, limits)
        server.shutdown()


@pytest.mark.parametrize("text", ["data:image/png,abc", "/etc/passwd", "C:\\a.png", "ab\u00e9=", "a"])
def test_what_is_not_base64_is_not_opened(text: str) -> None:
    with pytest.raises(InputError):
        embedded(text)
    assert embedded("data:;base64," + base64.b64encode(b"x").decode()) == b"x"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\u6f22" * 99 + ".png", "\u6f22" * 25 + ".png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.png", "y.png"),
        ("..", "medium"),
        ("a b\x00.mp4", "a b_.mp4"),
        ("IMG (1).jpg", "IMG (1).jpg"),
        ('<b>&".png', "b_.png"),
    ],
)
def test_names_are_for_showing(name: str, shown: str) -> None:
    assert display_name(name) == shown
