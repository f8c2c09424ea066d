"""The page in a real browser, with nano on generated pictures: what a visitor does first, and what can go wrong."""

from __future__ import annotations

import base64
import json
import re
import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import browser as helpers
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
pytest.importorskip("playwright")
if helpers.CHROMIUM is None:
    pytest.skip(helpers.MISSING, allow_module_level=True)

from x2sam import X2Sam
from x2sam.media.video import VideoWriter
from x2sam.serve.api import create_app
from x2sam.serve.page_examples import EXAMPLES, RATE, SIZE, draw
from x2sam.tasks import TASKS

FRAMES = 12
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}
READY, BUSY = ".stage[data-state=ready]", ".stage[data-state=busy]"
SHOWN = ".masks path:not([hidden])"


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app(X2Sam.from_pretrained("nano"))


@pytest.fixture(scope="module")
def address(app: Any) -> Iterator[str]:
    with helpers.serving(app) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with helpers.browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Media as a visitor might have them: a photo and a clip, of the scenes of two examples."""
    folder, scenes = tmp_path_factory.mktemp("media"), {example.title: example for example in EXAMPLES}
    Image.fromarray(draw(scenes["Vase"])[0]).save(folder / "photo.png")
    with VideoWriter(folder / "clip.mp4", SIZE, RATE) as writer:
        for frame in draw(scenes["Shoe"])[6 : 6 + FRAMES]:
            writer.write(frame)
    return {"photo": folder / "photo.png", "clip": folder / "clip.mp4"}


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A fresh tab; nothing may go wrong in it unseen."""
    context = browser.new_context(viewport=DESK, reduced_motion="reduce")
    tab = context.new_page()
    tab.set_default_timeout(90_000)
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 500 else None)
    outside: list[str] = []
    tab.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else outside.append(asked.url),
    )
    tab.goto(address)
    tab.wait_for_selector(".stage")
    yield tab
    context.close()
    assert wrong == []
    assert outside == [], "the page asks nobody but its own server"


def give(page: Any, file: Path) -> None:
    page.locator("#head input[type=file]").set_input_files(file)
    page.wait_for_selector(".view[data-frame='0']")
    page.wait_for_selector(READY)


def say(page: Any, text: str) -> None:
    page.fill("#words textarea, #words input", text)
    page.press("#words textarea, #words input", "Enter")


def finished(page: Any) -> None:
    """Wait for the answer to what was just asked."""
    page.wait_for_selector(READY)
    page.wait_for_function("() => !document.querySelector('.say span').textContent.includes('…')")


def click(page: Any, x: float, y: float) -> None:
    """On the picture, in shares of it."""
    box = page.locator(".view").bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def drag(page: Any, *points: tuple[float, float]) -> None:
    box = page.locator(".view").bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=1 if i == 0 else 4)
        if i == 0:
            page.mouse.down()
    page.mouse.up()


def covered(page: Any) -> list[float]:
    """Boxes of the shown masks, as x0, y0, x1, y1 in shares of the picture."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.masks path:not([hidden])')].map((path) => {
            const b = path.getBBox(), v = path.ownerSVGElement.viewBox.baseVal;
            return [b.x / v.width, b.y / v.height, (b.x + b.width) / v.width, (b.y + b.height) / v.height];
        })"""
    )


def holds(box: list[float], x: float, y: float) -> bool:
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


VASE = (0.53, 0.8)
"""Where the vase stands, in shares of the picture."""


def test_a_photo_a_click_a_mask(page: Any, files: dict[str, Path]) -> None:
    helpers.screenshot(page, "start")
    give(page, files["photo"])
    click(page, *VASE)
    page.wait_for_selector(SHOWN)
    finished(page)
    assert any(holds(box, *VASE) for box in covered(page))
    assert page.locator(".tags span b").first.inner_text() != "", "a score stands beside each mask"
    helpers.screenshot(page, "click")
    page.get_by_role("button", name="Rename object 1").click()
    page.keyboard.type("vase")
    page.keyboard.press("Enter")
    page.wait_for_selector(".chip >> text=vase")
    page.locator(".fresh").click()
    page.wait_for_selector(".fresh[aria-pressed=true]")
    page.locator("[data-tool=box]").click()
    drag(page, (0.0, 0.56), (0.33, 1.0))
    page.wait_for_selector(".chip >> text=object 2")
    finished(page)
    assert page.locator(".marks rect").count() == 1
    page.locator(".chip.chosen").wait_for()
    page.locator("[data-tool=scribble]").click()
    drag(page, (0.05, 0.9), (0.1, 0.85), (0.2, 0.7))
    page.locator(".marks polyline").wait_for(state="attached")
    finished(page)
    page.get_by_role("button", name="Remove object 2").click()
    page.wait_for_function("() => document.querySelectorAll('.chip').length === 1")


