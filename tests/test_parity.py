"""Our network gives the released model's numbers."""

from __future__ import annotations

import functools
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import GOLDEN
from safetensors.torch import load_file, save_file

from x2sam.checkpoints import StoredTensor, plan_import
from x2sam.config import X2SamConfig, preset
from x2sam.errors import CheckpointError
from x2sam.model.modeling import X2SamModel
from x2sam.released import UNUSED, to_ours, to_released
from x2sam.testing import golden

FILES = sorted(file for folder in ("small", "lora") for file in (GOLDEN / folder).glob("*.safetensors"))
CASES = [f"{f.parent.name}/{f.stem}" for f in FILES if f.name not in golden.WEIGHT_FILES] + ["heads/losses"]

load_model = functools.lru_cache(golden.load_model)


@pytest.mark.parametrize("case", CASES)
def test_recorded_numbers(case: str) -> None:
    folder = GOLDEN / case.split("/")[0]
    model = load_model(folder) if (folder / "config.json").exists() else None
    differences = golden.run_case(GOLDEN / f"{case}.safetensors", model)
    assert differences
    for output, (difference, unit) in differences.items():
        assert difference <= golden.TOLERANCE * unit, output


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["golden", *map(str, arguments)])
    return golden.main()


def only(tmp_path: Path, case: str) -> Path:
    shutil.copy(GOLDEN / f"{case}.safetensors", tmp_path)
    return tmp_path / Path(case).with_suffix(".safetensors").name


def test_runner_passes_what_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(tmp_path, "heads/losses")
    assert run_main(monkeypatch, tmp_path) == 0
    assert capsys.readouterr().out.startswith("ok   losses: ")


@pytest.mark.parametrize("spoil", ["value", "index", "shape", "extra", "nan"])
def test_runner_fails_on_other_numbers(spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = only(tmp_path, "heads/losses")
    tensors = load_file(file)
    if spoil == "value":
        tensors["out.unweighted.loss_mask"] += 2e-4
    elif spoil == "index":
        tensors["out.match_0.query"][0] += 1
    elif spoil == "shape":
        tensors["out.match_1.query"] = tensors["out.match_1.query"][:1]
    elif spoil == "extra":
        tensors["out.something_else"] = torch.zeros(1)
    else:
        tensors["out.unweighted.loss_mask"] *= float("nan")
    save_file(tensors, file)
    assert run_main(monkeypatch, tmp_path) == 1


def test_runner_fails_on_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(tmp_path, "heads/losses").rename(tmp_path / "mystery.safetensors")
    assert run_main(monkeypatch, tmp_path) == 1
    assert "FAIL mystery" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert run_main(monkeypatch, tmp_path / "empty") == 1


def test_runner_fails_on_a_spoilt_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.json", "official_state_dict.safetensors", "region_sampler.safetensors"):
        shutil.copy(GOLDEN / "small" / name, tmp_path)
    assert run_main(monkeypatch, tmp_path) == 0
    weights = load_file(tmp_path / "official_state_dict.safetensors")
    weights["extra_projector.model.0.bias"][0] += 0.1
    save_file(weights, tmp_path / "official_state_dict.safetensors")
    assert run_main(monkeypatch, tmp_path) == 1


# --- the released 4B model --------------------------------------------------------------------------------------------

Shapes = dict[str, tuple[int, ...]]


@functools.lru_cache
def released(form: str) -> Shapes:
    """Names and shapes of ``full`` or ``trained_subset``."""
    keys = json.loads(gzip.decompress((GOLDEN / "released_4b_keys.json.gz").read_bytes()))
    return {name: tuple(shape) for name, (shape, _) in keys[form].items()}


def stored(shapes: Shapes) -> dict[str, StoredTensor]:
    def load(shape: tuple[int, ...]) -> Callable[[], torch.Tensor]:
        return lambda: torch.empty(shape, device="meta")

    return {name: StoredTensor(shape, torch.bfloat16, load(shape)) for name, shape in shapes.items()}


@functools.lru_cache
def config_4b() -> X2SamConfig:
    config = preset("4b")
    rows = released("full")["vlm.base_model.model.model.language_model.embed_tokens.weight"][0]
    config.language_config.text_config.vocab_size = rows  # adding tokens changes the number of rows
    return config


@functools.lru_cache
def shapes_4b() -> Shapes:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in X2SamModel(config_4b()).state_dict().items()}


