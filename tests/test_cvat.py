"""CVAT's functions by its own SDK: loader, specs, the types of shapes; masks there and back."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from x2sam import X2Sam
from x2sam.errors import InputError

cvat = pytest.importorskip("cvat_sdk.auto_annotation")
common = pytest.importorskip("cvat_cli._internal.common")
masks = pytest.importorskip("cvat_sdk.masks")

SIZE = (61, 83)


def load(**parameters: Any) -> Any:
    return common.FunctionLoader("x2sam.integrations.cvat", None, {"model": "tiny", **parameters}).load()


def image(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return Image.fromarray(np.roll(pixels, seed, 1))


def detecting(**about: Any) -> Any:
    return SimpleNamespace(**{"frame_name": "a.png", "conf_threshold": None, "conv_mask_to_poly": False, **about})


def test_labels_are_detected_in_every_shape() -> None:
    expected = X2Sam.from_pretrained("tiny").segment(np.asarray(image()), ["cat", "木"], threshold=0.0).segments
    assert expected
    kinds = {"mask": "mask", "polygon": "polygon", "rectangle": "rectangle"}
    for shape in kinds:
        function = load(labels="Cat,Baum", prompts="cat,木", shape=shape)
        assert [(label.name, label.id) for label in function.spec.labels] == [("Cat", 0), ("Baum", 1)]
        found = function.detect(detecting(conf_threshold=0.0), image())
        assert {drawn.type.value for drawn in found} == {kinds[shape]}
        assert {drawn.label_id for drawn in found} <= {0, 1}
        if shape == "mask":
            back = [masks.decode_mask(drawn.points, image_width=83, image_height=61) for drawn in found]
            assert all(np.array_equal(b, s.mask) for b, s in zip(back, expected, strict=True))
    function = load(labels="Cat,Baum", threshold=0.0)
    assert {d.type.value for d in function.detect(detecting(conv_mask_to_poly=True), image())} == {"polygon"}
    tags = load(labels="Cat,Baum", shape="tag").detect(detecting(conf_threshold=0.0), image())
    assert {tag.label_id for tag in tags} <= {0, 1}
    assert load(labels="Cat").detect(detecting(conf_threshold=1.0), image()) == []


@pytest.mark.parametrize("shape", ["mask", "mask as polygon", "rectangle", "tag"])
def test_the_driver_of_the_sdk_takes_what_is_detected(shape: str) -> None:
    """What `task auto-annotate` checks before it sends anything; the task has the labels under ids of its own."""
    driver = pytest.importorskip("cvat_sdk.auto_annotation.driver")
    shape, _, polygon = shape.partition(" as ")
    function = load(labels="Cat,Baum", shape=shape, threshold=0.0)
    about = {"type": "any", "attributes": [], "sublabels": []}  # as a server gives labels
    labels = [cvat.label_spec(name, 70 + i, **about) for i, name in enumerate(("Baum", "Cat"))]
    how = {"allow_unmatched_labels": False, "conv_mask_to_poly": bool(polygon)}
    checks = driver._AnnotationMapper(logging.getLogger(), function.spec.labels, labels, **how)
    found = function.detect(detecting(conv_mask_to_poly=bool(polygon)), image())
    tags, shapes = checks.validate_and_remap(found, ds_frame=5)
    assert {made.label_id for made in [*tags, *shapes]} <= {70, 71}
    assert tags or shapes


def test_shapes_are_followed() -> None:
    """All types that CVAT may hand over come back as they came; shapes of one picture share a session."""
    function = load(kind="track")
    mask = np.zeros(SIZE, dtype=bool)
    mask[20:40, 30:60] = True
    shapes = [
        cvat.TrackableShape(type="mask", points=masks.encode_mask(mask)),
        cvat.TrackableShape(type="rectangle", points=[30, 20, 60, 40]),
        cvat.TrackableShape(type="polygon", points=[30, 20, 60, 20, 60, 40]),
    ]
    first = function.preprocess_image(None, image())
    states = [function.init_tracking_state(None, first, shape) for shape in shapes]
    assert len({id(state.track.session) for state in states}) == 1
    for seed in (1, 2):
        picture = function.preprocess_image(None, image(seed))
        for shape, state in zip(shapes, states, strict=True):
            found = function.track(None, picture, state)
            assert found is None or found.type == shape.type


def test_clicks_are_answered() -> None:
    function = load(kind="interact")
    picture = function.preprocess_image(None, image())
    prompts = SimpleNamespace(pos_points=[(40.0, 30.0)], neg_points=[(3.0, 3.0)], bounding_box=None)
    (found,) = function.detect(None, picture, prompts)
    regions = {"points": [(40, 30)], "negative": [(3, 3)]}
    expected = X2Sam.from_pretrained("tiny").segment(np.asarray(image()), regions=[regions], threshold=0.0)
    back = masks.decode_mask(found.points, image_width=83, image_height=61)
    assert np.array_equal(back, expected.segments[0].mask)


@pytest.mark.parametrize("wrong", [{}, {"labels": "a", "shape": "x"}, {"labels": "a,b", "prompts": "a"}, {"kind": "x"}])
def test_what_does_not_fit_is_one_sentence(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match="Expected"):
        load(**wrong)
