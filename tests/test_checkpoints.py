"""Importing, converting, saving and loading weights."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GOLDEN
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, Qwen3VLForConditionalGeneration

from x2sam import checkpoints
from x2sam.checkpoints import convert_released, import_released, open_weights
from x2sam.config import X2SamConfig, tiny
from x2sam.errors import CheckpointError, InputError
from x2sam.model.modeling import X2SamModel
from x2sam.released import config_from_components

FIELDS = [name for name in X2SamConfig.__annotations__ if name not in ("language_config", "mask_encoder_config")]
SMALL, LORA = GOLDEN / "small", GOLDEN / "lora"


def components(folder: Path) -> X2SamConfig:
    return config_from_components(json.loads((folder / "config.json").read_text()))


@pytest.fixture(scope="module")
def imported() -> X2SamModel:
    """The small model, whose head and embeddings are two tensors."""
    return import_released(SMALL / "official_state_dict.safetensors", config=components(SMALL))


@pytest.fixture(scope="module")
def adapted() -> X2SamModel:
    return import_released(LORA / "pytorch_model.bin", LORA / "base_vlm", components(LORA))


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    a, b = ours.state_dict(), theirs.state_dict()
    buffers = zip(ours.buffers(), theirs.buffers(), strict=True)
    return (
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) and all(torch.equal(x, y) for x, y in buffers)
    )


@pytest.mark.parametrize("auto", [False, True], ids=["X2SamModel", "AutoModel"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_saved_and_loaded_is_the_same_bit_for_bit(
    tied: bool, auto: bool, imported: X2SamModel, model: X2SamModel, tmp_path: Path
) -> None:
    original = model if tied else imported
    assert original.config.tie_word_embeddings is tied
    original.save_pretrained(tmp_path, max_shard_size="1MB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    loaded = (AutoModel if auto else X2SamModel).from_pretrained(tmp_path)
    assert isinstance(loaded, X2SamModel)
    assert same(loaded, original)
    assert not loaded.training
    ids = torch.arange(1, 20)[None]
    assert torch.equal(loaded.understand(ids).states, original.understand(ids).states)
    head, embeddings = loaded.language.model.lm_head.weight, loaded.get_input_embeddings().weight
    assert (head is embeddings) is tied
    config = (AutoConfig if auto else X2SamConfig).from_pretrained(tmp_path)
    assert type(config) is X2SamConfig
    assert config.language_config.text_config.vocab_size == original.config.language_config.text_config.vocab_size
    assert {f: getattr(config, f) for f in FIELDS} == {f: getattr(original.config, f) for f in FIELDS}


@pytest.mark.parametrize("dtype", [torch.bfloat16, "float16"])
def test_loads_in_half_precision(dtype: Any, model: X2SamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = X2SamModel.from_pretrained(tmp_path, dtype=dtype)
    expected = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    assert {p.dtype for p in loaded.parameters()} == {expected}
    with torch.no_grad():
        guidance = loaded.understand(torch.tensor([[264, 5, 6, 265, 9, 263]])).guidance
        prediction, bank = loaded.segment(torch.zeros(1, 3, 64, 64), guidance)
        prediction, _ = loaded.segment(torch.zeros(1, 3, 64, 64), guidance, bank)
    assert prediction.mask_logits.dtype == expected
    assert prediction.mask_logits.isfinite().all()


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
def test_loads_onto_devices(device_map: str, model: X2SamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert same(X2SamModel.from_pretrained(tmp_path, device_map=device_map), model)


@pytest.mark.parametrize("dtype", ["float17", "int8", "float8_e4m3fn"])
def test_a_dtype_that_cannot_be_used_says_so(dtype: str, model: X2SamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"Got dtype='{dtype}'.*Expected.*Pass"):
        X2SamModel.from_pretrained(tmp_path, dtype=dtype)


# --- released files ---------------------------------------------------------------------------------------------------


def test_an_adapter_is_merged_as_its_own_library_merges_it(adapted: X2SamModel) -> None:
    base = Qwen3VLForConditionalGeneration.from_pretrained(LORA / "base_vlm", dtype=torch.float32)
    released = torch.load(LORA / "pytorch_model.bin", weights_only=True)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=r".*language_model.*_proj")
    wrapped = get_peft_model(base, lora)
    own = {n.removeprefix("vlm."): t.float() for n, t in released.items() if n.startswith("vlm.")}
    merged = {n.replace("base_layer.", ""): n for n, _ in wrapped.named_parameters()}
    missing = wrapped.load_state_dict({merged.get(n, n): t for n, t in own.items()}, strict=False)
    assert not missing.unexpected_keys
    assert sum(".lora_" in n for n in own) == 2 * 7 * 2
    theirs = wrapped.merge_and_unload().state_dict()
    ours = adapted.language.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.allclose(ours[name], tensor, atol=1e-6), name
    changed = "model.language_model.layers.1.mlp.up_proj.weight"
    assert not torch.allclose(
        ours[changed], load_file(LORA / "base_vlm" / "model.safetensors")[changed].float(), atol=1e-3
    )


@pytest.mark.parametrize(("alpha", "beside"), [(8, None), (None, 8), (None, None)])
def test_the_adapters_strength(alpha: float | None, beside: int | None, adapted: X2SamModel, tmp_path: Path) -> None:
    """Given, or read from the file beside the weights, or the release's twice the rank."""
    shutil.copy(LORA / "pytorch_model.bin", tmp_path)
    if beside:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": beside}))
    weights = tmp_path / "pytorch_model.bin"
    assert same(import_released(weights, LORA / "base_vlm", components(LORA), lora_alpha=alpha), adapted)
    weaker = import_released(weights, LORA / "base_vlm", components(LORA), lora_alpha=4)
    assert not same(weaker, adapted)


