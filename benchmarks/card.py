"""What a card makes of x2sam: seconds, frames a second, memory, and how far its numbers are from the processor's.

    PYTHONPATH=. python benchmarks/card.py                                # the card, all of it, under five minutes
    PYTHONPATH=. python benchmarks/card.py --device cpu --model tiny --frames 12    # the same script on a processor

It needs torch, transformers, accelerate, numpy, scipy, pillow and what these bring; no network, no media library. The
4B has random weights (what is measured does not depend on what was learned); nano has its own. One json line a row:

    load        seconds until the weights are there
    objects     1, 16 and 128 regions of a frame: seconds to read the prompt and to the first mask, then a stream
    levels      the same stream with other levels of the pixel decoder remembering
    growth      memory a frame over a long stream
    compiled    the stream under torch.compile; its first frame is the compiler's
    golden      the recorded numbers of the released network: the largest difference, in float32 and in the card's type

Every row has its own limit of time; what does not fit into ``--seconds`` is a row that says so. Masks are made as large
as the frame, on the device; run-length coding, which is the processor's, is left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from x2sam.config import WEIGHTS, X2SamConfig, preset
from x2sam.model.mask_decoder import Guidance
from x2sam.model.modeling import X2SamModel
from x2sam.model.prompt_maps import prompt_maps
from x2sam.tracking.history import History
from x2sam.version import __version__
from x2sam.vision import smart_size

GOLDEN = Path(__file__).parents[1] / "tests" / "data" / "golden"
OBJECTS, LEVELS = (1, 16, 128), ((0, 1, 2), (0, 1), (0,))
WORDS = 24
"""Tokens of text before the regions of a prompt."""
PIXELS = 1_003_520
"""Of the picture that the language side sees, at most."""
TOGETHER = 16
"""Masks that are made as large as the frame at once."""


class Card:
    """Where it runs, and what a row says of that."""

    def __init__(self, device: str, dtype: str) -> None:
        self.device = torch.device(device)
        self.dtype = getattr(torch, dtype)
        self.cuda = self.device.type == "cuda"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The machine and its versions."""
        about: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "card": None, "driver": None}
        if self.cuda:
            found = torch.cuda.get_device_properties(self.device)
            about |= {"card": found.name, "memory_gb": round(found.total_memory / 2**30, 1), "driver": _driver()}
        versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
        return {**about, **versions, "transformers": transformers.__version__, "x2sam": __version__}

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def fresh(self) -> None:
        """Forget the peak so far."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self) -> float:
        """Megabytes in use: of the card, or resident."""
        if self.cuda:
            return torch.cuda.memory_allocated(self.device) / 2**20
        pages = Path("/proc/self/statm")
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if pages.exists() else 0.0

    def peak(self) -> float:
        """Megabytes at most since `fresh`; of a processor those of now."""
        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.cuda else self.memory()

    def half(self) -> Any:
        """As `x2sam.tracking.session.autocast`: half precision where the model has it; on CPU nothing changes."""
        enabled = self.device.type != "cpu" and self.dtype in (torch.float16, torch.bfloat16)
        return torch.autocast(self.device.type, dtype=self.dtype if enabled else torch.bfloat16, enabled=enabled)


def _driver() -> str | None:
    """Of the card, where the system says it."""
    file = Path("/proc/driver/nvidia/version")
    return file.read_text().splitlines()[0].strip() if file.exists() else None


class Rows:
    """Prints a json line a measurement and keeps to the limit of time."""

    def __init__(self, card: Card, seconds: float, out: Path | None) -> None:
        self.until, self.out, self.fingerprint = time.monotonic() + seconds, out, card.fingerprint
        if out is not None:
            out.write_text("")

    def row(self, kind: str, about: dict[str, Any], measure: Callable[[], dict[str, Any]], most: float) -> None:
        """One line, whatever happens; a measurement has ``most`` seconds, and what is left of all."""
        left = min(most, self.until - time.monotonic())
        found: dict[str, Any] = {"left out": "no time was left"}
        started = time.monotonic()
        if left > 1:
            try:
                with _within(left):
                    found = measure()
            except Exception as error:  # a row that fails says why, and the others go on
                found = {"failed": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        found = {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in found.items()}
        line = json.dumps({"row": kind, **about, **found, "row_s": round(time.monotonic() - started, 1)})
        print(line, flush=True)
        if self.out is not None:
            with self.out.open("a") as file:
                file.write(json.dumps({**json.loads(line), **self.fingerprint}) + "\n")


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread where a measurement takes longer (where the system has such a signal)."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_: Any) -> None:
        raise TimeoutError(f"not done within {seconds:.0f} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- models, prompts, frames -----------------------------------------------------------------------------------------


def load(name: str, card: Card, size: int) -> X2SamModel:
    """nano with its own weights; the others with random ones, made on the device in its type."""
    if name == "nano":
        return X2SamModel.from_pretrained(str(WEIGHTS / "nano"), dtype=card.dtype).to(card.device).eval()
    config = preset(name)
    config.image_size = size or config.image_size
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    try:
        torch.set_default_dtype(card.dtype)
        with card.device:
            model = X2SamModel(config)
    finally:
        torch.set_default_dtype(before)
    return torch.nn.Module.to(model, card.device, card.dtype).eval().requires_grad_(False)


def frame_of(config: X2SamConfig, card: Card, seed: int) -> Tensor:
    """``[1, 3, S, S]``: noise is as much work as a picture."""
    made = torch.Generator(card.device).manual_seed(seed)
    return torch.randn(1, 3, config.image_size, config.image_size, generator=made, device=card.device)


def discs(count: int, side: int, device: torch.device) -> Tensor:
    """Regions ``[N, S, S]`` bool, spread over the frame."""
    columns = round(count**0.5 + 0.49)
    place = (torch.arange(count, device=device)[:, None, None] + 0.5) / columns
    y, x = torch.meshgrid(*[torch.linspace(0, 1, side, device=device)] * 2, indexing="ij")
    return ((x - place % 1) ** 2 + (y - place.floor() / columns - 0.5 / columns) ** 2) < (0.45 / columns) ** 2


def read(model: X2SamModel, card: Card, frame: Tensor, objects: int) -> Guidance:
    """The language side reads the frame and so many regions of it."""
    config, eyes = model.config, model.config.vision_config
    multiple = eyes.patch_size * eyes.spatial_merge_size
    side = config.image_size
    height, width = (n // eyes.patch_size for n in smart_size(side, side, multiple, multiple**2, PIXELS))
    depth = 3 * eyes.temporal_patch_size * eyes.patch_size**2
    picture = [config.picture_token_ids[0]] * (height * width // eyes.spatial_merge_size**2)
    marked = [
        *(config.phrase_start_token_id, *[config.region_token_id] * config.region_tokens, config.phrase_end_token_id)
    ]
    ids = torch.tensor([[*picture, *range(5, 5 + WORDS), *marked * objects, config.seg_token_id]], device=card.device)
    with card.half():
        return model.understand(
            ids,
            pixel_values=torch.randn(height * width, depth, device=card.device).clamp(-1, 1),
            image_grid_thw=torch.tensor([[1, height, width]], device=card.device),
            region_masks=discs(objects, config.image_size, card.device),
            region_frames=torch.zeros(objects, dtype=torch.long, device=card.device),
            region_features=model.encode(frame),
        ).guidance


def stream(model: X2SamModel, card: Card, guidance: Guidance, frames: Sequence[Tensor]) -> Iterator[Tensor]:
    """Masks ``[objects, S, S]`` bool of frame after frame, with all that a track needs between them."""
    objects, bank, history = int(guidance.num_conditions[0]), None, History()
    alone = bool(model.config.prompted_widths)
    for index, frame in enumerate(frames):
        with card.half():
            features, drawn = model.encode(frame), None
            if alone:
                propagated, last = history.propagate(features.descriptors[0], [0]).get(0), history.last(0)
                hints = None if propagated is None or last is None else torch.maximum(propagated, last)
                known = list(discs(objects, model.config.image_size, card.device)) if hints is None else list(hints)
                drawn = prompt_maps([None] * objects, index, model.config.image_size, known)[None].to(card.device)
            prediction, bank = model.segment(features, guidance, bank, alone=alone, drawn=drawn)
        best = prediction.class_logits[0, :, :objects].argmax(0)
        logits = prediction.mask_logits[0, best].float()
        if alone:
            history.remember(0, features.descriptors[0], list(logits.sigmoid()), [index == 0] * objects)
        size = (model.config.image_size,) * 2
        parts = [F.interpolate(part[None], size, mode="bilinear")[0] > 0 for part in logits.split(TOGETHER)]
        yield torch.cat(parts)


def seconds_of(card: Card, masks: Iterator[Tensor]) -> Iterator[float]:
    """Seconds of every frame, waited for."""
    while True:
        card.wait()
        started = time.perf_counter()
        found = next(masks, None)
        if found is None:
            return
        int(found.sum())
        yield time.perf_counter() - started


# --- measurements ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def of_objects(model: X2SamModel, card: Card, objects: int, frames: int) -> dict[str, Any]:
    first = frame_of(model.config, card, 0)
    next(stream(model, card, read(model, card, first, objects), [first]))  # kernels and tables
    card.fresh()
    card.wait()
    started = time.perf_counter()
    guidance = read(model, card, first, objects)
    card.wait()
    reading = time.perf_counter() - started
    shown = [frame_of(model.config, card, i) for i in range(frames)]
    spent = list(seconds_of(card, stream(model, card, guidance, shown)))
    full = spent[min(model.config.memory_size, len(spent) - 1) :]
    return {
        "reading_s": reading,
        "first_mask_s": reading + spent[0],
        "frames_per_s": 1 / median(full),
        "peak_mb": card.peak(),
    }


@torch.inference_mode()
def of_growth(model: X2SamModel, card: Card, frames: int) -> dict[str, Any]:
    first = frame_of(model.config, card, 0)
    masks = stream(model, card, read(model, card, first, 1), (frame_of(model.config, card, i) for i in range(frames)))  # type: ignore[arg-type]
    settled, start, count = 0.0, time.perf_counter(), 0
    for count, _ in enumerate(masks, 1):
        if count == model.config.memory_size + 4:
            card.fresh()
            settled, start = card.memory(), time.perf_counter()
    card.wait()
    after = count - model.config.memory_size - 4
    spent = time.perf_counter() - start
    gc.collect()
    return {
        "frames": count,
        "frames_per_s": after / spent,
        "growth_mb_per_frame": (card.memory() - settled) / after,
        "peak_mb": card.peak(),
    }


def of_compiled(model: X2SamModel, card: Card, frames: int) -> dict[str, Any]:
    """The parts that have one size a frame are compiled; what is left is the interpreter's."""
    parts = [model.mask_encoder.backbone, model.pixel_decoder, model.mask_decoder, model.prompted_head]
    chosen = [part for part in (*parts, model.memory_attention) if part is not None]
    started = time.perf_counter()
    try:
        for part in chosen:
            part.compile()
        found = of_objects(model, card, 1, frames)
    finally:
        for part in chosen:
            part._compiled_call_impl = None
    return {**found, "compiling_and_all_s": time.perf_counter() - started}


