"""Run recorded cases of the released model against ours: ``python -m x2sam.testing.golden FOLDER``.

A folder holds weights under their released names, `config.json` with the component configurations, and one
`.safetensors` file a case with its inputs (``in.*``) and outputs (``out.*``); or head cases without weights. Prints the
largest absolute difference of every case and exits with 1 if one is above the tolerance or cannot be run.

The tolerance, 1e-4, is absolute for outputs of order one, as all logits are. ``hidden``, which is taken before a norm,
can be of order 100; there it counts in units of the output's root mean square, because float32 itself is no finer
(the same case in float64 differs from the recording by as much).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from x2sam.checkpoints import import_released
from x2sam.config import X2SamConfig, tiny
from x2sam.errors import X2SamError
from x2sam.model.frames import FrameFeatures
from x2sam.model.losses import Layer, Targets, layer_losses, match
from x2sam.model.mask_decoder import Guidance
from x2sam.model.modeling import X2SamModel
from x2sam.released import config_from_components
from x2sam.testing import golden_answers

TOLERANCE = 1e-4
WEIGHT_FILES = ("official_state_dict.safetensors", "pytorch_model.bin")
NOWHERE = -1e4
"""Logits below say that there is no such condition, in whatever number that is (half precision rounds -1e6)."""
PICTURE, REGION = -1000, -400
"""Placeholders in recorded token ids: one visual token; a whole region."""

Tensors = dict[str, Tensor]


class NotBuiltError(X2SamError):
    """A kind of case that no part of the package answers for."""


def mask_encoder(model: X2SamModel, given: Tensors) -> Tensors:
    backbone = model.mask_encoder.backbone(given["pixel_values"])
    features = model.encode(given["pixel_values"])
    stages = {f"hidden_{i}": stage for i, stage in enumerate(backbone.intermediate_hidden_states)}
    maps = {f"fpn_{i}": level for i, level in enumerate(features.fpn)}
    return {**maps, **stages, "last_hidden_state": backbone.last_hidden_state}


def pixel_decoder(model: X2SamModel, given: Tensors) -> Tensors:
    levels, mask_features = model.pixel_decoder([given[f"fpn_{i}"] for i in range(3)])
    return {"mask_features": mask_features, **{f"level_{i}": level for i, level in enumerate(levels)}}


def region_sampler(model: X2SamModel, given: Tensors) -> Tensors:
    stage, masks = given["hidden_state"], given["masks"]
    frames = torch.zeros(len(masks), dtype=torch.long, device=masks.device)
    return {
        "projected": model.region_sampler.project(stage).flatten(2).transpose(1, 2),
        "regions": model.region_sampler(FrameFeatures((stage, stage, stage), (stage,)), masks, frames),
    }


def segmentor(model: X2SamModel, given: Tensors) -> Tensors:
    """Frames are time-major here, ``[T, B, 3, S, S]``; the recorded conditions end with the background."""
    batch = given["pixel_values"].shape[1]
    guidance = Guidance(
        conditions=given["cond_embeds"],
        condition_mask=given["embed_masks"].bool(),
        num_conditions=given["embed_masks"].bool().sum(1) - 1,
        tokens=given["token_embeds"],
        token_mask=given["token_masks"].bool(),
        seg=given["seg_embeds"],
        has_seg=torch.ones(batch, dtype=torch.bool, device=given["cond_embeds"].device),
    )
    return _segment_clip(model, given["pixel_values"], guidance)


def whole(model: X2SamModel, given: Tensors) -> Tensors:
    config = model.config
    media = "videos" if "pixel_values_videos" in given else "images"
    picture = config.language_config.video_token_id if media == "videos" else config.language_config.image_token_id
    ids, owners = _expand(given["input_ids"], given["cond_ids"], config, picture)
    frames = given["extra_pixel_values"]
    frames = frames[:, None] if frames.ndim == 4 else frames  # [B, T, 3, S, S]
    regions: dict[str, Any] = {}  # keyword arguments of understand()
    if "vprompt_masks" in given:
        masks = given["vprompt_masks"]
        regions = {
            "region_masks": masks.bool(),
            "region_frames": torch.zeros(len(masks), dtype=torch.long, device=masks.device),
            "region_features": model.encode(frames[:, 0]),
        }
    pixels = {
        k: given[k] for k in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw") if k in given
    }
    understanding = model.understand(ids, condition_ids=owners, **pixels, **regions)
    return {
        "lm_logits": model.language.model.lm_head(understanding.normed),
        "hidden": understanding.states,
        **_segment_clip(model, frames.transpose(0, 1), understanding.guidance),
    }


def losses(given: Tensors) -> Tensors:
    """Unweighted losses with every pixel as a point."""
    config = tiny()
    config.train_points = 0
    frames = len(given["class_queries_logits"])
    targets = [Targets(given[f"class_labels_{i}"], given[f"mask_labels_{i}"]) for i in range(frames)]
    count = sum(len(t.classes) for t in targets)
    out: Tensors = {}
    names = ["", *sorted({n.split(".")[0] for n in given if n.startswith("aux_")})]
    for name in names:
        prefix, suffix = (f"{name}.", f"_{name.split('_')[1]}") if name else ("", "")
        layer = Layer(given[f"{prefix}class_queries_logits"], given[f"{prefix}masks_queries_logits"])
        matches = match(layer, targets, config)
        for key, value in layer_losses(layer, targets, matches, count, config).items():
            out[f"unweighted.{key}{suffix}"] = value.reshape(1)
        if not name:
            for i, (queries, found) in enumerate(matches):
                out[f"match_{i}.query"], out[f"match_{i}.target"] = queries, found
    return out


MODEL_CASES: dict[str, Callable[[X2SamModel, Tensors], Tensors]] = {
    "mask_encoder": mask_encoder,
    "pixel_decoder": pixel_decoder,
    "region_sampler": region_sampler,
    "segmentor": segmentor,
    "whole": whole,
}
"""Cases that need weights, by how their file names begin."""

HEAD_CASES: dict[str, Callable[[Tensors], Tensors]] = {"losses": losses}
"""Cases that stand alone."""


def _segment_clip(model: X2SamModel, frames: Tensor, guidance: Guidance) -> Tensors:
    """Time-major frames -> logits of all frames; masks at the size of the input."""
    bank, classes, masks = None, [], []
    for frame in frames:
        prediction, bank = model.segment(frame, guidance, bank)
        classes.append(prediction.class_logits)
        masks.append(F.interpolate(prediction.mask_logits, frame.shape[-2:], mode="bilinear", align_corners=False))
    return {"class_queries_logits": torch.cat(classes), "masks_queries_logits": torch.cat(masks)}


def _expand(ids: Tensor, owners: Tensor, config: X2SamConfig, picture: int) -> tuple[Tensor, Tensor]:
    """Recorded placeholders -> our ids: a region takes as many slots as it has embeddings."""
    times = torch.where(ids[0] == REGION, config.region_tokens, 1)
    ids = ids.repeat_interleave(times, 1)
    ids = ids.masked_fill(ids == PICTURE, picture).masked_fill(ids == REGION, config.region_token_id)
    return ids, owners.repeat_interleave(times, 1)


def _beside(tensor: Tensor, model: X2SamModel) -> Tensor:
    """Where the model is, and if it holds floats, of its type."""
    return tensor.to(model.device, model.dtype if tensor.is_floating_point() else tensor.dtype)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference; infinite for other whole numbers and NaN. Recorded maps may be every k-th pixel."""
    if ours.ndim == 4 and ours.shape != theirs.shape:
        step = ours.shape[-1] // theirs.shape[-1]
        ours = ours[..., ::step, ::step]
    if ours.shape != theirs.shape:
        return float("inf")
    if not theirs.is_floating_point():
        return 0.0 if torch.equal(ours.long(), theirs.long()) else float("inf")
    same = (ours == theirs) | ((ours < NOWHERE) & (theirs < NOWHERE))
    apart = (ours.double() - theirs.double()).abs().masked_fill(same, 0.0).nan_to_num(float("inf"))
    return apart.max().item() if apart.numel() else 0.0


