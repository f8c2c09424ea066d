"""Peak private memory of converting a release, against the size of a shard. Run by hand:

    python benchmarks/pull_memory.py --gigabytes 1.5 --shard-megabytes 256

Writes a random release in the released form (trained subset with an unmerged adapter, and its base) to a temporary
folder, converts it in a process of its own and samples that process's unique memory (USS).
Predicted: imports + one shard + one merged tensor in double precision, whatever the release's size.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file

from x2sam.checkpoints import convert_released
from x2sam.config import X2SamConfig, tiny
from x2sam.model.modeling import X2SamModel
from x2sam.released import to_released


def sized(gigabytes: float) -> X2SamConfig:
    """The tiny model with a language model of about that size in bfloat16."""
    config = tiny()
    text = config.language_config.text_config
    text.hidden_size, text.intermediate_size, text.vocab_size = 1024, 4096, 32_000
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 16, 8, 64
    text.num_hidden_layers = max(1, round(gigabytes * 1024**3 / 2 / (3 * 1024 * 4096 + 3 * 1024 * 1024)))
    config.language_config.vision_config.out_hidden_size = 1024
    return config


def write_release(config: X2SamConfig, folder: Path, rank: int = 16) -> int:
    """A random release under the released names; returns its bytes."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in X2SamModel(config).state_dict().items()}
    base: dict[str, torch.Tensor] = {}
    trained: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        released = to_released(name)
        if not released.startswith("vlm."):
            stacked = [3 * shape[0], *shape[1:]] if "in_proj" in released else list(shape)
            trained.setdefault(released, torch.randn(stacked) * 0.02)
            continue
        base[released.removeprefix("vlm.")] = (torch.randn(shape) * 0.02).bfloat16()
        if "language_model.layers" in released and released.endswith("_proj.weight"):
            stem = released.replace("vlm.", "vlm.base_model.model.").removesuffix(".weight")
            trained[f"{stem}.lora_A.default.weight"] = torch.randn(rank, shape[1]) * 0.02
            trained[f"{stem}.lora_B.default.weight"] = torch.randn(shape[0], rank) * 0.02
    (folder / "base").mkdir()
    save_file(base, folder / "base" / "model.safetensors")
    config.language_config.save_pretrained(folder / "base")
    torch.save(trained, folder / "pytorch_model.bin")
    config.save_pretrained(folder / "config")
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def convert(folder: str, shard: int, ready: multiprocessing.synchronize.Event) -> None:
    """What is measured."""
    config = X2SamConfig.from_pretrained(f"{folder}/config")
    ready.set()
    convert_released(f"{folder}/pytorch_model.bin", f"{folder}/out", f"{folder}/base", config=config, shard_bytes=shard)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--shard-megabytes", type=int, default=256)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = write_release(sized(arguments.gigabytes), Path(folder))
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        worker = context.Process(target=convert, args=(folder, arguments.shard_megabytes * 1024**2, ready))
        worker.start()
        ready.wait()
        process = psutil.Process(worker.pid)
        before = peak = process.memory_full_info().uss
        while worker.is_alive():
            try:
                peak = max(peak, process.memory_full_info().uss)
            except psutil.Error:
                break
            time.sleep(0.02)
        worker.join()
    mb = 1024**2
    print(
        json.dumps(
            {
                "release_mb": size // mb,
                "shard_mb": arguments.shard_megabytes,
                "imports_mb": before // mb,
                "peak_over_imports_mb": (peak - before) // mb,
            }
        )
    )


if __name__ == "__main__":
    main()
