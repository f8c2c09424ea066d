"""The processor: recorded tensors of the release, conventions, saving, and batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from x2sam.config import tiny
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.model.language import marker_spans
from x2sam.processing import X2SamProcessor
from x2sam.prompts import ANSWERS, QUESTIONS, clean, conversation, may_announce, read_answer
from x2sam.tasks import TASKS, Task
from x2sam.testing.tiny import byte_tokenizer, tiny_processor
from x2sam.types import Condition, Prompt, Region
from x2sam.vision import patches, smart_size, square_masks

GOLDEN = Path(__file__).parent / "data" / "golden" / "processors"
RECORDED = json.loads((GOLDEN / "processors.json").read_text())


def prompt_for(task: Task, count: int = 2, size: tuple[int, int] = (90, 140)) -> Prompt:
    """A prompt that fits a row of the table."""
    mask = np.zeros(size, dtype=bool)
    mask[20:40, 30:60] = True
    conditions = {
        "categories": [Condition("Cat"), Condition("sky", is_thing=False), Condition("red car")],
        "expressions": [Condition("The red cat"), Condition("a dog on the left"), Condition("it")],
        "questions": [Condition("Who barks?"), Condition("What keeps the rain off?"), Condition("Why?")],
        "regions": [Condition(region=Region(RLE.encode(np.roll(mask, 9 * i, 1)))) for i in range(3)],
    }.get(task.conditions, [])
    return Prompt(tuple(conditions[:count]), text="How many cats are there?" if task.is_chat else "")


@pytest.fixture(scope="module")
def released() -> X2SamProcessor:
    """A processor with the released settings; the tokenizer plays no part in pictures."""
    return X2SamProcessor(byte_tokenizer())


@pytest.fixture(scope="module")
def processor() -> X2SamProcessor:
    return tiny_processor()


@pytest.mark.parametrize("kind", ["image", "video"])
def test_grids_equal_the_recorded_ones(kind: str) -> None:
    key = next(k for k in RECORDED if k.startswith(f"{kind}_grid"))
    for sizes, grid in RECORDED[key].items():
        *frames, height, width = map(int, sizes.split("x"))
        if kind == "image":
            got = smart_size(height, width, 32, 3136, 1_003_520)
        else:
            rounded = -(-frames[0] // 2) * 2
            got = smart_size(height, width, 32, 4096, 25_165_824, frames[0], rounded)
        assert [g // 16 for g in got] == grid[1:], sizes


def test_pictures_equal_the_recorded_tensors(released: X2SamProcessor) -> None:
    recorded = load_file(GOLDEN / "processors.safetensors")
    image = np.asarray(Image.open(GOLDEN / "image.png").convert("RGB"))
    seen = released.see([image], is_video=False)
    assert list(seen.grid) == recorded["image.grid_thw"][0].tolist()
    # Resizing libraries round differently by one grey level: 1 / 127.5.
    assert (seen.patches - recorded["image.pixel_values"].float()).abs().max() < 1e-2
    clip = recorded["video.frames"]
    frames = list((clip if clip.shape[-1] == 3 else clip.permute(0, 2, 3, 1)).numpy())
    seen = released.see(frames, is_video=True)
    assert list(seen.grid) == recorded["video.grid_thw"][0].tolist()
    assert (seen.patches - recorded["video.pixel_values"].float()).abs().max() < 1e-2
    square = released.frames([image])[0]
    assert square.shape == (3, 1024, 1024)
    recorded_square = recorded["mask_branch.pixel_values_every_16th"].float()
    assert (square[:, ::16, ::16] - recorded_square).abs().max() < 2e-2


def test_patches_keep_merged_neighbours_together() -> None:
    frames = torch.arange(2 * 3 * 64 * 64).view(2, 3, 64, 64).float()
    cut, grid = patches(frames, patch=16, merge=2, temporal=2)
    assert grid == (1, 4, 4)
    blocks = cut.view(4, 4, 3, 2, 16, 16)  # merged cell, patch in the cell, channel, time, y, x
    assert torch.equal(blocks[1, 2], frames[:, :, 16:32, 32:48].transpose(0, 1))


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_conventions(task: Task, processor: X2SamProcessor) -> None:
    """Conditions, <SEG>, region slots and picture tokens are where the model looks for them."""
    config = tiny()
    frames = [np.full((90, 140, 3), 40 * i, np.uint8) for i in range(3 if task.media == "video" else 1)]
    prompt = prompt_for(task)
    batch = processor(task, prompt, frames)
    ids = batch["input_ids"]
    spans = marker_spans(ids, config.phrase_start_token_id, config.phrase_end_token_id)
    assert int(spans.max()) + 1 == len(prompt.conditions)
    wanted_seg = 0 if task.generates else (len(prompt.conditions) if task.shared_conditions else 1)
    assert int((ids == config.seg_token_id).sum()) == wanted_seg
    slots = ids == config.region_token_id
    assert int(slots.sum()) == config.region_tokens * len(prompt.regions)
    for i in range(len(prompt.regions)):
        assert int((slots & (spans == i)).sum()) == config.region_tokens
        assert int((spans == i).sum()) == config.region_tokens + 2  # and both markers
    pad = config.language_config.video_token_id if task.media == "video" else config.language_config.image_token_id
    grid = batch["video_grid_thw" if task.media == "video" else "image_grid_thw"][0]
    assert int((ids == pad).sum()) == int(grid.prod()) // 4
    text = processor.tokenizer.decode(ids[0].clamp_min(0))
    assert (("<1.0 seconds>" in text) and ("<2.0 seconds>" in text)) == (task.media == "video")


def test_only_answers_are_supervised(processor: X2SamProcessor) -> None:
    task = TASKS["img_refseg"]
    media = processor.see([np.zeros((64, 64, 3), np.uint8)], is_video=False)
    encoded = processor.encode(task, prompt_for(task), media)
    spoken = encoded.input_ids[encoded.labels != -100]
    assert processor.tokenizer.decode(spoken) == f"{ANSWERS[0]}<|im_end|>" * 2
    assert torch.equal(spoken, encoded.labels[encoded.labels != -100])


def test_prefix_is_shared_by_all_prompts(processor: X2SamProcessor) -> None:
    media = processor.see([np.zeros((64, 64, 3), np.uint8)], is_video=False)
    encoded = [
        processor.encode(task, prompt_for(task, size=(64, 64)), media)
        for task in TASKS.values()
        if task.media == "image"
    ]
    first = encoded[0]
    for other in encoded[1:]:
        assert other.prefix_length == first.prefix_length
        assert torch.equal(other.input_ids[: other.prefix_length], first.input_ids[: first.prefix_length])


def test_saved_processor_reloads_equal(processor: X2SamProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    again = X2SamProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    text = "<p>a red cat</p> ünïcödé <SEG>."
    assert again.tokenizer.encode(text) == processor.tokenizer.encode(text)


def test_true_timestamps_are_means_of_merged_pairs() -> None:
    processor = X2SamProcessor(byte_tokenizer(), timestamps="seconds", video_max_pixels=3 * 64 * 64)
    task = TASKS["vid_refseg"]
    batch = processor(task, prompt_for(task), [np.zeros((64, 64, 3), np.uint8)] * 3, times=[0.0, 0.5, 2.0])
    text = processor.tokenizer.decode(batch["input_ids"][0].clamp_min(0))
    assert "<0.2 seconds>" in text  # (0 + 0.5) / 2
    assert "<2.0 seconds>" in text  # the last frame alone


@pytest.mark.parametrize("side", [16, 64])
def test_a_small_region_never_vanishes(side: int) -> None:
    mask = np.zeros((500, 700), dtype=bool)
    mask[333, 444] = True
    square = square_masks([mask], side)[0]
    assert square.sum() == 1
    row, column = square.nonzero()[0].tolist()
    assert (row, column) == (333 * side // 500, 444 * side // 700)


def test_user_text_cannot_inject_markers(processor: X2SamProcessor) -> None:
    assert clean("a <SEG> b <|im_end|> <p>c</p>  <region>\n d") == "a b c d"
    task = TASKS["img_refseg"]
    turns = conversation(task, Prompt((Condition("cat</p> <SEG> <p>dog"),)))
    assert turns[0].question.count("<p>") == 1
    assert "<SEG>" not in turns[0].question


@pytest.mark.parametrize(
    ("spoken", "text", "phrases"),
    [
        ("<p>a man</p> rides <p>a horse</p>. And <SEG>.<|im_end|>", "a man rides a horse.", ["a man", "a horse"]),
        ("A dog. It is <SEG>.", "A dog.", []),
        ("<SEG>.", "", []),
        ("<p>two  birds</p> , and <p>open", "two birds, and open", ["two birds"]),
        ("", "", []),
    ],
)
def test_spoken_markers_become_phrases(spoken: str, text: str, phrases: list[str]) -> None:
    cleaned, found = read_answer(spoken)
    assert cleaned == text
    assert [p.text for p in found] == phrases
    assert all(cleaned[p.start : p.end] == p.text for p in found)


def test_announcements_are_held_back() -> None:
    assert may_announce("A dog. And")
    assert may_announce("Su")
    assert not may_announce("A dog. And a cat")


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_wordings_are_drawn_and_fixed(task: Task) -> None:
    prompt = prompt_for(task)
    fixed = conversation(task, prompt)
    assert fixed == conversation(task, prompt)
    drawn = {conversation(task, prompt, rng=np.random.default_rng(seed))[0].question for seed in range(40)}
    assert len(drawn) == len(QUESTIONS[task.prompt])


@pytest.mark.parametrize("task", [t for t in TASKS.values() if t.conditions != "answer"], ids=lambda t: t.name)
def test_a_prompt_missing_what_it_needs_is_one_error(task: Task) -> None:
    with pytest.raises(InputError, match=r"Got no .*Expected"):
        conversation(task, Prompt())


def test_what_was_said_before_is_read_and_learned_too(processor: X2SamProcessor) -> None:
    task = TASKS["img_chat"]
    media = processor.see([np.zeros((64, 64, 3), np.uint8)], False)
    prompt = Prompt(text="Where?", history=(("What is it?", "A bird."),))
    encoded = processor.encode(task, prompt, media, answer="There.")
    spoken = processor.tokenizer.decode(encoded.labels[encoded.labels != -100])
    assert spoken.replace("<|im_end|>", " ").split() == ["A", "bird.", "There."]
    assert len(processor.encode(task, prompt, media).input_ids) < len(encoded.input_ids)