def _scale(theirs: Tensor) -> float:
    return max(1.0, theirs.double().square().mean().sqrt().item())


def load_model(folder: Path) -> X2SamModel:
    """The model whose released weights a folder holds."""
    config = config_from_components(json.loads((folder / "config.json").read_text()))
    base = folder / "base_vlm"
    weights = next(
        (
            folder / name
            for name in ("official_state_dict.safetensors", "pytorch_model.bin")
            if (folder / name).exists()
        ),
        folder,
    )
    return import_released(weights, base if base.exists() else None, config)


@torch.no_grad()
def run_case(file: Path, model: X2SamModel | None) -> dict[str, tuple[float, float]]:
    """Of every recorded output of one case: the largest difference, and the unit that the tolerance counts in."""
    tensors = load_file(file)
    given = {n[3:]: t for n, t in tensors.items() if n.startswith("in.")}
    wanted = {n[4:]: t for n, t in tensors.items() if n.startswith("out.")}
    name = file.stem
    if name.startswith("post_"):
        ours = golden_answers.answers(file, given)
        wanted = golden_answers.recorded(file, wanted)
    elif start := next((start for start in HEAD_CASES if name.startswith(start)), None):
        ours = HEAD_CASES[start](given)
    else:
        for start, case in MODEL_CASES.items():
            if name.startswith(start) and model is not None:
                moved = case(model, {n: _beside(tensor, model) for n, tensor in given.items()})
                ours = {n: tensor.cpu() for n, tensor in moved.items()}
                break
        else:
            raise NotBuiltError(f"{name}: not built yet")
    return {
        key: (_difference(ours[key], value) if key in ours else float("inf"), _scale(value) if key == "hidden" else 1.0)
        for key, value in wanted.items()
    }


def run(folder: Path, tolerance: float = TOLERANCE) -> bool:
    """Run every case of a folder, print a line for each, and say whether all agree."""
    model = load_model(folder) if (folder / "config.json").exists() else None
    files = sorted(f for f in folder.glob("*.safetensors") if f.name not in WEIGHT_FILES)
    good = bool(files)
    for file in files:
        try:
            differences = run_case(file, model)
        except X2SamError as error:
            print(f"FAIL {file.stem}: {error}")
            good = False
            continue
        worst = max(differences, key=lambda key: differences[key][0] / differences[key][1])
        largest, unit = differences[worst]
        passed = largest <= tolerance * unit
        good = good and passed
        in_units = f", in units of {unit:.1f}" if unit > 1 else ""
        print(f"{'ok  ' if passed else 'FAIL'} {file.stem}: {largest:.2e} ({worst}{in_units})")
    if not files:
        print(f"FAIL no cases in {folder}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    arguments = parser.parse_args()
    results = [run(folder, arguments.tolerance) for folder in arguments.folder]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
