"""Label Studio's ML backend: what its server asks and gets; labelling interfaces, clicks, masks, films, files."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from x2sam import X2Sam
from x2sam.errors import InputError
from x2sam.integrations import label_studio
from x2sam.integrations.label_config import read_config
from x2sam.integrations.label_studio_files import LabelStudioServer
from x2sam.integrations.label_studio_regions import picture_regions, read_clicks
from x2sam.masks import RLE
from x2sam.media.video import VideoWriter
from x2sam.results.labelstudio import brush_code, brush_mask
from x2sam.results.outlines import outlines
from x2sam.serve.api import create_app
from x2sam.types import Segment

LABELS = '<Label value="Cat" predicted_values="cat, kitten"/><Label value="木"/>'
BRUSH = f'<BrushLabels name="tag" toName="img">{LABELS}</BrushLabels>'
POINTS = f'<KeyPointLabels name="kp" toName="img" smart="true">{LABELS}</KeyPointLabels>'
PICTURE = f'<View><Image name="img" value="$image"/>{BRUSH}{POINTS}<TextArea name="text" toName="img"/></View>'
FILM = f"""<View><Labels name="what" toName="video">{LABELS}</Labels><Video name="video" value="$video"/>
<VideoRectangle name="box" toName="video" smart="true"/></View>"""
SIZE = (61, 83)


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def picture() -> bytes:
    buffer = BytesIO()
    Image.fromarray(noise()).save(buffer, "PNG")
    return buffer.getvalue()


def film(folder: Path) -> bytes:
    with VideoWriter(folder / "clip.mp4", (64, 96), 10.0) as writer:
        for i in range(6):
            writer.write(np.roll(np.resize(noise(), (64, 96, 3)), i, 1))
    return (folder / "clip.mp4").read_bytes()


def embedded(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


class Files(BaseHTTPRequestHandler):
    """A Label Studio as far as its files go: they want a token."""

    seen: list[str] = []  # noqa: RUF012
    content: dict[str, bytes] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        if self.path == "/data/away.png":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/secret.png")
            self.end_headers()
            return
        found = self.content.get(self.path)
        allowed = self.headers.get("Authorization") == "Token right"
        self.send_response(200 if found and allowed else 401 if not allowed else 404)
        self.end_headers()
        self.wfile.write(found if found and allowed else b"no")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Files.content = {"/data/upload/1/ein Bild.png": picture(), "/data/upload/1/ein%20Bild.png": picture()}
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def backend(files: str) -> Iterator[TestClient]:
    server = LabelStudioServer(files)
    app = create_app(X2Sam.from_pretrained("tiny"), page=False, extensions=[lambda a: label_studio.mount(a, server)])
    with TestClient(app) as client:
        yield client


def ask(backend: TestClient, config: str, *data: dict[str, Any], drawn: list[Any] | None = None) -> Any:
    tasks = [{"id": i, "data": each} for i, each in enumerate(data)]
    params = {"context": None if drawn is None else {"result": drawn}, "login": None}
    body = {"tasks": tasks, "label_config": config, "params": params, "project": "1.170", "model_version": "any"}
    answer = backend.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def refused(backend: TestClient, config: str, data: dict[str, Any]) -> str:
    answer = backend.post("/predict", json={"tasks": [{"id": 1, "data": data}], "label_config": config})
    assert answer.status_code == 422
    return answer.json()["error"]["message"]


def keypoint(x: float, y: float, positive: bool = True, label: str = "Cat") -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]}
    return {"type": "keypointlabels", "is_positive": positive, "value": value, "from_name": "kp", "to_name": "img"}


def rectangle(x: float, y: float, width: float, height: float, **value: Any) -> dict[str, Any]:
    box = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": ["Cat"], **value}
    return {"type": "rectanglelabels", "value": box}


# --- the protocol -----------------------------------------------------------------------------------------------------


def test_a_project_is_connected(backend: TestClient) -> None:
    assert backend.get("/health").json() == {"status": "UP", "model_class": "X2Sam"}
    body = {"project": "1.2", "schema": PICTURE, "hostname": "http://elsewhere", "access_token": "right"}
    assert "tiny" in backend.post("/setup", json=body).json()["model_version"]
    assert backend.post("/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 201
    refused = backend.post("/setup", json={"project": "1.2", "schema": '<View><Text name="t" value="$t"/></View>'})
    assert refused.status_code == 422
    assert "without <Image> or <Video>" in refused.text


def test_pictures_are_predicted_with_the_labels_of_the_project(
    backend: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The random model finds many things; each is a brush of the picture's own size under a label of the project."""
    config = PICTURE.replace('toName="img">', 'toName="img" model_score_threshold="0.0">', 1)
    one, other, none = ask(backend, config, *[{"image": embedded(picture())}] * 2, {"image": "/data/gone.png"})
    assert one["result"], "with a threshold of 0 it finds something"
    for item in one["result"]:
        assert (item["type"], item["from_name"], item["to_name"]) == ("brushlabels", "tag", "img")
        assert item["value"]["brushlabels"][0] in ("Cat", "木")
        assert brush_mask(item["value"]["rle"], *SIZE).any()
        assert (item["original_height"], item["original_width"]) == SIZE
    assert [i["value"] for i in one["result"]] == [i["value"] for i in other["result"]]
    assert none == [], "no prediction, so that it is asked for again"
    assert "task 2 of Label Studio: Got http" in caplog.text
    assert "/data/gone.png" in refused(backend, PICTURE, {"image": "/data/gone.png"})
    assert "interface of videos" in refused(backend, FILM, {"video": embedded(picture())})


