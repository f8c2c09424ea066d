"""The service over real connections, asked by its own client: what it answers, and what becomes of clients that go."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from x2sam import X2Sam
from x2sam.client import Client, ServiceError
from x2sam.media.video import VideoWriter
from x2sam.results.export import FORMATS
from x2sam.results.result import Result
from x2sam.serve.api import create_app
from x2sam.serve.command import Server, bound
from x2sam.serve.limits import Limits
from x2sam.serve.openai import Ending
from x2sam.serve.store import own_folder
from x2sam.tasks import TASKS
from x2sam.tracking.session import Session
from x2sam.types import Prompt

WEB = httpx.Client(timeout=120)
BOX = {"box": (5, 5, 60, 60), "id": 7, "name": "thing"}


@contextmanager
def served(predictor: X2Sam, folder: Path, limits: Limits | None = None, **how: Any) -> Iterator[Any]:
    """A running service: the app, with its ``url``."""
    app = create_app(predictor, limits, folder=folder, page=False, **how)
    listener = bound("127.0.0.1", 0)
    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5), app.state.worker.stop)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    app.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    wait_for(lambda: server.started)
    try:
        yield app
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def wait_for(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what must happen; the time is no measure, but an end to a test that fails."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def predictor() -> X2Sam:
    return X2Sam.from_pretrained("tiny")


@pytest.fixture(scope="module")
def service(predictor: X2Sam, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with served(predictor, tmp_path_factory.mktemp("serve"), Limits(finish_seconds=1.0)) as app:
        yield app


@pytest.fixture
def client(service: Any) -> Iterator[Client]:
    with Client(service.url) as made:
        yield made


def noise(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels: np.ndarray | None = None) -> bytes:
    buffer = BytesIO()
    Image.fromarray(noise() if pixels is None else pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A clip of so many frames."""
    folder = tmp_path_factory.mktemp("film")

    def make(frames: int) -> Path:
        path = folder / f"clip{frames}.mp4"
        if not path.exists():
            with VideoWriter(path, (64, 96), 10.0) as writer:
                for i in range(frames):
                    writer.write(np.roll(noise(64, 96), 4 * i, 1))
        return path

    return make


def url_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# --- answers ----------------------------------------------------------------------------------------------------------

ASKED: dict[str, dict[str, Any]] = {
    "a phrase": {"prompt": "the rabbit"},
    "a question": {"prompt": "What can be eaten?"},
    "names": {"prompt": ["person", "stuff: sky"]},
    "a click": {"regions": (20, 20)},
    "several regions": {
        "regions": [BOX, {"points": [(9, 9)], "negative": [(10, 50)]}, {"scribble": [(5, 5), (30, 9)]}]
    },
    "a polygon": {"regions": {"polygon": [(5, 5), (40, 5), (5, 40)]}},
    "a mask": {"regions": {"mask": np.arange(60 * 80).reshape(60, 80) % 80 > 40}},
    "nothing": {"max_new_tokens": 6},
    "a task": {"prompt": "dog, cat", "task": "img_ovseg"},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_an_answer_is_the_one_that_the_model_gives_here(
    asked: dict[str, Any], client: Client, predictor: X2Sam
) -> None:
    theirs, ours = client.segment(png(), threshold=0.0, **asked), predictor.segment(png(), threshold=0.0, **asked)
    assert alike(theirs.segments) == alike(ours.segments)
    scores = [[s.score for s in result.segments] for result in (theirs, ours)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)  # batches round in another order
    assert (theirs.task, theirs.text, theirs.prompt.labels) == (ours.task, ours.text, ours.prompt.labels)
    assert theirs.found or ours.task == "img_gcgseg"


def alike(segments: Any) -> list[Any]:
    """Segments without their scores."""
    return [replace(segment, score=0.0) for segment in segments]


def test_forms_of_bodies_and_masks(service: Any) -> None:
    about = {"prompt": "the rabbit", "options": {"threshold": 0}, "masks": ["polygon", "rle"], "overlay": True}
    embedded = WEB.post(f"{service.url}/v1/segment", json={"media": url_of(png()), **about})
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    sent = WEB.post(f"{service.url}/v1/segment", files={"file": ("../../etc/a b.png", png())}, data=form)
    assert embedded.status_code == sent.status_code == 200, sent.text
    assert sent.json()["media"]["name"] == "a b.png"
    assert embedded.json()["frames"] == sent.json()["frames"]
    picture = Image.open(BytesIO(base64.b64decode(sent.json()["overlay"])))
    assert picture.size == (80, 60)
    (segment,) = sent.json()["frames"][0]["segments"]
    corners = [np.array(ring) for ring in segment["polygons"]]
    twice = [float((r[:, 0] * np.roll(r[:, 1], -1) - np.roll(r[:, 0], -1) * r[:, 1]).sum()) for r in corners]
    assert sum(twice) / 2 == segment["area"]  # holes count below zero


def test_a_mask_as_a_picture_is_the_mask(service: Any) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 20:60] = 255
    answers = [
        WEB.post(f"{service.url}/v1/segment", json={"media": url_of(png()), "regions": [{"mask": given}]}).json()
        for given in (url_of(png(mask)), base64.b64encode(png(mask)).decode(), {"size": [60, 80], "counts": runs(mask)})
    ]
    assert answers[0]["frames"] == answers[1]["frames"] == answers[2]["frames"] != []


