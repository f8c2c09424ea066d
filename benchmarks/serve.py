"""Many clients at once: latency against queue length times that of one request, batches, memory. One json line.

Start a service first (`x2sam serve --model nano`), then: python benchmarks/serve.py --clients 64
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from PIL import Image

from x2sam.client import Client


def picture(side: int, seed: int) -> bytes:
    """A JPEG of smooth noise."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def gauges(url: str) -> dict[str, float]:
    """The service's own numbers."""
    text = httpx.get(f"{url}/metrics").text
    return {name: float(value) for name, value in re.findall(r"^x2sam_(\w+) (\S+)$", text, flags=re.MULTILINE)}


def seconds(client: Client, data: bytes) -> float:
    """How long one request takes."""
    begun = time.perf_counter()
    client.segment(data, "the red ball")
    return time.perf_counter() - begun


def measure(url: str, clients: int, rounds: int, side: int) -> dict[str, Any]:
    """Latency of one client alone, then of many that each ask again as soon as they are answered."""
    pictures = [picture(side, i) for i in range(clients)]
    with Client(url) as one:
        seconds(one, pictures[0])
        single = statistics.median(seconds(one, data) for data in pictures[:9])
        before, barrier = gauges(url), threading.Barrier(clients)

        def ask(data: bytes) -> list[float]:
            with Client(url) as client:
                barrier.wait()
                return [seconds(client, data) for _ in range(rounds)]

        begun = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            taken = [each for answers in pool.map(ask, pictures) for each in answers]
        total, after = time.perf_counter() - begun, gauges(url)
    median = statistics.median(taken)
    return {
        "clients": clients,
        "answered": len(taken),
        "single_seconds": round(single, 4),
        "median_seconds": round(median, 3),
        "slowest_seconds": round(max(taken), 3),
        "median_of_queue_times_single": round(median / (clients * single), 3),
        "requests_per_second": round(len(taken) / total, 2),
        "batched": int(after["batched_items"] - before["batched_items"]),
        "memory_mb_before": round(before["memory_bytes"] / 2**20),
        "memory_mb_after": round(after["memory_bytes"] / 2**20),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=320)
    options = parser.parse_args()
    print(json.dumps(measure(options.url, options.clients, options.rounds, options.side)))
