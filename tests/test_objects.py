"""Many objects: they take turns at the decoder, and what they share is computed once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from x2sam import X2Sam
from x2sam.config import preset
from x2sam.decoding.candidates import AnswerOptions
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.model.frames import FrameFeatures
from x2sam.requests import Request
from x2sam.tasks import TASKS
from x2sam.tracking.association import Hungarian
from x2sam.tracking.engine import EncodedPrompt
from x2sam.tracking.frame_step import take_turns
from x2sam.tracking.history import History
from x2sam.tracking.prompt_state import PromptState
from x2sam.types import Condition, Prompt, Region


class Drawing:
    """An engine whose model draws objects one by one."""

    def draws(self, request: Request) -> bool:
        return True


def state(number: int, count: int, shown: int = 0, **options: int | None) -> PromptState:
    region = Region(RLE.encode(np.ones((8, 8), bool)), "point", shown)
    prompt = Prompt(tuple(Condition(region=region) for _ in range(count)))
    request = Request(TASKS["vid_objseg"], prompt)
    encoded = EncodedPrompt(request, prompt.conditions, None)
    return PromptState(number, request, AnswerOptions(**options), Hungarian(prompt=number), encoded)


def turns(states: list[PromptState], index: int) -> list[tuple[int, int]]:
    """Prompt and condition of what is decoded on a frame, which it then has been."""
    chosen = take_turns(states, Drawing(), {s.key for s in states}, index)  # type: ignore[arg-type]
    for one in states:
        one.decoded |= dict.fromkeys(chosen[one.number] or (), index)
    return [(number, c) for number, places in chosen.items() for c in places or ()]


@pytest.mark.parametrize(("per_frame", "most"), [(1, 1), (2, 2), (None, 5)])
def test_objects_take_turns_and_nobody_waits_for_ever(per_frame: int | None, most: int) -> None:
    states = [state(0, 3, per_frame=per_frame), state(1, 1, per_frame=per_frame), state(2, 1, per_frame=per_frame)]
    assert len(turns(states, 0)) == 5, "those shown on this very frame"
    walked = [turns(states, index) for index in range(1, 16)]
    assert all(len(frame) == most for frame in walked)
    for one in [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]:
        times = [0, *(index for index, frame in enumerate(walked, 1) if one in frame)]
        assert max(np.diff(times)) <= -(-5 // most), f"{one} waited"


def test_what_is_pointed_at_comes_before_what_waits() -> None:
    states = [state(0, 2, per_frame=1)]
    turns(states, 0)
    turns(states, 1)
    states.append(state(1, 1, shown=5, per_frame=1))
    assert turns(states, 5) == [(1, 0)]
    assert turns(states, 6) == [(0, 1)]


def test_one_object_is_decoded_on_every_frame() -> None:
    assert [turns([one], i) for one in [state(0, 1)] for i in range(3)] == [[(0, 0)]] * 3
    every = [state(0, 1, every=3)]
    assert [bool(turns(every, i)) for i in range(7)] == [True, False, False, True, False, False, True]


@pytest.mark.parametrize("wrong", [0, -1, 1.5])
def test_turns_are_counted_in_objects(wrong: float) -> None:
    with pytest.raises(InputError, match=f"per_frame={wrong}"):
        AnswerOptions(per_frame=wrong)  # type: ignore[arg-type]


def test_prompts_that_remember_the_same_frames_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from x2sam.tracking import history as module

    calls = []
    compare = module._compare
    monkeypatch.setattr(module, "_compare", lambda *a: calls.append(1) or compare(*a))
    together, alone = History(), [History() for _ in range(3)]
    frames = [torch.nn.functional.normalize(torch.randn(8, 12, 12), dim=0) for _ in range(4)]
    masks = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    for frame in frames[:3]:
        for key in range(3):
            together.remember(key, frame, [masks[key]], [True])
            alone[key].remember(key, frame, [masks[key]], [True])
    found = together.propagate(frames[3], range(3))
    assert len(calls) == 3, "one for each frame that is remembered"
    for key in range(3):
        assert torch.allclose(found[key], alone[key].propagate(frames[3], [key])[key], atol=1e-6)


@pytest.fixture(scope="module")
def model() -> X2Sam:
    """The tiny model with a head that draws."""
    from x2sam.model.modeling import X2SamModel
    from x2sam.testing.tiny import tiny_processor

    config = preset("tiny")
    config.prompted_widths, config.prompted_layers = (8, 16, 16, 32), 1
    torch.manual_seed(0)
    return X2Sam(X2SamModel(config), tiny_processor(), "drawing")


def test_a_drawing_model_answers_prompts_together_as_alone(model: X2Sam) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    film = [np.roll(noise, 4 * i, axis=1) for i in range(4)]
    boxes = [{"box": (5 + 9 * i, 5, 25 + 9 * i, 40), "id": i + 1} for i in range(3)]
    ask = {"threshold": 0.0, "per_frame": None}
    track = model.open(film).track(regions=boxes[0], **ask)
    for box in boxes[1:]:
        track.add(regions=box, frame=0)
    together = track.finish()
    for box in boxes:
        alone = model.open(film).track(regions=box, **ask).finish()
        for ours, theirs in zip(together.objects[box["id"]], alone.segments, strict=True):
            assert ours.frame == theirs.frame
            assert ours.score == pytest.approx(theirs.score, abs=1e-5)
            assert (ours.mask != theirs.mask).mean() < 0.01


def test_in_turn_everybody_has_a_mask_on_every_frame(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    film = [np.full((48, 64, 3), 90, np.uint8)] * 5
    boxes = [{"box": (5 + 9 * i, 5, 25 + 9 * i, 40), "id": i + 1} for i in range(3)]
    drawn: list[int] = []
    draw = model.model.draw

    def counted(features: FrameFeatures, prompts: list) -> list:
        drawn.append(sum(len(p[0].conditions[0]) - 1 if p[1] is None else len(p[1]) for p in prompts))
        return draw(features, prompts)

    monkeypatch.setattr(model.model, "draw", counted)
    result = model.open(film).track(regions=boxes, threshold=0.0).finish()
    assert drawn == [3, 1, 1, 1, 1]
    assert [len(frame.segments) for frame in result.frames] == [3] * 5
    assert all(frame.segments[0].mask.shape == (48, 64) for frame in result.frames)
