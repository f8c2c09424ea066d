"""The page in a real browser, with nano on a free photo: a day's work in small, and what can go wrong in it."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as helpers
import numpy as np
import pytest

pytest.importorskip("playwright")
pytest.importorskip("skimage")
if helpers.CHROMIUM is None:
    pytest.skip(helpers.MISSING, allow_module_level=True)

from x2sam import X2Sam
from x2sam.data.world.photos import photo
from x2sam.masks import RLE
from x2sam.media.video import VideoWriter
from x2sam.serve.api import create_app

FRAMES = 6
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}
FACE = (0.45, 0.5)
"""Where the cat is, in shares of the photo; at the film's first frame as well."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with helpers.serving(create_app(X2Sam.from_pretrained("nano"))) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with helpers.browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The photo of a cat, and a film that moves over it."""
    folder, cat = tmp_path_factory.mktemp("media"), photo("chelsea")
    cat.save(folder / "cat.png")
    with VideoWriter(folder / "cat.mp4", (240, 320), 6.0) as writer:
        for i in range(FRAMES):
            writer.write(np.asarray(cat.crop((8 * i, 0, 8 * i + 400, 300)).resize((320, 240))))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"nothing" * 9)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A fresh visitor; nothing may go wrong unseen, and nobody else is asked for anything."""
    context = browser.new_context(viewport=DESK, accept_downloads=True)
    tab = context.new_page()
    tab.set_default_timeout(90_000)
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    tab.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 500 else None)
    tab.on("request", lambda asked: None if asked.url.startswith((address, "blob:")) else wrong.append(asked.url))
    tab.goto(address)
    yield tab
    tab.evaluate("() => x2sam.work?.save()")
    context.close()
    assert wrong == []


def until(page: Any, happened: str, seconds: float = 90.0) -> None:
    """Wait for something to be true in the page, whose policy lets nobody evaluate text in it but the debugger."""
    end = time.monotonic() + seconds
    while not page.evaluate(happened):
        assert time.monotonic() < end, f"it never happened: {happened}; {page.inner_text('#problem p')}"
        page.wait_for_timeout(30)


def give(page: Any, file: Path) -> None:
    page.set_input_files("#file", file)
    until(page, f"() => document.title.startsWith('{file.name}') && x2sam.view.canvas.dataset.frame === '0'")


def place(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the medium, in shares of it, is in the window."""
    return tuple(
        page.evaluate(
            """([x, y]) => {
                const { view, work } = x2sam, box = view.canvas.getBoundingClientRect();
                const [left, top] = view.place([x * work.media.width, y * work.media.height]);
                return [left + box.left, top + box.top];
            }""",
            [x, y],
        )
    )


def click(page: Any, x: float, y: float) -> None:
    marks = "() => x2sam.view.pending.length"
    page.mouse.click(*place(page, x, y))
    until(page, f"() => !({marks})()")


def drag(page: Any, *points: tuple[float, float]) -> None:
    for i, point in enumerate(points):
        page.mouse.move(*place(page, *point), steps=4 if i else 1)
        if not i:
            page.mouse.down()
    page.mouse.up()


def say(page: Any, words: str) -> None:
    page.fill("#words", words)
    page.press("#words", "Enter")
    until(page, "() => !x2sam.finding.running && x2sam.work.talk.at(-1).who === 'x2sam'")


def names(page: Any) -> list[str]:
    """Of the objects, the topmost first."""
    return page.locator("#objects .name").all_inner_texts()


def cells(page: Any) -> dict[str, Any]:
    """The masks of the document, by "object/frame"."""
    return page.evaluate(
        """() => Object.fromEntries([...x2sam.work.cells].flatMap(
            ([id, row]) => [...row].map(([frame, cell]) => [`${id}/${frame}`, cell])))"""
    )


def mask(counts: str) -> RLE:
    """A mask of the photo."""
    return RLE.from_coco({"size": [300, 451], "counts": counts})


def saved(page: Any) -> None:
    page.evaluate("() => x2sam.work.save()")


def exported(page: Any, format: str, folder: Path) -> Path:
    page.keyboard.press("Control+e")
    with page.expect_download() as coming:
        page.locator("#exports li button").filter(has_text=format).first.click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    page.keyboard.press("Escape")
    return path