@pytest.mark.parametrize(
    ("drawn", "same"),
    [
        ([keypoint(50, 40), keypoint(5, 5, False)], {"points": [(41.5, 24.4)], "negative": [(4.15, 3.05)]}),
        ([rectangle(10, 20, 50, 60)], {"box": (8.3, 12.2, 49.8, 48.8)}),
        ([{"type": "textarea", "value": {"text": ["the 木"]}}], "the 木"),
    ],
)
def test_what_is_drawn_is_answered_as_by_the_library(backend: TestClient, drawn: Any, same: Any) -> None:
    asked = {"prompt": same} if isinstance(same, str) else {"regions": [same], "threshold": 0.0}
    expected = X2Sam.from_pretrained("tiny").segment(noise(), **asked)
    for _ in range(2):  # the second time the picture is open already
        (found,) = ask(backend, PICTURE, {"image": embedded(picture())}, drawn=drawn)
        masks = [brush_mask(item["value"]["rle"], *SIZE) for item in found["result"]]
        assert len(masks) == len(expected.segments)
        assert all(np.array_equal(m, s.mask) for m, s in zip(masks, expected.segments, strict=True))
        labels = {item["value"]["brushlabels"][0] for item in found["result"]}
        assert labels <= {"木" if isinstance(same, str) else "Cat"}


def test_nothing_drawn_that_is_understood_is_an_empty_answer(backend: TestClient) -> None:
    drawn = [{"type": "choices", "value": {"choices": ["good"]}}]
    (found,) = ask(backend, PICTURE, {"image": embedded(picture())}, drawn=drawn)
    assert found["result"] == []
    assert found["score"] == 0