def test_importing_leaves_the_configuration_alone() -> None:
    config = components(LORA)
    before = copy.deepcopy(config.to_dict())
    import_released(LORA / "pytorch_model.bin", LORA / "base_vlm", config)
    assert config.to_dict() == before


@pytest.mark.parametrize("form", ["adapter", "full"])
def test_conversion_streams(
    form: str, adapted: X2SamModel, imported: X2SamModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than one shard in memory, and the same model at the end."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    held: list[int] = []
    to = torch.Tensor.to

    def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = to(tensor, *args, **kwargs)
        if kwargs.get("copy"):
            alive.add(out.untyped_storage())
            held.append(sum(storage.nbytes() for storage in alive))
        return out

    steps: list[tuple[int, int]] = []
    weights, base, expected = {
        "adapter": (LORA / "pytorch_model.bin", LORA / "base_vlm", adapted),
        "full": (SMALL / "official_state_dict.safetensors", None, imported),
    }[form]
    limit = 400_000
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "to", counted)
        out = convert_released(
            weights,
            tmp_path / "converted",
            base,
            components(weights.parent),
            shard_bytes=limit,
            progress=lambda done, total: steps.append((done, total)),
        )
    files = sorted(out.glob("model-*.safetensors"))
    largest_tensor = max(t.numel() * 2 for t in expected.state_dict().values())
    assert len(files) > 4
    assert max(held) <= max(limit, largest_tensor)
    assert max(f.stat().st_size for f in files) <= max(limit, largest_tensor) + 20_000
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert {total for _, total in steps} == {len(steps)}
    assert not list(tmp_path.glob("*.partial"))
    loaded = X2SamModel.from_pretrained(out, dtype=torch.float32)
    if form == "full":
        assert same(loaded, imported)
    else:  # merged weights are stored as precisely as what they were merged from
        ours, theirs = loaded.state_dict(), adapted.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(
            torch.equal(ours[n], theirs[n].half().float()) for n in ours if "_proj" in n and "language_model" in n
        )


def test_conversion_in_full_precision_is_the_imported_model(adapted: X2SamModel, tmp_path: Path) -> None:
    out = convert_released(
        LORA / "pytorch_model.bin", tmp_path / "out", LORA / "base_vlm", components(LORA), dtype=torch.float32
    )
    assert [f.name for f in out.glob("*.safetensors")] == ["model.safetensors"]
    assert same(X2SamModel.from_pretrained(out), adapted)


def test_conversion_begins_afresh_and_overwrites_nothing(imported: X2SamModel, tmp_path: Path) -> None:
    left_over = tmp_path / "out.partial"
    left_over.mkdir()
    (left_over / "model-00001-of-00099.safetensors").write_bytes(b"half")
    weights = SMALL / "official_state_dict.safetensors"
    out = convert_released(weights, tmp_path / "out", config=components(SMALL))
    assert sorted(f.name for f in out.iterdir()) == ["config.json", "model.safetensors"]
    with pytest.raises(InputError, match="exists"):
        convert_released(weights, tmp_path / "out", config=components(SMALL))


# --- damaged and hostile files ----------------------------------------------------------------------------------------


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickled_object_is_refused_and_never_run(zipped: bool, tmp_path: Path) -> None:
    sprung, file = tmp_path / "sprung", tmp_path / "pytorch_model.bin"
    if zipped:
        torch.save({"weight": torch.zeros(2), "trap": Trap(sprung)}, file)
    else:
        file.write_bytes(pickle.dumps({"trap": Trap(sprung)}))
    with pytest.raises(CheckpointError):
        open_weights(file)
    assert not sprung.exists()
    Trap(sprung).__reduce__()[0](sprung)
    assert sprung.exists(), "the trap itself works"


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.0005, 0.0])
@pytest.mark.parametrize("name", ["official_state_dict.safetensors", "pytorch_model.bin"])
def test_a_file_that_is_cut_off_says_so(name: str, keep: float, tmp_path: Path) -> None:
    whole = next(GOLDEN.glob(f"*/{name}")).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(CheckpointError, match=rf"cannot be read, .*{name}.*Download it again"):
        open_weights(tmp_path / name)


def test_a_saved_model_that_is_cut_off_says_so(model: X2SamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"cannot be read.*Download it again"):
        X2SamModel.from_pretrained(tmp_path)


def test_no_weights_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.bin"):
        with pytest.raises(CheckpointError, match="Got no weights at"):
            open_weights(path)


def test_weights_of_another_size_are_named(tmp_path: Path) -> None:
    weights = load_file(SMALL / "official_state_dict.safetensors")
    save_file({n: t for n, t in weights.items() if "bg_embeds" not in n}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="missing: bg_embeds"):
        import_released(tmp_path, config=components(SMALL))
    with pytest.raises(CheckpointError, match=r"of another shape: .*instead of"):
        import_released(SMALL / "official_state_dict.safetensors", config=tiny())


def test_key_table_rejects_strangers() -> None:
    for translate in (checkpoints.to_ours, checkpoints.to_released):
        with pytest.raises(CheckpointError, match="nobody"):
            translate("nobody.knows.me")
