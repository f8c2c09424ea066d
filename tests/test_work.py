"""What a person makes of a medium, as the service keeps it: changes, refusals, exports, and what the model is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from x2sam import X2Sam
from x2sam.masks import RLE
from x2sam.media.video import VideoWriter
from x2sam.serve.api import create_app
from x2sam.serve.desk import Desk, _inmost
from x2sam.serve.limits import Limits
from x2sam.serve.page import FILES, POLICY, examples
from x2sam.serve.work import Mark

SIZE = (48, 64)
CAT = {"id": 1, "name": "cat", "colour": "#ff0000"}
DOG = {"id": 2, "name": "dog", "colour": "#00ff00"}


def rectangle(x0: int, y0: int, x1: int, y1: int) -> str:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return RLE.encode(mask).counts.decode()


def cell(counts: str | None, **more: Any) -> dict[str, Any]:
    return {"counts": counts, "by": "hand", **more}


@pytest.fixture(scope="module")
def predictor() -> X2Sam:
    return X2Sam.from_pretrained("tiny")


@pytest.fixture(scope="module")
def web(predictor: X2Sam, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    limits = Limits(work_bytes=20_000, sessions_per_client=32, sessions=64)
    with TestClient(create_app(predictor, limits, folder=tmp_path_factory.mktemp("serve"))) as client:
        yield client


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    rng = np.random.default_rng(0)
    with VideoWriter(path, SIZE, 5.0) as writer:
        for _ in range(5):
            writer.write(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8))
    return path


def opened(web: TestClient, data: bytes | None = None, name: str = "photo.png") -> str:
    if data is None:
        buffer = BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(buffer, "PNG")
        data = buffer.getvalue()
    return f"/v1/sessions/{web.post('/v1/sessions', files={'file': (name, data)}).json()['id']}"


def events(text: str) -> list[tuple[str, Any]]:
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def test_work_is_kept_changed_and_exported_as_it_is_shown(web: TestClient) -> None:
    at = opened(web)
    assert web.get(f"{at}/work").json()["objects"] == []
    mark = {"tool": "point", "points": [[8, 8]]}
    change = {
        "revision": 0,
        "objects": [CAT, DOG],
        "classes": ["cat", "dog"],
        "talk": [{"who": "you", "text": "the cat"}],
        "cells": [
            {"object": 1, "frame": 0, "cell": cell(rectangle(4, 4, 20, 20), marks=[mark])},
            {"object": 2, "frame": 0, "cell": cell(rectangle(30, 10, 50, 40), score=0.25)},
        ],
    }
    assert web.post(f"{at}/work", json=change).json() == {"revision": 1}
    kept = web.get(f"{at}/work").json()
    assert [each["name"] for each in kept["objects"]] == ["cat", "dog"]
    assert kept["cells"][0]["cell"]["marks"] == [mark]
    assert kept["talk"][0]["text"] == "the cat"
    summary = next(each for each in web.get("/v1/work").json() if at.endswith(each["id"]))
    assert (summary["objects"], summary["marked"]) == (2, 2)

    hidden = [{**CAT, "name": "tiger"}, {**DOG, "shown": False}]
    assert web.post(f"{at}/work", json={"revision": 1, "objects": hidden}).json() == {"revision": 2}
    coco = web.get(f"{at}/work/export/coco").json()
    assert [each["name"] for each in coco["categories"]] == ["tiger"]
    assert [each["area"] for each in coco["annotations"]] == [16 * 16]
    drawn = np.asarray(Image.open(BytesIO(web.get(f"{at}/work/export/overlay").content)).convert("RGB"))
    assert tuple(drawn[12, 4]) == (255, 0, 0), "the colour is the one that was chosen"

    assert web.post(f"{at}/work", json={"revision": 2, "objects": []}).json() == {"revision": 3}
    assert web.get(f"{at}/work").json()["cells"] == [], "masks go with their object"
    refused = web.get(f"{at}/work/export/coco")
    assert refused.status_code == 422
    assert "nothing to export" in refused.json()["error"]["got"]


WRONG: dict[str, tuple[dict[str, Any], int]] = {
    "of another revision": ({"revision": 7}, 409),
    "two objects with one id": ({"objects": [CAT, CAT]}, 422),
    "a mask of no object": ({"cells": [{"object": 5, "frame": 0, "cell": cell(None)}]}, 422),
    "a mask on no frame": ({"objects": [CAT], "cells": [{"object": 1, "frame": 1, "cell": cell(None)}]}, 422),
    "run lengths of another size": ({"objects": [CAT], "cells": [{"object": 1, "frame": 0, "cell": cell("8")}]}, 422),
    "a base of another size": (
        {"objects": [CAT], "cells": [{"object": 1, "frame": 0, "cell": cell(None, base="8")}]},
        422,
    ),
    "a colour that is none": ({"objects": [{**CAT, "colour": "red;"}]}, 422),
    "a field that is not known": ({"objcts": []}, 422),
    "too much": (
        {"objects": [{**CAT, "id": i} for i in range(1, 300)]}
        | {"cells": [{"object": i, "frame": 0, "cell": cell(rectangle(0, 0, 9, 9))} for i in range(1, 300)]},
        413,
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_change_that_does_not_fit_changes_nothing(wrong: str, web: TestClient) -> None:
    at = opened(web)
    body, status = WRONG[wrong]
    assert web.post(f"{at}/work", json={"revision": 0, **body}).status_code == status
    kept = web.get(f"{at}/work").json()
    assert (kept["revision"], kept["objects"], kept["cells"]) == (0, [], [])
    web.delete(at)


def test_a_film_shows_every_frame_and_lists_those_that_were_looked_at(web: TestClient, clip: Path) -> None:
    at = opened(web, clip.read_bytes(), "clip.mp4")
    cells = [
        {"object": 1, "frame": 1, "cell": cell(rectangle(4, 4, 20, 20))},
        {"object": 1, "frame": 3, "cell": cell(None)},
    ]
    web.post(f"{at}/work", json={"revision": 0, "objects": [CAT], "cells": cells})
    coco = web.get(f"{at}/work/export/coco").json()
    assert len(coco["images"]) == 2
    assert len(coco["annotations"]) == 1
    film = web.get(f"{at}/work/export/overlay").content
    again = opened(web, film, "masks.mp4")
    assert web.get(again).json()["media"]["length"] == 5
    assert {"coco", "ytvis", "davis", "overlay"} <= {each["name"] for each in web.get(f"{at}/work/formats").json()}


def test_pictures_are_frames_and_those_that_are_not_there_are_refused(web: TestClient, clip: Path) -> None:
    at = opened(web, clip.read_bytes(), "clip.mp4")
    shots = [web.get(f"{at}/pictures/{i}").content for i in (0, 1, 4, 1)]
    assert shots[1] == shots[3] != shots[2]
    assert Image.open(BytesIO(shots[0])).size == (64, 48)
    assert Image.open(BytesIO(web.get(f"{at}/pictures/0?side=32").content)).size == (32, 24)
    assert web.get(f"{at}/pictures/5").status_code == 422
    assert web.get(f"{opened(web)}/pictures/1").status_code == 422
    assert web.get(f"{at}/pictures/0?side=100000").status_code == 422


def test_what_is_asked_is_answered_and_nothing_is_remembered(web: TestClient, clip: Path) -> None:
    """Marks, words and following, of a picture and of a film; what they find is the model's own matter."""
    picture, film = opened(web), opened(web, clip.read_bytes(), "clip.mp4")
    point = {"tool": "point", "points": [[20, 20]]}
    for at, frame in ((picture, 0), (film, 3)):
        answer = web.post(f"{at}/mark", json={"frame": frame, "marks": [point]}).json()
        assert 0 < answer["sure"] < 1
        assert answer["segment"] is None or answer["segment"]["rle"]["size"] == list(SIZE)
    for at, body, count in (
        (picture, {"prompt": "cat"}, 1),
        (film, {"prompt": "cat"}, 5),
        (film, {"categories": ["cat", "sky"], "frame": 2}, 1),
    ):
        said = events(web.post(f"{at}/ask", json=body).text)
        assert [name for name, _ in said] == ["begin", *["frame"] * count, "done"]
        assert said[1][1]["index"] == body.get("frame", 0)
    assert web.get(f"{film}/work").json()["revision"] == 0
    assert web.get(film).json()["task"] is None, "no track of the session is touched"