def test_a_picture_from_the_click_to_the_export(page: Any, files: dict[str, Path], tmp_path: Path) -> None:
    until(page, "() => document.querySelectorAll('#examples img').length")
    until(page, "() => [...document.querySelectorAll('#examples img')].every((each) => each.naturalWidth)")
    helpers.screenshot(page, "start")
    give(page, files["cat.png"])
    click(page, *FACE)
    assert names(page) == ["object"]
    first = cells(page)["1/0"]
    assert RLE.from_coco({"size": [300, 451], "counts": first["counts"]}).decode()[150, 203], (
        "the mask is where it was clicked"
    )
    helpers.screenshot(page, "click")
    page.keyboard.press("Control+z")
    until(page, "() => !document.querySelector('#objects li')")
    page.keyboard.press("Control+Shift+z")
    until(page, "() => document.querySelector('#objects li')")
    assert cells(page)["1/0"] == first
    page.get_by_role("button", name="object 1,").click()
    page.keyboard.press("r")
    page.keyboard.type("face")
    page.keyboard.press("Enter")
    assert names(page) == ["face"]

    page.keyboard.press("a")
    page.keyboard.press("d")
    drag(page, (0.8, 0.8), (0.9, 0.85))  # by hand, on the ground
    say(page, "the cat")
    helpers.screenshot(page, "phrase")
    assert names(page) == ["the cat", "object", "face"]
    by_hand = cells(page)["2/0"]
    assert (by_hand["by"], cells(page)["1/0"]) == ("hand", first), "a phrase takes nothing away"
    say(page, "the zebra")
    assert {"the cat", "object", "face"} <= set(names(page))
    page.locator("#picture").focus()
    page.keyboard.press("e")
    page.get_by_role("button", name="object 2,").click()
    drag(page, (0.79, 0.8), (0.85, 0.82))
    wiped = cells(page)["2/0"]["counts"]
    assert wiped not in (by_hand["counts"], None)
    known = names(page)

    saved(page)
    page.reload()
    until(page, f"() => x2sam.work?.objects.length === {len(known)}")
    assert names(page) == known, "a reload loses nothing"
    assert cells(page)["2/0"]["counts"] == wiped
    page.click("#open")
    give(page, files["cat.mp4"])
    page.click("#open")
    page.get_by_role("button", name="cat.png").first.click()
    until(page, f"() => x2sam.work?.objects.length === {len(known)}")
    coco = json.loads(exported(page, "coco", tmp_path).read_text())
    assert {each["name"] for each in coco["categories"]} == set(known)
    areas = {each["area"] for each in coco["annotations"]}
    assert mask(wiped).area in areas


def test_marks_correct_and_are_taken_back(page: Any, files: dict[str, Path]) -> None:
    give(page, files["cat.png"])
    page.keyboard.press("b")
    drag(page, (0.12, 0.02), (0.8, 0.97))
    until(page, "() => x2sam.work.objects.length === 1 && !x2sam.view.pending.length")
    boxed = cells(page)["1/0"]["counts"]
    page.keyboard.press("n")
    click(page, 0.62, 0.85)
    less = cells(page)["1/0"]
    assert [mark["tool"] for mark in less["marks"]] == ["box", "negative"]
    assert len(names(page)) == 1, "marks belong to the object that is selected"
    page.get_by_role("button", name="Take back negative 2").click()
    until(page, "() => x2sam.work.cell(1, 0).marks.length === 1")
    assert cells(page)["1/0"]["counts"] == boxed
    page.keyboard.press("a")
    page.keyboard.press("d")
    for corner in ((0.9, 0.1), (0.95, 0.6)):
        drag(page, corner, (corner[0] + 0.02, corner[1] + 0.05))
        page.keyboard.press("a")
    areas = [mask(cells(page)[f"{i}/0"]["counts"]).area for i in (2, 3)]
    page.locator("#objects .name").nth(0).click()
    page.locator("#objects .name").nth(1).click(modifiers=["Control"])
    page.keyboard.press("m")
    assert len(names(page)) == 2
    merged = cells(page)["3/0"]["counts"]
    assert mask(merged).area == sum(areas)
    page.keyboard.press("[")
    assert page.evaluate("() => x2sam.work.objects.map((each) => each.id)") == [3, 1]
    page.keyboard.press("Delete")
    for _ in range(3):
        page.keyboard.press("Control+z")
        page.wait_for_timeout(30)
    assert len(names(page)) == 3, "everything is undone"