def runs(mask: np.ndarray) -> list[int]:
    """COCO's plain run lengths of a mask: column by column, background first."""
    flat = np.concatenate([[0], (mask.T.ravel() > 0).astype(int), [2]])
    ends = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], ends])).tolist()


def test_a_clip_is_followed_corrected_and_exported_as_here(
    client: Client, predictor: X2Sam, film: Callable[[int], Path], tmp_path: Path
) -> None:
    track = predictor.open(film(5)).track(regions=[BOX], threshold=0.0)
    with client.open(film(5)) as remote:
        remote.start(regions=[BOX], threshold=0.0)
        assert list(remote.frames()) == list(track)
        assert [f.index for f in remote.frames(first=3)] == [3, 4]
        assert remote.add("the rabbit").frames == track.add("the rabbit")
        changed = remote.correct(7, {"point": (40, 20)}, frame=2, backward=True)
        assert changed.frames == track.correct(7, {"point": (40, 20)}, frame=2, backward=True)
        assert list(remote.frames()) == list(track.done.frames)
        for format in FORMATS:
            assert remote.export(format, tmp_path).stat().st_size > 0
        mine, theirs = tmp_path / "here.json", tmp_path / "clip5.coco.json"
        assert json.loads(theirs.read_text()) == json.loads(track.done.save(mine, "coco").read_text())
        remote.remove(7)
    with pytest.raises(ServiceError, match="not open"):
        list(remote.frames())


def test_track_in_one_call(client: Client, predictor: X2Sam, film: Callable[[int], Path], service: Any) -> None:
    frames = list(client.track(film(5), "the rabbit", threshold=0.0))
    ours = list(predictor.track(film(5), "the rabbit", threshold=0.0))
    assert frames == ours
    assert [frame.presence for frame in frames] == [frame.presence for frame in ours]
    assert len(service.state.store) == 0