def plain(name: str) -> str | None:
    """A released name without adapter spelling; None for the adapter itself."""
    if ".lora_" in name:
        return None
    return name.replace("vlm.base_model.model.", "vlm.").replace(".base_layer.", ".")


def test_the_record_is_whole() -> None:
    assert (len(released("full")), len(released("trained_subset"))) == (2358, 1670)
    assert released("trained_subset").items() <= released("full").items()


def test_every_released_name_has_its_place() -> None:
    """Both ways: every released tensor goes somewhere, every tensor of ours comes from somewhere."""
    names = {plain(name) for name in released("full")} - {None}
    ours = [name for released_name in names for name in to_ours(released_name)]
    assert len(ours) == len(set(ours))
    assert set(ours) == set(shapes_4b())
    for name in names - UNUSED:
        assert {to_released(our_name) for our_name in to_ours(name)} == {name}
    adapted = {name.rsplit(".lora_")[0] + ".weight" for name in released("full") if ".lora_" in name}
    assert {plain(name) for name in adapted} <= names


def test_the_4b_preset_has_the_released_shapes() -> None:
    """Exactly, but for tensors that the release stacks (q, k, v) or writes with extra axes of size one."""
    for name, shape in released("full").items():
        released_name = plain(name)
        if released_name is None:
            continue
        ours = to_ours(released_name)
        for our_name in ours:
            whole = (shape[0] // len(ours), *shape[1:])
            assert shapes_4b()[our_name] == whole or our_name == "no_memory", name
    assert released("full")["segmentor.no_memory_embedding"] == (1, 1, *shapes_4b()["no_memory"])


def subset_and_base() -> tuple[dict[str, StoredTensor], dict[str, StoredTensor]]:
    full = released("full")
    base = {plain(n): s for n, s in full.items() if n.startswith("vlm.") and ".lora_" not in n}
    return stored(released("trained_subset")), stored({n.removeprefix("vlm."): s for n, s in base.items()})  # type: ignore[union-attr]


def test_both_forms_of_the_release_are_understood() -> None:
    subset, base = subset_and_base()
    tied = {"language.model.lm_head.weight"}
    for weights, below in ((subset, base), (stored(released("full")), {})):
        plan = plan_import(weights, below, config_4b(), lora_alpha=256)
        assert {name: tensor.shape for name, tensor in plan.items()} == {
            name: shape for name, shape in shapes_4b().items() if name not in tied
        }
        assert all(tensor.load().shape == tensor.shape for tensor in list(plan.values())[::97])


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("segmentor.decoder.decoder.layers.3.cross_attn.in_proj_weight", "subset"),
        ("segmentor.encoder.backbone.blocks.7.attn.qkv.weight", "full"),
        ("bg_embeds.weight", "subset"),
    ],
)
def test_what_does_not_fit_is_named(name: str, form: str) -> None:
    weights, base = subset_and_base() if form == "subset" else (stored(released("full")), {})

    def complaint(changed: dict[str, StoredTensor]) -> str:
        with pytest.raises(CheckpointError) as error:
            plan_import(changed, base, config_4b(), None)
        return str(error.value)

    assert f"missing: {name}" in complaint({n: t for n, t in weights.items() if n != name})
    shape = weights[name].shape
    wrong = {**weights, **stored({name: (shape[0] + 3, *shape[1:])})}
    assert f"of another shape: {name}" in complaint(wrong)
    surplus = name.replace("layers.3", "layers.33").replace("blocks.7", "blocks.77").replace("bg_embeds", "fg_embeds")
    assert surplus in complaint({**weights, **stored({surplus: shape})})


def test_an_adapter_without_its_base_says_so() -> None:
    subset, _ = subset_and_base()
    with pytest.raises(CheckpointError, match=r"base_language=FOLDER"):
        plan_import(subset, {}, config_4b(), None)