def test_a_film_corrected_at_two_places_scrubbed_and_exported(
    page: Any, files: dict[str, Path], tmp_path: Path
) -> None:
    give(page, files["cat.mp4"])
    click(page, *FACE)
    assert list(cells(page)) == ["1/0"], "the other frames are not yet followed"
    assert "not yet followed on 5 frames" in page.get_attribute("#lines", "aria-label")
    page.keyboard.press("f")
    until(page, f"() => !x2sam.finding.running && x2sam.work.row(1).size === {FRAMES}")
    followed = cells(page)
    for frame in (2, 4):
        page.evaluate(f"() => x2sam.go({frame})")
        until(page, f"() => x2sam.view.canvas.dataset.frame === '{frame}'")
        page.keyboard.press("d")
        drag(page, (0.86, 0.5), (0.9, 0.6))
    helpers.screenshot(page, "film")
    corrected = {frame: cells(page)[f"1/{frame}"]["counts"] for frame in (2, 4)}
    page.keyboard.press("f")
    until(page, "() => !x2sam.finding.running && document.querySelector('#status').textContent.startsWith('Followed')")
    again = cells(page)
    for frame, counts in corrected.items():
        assert again[f"1/{frame}"]["counts"] == counts != followed[f"1/{frame}"]["counts"], (
            "what was made by hand stays"
        )
    assert "shown by hand on 3" in page.get_attribute("#lines", "aria-label")
    page.locator("#picture").focus()
    page.evaluate("() => x2sam.go(0)")
    for key, frame in (
        ("ArrowRight", 1),
        ("PageDown", 2),
        ("PageDown", 4),
        ("ArrowLeft", 3),
        ("ArrowLeft", 2),
        (".", 3),
    ):
        page.keyboard.press(key)
        until(page, f"() => x2sam.view.canvas.dataset.frame === '{frame}'")
    page.keyboard.press("x")
    until(page, "() => document.querySelector('#objects .note').textContent === 'not here'")
    with zipfile.ZipFile(exported(page, "davis", tmp_path)) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == FRAMES
    assert exported(page, "overlay", tmp_path).stat().st_size > 1000
    page.evaluate("() => { x2sam.go(0); x2sam.selected = []; }")
    say(page, "the cat")
    assert "1/2" in cells(page)
    assert cells(page)["1/2"]["counts"] == corrected[2]


def test_a_click_hits_the_pixel_it_is_on_however_zoomed(page: Any, files: dict[str, Path]) -> None:
    give(page, files["cat.png"])
    wanted = (203.25, 150.5)
    for turn, (scroll, move) in enumerate(((0, 0), (-400, 60), (-900, -30))):
        x, y = place(page, wanted[0] / 451, wanted[1] / 300)
        page.mouse.move(x, y)
        page.mouse.wheel(0, scroll)
        page.keyboard.down(" ")
        page.mouse.down()
        page.mouse.move(x + move, y + move, steps=3)
        page.mouse.up()
        page.keyboard.up(" ")
        x, y = place(page, wanted[0] / 451, wanted[1] / 300)
        page.mouse.click(round(x), round(y))
        until(page, f"() => x2sam.work.cell(1, 0)?.marks.length === {turn + 1}")
        scale = page.evaluate("() => x2sam.view.scale")
        hit = cells(page)["1/0"]["marks"][-1]["points"][0]
        assert max(abs(hit[0] - wanted[0]), abs(hit[1] - wanted[1])) <= 0.51 / scale
        if scroll:
            assert scale > 2
        page.evaluate("() => x2sam.view.fit()")
        wanted = (wanted[0] + 30, wanted[1] - 20)


def test_by_keyboard_alone(page: Any, tmp_path: Path) -> None:
    """From an example to the export, without a mouse."""
    page.wait_for_selector("#examples li")
    for _ in range(40):
        page.keyboard.press("Tab")
        if "the cat" in page.evaluate("() => document.activeElement.textContent"):
            break
    page.keyboard.press("Enter")
    until(page, "() => x2sam.view.canvas.dataset.frame === '0'")
    page.keyboard.press("ArrowRight")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    until(page, "() => x2sam.work.objects.length === 1")
    for key in ("F2", "c", "a", "t", "Enter"):
        page.keyboard.press(key)
    assert names(page) == ["cat"]
    page.locator("#picture").focus()
    for key in ("Escape", "Escape", "d", "Enter", "Enter", "ArrowRight", "ArrowRight", "Enter", "1"):
        page.keyboard.press(key)
    assert names(page) == ["cat", "cat"], "painted, and of the first class"
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    until(page, "() => x2sam.work.objects.length === 1")
    page.keyboard.press("?")
    helpers.screenshot(page, "keys")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+e")
    page.wait_for_selector("#exports li")
    with page.expect_download() as coming:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    assert coming.value.suggested_filename.startswith("cat.")