def test_a_photo_a_phrase_a_mask(page: Any, files: dict[str, Path]) -> None:
    give(page, files["photo"])
    say(page, "the orange vase")
    page.wait_for_selector(SHOWN)
    finished(page)
    assert any(holds(box, *VASE) for box in covered(page))
    assert page.locator(".talk mark").inner_text() == "the orange vase"
    assert page.locator("[data-part=task]").inner_text() == TASKS["img_refseg"].title, "what it was taken for"
    colour = "e => getComputedStyle(e).getPropertyValue('--colour')"
    assert page.locator(".talk mark").evaluate(colour) == page.locator(".masks path").first.evaluate(colour)
    page.locator("[data-look=opacity]").fill("80")
    assert page.locator(".masks path").first.evaluate("e => getComputedStyle(e).fillOpacity") == "0.8"
    page.locator("[data-look=before]").fill("50")
    assert "50%" in page.locator(".masks").evaluate("e => getComputedStyle(e).clipPath")
    helpers.screenshot(page, "phrase")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("[data-look=threshold]").fill("1")
    assert page.locator(SHOWN).count() == 0
    page.locator("[data-look=threshold]").fill("0")
    assert page.locator(SHOWN).count() == 1
    assert asked == [], "threshold and opacity need no server"


GIVE = """([how, data]) => {
    const carried = new DataTransfer(), bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    carried.items.add(new File([bytes], 'given.png', { type: 'image/png' }));
    const about = { bubbles: true, cancelable: true };
    if (how === 'paste') document.body.dispatchEvent(new ClipboardEvent('paste', { ...about, clipboardData: carried }));
    else for (const kind of ['dragover', 'drop'])
        document.querySelector('.view canvas').dispatchEvent(new DragEvent(kind, { ...about, dataTransfer: carried }));
}"""


@pytest.mark.parametrize("how", ["paste", "drop"])
def test_a_picture_that_is_pasted_or_dropped(how: str, page: Any, files: dict[str, Path]) -> None:
    """Also in place of one that is open."""
    page.wait_for_selector(".stage[data-state=empty]")
    for width, data in ((480, files["photo"].read_bytes()), (64, png((48, 64)))):
        page.evaluate(GIVE, [how, base64.b64encode(data).decode()])
        page.wait_for_function("width => document.querySelector('.view canvas').width === width", arg=width)
        page.wait_for_selector(READY)


def png(size: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size[::-1], (200, 80, 20)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("part", "least"), [("Picture", 1), pytest.param("Clip", 2, marks=pytest.mark.slow)])
def test_the_camera(part: str, least: int, page: Any) -> None:
    """A picture is taken; a clip is recorded in real time, which a busy machine may not keep up with."""
    page.get_by_role("button", name="Camera").click()
    camera = page.locator("#camera .block", has_text=part).last
    camera.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("() => [...document.querySelectorAll('#camera video')].some((film) => film.videoWidth > 0)")
    shutter = camera.locator(".capture-button")
    shutter.click()
    if least > 1:
        shutter.get_by_text("Stop").wait_for()
        page.wait_for_timeout(2000)  # so long is the clip
        shutter.click()
    page.wait_for_selector(".view[data-frame='0']")
    page.wait_for_selector(READY)
    assert int(page.locator(".time input").get_attribute("max")) + 1 >= least
    assert page.locator(".view canvas").evaluate("c => c.width * c.height") > 0


def test_a_list_of_categories_has_many_colours(page: Any, files: dict[str, Path]) -> None:
    give(page, files["photo"])
    say(page, "vase, spoon, sky, grass, soil")
    page.wait_for_selector(SHOWN)
    finished(page)
    assert page.locator(SHOWN).count() >= 2
    fills = page.locator(SHOWN).evaluate_all("list => list.map(e => getComputedStyle(e).fill)")
    assert len(set(fills)) == len(fills)
    helpers.screenshot(page, "categories")


def test_a_video_plays_with_masks_and_a_frame_is_corrected(page: Any, files: dict[str, Path]) -> None:
    give(page, files["clip"])
    say(page, "the pink leaf")
    page.wait_for_selector(SHOWN)
    assert page.locator(BUSY).count() == 1, "masks arrive while the video is looked at"
    page.wait_for_function(
        "() => /Frame [2-9] of \\d+ · .* left/.test(document.querySelector('.say span').textContent)"
    )
    helpers.screenshot(page, "video")
    finished(page)
    page.wait_for_selector(f".time output >> text={FRAMES} / {FRAMES}")

    frames = set()
    page.get_by_role("button", name="Play").click()
    for _ in range(20):
        frames.add(page.locator(".view").get_attribute("data-frame"))
        assert page.locator(".masks path").count() == 1
        page.wait_for_timeout(60)
    assert len(frames) > 2
    page.get_by_role("button", name="Pause").click()

    page.locator(".time input").fill("6")
    page.wait_for_selector(".view[data-frame='6']")
    before = page.locator(".masks path").get_attribute("d")
    click(page, 0.79, 0.7)
    page.locator(".marks .dot").wait_for(state="attached")
    finished(page)
    page.wait_for_function("old => document.querySelector('.masks path')?.getAttribute('d') !== old", arg=before)
    assert page.locator(".view").get_attribute("data-frame") == "6"
    assert page.locator(".marks .dot").count() == 1
    assert page.locator(SHOWN).count() == 1, "what was marked by hand is seen"
    helpers.screenshot(page, "correct")


