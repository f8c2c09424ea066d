"""Streams into files, results in notebooks, a widget and a player in a real browser, compact masks, X-AnyLabeling."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from html import unescape
from pathlib import Path
from typing import Any

import browser as helpers
import numpy as np
import pytest

import x2sam
from x2sam import X2Sam
from x2sam.errors import InputError
from x2sam.integrations.x_anylabeling import X2SamModel
from x2sam.masks import RLE
from x2sam.media.opening import open_media
from x2sam.results import notebook
from x2sam.results.result import Result
from x2sam.results.sinks import Sink
from x2sam.types import FrameResult, Prompt, Segment

SIZE = (61, 83)


def noise(frames: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, *SIZE, 3), dtype=np.uint8)


def ring() -> np.ndarray:
    rows, columns = np.indices(SIZE)
    away = np.hypot(rows - 30, columns - 40)
    mask = (away < 25) & (away > 10)
    mask[0, 0] = True
    return mask


def made(frames: int = 1, objects: int = 2) -> Result:
    """A result whose first object is a ring, and others are single pixels; its name is markup if it is not escaped."""
    one = np.zeros(SIZE, dtype=bool)
    results = []
    for index in range(frames):
        segments = [Segment(RLE.encode(ring()), 'a <b>"木"', 0.9, 1, frame=index)]
        for i in range(2, objects + 1):
            mask = one.copy()
            mask[(i * 7) % SIZE[0], (i * 11) % SIZE[1]] = True
            segments.append(Segment(RLE.encode(mask), f"thing {i}", 0.5, i, frame=index))
        results.append(FrameResult(index, index / 10 if frames > 1 else None, *SIZE, tuple(segments)))
    clip = open_media(noise(frames) if frames > 1 else noise()[0], kind="video" if frames > 1 else "image")
    return Result("vid_objseg" if frames > 1 else "img_intseg", "", tuple(results), Prompt(), clip)


def test_a_stream_is_written_as_it_comes(tmp_path: Path) -> None:
    result = made(5)
    with Sink(tmp_path / "out.mp4", fps=10) as video, Sink(tmp_path / "out.jsonl") as lines:
        for frame, found in zip(noise(5), result.frames, strict=True):
            video.write(frame, found)
            lines.write(frame, found)
            assert len((tmp_path / "out.jsonl").read_text().splitlines()) == lines.count, "there at once"
        bigger = FrameResult(5, 0.5, 70, 90, ())
        video.write(np.zeros((70, 90, 3), np.uint8), bigger)
        video.write(None, FrameResult(6, 0.6, *SIZE))
    assert open_media(tmp_path / "out.mp4").length == 6
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert RLE.from_coco(first["segments"][0]["rle"]).decode()[0, 0]
    with suppress(RuntimeError), Sink(tmp_path / "left.mp4", fps=10) as video:
        video.write(noise()[0], result.frames[0])
        raise RuntimeError
    assert open_media(tmp_path / "left.mp4").length == 1, "what was written is whole"
    assert not list(tmp_path.glob("*.part*"))
    with pytest.raises(InputError, match="jsonl"):
        Sink(tmp_path / "out.png")


def test_masks_for_supervision_are_the_same_compact_and_dense() -> None:
    pytest.importorskip("supervision.detection.compact_mask")
    result = made(objects=300)
    dense, compact = result.detections(), result.detections(compact=True)
    assert len(dense) == len(compact) == 300
    assert np.array_equal(np.asarray(compact.mask), dense.mask)
    assert compact.tracker_id.tolist() == list(range(1, 301))
    assert compact.data["class_name"][0] == 'a <b>"木"'
    assert (
        len(Result("img_intseg", "", (FrameResult(0, None, *SIZE),), Prompt(), result.clip).detections(compact=True))
        == 0
    )


def test_a_plot_is_blue_green_red() -> None:
    result = made()
    assert np.array_equal(result.plot()[..., ::-1], np.asarray(result.draw()))


def paths(page: str) -> list[str]:
    return re.findall(r'<path d="([^"]*)"', unescape(page))


def test_a_notebook_shows_a_result() -> None:
    """The outline is the mask, holes and single pixels included; names are text; chats show nothing of this."""
    page = made()._repr_html_()
    assert page is not None
    drawn = paths(page)
    assert len(drawn) == 2
    back = np.zeros(SIZE, dtype=bool)
    for part in drawn[0].split("M")[1:]:
        corners = [float(v) for v in re.findall(r"[\d.]+", part)]
        back ^= RLE.from_polygons([corners], *SIZE).decode()
    assert np.array_equal(back, ring())
    assert "&lt;b&gt;" in unescape(page)
    assert "<b>" not in unescape(page)
    assert page.count("srcdoc") == 1
    assert made()._repr_png_()
    chat = Result("img_chat", "yes", (), Prompt(), made().clip)
    assert chat._repr_html_() is None
    empty = Result("img_refseg", "", (FrameResult(0, None, *SIZE),), Prompt(), made().clip)
    assert "nothing found" in str(empty._repr_html_())


def test_polygons_for_x_anylabeling() -> None:
    model = X2SamModel({"model_id": "x2sam", "display_name": "X2SAM", "params": {"model_path": "tiny"}})
    model.load()
    assert model.get_metadata()["display_name"] == "X2SAM"
    image = noise()[0]
    marks = [
        {"type": "rectangle", "label": 1, "data": [5, 5, 60, 50]},
        {"type": "point", "label": 1, "data": [40, 30]},
        {"type": "point", "label": 0, "data": [2, 2]},
    ]
    for params in ({"marks": marks}, {"text_prompt": "cat, 木", "conf_threshold": 0.0}, {"text_prompt": "the cat"}):
        for shape in model.predict(image, params)["shapes"]:
            assert shape["shape_type"] == "polygon"
            assert shape["points"][0] == shape["points"][-1]
            assert len(shape["points"]) > 3
    assert model.predict(image, {}) == {"shapes": [], "description": ""}
    same = X2Sam.from_pretrained("tiny").segment(image[..., ::-1], regions=[{"box": [5, 5, 60, 50]}], threshold=0.0)
    (mark, *_) = marks
    assert bool(model.predict(image, {"marks": [mark]})["shapes"]) == bool(same.segments)
    model.unload()


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if helpers.CHROMIUM is None:
        pytest.skip(helpers.MISSING)
    pytest.importorskip("playwright")
    with helpers.browsing() as made_:
        yield made_


def test_a_player_goes_through_the_frames(browser: Any) -> None:
    page = browser.new_page()
    page.set_content(str(made(4)._repr_html_()))
    frame = page.frame_locator("iframe")
    assert frame.locator("figure:visible").get_attribute("data-at") == "frame 0, 0.00 s"
    frame.locator("input").fill("2")
    assert frame.locator("figure:visible").get_attribute("data-at") == "frame 2, 0.20 s"
    assert "frame 2" in frame.locator("#at").inner_text()
    frame.locator("figure:visible path").first.hover(position={"x": 20, "y": 30})
    assert frame.locator("#name").inner_text() == 'a <b>"木" 0.90 (#1)'
    frame.locator("button").click()
    page.wait_for_function("document.querySelector('iframe').contentDocument.querySelector('input').value != '2'")
    page.close()


HARNESS = """async ([code, state]) => {
  const url = URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
  const widget = (await import(url)).default;
  const listeners = {};
  window.model = {
    get: (name) => state[name], set: (name, value) => { state[name] = value; },
    save_changes: async () => { state.shown = await window.python(state.clicks); listeners['change:shown'](); },
    on: (name, f) => { listeners[name] = f; },
  };
  widget.render({model: window.model, el: document.body});
}"""


def script() -> str:
    """The widget's script as it is in the package."""
    return (Path(x2sam.__file__).parent / "integrations" / "widget.js").read_text()