def test_films_get_boxes_that_move(backend: TestClient, tmp_path: Path) -> None:
    task = {"video": embedded(film(tmp_path))}
    (found,) = ask(backend, FILM, task)
    assert all(item["type"] == "videorectangle" for item in found["result"])
    key = {"frame": 3, "enabled": True, "rotation": 0, "time": 0.2, "x": 10, "y": 10, "width": 40, "height": 50}
    value = {"framesCount": 6, "duration": 0.6, "sequence": [key], "labels": ["木"]}
    drawn = [{"id": "abc", "type": "videorectangle", "from_name": "box", "to_name": "video", "value": value}]
    (found,) = ask(backend, FILM, task, drawn=drawn)
    (item,) = found["result"]
    frames = [k["frame"] for k in item["value"]["sequence"]]
    assert (item["id"], item["from_name"], item["value"]["labels"]) == ("abc", "box", ["木"])
    assert frames == sorted(set(frames))
    assert frames[0] == 3
    assert frames[-1] <= 6
    assert {name: item["value"]["sequence"][0][name] for name in ("x", "y", "width", "height")} == {
        name: key[name] for name in ("x", "y", "width", "height")
    }


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_come_from_the_one_server_with_its_token(files: str, tmp_path: Path) -> None:
    server, limits = LabelStudioServer(files), create_app(X2Sam.from_pretrained("tiny"), page=False).state.limits
    server.hand_over("right")
    server.hand_over("later")
    for address in ("/data/upload/1/ein Bild.png", f"{files}/data/upload/1/ein%20Bild.png"):
        got = server.media(address, 1, limits, tmp_path / "medium")
        assert isinstance(got, Path)
        assert got.read_bytes() == picture()
    for address, said in {
        "/data/none.png": "it says 404",
        "/data/away.png": "does not fetch from others",
        "http://127.0.0.1:1/x.png": "fetch_urls=1",
        "file:///etc/passwd": "a file of Label Studio",
        "": "an address",
    }.items():
        with pytest.raises(InputError, match=said):
            server.media(address, 1, limits, tmp_path / "medium")
    Files.seen.clear()
    with pytest.raises(InputError, match="LABEL_STUDIO_API_KEY"):
        LabelStudioServer(files).media("/data/none.png", 1, limits, tmp_path / "medium")
    assert Files.seen == [""]


# --- regions ----------------------------------------------------------------------------------------------------------


def test_a_brush_is_read_as_it_was_written() -> None:
    for size in ((1, 1), (1, 7), (9, 1), (61, 83), (300, 401)):
        for share in (0.0, 0.02, 0.5, 1.0):
            mask = np.random.default_rng(size[0]).random(size) < share
            assert np.array_equal(brush_mask(brush_code(mask), *size), mask)
    with pytest.raises(InputError, match="of 6 pixels"):
        brush_mask(brush_code(np.ones((2, 3), dtype=bool)), 3, 3)
    with pytest.raises(InputError, match="cut off"):
        brush_mask(brush_code(np.ones((2, 3), dtype=bool))[:-3], 2, 3)


def test_polygons_keep_holes_pieces_and_single_pixels() -> None:
    rows, columns = np.indices((90, 101))
    ring = (np.hypot(rows - 40, columns - 45) < 30) & (np.hypot(rows - 40, columns - 45) > 12)
    ring[80, 90] = ring[85:88, 3:9] = True
    back = np.zeros_like(ring)
    corners = 0
    pieces = list(outlines(ring))
    for piece in pieces:
        corners += len(piece)
        back |= RLE.from_polygons([piece.ravel().tolist()], *ring.shape).decode()
    assert len(pieces) == 3
    assert corners < 90, "few enough to edit"
    assert (back & ring).sum() / (back | ring).sum() > 0.97
    assert back[80, 90]
    assert not back[40, 45], "the hole is there"


