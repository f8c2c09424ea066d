"""Who works through the shards of a plan: this process, or actors on a Ray cluster. Both tell `Done` after `Done`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from x2sam.annotate.plan import Plan
from x2sam.annotate.table import name_of
from x2sam.annotate.worker import Annotator, Done
from x2sam.errors import InputError, MissingExtraError

BLOCKS = 2000
"""Tasks of a run on Ray at most; of more shards several make a task, so that what the driver knows stays small."""
OBJECTS = 100 * 1024**2
"""Bytes of a local Ray's object store: only numbers of shards pass through it."""


@dataclass(frozen=True)
class Resources:
    """Where the work is done; it decides nothing of what comes out."""

    device: str = "auto"
    threads: int = 0
    """Of PyTorch in each worker; 0: on Ray as many as ``cpus``, alone PyTorch's choice."""
    workers: int = 0
    """Actors on Ray; 0: as many as the cluster has room for."""
    cpus: float = 1
    gpus: float = 0
    """Of each actor."""
    address: str = ""
    """Of a Ray cluster, such as ``ray://head:10001`` or ``auto``; empty: one on this machine."""


def alone(dest: str, plan: Plan, todo: Sequence[int], resources: Resources) -> Iterator[Done]:
    """One shard after another, in this process."""
    if todo:
        annotator = Annotator(dest, plan, resources.device, resources.threads)
        for shard in todo:
            yield annotator.shard(shard)


def on_ray(dest: str, plan: Plan, todo: Sequence[int], resources: Resources) -> Iterator[Done]:
    """Shards spread over actors of Ray Data, in any order.

    Numbers of shards go out and counts come back; media and masks go between the stores and the actors, so neither the
    driver nor Ray's object store grows with the number of inputs. An actor that dies is replaced, and its task begun
    again.
    """
    if not todo:
        return
    ray = import_ray()
    import numpy as np

    _init(ray, resources)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = (
            1024**2
        )  # what passes is small; Ray's own 128 MB are more than a small store has
        room = max(1, int(ray.cluster_resources().get("CPU", 1) // max(resources.cpus, 0.01)))
        workers = min(resources.workers or room, len(todo))
        shards = ray.data.from_numpy([np.asarray(part) for part in np.array_split(todo, min(len(todo), BLOCKS))])
        told = shards.map_batches(
            Actor,
            fn_constructor_args=(dest, plan, resources.device, resources.threads or max(1, int(resources.cpus))),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1 if resources.address else workers, max_size=workers),
            num_cpus=resources.cpus,
            num_gpus=resources.gpus or None,
        )
        for row in told.iter_rows():
            yield Done(**{field.name: row[field.name] for field in fields(Done)})
    finally:
        ray.shutdown()


def import_ray() -> Any:
    """Ray, with its data part."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "scale") from None
    return ray


def _init(ray: Any, resources: Resources) -> None:
    count = int(resources.workers * resources.cpus) or None
    local = {"num_cpus": count, "include_dashboard": False, "object_store_memory": OBJECTS}
    try:
        ray.init(resources.address or "local", log_to_driver=False, **({} if resources.address else local))
    except Exception as error:  # Ray raises all kinds, plain Exception among them
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"Got a Ray that does not start ({why[:200]})",
            "a cluster that answers, or a machine with time to spare: Ray waits seconds for its own processes",
            "Run it again, or leave --workers out: one process then does the same",
        ) from error


class Actor:
    """An `Annotator` as Ray Data calls it."""

    def __init__(self, dest: str, plan: Plan, device: str, threads: int) -> None:
        self.annotator = Annotator(dest, plan, device, threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Numbers of shards -> what is told of them; those that an actor had done before it died are left alone."""
        store = self.annotator.store
        told = [Done(n) if store.there(name_of(n)) else self.annotator.shard(n) for n in batch["data"].tolist()]
        return {field.name: [asdict(done)[field.name] for done in told] for field in fields(Done)}