def test_a_click_in_the_widget_shows_the_mask(browser: Any) -> None:
    """The widget's own script in a page whose model is the Python object: what Jupyter would carry is carried here."""
    pytest.importorskip("anywidget")
    from x2sam.integrations.widget import Clicker

    clicker = Clicker(X2Sam.from_pretrained("tiny"), noise()[0])

    def python(clicks: Any) -> Any:
        clicker.clicks = clicks
        return clicker.shown

    page = browser.new_page()
    page.expose_function("python", python)
    state = {"picture": clicker.picture, "size": clicker.size, "clicks": [], "shown": {}}
    page.evaluate(HARNESS, [script(), state])
    image = page.locator("img")
    image.click(position={"x": 40, "y": 30})
    page.wait_for_function("document.querySelector('path') !== null")
    assert clicker.points == [(40, 30)]
    assert clicker.result is not None
    best = max(clicker.result.segments, key=lambda s: s.score)
    assert page.locator("path").get_attribute("d") == notebook.outline(best.mask)
    image.click(position={"x": 5, "y": 50}, modifiers=["Shift"])
    page.wait_for_function("document.querySelectorAll('circle').length == 2")
    assert clicker.negative == [(5, 50)]
    page.get_by_text("clear").click()
    page.wait_for_function("document.querySelector('path') === null")
    assert clicker.result is None
    page.close()
