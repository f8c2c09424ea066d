"""The calls of transformers' documented video guide, with nothing but the names of the classes changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from x2sam import X2Sam
from x2sam.errors import InputError
from x2sam.integrations.transformers_video import X2SamVideoModel, X2SamVideoProcessor

HEIGHT, WIDTH, FRAMES = 360, 420, 6


@pytest.fixture(scope="module")
def model() -> X2SamVideoModel:
    return X2SamVideoModel.from_pretrained("tiny", device_map="cpu")


@pytest.fixture(scope="module")
def video_frames() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (36, 42, 3), dtype=np.uint8)
    big = np.kron(noise, np.ones((10, 10, 1), dtype=np.uint8))
    return [Image.fromarray(np.roll(big, 4 * i, 1)) for i in range(FRAMES)]


@pytest.fixture
def processor() -> X2SamVideoProcessor:
    return X2SamVideoProcessor.from_pretrained("tiny")


def test_one_object_then_several_then_a_correction(
    model: X2SamVideoModel, processor: X2SamVideoProcessor, video_frames: list[Image.Image]
) -> None:
    inference_session = processor.init_video_session(video=video_frames, inference_device="cpu")
    sizes = [[inference_session.video_height, inference_session.video_width]]
    assert sizes == [[HEIGHT, WIDTH]]
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=0,
        obj_ids=1,
        input_points=[[[[210, 350]]]],
        input_labels=[[[1]]],
    )
    outputs = model(inference_session=inference_session, frame_idx=0)
    masks = processor.post_process_masks([outputs.pred_masks], original_sizes=sizes, binarize=False)[0]
    assert masks.shape == (1, 1, HEIGHT, WIDTH)
    expected = list(
        X2Sam(model.predictor.model, model.predictor.processor).track(
            video_frames, regions=[{"points": [(210, 350)], "id": 1}], threshold=0.0
        )
    )
    segments: dict[int, Any] = {}
    for output in model.propagate_in_video_iterator(inference_session):
        segments[output.frame_idx] = processor.post_process_masks([output.pred_masks], original_sizes=sizes)[0]
    assert list(segments) == list(range(FRAMES))
    for frame in expected:
        ours = segments[frame.index][0, 0].numpy()
        assert np.array_equal(ours, frame.segments[0].mask if frame.segments else np.zeros_like(ours))

    inference_session.reset_inference_session()
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=0,
        obj_ids=[2, 3],
        input_points=[[[[200, 300], [230, 250], [275, 175]], [[400, 150]]]],
        input_labels=[[[1, 1, 0], [1]]],
    )
    outputs = model(inference_session=inference_session, frame_idx=0)
    assert outputs.object_ids == inference_session.obj_ids == [2, 3]
    assert outputs["pred_masks"].shape == (2, 1, HEIGHT, WIDTH)
    assert len(list(model.propagate_in_video_iterator(inference_session))) == FRAMES
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=3,
        obj_ids=2,
        input_points=[[[[220, 280]]]],
        input_labels=[[[1]]],
    )
    again = list(model.propagate_in_video_iterator(inference_session))
    assert [output.frame_idx for output in again] == list(range(FRAMES))
    back = list(model.propagate_in_video_iterator(inference_session, start_frame_idx=3, reverse=True))
    assert [output.frame_idx for output in back] == [3, 2, 1, 0]
    few = model.propagate_in_video_iterator(inference_session, start_frame_idx=1, max_frame_num_to_track=2)
    assert [output.frame_idx for output in few] == [1, 2, 3]


def test_frames_that_are_pushed(
    model: X2SamVideoModel, processor: X2SamVideoProcessor, video_frames: list[Image.Image]
) -> None:
    inference_session = processor.init_video_session(inference_device="cpu")
    for frame_idx, frame in enumerate(video_frames[:4]):
        inputs = processor(images=frame, device="cpu", return_tensors="pt").to(model.device)
        if frame_idx == 0:
            processor.add_inputs_to_inference_session(
                inference_session=inference_session,
                frame_idx=0,
                obj_ids=1,
                input_points=[[[[210, 350], [250, 220]]]],
                input_labels=[[[1, 1]]],
                original_size=inputs.original_sizes[0],
            )
        output = model(inference_session=inference_session, frame=inputs.pixel_values[0])
        masks = processor.post_process_masks([output.pred_masks], original_sizes=inputs.original_sizes, binarize=False)
        assert masks[0].shape == (inference_session.get_obj_num(), 1, HEIGHT, WIDTH)
        assert output.frame_idx == frame_idx
        if frame_idx == 1:
            processor.add_inputs_to_inference_session(inference_session, 2, [5], input_boxes=[[[9, 9, 200, 200]]])
    assert output.object_ids == [1, 5]
    assert inference_session.track is not None
    assert inference_session.track.done.frames == (), "nothing is kept of a stream"
    inference_session.remove_object(5)
    assert inference_session.get_obj_num() == 1


def test_texts(model: X2SamVideoModel, processor: X2SamVideoProcessor, video_frames: list[Image.Image]) -> None:
    session = processor.init_video_session(video=np.stack([np.asarray(frame) for frame in video_frames[:2]]))
    session = processor.add_text_prompt(session, ["cat", "木"])
    for output in model.propagate_in_video_iterator(session, max_frame_num_to_track=1):
        found = processor.postprocess_outputs(session, output)
        count = len(found["object_ids"])
        assert found["masks"].shape == (count, HEIGHT, WIDTH)
        assert found["boxes"].shape == (count, 4)
        assert sum(map(len, found["prompt_to_obj_ids"].values())) == count


def test_tensors_of_channels_first_and_masks_are_taken(model: X2SamVideoModel, processor: X2SamVideoProcessor) -> None:
    video = torch.randint(0, 256, (2, 3, 31, 37), dtype=torch.uint8)
    session = processor.init_video_session(video)
    assert (session.video_height, session.video_width, session.num_frames) == (31, 37, 2)
    mask = np.zeros((31, 37), dtype=bool)
    mask[4:20, 5:30] = True
    processor.add_inputs_to_inference_session(session, 0, [0], input_masks=mask)
    output = model(session, frame_idx=0)
    assert np.array_equal(output.pred_masks[0, 0].numpy() > 0, mask)


def test_mistakes_are_said(model: X2SamVideoModel, processor: X2SamVideoProcessor) -> None:
    session = processor.init_video_session(np.zeros((2, 9, 9, 3), np.uint8))
    for wrong in (
        lambda: model(session, frame_idx=0),
        lambda: model(session, frame_idx=7),
        lambda: model(session),
        lambda: processor.add_inputs_to_inference_session(session, 0, 1, input_points=[[[[1, 1]]]]),
        lambda: processor.add_inputs_to_inference_session(session, 0, [1, 2], input_boxes=[[[1, 1, 3, 3]]]),
        lambda: processor.add_inputs_to_inference_session(session, 0, 1),
        lambda: model(session, frame=np.zeros((9, 9, 3), np.uint8)),
    ):
        with pytest.raises(InputError):
            wrong()