def test_cancelled_work_stops_and_goes_on_when_asked(page: Any, files: dict[str, Path], app: Any) -> None:
    give(page, files["clip"])
    say(page, "the pink leaf")
    page.wait_for_selector(SHOWN)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(READY)
    assert re.fullmatch(r"Stopped after \d+ of \d+ frames\.", page.locator(".say span").inner_text())
    page.get_by_role("button", name="Go on").click()
    page.wait_for_selector(BUSY)
    assert app.state.worker.queue == 1
    page.close()
    asked = time.monotonic()
    while app.state.worker.queue and time.monotonic() < asked + 60:
        time.sleep(0.05)
    assert app.state.worker.queue == 0, "nobody is there to see it, so it stops"


def test_downloads(page: Any, files: dict[str, Path], tmp_path: Path) -> None:
    give(page, files["photo"])
    say(page, "the orange vase")
    page.wait_for_selector(SHOWN)
    finished(page)
    page.get_by_text("Download", exact=True).click()
    saved = {}
    for name in ("overlay", "coco", "davis"):
        with page.expect_download() as coming:
            page.locator(f"[data-format={name}]").click()
        saved[name] = tmp_path / coming.value.suggested_filename
        coming.value.save_as(saved[name])
    page.locator(".downloads").scroll_into_view_if_needed()
    helpers.screenshot(page, "download")
    assert Image.open(saved["overlay"]).size == (480, 360)
    annotations = json.loads(saved["coco"].read_text())["annotations"]
    with zipfile.ZipFile(saved["davis"]) as archive, archive.open(archive.namelist()[0]) as file:
        ids = np.asarray(Image.open(file))
    assert (ids > 0).sum() == annotations[0]["area"]


def test_what_goes_wrong_is_said_in_a_sentence(page: Any, files: dict[str, Path], tmp_path: Path) -> None:
    alert = page.get_by_role("alert").locator("visible=true")
    say(page, "the vase")
    alert.wait_for()
    assert alert.inner_text() == "Got nothing to look at. Expected a picture or a video. Open one, or take an example."
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"nothing" * 99)
    page.locator("#head input[type=file]").set_input_files(tmp_path / "broken.png")
    page.wait_for_function("() => document.querySelector('.error').textContent.includes('broken.png')")
    assert "Traceback" not in page.content()
    helpers.screenshot(page, "error")
    give(page, files["photo"])
    assert alert.count() == 0


def test_an_example_on_a_phone_by_touch_and_by_keyboard(page: Any, files: dict[str, Path]) -> None:
    page.set_viewport_size(PHONE)
    page.get_by_role("button", name="Vase").click()
    page.wait_for_selector(".view[data-frame='0']")
    page.wait_for_function("() => document.querySelector('#words textarea, #words input').value === 'the orange vase'")
    page.locator("#go").click()
    page.wait_for_selector(SHOWN)
    finished(page)
    helpers.screenshot(page, "phone")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "nothing sticks out"
    small = page.evaluate(
        "() => [...document.querySelectorAll('.stage button')]"
        ".filter((b) => b.offsetParent && b.offsetHeight < 30).length"
    )
    assert small == 0, "buttons are large enough for a finger"

    page.locator(".fresh").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".fresh[aria-pressed=true]")
    page.locator(".view").focus()
    page.keyboard.press("b")
    assert page.locator("[data-tool=box]").get_attribute("aria-pressed") == "true"
    for key in ["ArrowLeft"] * 3 + ["Enter"] + ["ArrowRight", "ArrowDown"] * 6 + ["Enter"]:
        page.keyboard.press(key)
    page.wait_for_selector(".chip.chosen >> text=object 2")
    finished(page)
    corners = page.locator(".marks rect").evaluate("r => [r.x, r.y, r.width, r.height].map(v => v.baseVal.value / 480)")
    assert corners == pytest.approx([0.44, 0.375, 0.12, 0.12], abs=0.01)


def test_talk(page: Any, files: dict[str, Path]) -> None:
    give(page, files["photo"])
    page.get_by_text("Talk", exact=True).click()
    for question in ("What is in the picture?", "And what colour has it?"):
        say(page, question)
        page.wait_for_selector(f".talk .you >> text={question}")
        finished(page)
    assert page.locator(".talk li").count() == 4
    assert all(text.strip() not in ("", "…") for text in page.locator(".talk .x2sam").all_inner_texts())
    helpers.screenshot(page, "talk")
