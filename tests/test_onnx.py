"""Graphs give the network's numbers, and the runtime on them its answers; a small model with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import awake_small, small_config

from x2sam import cli
from x2sam.errors import CheckpointError, InputError
from x2sam.model.language import Reading
from x2sam.model.modeling import X2SamModel
from x2sam.model.packed import decode, pack
from x2sam.predictor import X2Sam
from x2sam.testing.tiny import tiny_processor
from x2sam.types import Frame

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from x2sam.onnx import blocks, export  # noqa: E402
from x2sam.onnx.runtime import OPTIMISED, OnnxModel, graphs_of, opened  # noqa: E402

FIELDS = {
    "num_queries": 0,
    "fine_regions": False,
    "prompted_widths": (8, 16, 16, 32),
    "lexical_conditions": True,
    "conditions_layer": 2,
    "meaning_layers": (1, 2),
    "memory_size": 0,
    "memory_levels": (),
}


@pytest.fixture(scope="module")
def network() -> X2Sam:
    torch.manual_seed(3)
    model = awake_small(X2SamModel(small_config(**FIELDS)).eval())
    return X2Sam(model, tiny_processor(model.config))


@pytest.fixture(scope="module")
def folder(network: X2Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export.export(network.model, tmp_path_factory.mktemp("onnx") / "graphs", network.processor)


@pytest.fixture(scope="module")
def runtime(folder: Path) -> X2Sam:
    return X2Sam.from_pretrained(folder, runtime="onnx")


def picture(seed: int = 0) -> Frame:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return noise.repeat(10, 0).repeat(10, 1)


def test_the_index_says_what_each_graph_takes_and_how_exact_it_is(folder: Path) -> None:
    index = json.loads((folder / export.INDEX).read_text())
    assert set(index["graphs"]) == {"frame", "draw", "read", "speak"}
    for name, graph in index["graphs"].items():
        assert graph["apart"] <= export.CLOSE
        assert graph["bytes"] == (folder / f"{name}.onnx").stat().st_size
    assert index["graphs"]["read"]["inputs"]["states"]["shape"][:2] == ["B", "L"]
    assert (folder / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("prompt", "regions"),
    [("the red one", None), (["a", "bc"], None), (None, (40, 30)), (None, [{"box": (5, 5, 50, 40)}, (70, 50)])],
)
def test_the_same_answers_about_a_picture(network: X2Sam, runtime: X2Sam, prompt: object, regions: object) -> None:
    ours, theirs = (m.segment(picture(), prompt, regions, threshold=0.0) for m in (runtime, network))  # type: ignore[arg-type]
    assert [s.label for s in ours.segments] == [s.label for s in theirs.segments]
    for a, b in zip(ours.segments, theirs.segments, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-4)
        assert (a.mask != b.mask).mean() < 0.002


def test_the_same_film_with_a_correction_saved_and_restored(network: X2Sam, runtime: X2Sam, tmp_path: Path) -> None:
    film = [picture(seed) for seed in (1, 1, 2, 2)]
    found = []
    for model in (network, runtime):
        session = model.open(film)
        track = session.track(regions=[(40, 30)])
        run = iter(track)
        next(run), next(run)
        track.correct(1, {"box": (10, 10, 60, 50)})
        track.save(tmp_path / "state")
        found.append(model.open(film).restore(tmp_path / "state").finish().frames)
    for a, b in zip(*found, strict=True):
        assert [s.object_id for s in a.segments] == [s.object_id for s in b.segments]
        assert all((s.mask != t.mask).mean() < 0.002 for s, t in zip(a.segments, b.segments, strict=True))


def test_it_says_the_same_words(network: X2Sam, runtime: X2Sam) -> None:
    ours, theirs = (m.chat(picture(), "What is it?", max_new_tokens=12).text for m in (runtime, network))
    assert ours == theirs


def test_a_prefix_is_read_once_and_what_came_after_is_forgotten(network: X2Sam, runtime: X2Sam) -> None:
    made = torch.Generator().manual_seed(0)
    states = torch.randn(1, 9, network.config.text_config.hidden_size, generator=made)
    for model in (network.model, runtime.model):
        cache = model.language.cache()
        model.language.read(Reading(states[:, :5], None, None), None, cache, None, False)
        model.language.read(Reading(states[:, :2], None, None), None, cache, None, False)
        cache.crop(-2)
        assert cache.get_seq_length() == 5
        again = model.language.read(Reading(states[:, 5:], None, None), None, cache, None, False)[0]
        whole = model.language.read(Reading(states, None, None), None, None, None, False)[0]
        torch.testing.assert_close(again, whole[:, 5:], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_said(network: X2Sam, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which exists"):
        export.export(network.model, folder)
    with pytest.raises(InputError, match="'torch' or 'onnx'"):
        X2Sam.from_pretrained(folder, runtime="tensorflow")
    with pytest.raises(InputError, match="the CPU, float32"):
        X2Sam.from_pretrained(folder, runtime="onnx", image_size=32)
    with pytest.raises(CheckpointError, match="without graphs"):
        OnnxModel.load(tmp_path)
    with pytest.raises(InputError, match="a folder"):
        graphs_of(tmp_path / "nowhere", lambda: (network.model, None))


def test_a_model_of_the_network_is_exported_once_into_the_cache(
    network: X2Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("x2sam.onnx.runtime.cache_folder", lambda: tmp_path / "cache")
    network.model.save_pretrained(tmp_path / "own")
    network.processor.save_pretrained(tmp_path / "own")
    made = [graphs_of(tmp_path / "own", lambda: (network.model, network.processor)) for _ in range(2)]
    assert made[0] == made[1]
    assert len(list((tmp_path / "cache" / "onnx").iterdir())) == 1


def test_a_graph_that_is_not_the_network_is_refused(network: X2Sam, tmp_path: Path) -> None:
    graph = export.of_prompted(network.model)[0]
    file = tmp_path / "frame.onnx"
    file.write_bytes(export.written(graph, network.model))
    with torch.no_grad():
        graph.module.backbone.stem.bias += 0.1  # type: ignore[operator, union-attr]
    with pytest.raises(CheckpointError, match="apart from the network"):
        export.checked(graph, file)


def test_a_graph_is_optimised_once_where_that_can_be_kept(network: X2Sam, tmp_path: Path) -> None:
    file, blocked = tmp_path / "frame.onnx", tmp_path / "blocked" / "frame.onnx"
    file.write_bytes(export.written(export.of_prompted(network.model)[0], network.model))
    blocked.parent.mkdir()
    blocked.write_bytes(file.read_bytes())
    (blocked.parent / OPTIMISED).touch()
    shown = {"frames": np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)}
    wanted = onnxruntime.InferenceSession(str(file)).run(None, shown)
    for place in (file, file, blocked):
        for ours, theirs in zip(opened(place).run(None, shown), wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        kept = [x.name for x in (tmp_path / OPTIMISED).iterdir()]
        assert [name.partition("-")[0] for name in kept] == ["frame"]


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0"])
def test_blocks_give_the_numbers_of_the_decoded_weights(kind: str) -> None:
    made = torch.Generator().manual_seed(0)
    if kind == "Q8_0":
        stored = pack(torch.randn(16, 64, generator=made))[0]
    else:
        scales = torch.rand(16, 2, 2, generator=made).half().view(torch.uint8)
        nibbles = torch.randint(0, 256, (16, 2, 16), generator=made, dtype=torch.uint8)
        stored = torch.cat([scales, nibbles], -1).flatten(1)
    helper, weight = onnx.helper, np.zeros((16, 64), np.float32)
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    places = [helper.make_tensor_value_info(n, 1, ["B", "L", d]) for n, d in (("x", 64), ("y", 16))]
    graph = helper.make_graph(nodes, "g", places[:1], places[1:], [onnx.numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    assert blocks.in_blocks(model, {"w": (stored.numpy(), kind)}) == 1
    x = torch.randn(2, 3, 64, generator=made)
    (got,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(got, (x @ decode(stored, kind).T).numpy(), rtol=1e-4, atol=1e-4)


def test_a_mask_side_with_a_memory(model: X2SamModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bank of the network, as plain tensors, gives the network's masks of the next frame."""
    from x2sam.bench import random_guidance
    from x2sam.onnx.queries import stacked

    folder = export.export(model, tmp_path / "side")
    guidance = random_guidance(model.config)
    frames = torch.randn(3, 1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    sessions = {f.stem: onnxruntime.InferenceSession(str(f)) for f in folder.glob("*.onnx")}
    with torch.no_grad():
        bank = None
        for frame in frames[:2]:
            _, bank = model.segment(frame, guidance, bank)
        wanted, _ = model.segment(frames[2], guidance, bank)
    seen = sessions["encode"].run(None, {"frames": frames[2].numpy(), "first": np.zeros(1, np.float32)})
    given = dict(zip(("coarse", "middle", "fine", "mask_features"), seen, strict=False))
    told = {"conditions": guidance.conditions, "tokens": guidance.tokens, "seg": guidance.seg}
    assert bank is not None
    known = stacked(bank, tuple(model.config.memory_levels)) | told
    classes, masks, _ = sessions["recall"].run(None, given | {k: v.numpy() for k, v in known.items()})
    np.testing.assert_allclose(classes, wanted.class_logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(masks, wanted.mask_logits.numpy(), atol=1e-4)
    assert not any(module.training for module in model.modules())


def test_the_command_names_what_exists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["export", "onnx", "--model", "tiny", "--out", str(folder)])
    assert "which exists" in capsys.readouterr().err
