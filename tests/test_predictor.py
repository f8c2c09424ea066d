"""The main job, on the tiny random model: all fourteen tasks and both chats, sessions, batches, streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_processing import prompt_for

from x2sam import X2Sam
from x2sam.errors import CheckpointError, InputError, MediaError, X2SamError
from x2sam.media.opening import open_media
from x2sam.predictor import shipped
from x2sam.requests import make_request
from x2sam.results.result import Result
from x2sam.tasks import TASKS, Task
from x2sam.types import FrameResult, Prompt

LOW = {"threshold": 0.0}
"""Random scores are low; nothing may be hidden by a threshold."""


@pytest.fixture(scope="module")
def model() -> X2Sam:
    return X2Sam.from_pretrained("tiny", device="cpu")


def picture(seed: int = 0, size: tuple[int, int] = (90, 140)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def clip(frames: int = 5) -> list[np.ndarray]:
    return [np.roll(picture(3), 5 * i, axis=1) for i in range(frames)]


def same(a: FrameResult, b: FrameResult, tolerance: float = 1e-4) -> None:
    """Equal segments, scores up to float noise."""
    assert (a.index, a.height, a.width) == (b.index, b.height, b.width)
    assert len(a.segments) == len(b.segments)
    for x, y in zip(a.segments, b.segments, strict=True):
        assert (x.label, x.object_id, x.condition) == (y.label, y.object_id, y.condition)
        assert x.score == pytest.approx(y.score, abs=tolerance)
        assert (x.mask != y.mask).mean() < 1e-3


def run(model: X2Sam, task: Task, medium: Any, **options: Any) -> Result:
    prompt = prompt_for(task)
    if task.is_chat:
        return model.chat(medium, prompt.text, max_new_tokens=12)
    if task.media == "video":
        return model.track(medium, prompt, task=task.name, max_new_tokens=12, **options).finish()
    return model.segment(medium, prompt, task=task.name, max_new_tokens=12, **options)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_task_runs(model: X2Sam, task: Task) -> None:
    medium = clip(4) if task.media == "video" else picture()
    result = run(model, task, medium, **({} if task.is_chat else LOW))
    assert result.task == task.name
    assert len(result.frames) == (0 if task.is_chat else 4 if task.media == "video" else 1)
    for frame in result.frames:
        ids = [s.object_id for s in frame.segments if s.is_thing]
        assert len(ids) == len(set(ids))
        for segment in frame.segments:
            assert segment.mask.shape == (90, 140)
            assert 0 <= segment.score <= 1
            assert segment.frame == frame.index
    if not task.generates:
        assert result.found
        assert {s.label for s in result.segments} <= set(prompt_for(task).labels)
    again = run(model, task, medium, **({} if task.is_chat else LOW))
    assert again.text == result.text
    for a, b in zip(result.frames, again.frames, strict=True):
        same(a, b)


def test_two_prompts_on_one_medium_equal_two_calls(model: X2Sam) -> None:
    session = model.open(picture())
    boxes = {"box": (20, 20, 70, 60), "id": 7, "name": "thing"}
    for ask in ({"prompt": "the cat"}, {"regions": boxes}, {"prompt": ["cat", "dog"]}, {"prompt": "the cat"}):
        opened = session.segment(**ask, **LOW)
        assert opened.found
        same(opened.frames[0], model.segment(picture(), **ask, **LOW).frames[0])


def test_the_medium_is_read_once(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"encode": 0, "visual": 0}
    encode, visual = model.model.encode, model.model.language.model.model.visual.forward

    def count(name: str, function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return counted

    monkeypatch.setattr(model.model, "encode", count("encode", encode))
    monkeypatch.setattr(model.model.language.model.model.visual, "forward", count("visual", visual))
    session = model.open(picture())
    for prompt in ("a cat", "a dog", "a bird"):
        session.segment(prompt)
    session.chat("What is it?", max_new_tokens=3)
    assert calls == {"encode": 1, "visual": 1}


@pytest.mark.parametrize(
    "task", [t for t in TASKS.values() if t.media == "image" and not t.is_chat], ids=lambda t: t.name
)
def test_batch_equals_one_by_one(model: X2Sam, task: Task) -> None:
    pictures = [picture(i, size) for i, size in enumerate([(90, 140), (64, 64), (120, 50)])]
    prompts = [prompt_for(task, count, p.shape[:2]) for count, p in zip((2, 1, 3), pictures, strict=True)]
    together = model.segment_batch(pictures, prompts, task=task.name, max_new_tokens=6, **LOW)
    assert len(together) == 3
    for p, prompt, result in zip(pictures, prompts, together, strict=True):
        same(result.frames[0], model.segment(p, prompt, task=task.name, max_new_tokens=6, **LOW).frames[0])


def test_a_stream_of_unknown_length_equals_the_list(model: X2Sam) -> None:
    frames = clip(6)
    taken: list[int] = []

    def camera() -> Iterator[np.ndarray]:
        for i, frame in enumerate(frames):
            taken.append(i)
            yield frame

    track = iter(model.track(camera(), "the cat", **LOW))
    streamed = [next(track)]
    assert len(taken) <= model.processor.language_frames + 1  # it does not run ahead
    streamed += list(track)
    assert len(streamed) == 6
    # The language side of a stream sees its first frames, of a list a spread of them; masks of frame sizes agree.
    first = model.track(frames[: model.processor.language_frames], "the cat", **LOW).finish()
    for a, b in zip(streamed, first.frames, strict=False):
        same(a, b)


def test_an_endless_stream_is_not_remembered(model: X2Sam) -> None:
    track = model.track(iter(clip(5)), "the cat", keep=False, **LOW)
    assert [frame.index for frame in track] == [0, 1, 2, 3, 4]
    assert track.done.frames == ()


def test_text_streams_in_pieces(model: X2Sam) -> None:
    pieces: list[str] = []
    result = model.chat(picture(), "What is this?", on_text=pieces.append, max_new_tokens=20)
    assert "".join(pieces) == result.text
    long = model.chat(
        picture(),
        [
            {"role": "user", "content": "What is this?"},
            {"role": "assistant", "content": result.text or "A cat."},
            {"role": "user", "content": "Are you sure?"},
        ],
        max_new_tokens=5,
    )
    assert long.task == "img_chat"


def test_nothing_found_is_an_answer(model: X2Sam) -> None:
    result = model.segment(picture(), "the cat", threshold=1.0)
    assert not result.found
    assert result.segments == ()
    assert len(result.frames) == 1


def test_ids_given_to_regions_are_kept(model: X2Sam) -> None:
    regions = [{"box": (20, 20, 70, 60), "id": 41, "name": "left"}, {"point": (100, 50), "id": 7}]
    result = model.track(clip(3), regions=regions, **LOW).finish()
    assert set(result.objects) == {41, 7}
    assert {s.label for s in result.objects[41]} == {"left"}


@pytest.mark.parametrize(
    ("given", "kind", "task"),
    [
        ({"prompt": "the cat"}, "image", "img_refseg"),
        ({"prompt": "the cat"}, "video", "vid_refseg"),
        ({"prompt": "which one barks?"}, "image", "img_reaseg"),
        ({"prompt": "what barks"}, "video", "vid_reaseg"),
        ({"prompt": ["cat", "stuff: sky"]}, "image", "img_genseg"),
        ({"prompt": None}, "video", "vid_gcgseg"),
        ({"regions": (5, 5)}, "image", "img_intseg"),
        ({"regions": [(5, 5), (1, 1, 9, 9)]}, "video", "vid_objseg"),
        ({"prompt": "cat, dog", "task": "img_ovseg"}, "image", "img_ovseg"),
    ],
)
def test_the_task_is_inferred(given: dict[str, Any], kind: str, task: str) -> None:
    medium = open_media(clip(2) if kind == "video" else picture())
    request = make_request(medium, **given)
    assert request.task.name == task
    if isinstance(given.get("prompt"), list):
        assert [c.is_thing for c in request.prompt.conditions] == [True, False]
        assert request.prompt.labels == ("cat", "sky")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "img_refsegg", "prompt": "cat"}, "Did you mean img_refseg"),
        ({"task": "vid_refseg", "prompt": "cat"}, "Did you mean img_refseg"),
        ({"task": "vid_objseg", "regions": (5, 5)}, "Did you mean img_intseg"),
        ({"task": "img_refseg"}, "Got no a phrase|Got no phrase"),
        ({"task": "img_vgdseg"}, "point, box, scribble, mask or example"),
        ({"prompt": ""}, "Got"),
        ({"regions": (500, 5)}, "outside|140"),
        ({"regions": {"box": (5, 5, 2, 2)}}, "no area"),
        ({"regions": {"circle": 3}}, "exactly one of"),
        ({"regions": np.zeros((90, 140), bool)}, "without pixels|empty"),
        ({"regions": np.ones((9, 14), bool)}, "140x90"),
        ({"regions": {"point": (5, 5), "frame": 3}}, "frame 3"),
        ({"prompt": "cat", "regions": (5, 5), "task": "img_refseg"}, "Got regions"),
        ({"prompt": "cat", "bogus": 1}, "bogus"),
        ({"prompt": "cat", "threshold": float("nan")}, "threshold"),
        ({"prompt": "cat", "task": "img_chat"}, "chat"),
    ],
)
def test_mistakes_are_one_clear_error(model: X2Sam, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        model.segment(picture(), **given)
    assert "\n" not in str(caught.value)


def test_without_trained_weights_the_default_says_so() -> None:
    if shipped():
        assert X2Sam.from_pretrained(device="cpu").name == "nano"
        return
    with pytest.warns(UserWarning, match="random weights"):
        assert X2Sam.from_pretrained(device="cpu").name == "tiny"


def test_unloadable_models_and_devices_are_one_clear_error() -> None:
    for arguments, kind in (
        ({"name_or_path": "/no/such/folder"}, CheckpointError),
        ({"name_or_path": "tiny", "device": "gpu9"}, InputError),
        ({"name_or_path": "tiny", "dtype": "float17"}, InputError),
        ({"name_or_path": "tiny", "dtype": "int8"}, InputError),
    ):
        with pytest.raises(kind):
            X2Sam.from_pretrained(**arguments)


def test_unreadable_media_are_one_clear_error(model: X2Sam, tmp_path: Any) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no picture")
    for name in ("missing.jpg", "empty.jpg", "text.png"):
        with pytest.raises(MediaError, match=name.split(".")[0]):
            model.segment(tmp_path / name, "the cat")


def test_not_a_number_is_reported(model: X2Sam) -> None:
    broken = X2Sam.from_pretrained("tiny", device="cpu")
    torch.nn.init.constant_(broken.model.mask_decoder.norm.weight, float("nan"))
    with pytest.raises(X2SamError, match=r"NaN|not a number|finite"):
        broken.segment(picture(), "the cat")


@pytest.mark.parametrize("size", [(1, 1), (1, 150), (300, 7)])
def test_odd_sizes_work(model: X2Sam, size: tuple[int, int]) -> None:
    result = model.segment(picture(0, size), "the cat", **LOW)
    (frame,) = result.frames
    assert (frame.height, frame.width) == size
    assert all(segment.mask.shape == size for segment in result.segments)


def test_a_prompt_object_passes_through(model: X2Sam) -> None:
    prompt = prompt_for(TASKS["img_genseg"])
    assert model.segment(picture(), prompt, task="img_genseg", **LOW).prompt == prompt
    assert isinstance(prompt, Prompt)


def test_threads_on_one_model_get_the_answers_of_one_thread(model: X2Sam) -> None:
    """Names, phrases, clicks, words and clips at once: nothing of a request hangs on the model."""
    photo, film = picture(4), clip(3)
    asks: list[Callable[[], Result]] = [
        lambda: model.segment(photo, ["dog", "stuff: sky"], **LOW),
        lambda: model.segment(photo[::-1], "the big dog on the left side of the picture", **LOW),
        lambda: model.segment(photo, regions=(40, 30), **LOW),
        lambda: model.segment(photo, max_new_tokens=6, **LOW),
        lambda: model.chat(photo, "What is this?", max_new_tokens=6),
        lambda: model.track(film, "the dog", **LOW).finish(),
    ]
    alone = [ask().to_dict() for ask in asks]
    ready, wrong = threading.Barrier(16), list[str]()

    def work(thread: int) -> None:
        ready.wait()
        for number in ((thread + n) % len(asks) for n in range(2)):
            try:
                if asks[number]().to_dict() != alone[number]:
                    wrong.append(f"another answer to request {number}")
            except Exception as error:
                wrong.append(f"request {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_threads_on_one_session_get_the_answers_of_one_thread(model: X2Sam) -> None:
    """A session reads its medium once and keeps that reading: who asks meanwhile waits."""
    asks = ["the dog", ["dog", "cat"], "the big red car", ["a", "b", "c"]]
    alone = [model.open(picture(5)).segment(ask, **LOW).to_dict() for ask in asks]
    session, ready, wrong = model.open(picture(5)), threading.Barrier(8), list[str]()

    def work(thread: int) -> None:
        ready.wait()
        for number in ((thread + n) % len(asks) for n in range(3)):
            try:
                if session.segment(asks[number], **LOW).to_dict() != alone[number]:
                    wrong.append(f"another answer to request {number}")
            except Exception as error:
                wrong.append(f"request {number}: {error!r}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_results_as_arrays_and_in_a_line(tmp_path: Path) -> None:
    """A row for each segment; no run lengths in what is printed."""
    model = X2Sam.from_pretrained("tiny", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    result = model.segment(pixels, ["cat", "dog"], threshold=0.0)
    count = len(result.segments)
    assert count
    assert (result.masks.shape, result.boxes.shape, result.scores.shape) == ((count, 30, 40), (count, 4), (count,))
    assert (result.masks == np.stack([s.mask for s in result.segments])).all()
    assert result.labels == [s.label for s in result.segments]
    assert result.ids.tolist() == [s.object_id for s in result.segments]
    assert result.frames[0].masks.shape == result.masks.shape
    assert result.plot().shape == (30, 40, 3)
    for told in (result, result.frames[0], result.segments[0]):
        assert "\n" not in repr(told)
        assert "counts" not in repr(told)
    nothing = model.segment(pixels, "the cat", threshold=1.0)
    assert (nothing.masks.shape, nothing.boxes.shape, nothing.found) == ((0, 30, 40), (0, 4), False)
    assert "nothing found" in repr(nothing)


def test_a_list_of_pictures_is_a_batch() -> None:
    model = X2Sam.from_pretrained("tiny", device="cpu")
    pictures = [np.random.default_rng(i).integers(0, 256, (30, 40 + i, 3), dtype=np.uint8) for i in range(10)]
    results = model.segment(pictures, "the cat", threshold=0.0)
    assert [r.clip.size for r in results] == [(30, 40 + i) for i in range(10)]
    assert {r.task for r in results} == {"img_refseg"}
    one = model.segment(pictures[9], "the cat", threshold=0.0)
    assert np.allclose(one.scores, results[9].scores, atol=1e-5)
    marked = model.segment(pictures[:2], regions=[(5, 5), {"box": (1, 1, 9, 9)}], threshold=0.0)
    assert [r.prompt.regions[0].kind for r in marked] == ["point", "box"]
    with pytest.raises(InputError, match="an entry for each"):
        model.segment(pictures[:2], regions=(5, 5, 9))