def test_chat(client: Client, predictor: X2Sam, service: Any) -> None:
    turns = [
        {"role": "user", "content": "What is this?"},
        {"role": "assistant", "content": "Noise."},
        {"role": "user", "content": "Why?"},
    ]
    pieces: list[str] = []
    theirs = client.chat(png(), turns, on_text=pieces.append, max_new_tokens=12)
    ours = predictor.chat(png(), turns, max_new_tokens=12)
    assert theirs.text == ours.text == "".join(pieces)
    turns[-1]["content"] = [  # type: ignore[assignment]
        {"type": "text", "text": "Why?"},
        {"type": "image_url", "image_url": {"url": url_of(png()), "detail": "high"}},
    ]
    body = {"model": "gpt", "temperature": 0.3, "messages": turns, "max_tokens": 12}
    answer = WEB.post(f"{service.url}/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == ours.text
    segmented = WEB.post(f"{service.url}/v1/chat/completions", json={**body, "task": "img_refseg"}).json()
    assert segmented["choices"][0]["message"]["masks"][0]["segments"][0]["label"] == "Why?"


def chat_body(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": url_of(png())}}
    first = {"role": "user", "content": [picture, {"type": "text", "text": "What is this?"}]}
    return {"model": "x2sam", "messages": [first, *turns], "max_tokens": 12, **more}


def test_conversations_as_other_programs_have_them(service: Any, predictor: X2Sam) -> None:
    """Tool calls have no content, one side may say several things in a row, and greetings come first."""
    url = f"{service.url}/v1/chat/completions"
    why = {"role": "user", "content": "Why?"}

    def said(*turns: Any, **more: Any) -> str:
        answer = WEB.post(url, json=chat_body(*turns, **more))
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]

    alone = predictor.chat(png(), "What is this? Why?", max_new_tokens=12).text
    assert said(why) == said(why, tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="auto") == alone
    assert isinstance(said({"role": "assistant", "content": None}, why), str)
    body = chat_body(why)
    body["messages"].insert(0, {"role": "assistant", "content": "Hello!"})
    assert WEB.post(url, json=body).status_code == 200
    assert [m["id"] for m in WEB.get(f"{service.url}/v1/models").json()["data"]] == ["tiny"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        {"function_call": {"name": "f"}},
        {"modalities": ["text", "audio"]},
        {"logprobs": True},
        {"n": 2},
    ],
)
def test_what_would_be_missed_in_an_answer_is_refused(service: Any, more: dict[str, Any], stream: bool) -> None:
    answer = WEB.post(f"{service.url}/v1/chat/completions", json=chat_body(**more, stream=stream))
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_before_a_stop(service: Any, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def chat(self: Session, messages: Any, **_: Any) -> Any:
        yield from ("one t", "wo ", "three")
        return Result("img_chat", "one two three", (), Prompt(), self.clip)

    monkeypatch.setattr(Session, "chatting", chat)
    answer = WEB.post(f"{service.url}/v1/chat/completions", json=chat_body(stop=["two", "never"], stream=stream))
    if stream:
        chunks = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line[6:] not in ("", "[DONE]")]
        choices = [chunk["choices"][0] for chunk in chunks]
        said, end = "".join(c["delta"].get("content") or "" for c in choices), choices[-1]["finish_reason"]
    else:
        choice = answer.json()["choices"][0]
        said, end = choice["message"]["content"], choice["finish_reason"]
    assert (said, end) == ("one ", "stop")


@given(st.text("ab.", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3), st.data())
def test_where_an_answer_ends_does_not_hang_on_its_pieces(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    ending = Ending(stops)
    said = "".join(ending.add(piece) for piece in pieces) + ending.rest()
    assert said == text[: min([len(text), *(at for stop in stops if (at := text.find(stop)) >= 0)])]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("stops", "end", "said"), [(False, "length", 7), (True, "stop", 0)])