def test_two_hundred_objects(page: Any, files: dict[str, Path]) -> None:
    """A stroke among two hundred masks; how long it takes is printed, and `docs/page.md` says what was measured."""
    give(page, files["cat.png"])
    page.evaluate(
        """() => x2sam.work.edit('many', (step) => {
            for (let i = 0; i < 200; i++) {
                const id = step.add({ name: `thing ${i % 7}` });
                const x = (i % 20) * 22, y = Math.floor(i / 20) * 28, runs = [x * 300 + y];
                for (let c = 0; c < 30; c++) runs.push(26, 300 - 26);
                runs[runs.length - 1] = 451 * 300 - runs.slice(0, -1).reduce((a, b) => a + b);
                step.cell(id, 0, { counts: x2sam.rle.countsOf(runs), score: 1, by: 'hand', marks: [], base: null });
            }
        })"""
    )
    until(page, "() => document.querySelectorAll('#objects li').length === 200")
    page.keyboard.press("d")
    times = page.evaluate(
        """async () => {
            const { view, tools } = x2sam, box = view.canvas.getBoundingClientRect(), took = [];
            const send = (type, x, y) => view.canvas.dispatchEvent(new PointerEvent(type, {
                pointerId: 1, pointerType: 'mouse', buttons: 1, bubbles: true,
                clientX: box.left + x, clientY: box.top + y }));
            view.canvas.setPointerCapture = () => {};
            x2sam.select([100]);
            await new Promise(requestAnimationFrame);
            for (let turn = 0; turn < 5; turn++) {
                const begun = performance.now();
                send('pointerdown', 200 + turn * 40, 300);
                for (let i = 1; i <= 10; i++) send('pointermove', 200 + turn * 40 + i * 6, 300 + i * 4);
                view.draw();
                const drawn = performance.now();
                send('pointerup', 260 + turn * 40, 340);
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                took.push([drawn - begun, performance.now() - begun]);
            }
            return took;
        }"""
    )
    print("stroke, and stroke with list and masks shown anew, in ms:", [[round(t) for t in row] for row in times])
    assert cells(page)["100/0"]["by"] == "hand"
    saved(page)
    page.reload()
    until(page, "() => x2sam.work?.objects.length === 200")


def test_a_phone_in_the_dark_and_names_for_everything(browser: Any, address: str, files: dict[str, Path]) -> None:
    context = browser.new_context(viewport=PHONE, color_scheme="dark", has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.goto(address)
    give(page, files["cat.mp4"])
    page.touchscreen.tap(*place(page, *FACE))
    until(page, "() => x2sam.work.objects.length === 1")
    until(page, "() => document.querySelector('#objects li')")
    helpers.screenshot(page, "phone")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"], "nothing sticks out"
    red, green, blue = page.evaluate(
        "() => getComputedStyle(document.documentElement).backgroundColor.match(/[0-9]+/g).slice(0, 3).map(Number)"
    )
    assert max(red, green, blue) < 60, "it is dark where the visitor wants it dark"
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas, summary, dialog')].filter((each) => !(
            each.ariaLabel || each.textContent.trim() || each.labels?.length || each.hidden
            )).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    context.close()


def test_what_goes_wrong_is_said_and_loses_nothing(page: Any, files: dict[str, Path]) -> None:
    page.set_input_files("#file", files["broken.png"])
    page.wait_for_selector("#problem:not([hidden])")
    assert "broken.png" in page.inner_text("#problem p")
    give(page, files["cat.png"])
    page.keyboard.press("d")
    drag(page, (0.2, 0.2), (0.4, 0.3))
    mask = cells(page)["1/0"]["counts"]
    saved(page)
    page.evaluate("() => x2sam.api.remove(`/v1/sessions/${x2sam.work.id}`)")  # as if the service had begun anew
    drag(page, (0.2, 0.4), (0.4, 0.5))
    until(page, "() => document.querySelector('#status').textContent.includes('opened again')")
    page.reload()
    until(page, "() => x2sam.work?.objects.length === 1")
    newest = cells(page)["1/0"]["counts"]
    assert newest != mask, "the newest of it was saved, too"
    page.evaluate("() => x2sam.api.remove(`/v1/sessions/${x2sam.work.id}`)")  # the page has no file any more
    page.keyboard.press("Control+z")
    page.keyboard.press("d")
    drag(page, (0.6, 0.4), (0.7, 0.5))
    until(page, "() => document.querySelector('#problem p').textContent.includes('again')")
    page.set_input_files("#file", files["cat.png"])
    until(page, "() => document.querySelector('#status').textContent.includes('opened again')")
    page.reload()
    until(page, "() => x2sam.work?.objects.length === 2")


def test_talk(page: Any, files: dict[str, Path]) -> None:
    give(page, files["cat.png"])
    page.select_option("#mode", "talk")
    say(page, "What is this?")
    turns = page.locator("#talk li")
    assert turns.count() == 2
    assert turns.last.inner_text().strip()
    page.select_option("#mode", "find")
    say(page, "")
    helpers.screenshot(page, "describe")
    assert page.locator("#talk li").count() == 4
