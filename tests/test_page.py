"""The page without a browser: what a visitor's state is after each action, and what the browser would get of it."""

from __future__ import annotations

import io
import itertools
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

pytest.importorskip("fastapi")

from x2sam import X2Sam
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.media.video import VideoWriter
from x2sam.results.export import FORMATS
from x2sam.serve import page_actions as actions
from x2sam.serve import page_view as view
from x2sam.serve.jobs import Worker
from x2sam.serve.page_marks import Mark, read_mark, regions_of, wording
from x2sam.serve.page_state import Clock, Page, Said, Viewer, duration
from x2sam.serve.store import Store

SIZE = (48, 64)


def go(steps: Any) -> None:
    """Take all steps of an action."""
    for _ in steps:
        pass


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    worker = Worker()
    store = Store(X2Sam.from_pretrained("tiny"), worker, folder=tmp_path_factory.mktemp("store"))
    yield store
    worker.stop(1)
    store.close_all()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A picture and a clip of five frames."""
    folder = tmp_path_factory.mktemp("media")
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    with VideoWriter(folder / "clip.mp4", SIZE, 10.0) as writer:
        for i in range(5):
            writer.write(np.roll(noise, 3 * i, 1))
    return {"image": folder / "photo.png", "video": folder / "clip.mp4"}


@pytest.fixture
def open_page(store: Store, files: dict[str, Path]) -> Iterator[Callable[[str], Page]]:
    made: list[Page] = []

    def make(kind: str) -> Page:
        page = Page(f"tester {len(made)}")
        opened = store.open(page.client, files[kind], files[kind].name)
        page.take(opened, Viewer(opened.upload.open()))
        made.append(page)
        return page

    yield make
    for page in made:
        for opened in store.of(page.client):
            store.close(opened.id)


def test_the_page_opens_no_path_and_no_address(tmp_path: Path) -> None:
    """Whatever event a client makes up, and whichever of its inputs names what it did not send."""
    pytest.importorskip("gradio")
    from starlette.testclient import TestClient

    from x2sam.serve.api import create_app

    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    app = create_app(X2Sam.from_pretrained("tiny"), folder=tmp_path / "served")
    with socket.create_server(("127.0.0.1", 0)) as other, TestClient(app) as web:
        other.setblocking(False)
        address = f"http://127.0.0.1:{other.getsockname()[1]}/a.png"
        for event in web.get("/config").json()["dependencies"]:
            for path in (str(secret), f"{app.state.store.folder}/page/../../../secret.png", address):
                file = {"path": path, "meta": {"_type": "gradio.FileData"}}
                asked = {"data": [file] * len(event["inputs"]), "fn_index": event["id"], "session_hash": "me"}
                joined = web.post("/gradio_api/queue/join", json=asked)
                if joined.status_code == 200:
                    web.get("/gradio_api/queue/data", params={"session_hash": "me"})
        assert web.post("/gradio_api/queue/join", json=asked | {"fn_index": 999}).status_code == 404
        assert web.get("/v1/nothing").json()["error"]["got"] == "Got GET /v1/nothing, which does not exist"
        assert len(app.state.store) == 0
        assert list(app.state.store.folder.rglob("secret*")) == []
        with pytest.raises(BlockingIOError):
            other.accept()


# --- what comes from the browser --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "task", "prompt"),
    [
        ("  ", "", None),
        ("the  red car ", "", "the red car"),
        ("What can fly, if anything?", "", "What can fly, if anything?"),
        ("car, tree , sky,", "", ["car", "tree", "sky"]),
        ("car", "img_genseg", ["car"]),
        ("the car, red", "img_refseg", "the car, red"),
    ],
)
def test_what_is_typed_becomes_a_prompt(text: str, task: str, prompt: Any) -> None:
    assert wording(text, task) == prompt


def test_a_mark_is_read_and_kept_inside_the_picture() -> None:
    data = {"tool": "box", "points": [[-5, 3], [70.5, 40]], "frame": 2, "object": 4}
    assert read_mark(data, SIZE, 5) == (Mark("box", ((0.0, 3.0), (64.0, 40.0)), 2), 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tool": "lasso"},
        {"points": []},
        {"points": [[1]]},
        {"points": [["a", 2]]},
        {"points": [[float("nan"), 2]]},
        {"points": "12"},
        {"points": [[1, 2]] * 2001},
        {"frame": 5},
        {"frame": -1},
        {"frame": None},
        {"object": "1"},
    ],
)
def test_a_mark_that_a_browser_would_not_send_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read_mark({"tool": "point", "points": [[1, 2]], "frame": 0, "object": None, **wrong}, SIZE, 5)


def test_marks_of_one_object_are_one_region() -> None:
    plus, more, minus = (Mark("point", ((x, 8.0),)) for x in (5.0, 9.0, 30.0))
    minus = Mark("negative", minus.points)
    box, stroke = Mark("box", ((20.0, 9.0), (3.0, 2.0))), Mark("scribble", ((1.0, 1.0), (5.0, 9.0)))
    assert regions_of([plus, more]) == [{"points": [(5.0, 8.0), (9.0, 8.0)]}]
    assert regions_of([plus, minus]) == {"negative": [(30.0, 8.0)]}, "the newest mark cuts the mask as it is"
    assert regions_of([plus, minus, more]) == [{"points": [(5.0, 8.0), (9.0, 8.0)], "negative": [(30.0, 8.0)]}]
    assert regions_of([box, stroke]) == [
        {"box": (3.0, 2.0, 20.0, 9.0)},
        {"scribble": [(1.0, 1.0), (5.0, 9.0)]},
    ]


# --- what happens -----------------------------------------------------------------------------------------------------


def test_a_phrase_is_found_in_every_frame(open_page: Callable[[str], Page]) -> None:
    page = open_page("video")
    go(actions.find(page, "the red car"))
    assert sorted(page.results) == [0, 1, 2, 3, 4]
    assert page.task is not None
    assert page.task.name == "vid_refseg"
    assert [turn.who for turn in page.talk] == ["you", "x2sam"]
    assert page.show == 4
    (found,) = page.best()
    assert page.least.get(found) is None
    assert page.usual == pytest.approx(0.5)


def test_the_chosen_task_is_that_of_the_medium(open_page: Callable[[str], Page]) -> None:
    page = open_page("video")
    go(actions.find(page, "car, tree", task="img_ovseg"))
    assert page.task is not None
    assert page.task.name == "vid_ovseg"


def test_a_mark_makes_an_object_and_more_marks_correct_it(open_page: Callable[[str], Page]) -> None:
    page = open_page("video")
    go(actions.mark(page, Mark("point", ((20.0, 20.0),), 2)))
    assert (page.selected, list(page.best()), page.show, page.done) == (1, [1], 2, 5)
    shown = [s for s in page.results[2].segments if page.sure(s)]
    assert [s.object_id for s in shown] == [1], "what was marked by hand is seen, however unsure the model is"
    before, revision = dict(page.results), page.revision
    go(actions.mark(page, Mark("box", ((30.0, 5.0), (50.0, 30.0)), 3), 1))
    assert page.revision > revision
    assert page.results[2] == before[2], "frames before the correction stay"
    assert page.results[3] != before[3]
    go(actions.mark(page, Mark("point", ((50.0, 40.0),), 1)))
    assert (page.selected, list(page.best())) == (2, [1, 2])
    assert {s.object_id for s in page.results[0].segments} == {1, 2}, "a new object is followed backward too"


def test_what_is_not_there_cannot_be_corrected(open_page: Callable[[str], Page]) -> None:
    page = open_page("image")
    with pytest.raises(InputError, match="Choose one"):
        go(actions.mark(page, Mark("negative", ((20.0, 20.0),))))
    with pytest.raises(InputError, match="object 7"):
        go(actions.mark(page, Mark("point", ((20.0, 20.0),)), 7))
    go(actions.mark(page, Mark("point", ((20.0, 20.0),))))
    assert list(page.marks) == [1]


def test_objects_are_renamed_and_taken_away(open_page: Callable[[str], Page]) -> None:
    page = open_page("video")
    for x in (10.0, 50.0):
        go(actions.mark(page, Mark("point", ((x, 20.0),))))
    page.rename(1, "  my   car ")
    go(actions.drop(page, 2))
    frame = page.frame(0)
    assert frame is not None
    assert [s.label for s in frame.segments] == ["my car"]
    assert {s.label for s in page.result(0.0).segments} == {"my car"}
    assert page.selected is None
    go(actions.mark(page, Mark("point", ((30.0, 20.0),))))
    assert list(page.best()) == [1, 3], "the number of what is gone is not given again"


def test_stopped_between_two_frames_it_goes_on_later(open_page: Callable[[str], Page]) -> None:
    page = open_page("video")
    assert page.opened is not None
    job = page.job = page.opened.change(actions.find(page, "the car"))
    for index in job:
        if index == 1:
            page.halt = True
    assert page.done < 5
    assert f"{page.done} of 5" in page.note
    assert view.stage(page)["left"]
    page.halt = False
    go(actions.go_on(page))
    assert sorted(page.results) == [0, 1, 2, 3, 4]
    assert not view.stage(page)["left"]


def test_a_chat_remembers_what_was_said(open_page: Callable[[str], Page], monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page("image")
    sent = []
    answer = page.session.chatting

    def chat(messages: Any) -> Any:
        sent.append(list(messages))
        yield "Hel"
        streamed.append(page.talk[-1].text)
        return (yield from answer(messages, max_new_tokens=4))

    streamed: list[str] = []
    monkeypatch.setattr(page.session, "chatting", chat)
    go(actions.chat(page, "What is this?"))
    go(actions.chat(page, "And that?"))
    assert [m["role"] for m in sent[1]] == ["user", "assistant", "user"]
    assert streamed == ["Hel", "Hel"]
    assert [turn.who for turn in page.talk] == ["you", "x2sam"] * 2
    assert all(turn.text for turn in page.talk)


def test_another_medium_begins_afresh(open_page: Callable[[str], Page], store: Store, files: dict[str, Path]) -> None:
    page = open_page("image")
    go(actions.find(page, "the car"))
    key, old = page.key, page.opened
    assert old is not None
    opened = store.open(page.client, files["video"], "clip.mp4")
    page.take(opened, Viewer(opened.upload.open()))
    store.close(old.id)
    assert (page.results, page.talk, page.marks, page.track) == ({}, [], {}, None)
    assert page.key != key
    page.lose("It was closed.")
    assert view.stage(page)["key"] is None
    with pytest.raises(InputError, match="Open one"):
        _ = page.session


# --- what the browser gets --------------------------------------------------------------------------------------------


def painted(path: str, height: int, width: int) -> np.ndarray:
    """An SVG path of horizontal and vertical steps, filled by the even-odd rule."""
    inside = np.zeros((height, width), dtype=bool)
    for x, y, steps in re.findall(r"M(\d+) (\d+)([hv0-9-]*)z", path):
        px, py, corners = int(x), int(y), [(int(x), int(y))]
        for way, size in re.findall(r"([hv])(-?\d+)", steps):
            px, py = (px + int(size), py) if way == "h" else (px, py + int(size))
            corners.append((px, py))
        corners.append(corners[0])
        for (x0, y0), (x1, y1) in itertools.pairwise(corners):
            if x0 == x1:  # everything right of a vertical edge turns over
                inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


@given(arrays(bool, (7, 9)))
def test_outlines_are_the_masks(mask: np.ndarray) -> None:
    assert (painted(view.outline(RLE.encode(mask)), 7, 9) == mask).all()


def test_outlines_of_large_pictures_are_coarse_and_in_place() -> None:
    mask = np.zeros((100, 3 * view.FINE), dtype=bool)
    mask[30:60, 600:900] = True
    found = painted(view.outline(RLE.encode(mask)), 100, 3 * view.FINE)
    assert (found == mask).all()


def test_the_stage_says_what_there_is(open_page: Callable[[str], Page]) -> None:
    page = Page("nobody")
    assert view.stage(page)["key"] is None
    page = open_page("video")
    go(actions.mark(page, Mark("point", ((20.0, 20.0),), 2)))
    told = json.loads(json.dumps(view.stage(page)))
    assert (told["kind"], told["width"], told["height"], told["length"], told["done"]) == ("video", 64, 48, 5, 5)
    assert [o["id"] for o in told["objects"]] == [1]
    assert view.stage(page)["least"] == told["least"], "keys are text already, as json wants them"
    assert told["marks"][0]["points"] == [[20.0, 20.0]]
    assert {f["name"] for f in told["formats"]} == {n for n, row in FORMATS.items() if "video" in row.media}
    masks = view.masks(page.frame(2))
    assert masks[0]["colour"] == told["objects"][0]["colour"] == view.hexadecimal(1)
    frame = page.frame(2)
    assert frame is not None
    assert (painted(masks[0]["path"], *SIZE) == frame.segments[0].mask).all()
    assert view.masks(page.frame(99)) == []


def test_only_what_is_sure_enough_is_saved(open_page: Callable[[str], Page], tmp_path: Path) -> None:
    page = open_page("image")
    with pytest.raises(InputError, match="Say or mark"):
        page.result()
    go(actions.find(page, "the car"))
    (score,) = {s.score for s in page.results[0].segments}
    assert len(page.result(score).segments) == 1
    assert not page.result(min(1.0, score + 1e-6)).found
    page.result(0.0).save(tmp_path / "x.json", "coco")
    assert json.loads((tmp_path / "x.json").read_text())["annotations"][0]["score"] == score


def test_words_are_never_markup_and_phrases_have_the_colours_of_their_masks() -> None:
    turn = Said("x2sam", "A <b>cat</b> & the Dog", (("cat", 1), ("the dog", 2), ("nowhere", 3)))
    html = view.conversation([Said("you", "<script>alert(1)</script>"), turn])
    assert "<script>" not in html
    assert "<b>" not in html
    assert f'<mark style="--colour:{view.hexadecimal(1)}">cat</mark>' in html
    assert f'<mark style="--colour:{view.hexadecimal(2)}">the Dog</mark>' in html
    assert html.count("<mark") == 2
    assert "hint" in view.conversation([])


def test_frames_come_in_any_order(open_page: Callable[[str], Page]) -> None:
    viewer = open_page("video").viewer
    assert viewer is not None
    straight = [viewer.frame(i) for i in range(5)]
    for i in (3, 0, 4, 1, 2, 0):
        assert (viewer.frame(i) == straight[i]).all()
    wide = np.zeros((20, 2 * view.PREVIEW, 3), dtype=np.uint8)
    assert Image.open(io.BytesIO(view.jpeg(wide))).size == (view.PREVIEW, 10)


def test_time_left() -> None:
    now = [0.0]
    clock = Clock(10, lambda: now[0])
    for _ in range(4):
        now[0] += 2.0
        clock.tick()
    assert clock.left() == pytest.approx(12.0)
    assert clock.share == pytest.approx(0.4)
    assert clock.note(4, 10) == "Frame 4 of 10 · 12 s left"
    assert clock.note(1, 1) == ""
    assert duration(99.0) == "99 s"
    assert duration(121.0) == "3 min"


@given(st.lists(st.sampled_from(["point", "negative", "box", "scribble"]), min_size=1, max_size=6))
def test_any_marks_make_regions(tools: list[str]) -> None:
    marks = [Mark(tool, ((float(i), 1.0), (i + 2.0, 5.0))) for i, tool in enumerate(tools)]
    regions = regions_of(marks)
    if tools[-1] == "negative":
        assert set(regions) == {"negative"}
    else:
        shapes = sum(tool in ("box", "scribble") for tool in tools) + ("point" in tools)
        assert len(regions) == shapes