def test_controls_answer_in_their_own_shape() -> None:
    """Brushes, polygons and boxes in one interface, and a tag that leaves its name to another."""
    config = read_config(
        '<View><Image name="i" value="$pic"/><Labels name="l" toName="i"><Label value="dog"/></Labels>'
        '<RectangleLabels name="r" toName="i" model_score_threshold="0.6"><Label value="cat"/></RectangleLabels>'
        '<PolygonLabels name="p" toName="i"><Label value="bird"/></PolygonLabels>'
        '<Brush name="b" toName="i"/><RectangleLabels name="s" toName="i" smart="true"><Label value="x"/>'
        "</RectangleLabels></View>"
    )
    assert config.labels == ("cat", "bird", "dog")
    mask = RLE.encode(np.eye(9, 17, dtype=bool))
    segments = [Segment(mask, "?", score, i, condition=i) for i, score in enumerate((0.9, 0.5, 0.5))]
    segments.append(Segment(mask, "?", 0.5, 4, condition=0))
    items = picture_regions(segments, config, config.labels)
    kinds = [(i["type"], i["from_name"]) for i in items]
    assert kinds == [("rectanglelabels", "r"), *[("polygonlabels", "p")] * 9, ("brush", "b"), ("labels", "l")]
    assert items[-1]["id"] == items[-2]["id"]
    assert items[-1]["value"]["labels"] == ["dog"]


def test_hundreds_of_single_pixels_are_as_many_brushes() -> None:
    config = read_config(PICTURE)
    masks = []
    for i in range(300):
        masks.append(np.zeros(SIZE, dtype=bool))
        masks[-1][i % SIZE[0], i * 7 % SIZE[1]] = True
    segments = [Segment(RLE.encode(mask), "?", 0.5, i, condition=i % 3) for i, mask in enumerate(masks)]
    items = picture_regions(segments, config, ["Cat", "Cat", "木"])
    assert [item["value"]["brushlabels"][0] for item in items[:3]] == ["Cat", "Cat", "木"]
    assert len({item["id"] for item in items}) == 300
    assert all(np.array_equal(brush_mask(i["value"]["rle"], *SIZE), m) for i, m in zip(items, masks, strict=True))
    empty = Segment(RLE.encode(np.zeros(SIZE, dtype=bool)), "?", 0.5, 1)
    assert picture_regions([empty], config, ["Cat"]) == []


def test_a_token_comes_as_a_password(files: str) -> None:
    """Label Studio knows no other way."""
    server = LabelStudioServer(files)
    mounted = [lambda a: label_studio.mount(a, server)]
    app = create_app(X2Sam.from_pretrained("tiny"), page=False, token="a secret, 木", extensions=mounted)
    with TestClient(app) as client:
        assert client.get("/health").status_code == 401
        assert client.get("/health", auth=(b"any", b"another")).status_code == 401
        assert client.get("/health", headers={"Authorization": "Basic ???"}).status_code == 401
        assert client.get("/health", auth=(b"any", "a secret, 木".encode())).status_code == 200


def test_clicks_are_one_region() -> None:
    brush = np.zeros(SIZE, dtype=bool)
    brush[10:20, 10:30] = True
    drawn = {"type": "brushlabels", "value": {"format": "rle", "rle": brush_code(brush), "brushlabels": ["Cat"]}}
    region = read_clicks([drawn, keypoint(90, 90), keypoint(1, 1, False)], SIZE)
    assert region is not None
    assert region.negative is not None
    assert region.mask[15, 15]
    assert region.mask[54, 74]
    turned = read_clicks([rectangle(50, 10, 20, 10, rotation=90)], SIZE)
    assert turned is not None
    assert turned.rle.box[0] < 41.5, "it turns around its corner"
    assert read_clicks([], SIZE) is None
    with pytest.raises(InputError, match="negative keypoints alone"):
        read_clicks([keypoint(1, 1, False)], SIZE)
    for broken in ({"type": "keypointlabels", "value": {}}, rectangle(0, 0, float("nan"), 5)):
        with pytest.raises(InputError):
            read_clicks([broken], SIZE)


def test_strange_interfaces_are_one_sentence() -> None:
    for xml in ("", "<View>", "<View/>", '<View><Image name="i" value="$i"/></View>', "x" * 300_000):
        with pytest.raises(InputError):
            read_config(xml)
    with pytest.raises(InputError, match="from 0 to 1"):
        read_config(PICTURE.replace('toName="img">', 'toName="img" model_score_threshold="2">', 1))