def test_tokens_are_counted_and_a_cut_is_told(
    stream: bool, stops: bool, end: str, said: int, service: Any, predictor: X2Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model speaks for ever, or stops at once where every token is an end."""
    if stops:
        monkeypatch.setattr(type(predictor.processor), "stop_ids", tuple(range(len(predictor.processor.tokenizer))))

    def usage(text: str) -> tuple[str, dict[str, int]]:
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url_of(png())}}]
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": 7, "stream": stream}
        about = {"stream_options": {"include_usage": True}} if stream else {}
        answer = WEB.post(f"{service.url}/v1/chat/completions", json={**body, **about})
        if not stream:
            return answer.json()["choices"][0]["finish_reason"], answer.json()["usage"]
        *chunks, last = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line[6:] not in ("", "[DONE]")]
        assert last["choices"] == []
        assert all(chunk["usage"] is None for chunk in chunks)
        ends = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
        assert set(ends[:-1]) == {None}
        return ends[-1], last["usage"]

    (ended, short), (_, long) = usage("What is this?"), usage("What is this? Say it in one word.")
    assert ended == end
    assert short["completion_tokens"] == said
    assert short["total_tokens"] == short["prompt_tokens"] + said
    more = [len(predictor.processor.tokenizer(text).input_ids) for text in ("What is this?", " Say it in one word.")]
    assert short["prompt_tokens"] > more[0]
    assert long["prompt_tokens"] == short["prompt_tokens"] + more[1]


def test_service_pages(service: Any) -> None:
    assert WEB.get(f"{service.url}/readyz").json() == {"status": "ok", "model": "tiny"}
    assert [row["name"] for row in WEB.get(f"{service.url}/v1/tasks").json()] == list(TASKS)
    counted = WEB.get(f"{service.url}/metrics").text
    for name in ("requests_total", "request_seconds_bucket", "queue_length", "jobs_done", "sessions", "memory_bytes"):
        assert f"x2sam_{name}" in counted
    assert 'x2sam_requests_total{method="GET",route="/v1/tasks",status="200"}' in counted


# --- many, and those that go ------------------------------------------------------------------------------------------


def test_sixty_four_clients_at_once(service: Any, predictor: X2Sam) -> None:
    """None is lost, pictures share passes, and memory stays where it was."""
    pictures = [png(np.roll(noise(), i, 1)) for i in range(4)]
    expected = [predictor.segment(picture, "the rabbit", threshold=0.0).frames for picture in pictures]
    with Client(service.url) as one:
        one.segment(pictures[0], "the rabbit", threshold=0.0)
    before = psutil.Process().memory_info().rss
    shared = dict(service.state.worker.batches)
    barrier = threading.Barrier(64)

    def ask(i: int) -> Any:
        with Client(service.url) as client:
            barrier.wait(60)
            return client.segment(pictures[i % 4], "the rabbit", threshold=0.0).frames

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, range(64)))
    for i, frames in enumerate(answers):
        (ours,), (theirs,) = expected[i % 4][0].segments, frames[0].segments
        assert theirs.rle == ours.rle
        assert theirs.score == pytest.approx(ours.score, abs=1e-4)
    batches = {size: count - shared.get(size, 0) for size, count in service.state.worker.batches.items()}
    assert sum(size * count for size, count in batches.items()) == 64
    assert max(batches) > 1
    assert psutil.Process().memory_info().rss - before < 300 * 2**20
    assert service.state.worker.queue == 0


def slowed(opened: Any, seconds: float) -> list[int]:
    """Count the frames that the model segments, and make each take a while."""
    engine, counted = opened.session.engine, []
    decode = engine.decode

    def counting(index: int, *rest: Any) -> Any:
        counted.append(index)
        time.sleep(seconds)
        return decode(index, *rest)

    engine.decode = counting
    return counted


@pytest.mark.parametrize("what", ["frames", "prompts", "segment"])
def test_the_work_of_a_client_that_goes_away_stops_within_a_second(
    what: str, client: Client, service: Any, film: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes at least 50 ms, so that a second is at most 20 of them."""
    worker = service.state.worker
    frames = 60 if what == "prompts" else 120
    with client.open(film(frames)) as remote:
        opened = service.state.store.of(client_name(client))[0]
        remote.start(regions=[BOX], threshold=0.0)
        if what == "prompts":
            for _ in remote.frames():
                pass
            counted = slowed(opened, 0.05)
            go_away(
                service.url,
                "POST",
                remote,
                {"action": "correct", "object_id": 7, "frame": 0, "regions": [{"point": [9, 9]}]},
                counted,
            )
        elif what == "frames":
            counted = slowed(opened, 0.05)
            go_away(service.url, "GET", remote, None, counted)
        else:
            predictor, counted = service.state.predictor, []
            open_session = predictor.open

            def opening(*arguments: Any) -> Any:
                opened.session = open_session(*arguments)
                counted.append(slowed(opened, 0.05))
                return opened.session

            monkeypatch.setattr(predictor, "open", opening)
            files = {"file": ("clip.mp4", film(120).read_bytes())}
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{service.url}/v1/segment", files=files, data={"prompt": "x"}, timeout=2.0)
            wait_for(lambda: bool(counted))
            counted = counted[0]
        seen = len(counted)
        wait_for(lambda: worker.queue == 0)
        assert len(counted) - seen <= 20
        assert len(counted) < frames


def client_name(client: Client) -> str:
    return f"127.0.0.1 {client._http.headers['x-client']}"


def go_away(url: str, method: str, remote: Any, body: Any, counted: list[int]) -> None:
    """Ask, let the work begin, and break the connection off."""
    path = f"/v1/sessions/{remote.id}/{'frames' if method == 'GET' else 'prompts'}"
    headers = {"X-Client": remote._client._http.headers["x-client"]}
    with httpx.Client(base_url=url, headers=headers) as breaking:
        if method == "GET":
            with breaking.stream("GET", path) as answer:
                lines = answer.iter_lines()
                while "event: frame" not in next(lines):
                    pass
        else:
            with pytest.raises(httpx.ReadTimeout):
                breaking.post(path, json=body, timeout=httpx.Timeout(60.0, read=1.0))
    assert counted


def test_a_new_reader_takes_over(client: Client, film: Callable[[int], Path], service: Any) -> None:
    with client.open(film(120)) as remote:
        remote.start(regions=[BOX], threshold=0.0)
        slowed(service.state.store.of(client_name(client))[0], 0.02)
        first = remote.frames()
        assert next(first).index == 0
        second = remote.frames()
        assert next(second).index == 0
        with pytest.raises(ServiceError, match="another reader"):
            list(first)


def test_a_session_that_is_closed_meanwhile(
    client: Client, film: Callable[[int], Path], service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it streams: the stream ends with a sentence. While it is exported: the file is whole."""
    from x2sam.serve import routes

    store, save = service.state.store, routes.save_as_file
    remote = client.open(film(120))
    remote.start(regions=[BOX], threshold=0.0)
    frames = remote.frames()
    next(frames)
    remote.close()
    with pytest.raises(ServiceError, match="cancelled"):
        list(frames)
    for format in ("overlay", "davis"):
        remote = client.open(film(5))
        remote.start(regions=[BOX], threshold=0.0)
        assert len(list(remote.frames())) == 5

        def closing(*arguments: Any, id: str = remote.id) -> Path:
            store.close(id)
            return save(*arguments)

        monkeypatch.setattr(routes, "save_as_file", closing)
        if format == "overlay":  # draws on the medium, which is gone
            with pytest.raises(ServiceError) as refused:
                remote.export(format, tmp_path)
            assert refused.value.status == 422
        else:
            assert remote.export(format, tmp_path).stat().st_size > 0
    wait_for(lambda: list(store.folder.iterdir()) == [])


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_sessions_are_their_clients_own_and_few_and_expire(service: Any, client: Client) -> None:
    limits, store = service.state.limits, service.state.store
    opened = [client.open(png()) for _ in range(limits.sessions_per_client)]
    with pytest.raises(ServiceError, match="of yours are open") as refused:
        client.open(png())
    assert refused.value.status == 429
    with Client(service.url) as other, pytest.raises(ServiceError, match="not open") as refused:
        other._json("GET", f"/v1/sessions/{opened[0].id}")
    assert refused.value.status == 404
    assert len(client._json("GET", "/v1/sessions")) == len(opened)
    assert len(list(store.folder.iterdir())) == len(opened)
    for each in store.of(client_name(client)):
        each.used -= limits.idle_seconds + 1
    store.expire()
    assert client._json("GET", "/v1/sessions") == []
    assert list(store.folder.iterdir()) == []


def test_left_overs_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    killed = tmp_path / "999999999-abc"
    (killed / "session").mkdir(parents=True)
    alive = tmp_path / f"{psutil.Process().ppid()}-abc"
    alive.mkdir()
    ours = own_folder(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, ours])
    assert ours.stat().st_mode & 0o077 == 0