BAD_ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "marks": ("mark", {"marks": []}),
    "a mark beside the picture": ("mark", {"marks": [{"tool": "point", "points": [[900, 3]]}]}),
    "a box without area": ("mark", {"marks": [{"tool": "box", "points": [[3, 3], [3, 3]]}]}),
    "a box of one corner": ("mark", {"marks": [{"tool": "box", "points": [[3, 3]]}]}),
    "negative marks alone": ("mark", {"marks": [{"tool": "negative", "points": [[3, 3]]}]}),
    "a frame that is not there": ("mark", {"frame": 1, "marks": [{"tool": "point", "points": [[3, 3]]}]}),
    "regions to ask by": ("ask", {"regions": [{"point": [3, 3]}]}),
    "a chat": ("ask", {"task": "img_chat", "prompt": "hello"}),
    "a picture to follow in": ("follow", {"keys": [{"id": 1, "frame": 0, "counts": rectangle(1, 1, 5, 5)}]}),
}


@pytest.mark.parametrize("bad", BAD_ASKS)
def test_what_cannot_be_asked_is_refused_in_a_sentence(bad: str, web: TestClient) -> None:
    path, body = BAD_ASKS[bad]
    answer = web.post(f"{opened(web)}/{path}", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["expected"]


def test_following_goes_both_ways_and_leaves_shown_frames_alone(web: TestClient, clip: Path) -> None:
    at = opened(web, clip.read_bytes(), "clip.mp4")
    mask = rectangle(10, 10, 30, 30)
    keys = [{"id": i, "frame": frame, "counts": mask} for i, frame in ((1, 1), (1, 3), (2, 2))]
    said = events(web.post(f"{at}/follow", json={"keys": keys}).text)
    looked = [(data["index"], sorted(data["looked"])) for name, data in said if name == "frame"]
    assert looked == [(2, [1]), (3, [2]), (4, [1, 2]), (1, [2]), (0, [1, 2])]
    assert said[-1][0] == "done"
    part = events(web.post(f"{at}/follow", json={"keys": keys[:1], "first": 1, "last": 2}).text)
    assert [data["index"] for name, data in part if name == "frame"] == [2]
    for _, data in said[1:-1]:
        assert {segment["object_id"] for segment in data["segments"]} <= set(data["looked"])


def test_points_refine_the_mask_that_was_there(predictor: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a click is read with: alone its own points, beside a mask also the mask's inmost pixel."""
    mask = RLE.from_coco({"size": SIZE, "counts": rectangle(10, 10, 31, 31)})
    assert _inmost(mask, []) == [20.5, 20.5]
    away = _inmost(mask, [(20.5, 20.5)])
    assert max(abs(away[0] - 20.5), abs(away[1] - 20.5)) > 3
    asked: list[Any] = []
    desk = object.__new__(Desk)
    still = type("Still", (), {"track": lambda self, regions, threshold: asked.append(regions[0]) or []})()
    monkeypatch.setattr(desk, "_still", lambda frame: still)
    point, less = Mark(tool="point", points=[[3.0, 4.0]]), Mark(tool="negative", points=[[5.0, 6.0]])
    box = Mark(tool="box", points=[[9.0, 9.0], [2.0, 3.0]])
    desk.mark(0, [point, less], None)
    desk.mark(0, [less], mask)
    desk.mark(0, [point, box], mask)
    assert asked == [
        {"points": [[3.0, 4.0]], "negative": [[5.0, 6.0]]},
        {"points": [[20.5, 20.5]], "negative": [[5.0, 6.0]]},
        {"box": (2.0, 3.0, 9.0, 9.0)},
    ]


def test_sessions_with_work_are_kept_longer(predictor: X2Sam, tmp_path: Path) -> None:
    limits = Limits(idle_seconds=-1.0, work_seconds=100.0)
    with TestClient(create_app(predictor, limits, folder=tmp_path)) as web:
        at = opened(web)
        assert web.get(at).status_code == 200
        web.post(f"{at}/work", json={"revision": 0, "objects": [CAT]})
        web.app.state.store.expire()  # type: ignore[attr-defined]
        assert web.get(at).status_code == 200
        web.post(f"{at}/work", json={"revision": 1, "objects": []})
        web.app.state.store.expire()  # type: ignore[attr-defined]
        assert web.get(at).status_code == 404


def test_the_page_is_its_own_files_and_its_visitors_are_told_apart(predictor: X2Sam, tmp_path: Path) -> None:
    with TestClient(create_app(predictor, folder=tmp_path)) as web:
        page = web.get("/")
        assert page.headers["content-security-policy"] == POLICY
        for word in ("unsafe", "http:", "https:", "*"):
            assert word not in POLICY
        for name in FILES:
            text = web.get(f"/page/{name}").text
            assert "https://" not in text
            assert text.count("http://") == text.count("http://www.w3.org/2000/svg"), "nothing is loaded from elsewhere"
        for path in ("../api.py", "..%2Fapi.py", "__init__.py", "examples.py", "%2e%2e/gate.py"):
            assert web.get(f"/page/{path}").status_code in (404, 422)
        at = opened(web)
        assert web.get(at).status_code == 200
        assert len(web.get("/v1/work").json()) == 1
        web.cookies.clear()
        web.get("/")
        assert web.get("/v1/work").json() == [], "another visitor sees nothing of it"
        assert web.get(at).status_code == 404


def test_every_example_can_be_opened_from_what_the_extra_installs(
    predictor: X2Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    monkeypatch.setattr(examples, "find_spec", lambda name: None)
    with TestClient(create_app(predictor, folder=tmp_path)) as web:
        listed = web.get("/page/examples/list").json()
        assert len(listed) >= 2
        for each in listed:
            assert web.get(f"/page/examples/{each['index']}").headers["content-type"] == "image/jpeg"
            assert web.post(f"/page/examples/{each['index']}").status_code == 201
        assert web.post(f"/page/examples/{len(listed)}").status_code == 404