@torch.no_grad()
def of_golden(card: Card, dtype: torch.dtype) -> dict[str, Any]:
    from x2sam.testing import golden

    worst: dict[str, float] = {}
    for folder in (GOLDEN / "small", GOLDEN / "lora"):
        model = torch.nn.Module.to(golden.load_model(folder), card.device, dtype)
        for file in sorted(folder.glob("*.safetensors")):
            if file.name not in golden.WEIGHT_FILES:
                differences = golden.run_case(file, model)
                worst[f"{folder.name}/{file.stem}"] = max(apart / unit for apart, unit in differences.values())
    return {"cases": len(worst), "largest": max(worst.values()), "where": max(worst, key=lambda name: worst[name])}


def run(name: str, card: Card, rows: Rows, size: int, frames: int, compiles: bool) -> None:
    """All rows of one model."""
    about = {"model": name, "dtype": str(card.dtype).removeprefix("torch."), "size": size}
    held: list[X2SamModel] = []

    def loads() -> dict[str, Any]:
        card.fresh()
        started = time.perf_counter()
        held.append(load(name, card, size))
        card.wait()
        return {"load_s": time.perf_counter() - started, "weights_mb": card.memory()}

    rows.row("load", about, loads, 120)
    if not held:
        return
    model, short = held[0], max(3, min(24, frames // 6))
    about["size"] = model.config.image_size
    own = tuple(model.config.memory_levels)
    for objects in OBJECTS:
        rows.row(
            "objects",
            {**about, "objects": objects, "levels": own},
            lambda n=objects: of_objects(model, card, n, short),
            40,
        )  # type: ignore[misc]
    for levels in LEVELS if own else ():
        if levels != own and set(levels) <= set(own):
            model.config.memory_levels = levels
            rows.row(
                "levels", {**about, "objects": 16, "levels": levels}, lambda: of_objects(model, card, 16, short), 30
            )
    if own:
        model.config.memory_levels = tuple(level for level in own if level < 2) or own
    rows.row(
        "growth", {**about, "levels": tuple(model.config.memory_levels)}, lambda: of_growth(model, card, frames), 60
    )
    if compiles:
        rows.row(
            "compiled",
            {**about, "objects": 1, "levels": tuple(model.config.memory_levels)},
            lambda: of_compiled(model, card, short),
            75,
        )
    held.clear()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="", help="bfloat16 on a card, float32 on a processor")
    parser.add_argument("--model", action="append", help="nano, 4b or tiny; several; by default nano and 4b")
    parser.add_argument("--size", type=int, default=0, help="pixels a side of the 4b's frames; 0: its own, 1024")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=280)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-golden", action="store_true")
    parser.add_argument("--out", type=Path, help="json lines, each with the machine's fingerprint")
    given = parser.parse_args(arguments)
    if given.frames < 12:
        parser.error(f"got --frames {given.frames}, which do not fill the memory; 12 or more")
    card = Card(given.device, given.dtype or ("float32" if given.device == "cpu" else "bfloat16"))
    rows = Rows(card, given.seconds, given.out)
    print(json.dumps({"row": "machine", **rows.fingerprint}), flush=True)
    if card.cuda:  # recorded in whole float32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for kind in dict.fromkeys(() if given.no_golden else (torch.float32, card.dtype)):
        about = {"dtype": str(kind).removeprefix("torch.")}
        rows.row("golden", about, lambda kind=kind: of_golden(card, kind), 30)  # type: ignore[misc]
    for name in given.model or ("nano", "4b"):
        run(name, card, rows, given.size if name != "nano" else 0, given.frames, not given.no_compile)
    return 0


if __name__ == "__main__":
    sys.exit(main())
