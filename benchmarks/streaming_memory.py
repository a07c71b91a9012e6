"""Memory of training by streaming on data sets twice and eight times as large as the object store.

`train-stack` with a network that costs nearly nothing, for one epoch of synthetic pictures, once on
each set, in a Ray whose object store holds 256 MB. Peaks are sampled ten times a second over the
whole job: the driver, the training worker, everything else of Ray's together. `private` leaves out
the pages that processes share, among them those of the object store; they are bounded by its size.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from numpy.typing import NDArray
from ray._private.internal_api import node_stats

from benchmarks.common import Options, in_own_process, read_options, report, watch_memory
from benchmarks.datasets import CLASSES, ROWS_PER_SHARD, write_shards
from benchmarks.scale import watch_store
from jobs.train_stack import main as train_stack
from jobs.train_stack.config import TrainStackConfig
from noisestack.session import ray_session

# The memory of a worker must not grow with the data set; nothing may be spilled to disk.
TARGETS = {"ratio_worker_memory": 0.9, "ratio_driver_memory": 0.9}
LIMITS = {"spilled_mb": 0.0}
STAGES = (8, 16, 32, 64)
SIDE, BATCH_SIZE = STAGES[-1], 512
MB = 1e6
# Ray reads it when it is imported: in the environment of the process that trains.
STORE_VARIABLE = "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES"


@dataclass(frozen=True)
class Sizes:
    """The sizes of what is read and of the store.

    Attributes:
        shards: of the two data sets, 8.4 MB of pictures each.
        store_bytes: of the object store.
    """

    shards: tuple[int, int]
    store_bytes: int


FULL = Sizes((64, 256), 256 << 20)
QUICK = Sizes((10, 40), 80 << 20)  # Ray's smallest is 75 MiB


def main(argv: Sequence[str] | None = None) -> None:
    """Measures both sizes and prints the JSON object."""
    options = read_options(__doc__, argv)
    figures = measure_all(options)
    report("streaming_memory", figures, options=options, targets=TARGETS, limits=LIMITS)


def measure_all(options: Options) -> dict[str, Any]:
    """The peaks at both sizes, and how far they are the same."""
    sizes = QUICK if options.quick else FULL
    os.environ[STORE_VARIABLE] = str(sizes.store_bytes)
    peaks = []
    for shards in sizes.shards:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            root = Path(directory)
            write_shards(root / "dataset", (pictures(seed) for seed in range(shards)))
            peaks.append(in_own_process(measure, root / "dataset", root / "run", shards))
    small, large = peaks
    figures: dict[str, Any] = {"object_store_mb": sizes.store_bytes / MB}
    for name, peak in (("small", small), ("large", large)):
        figures |= {f"{name}_{key}": value for key, value in peak.items()}
    return {
        **figures,
        "spilled_mb": max(peak["spilled_mb"] for peak in peaks),
        "ratio_worker_memory": small["worker_private_mb"] / large["worker_private_mb"],
        "ratio_driver_memory": small["driver_private_mb"] / large["driver_private_mb"],
    }


def measure(dataset: Path, output: Path, shards: int) -> dict[str, float]:
    """One epoch in this process's own Ray: peaks in MB, and what was spilled."""
    config = TrainStackConfig(
        dataset=dataset,
        output=output,
        stages=STAGES,
        widths=(8, 8, 8, 8),
        blocks=(1, 1, 1, 1),
        embedding=8,
        layers=(2, 2, 2, 2),
        # Two pictures of each batch are trained on; all are read.
        stage_share=(2 / BATCH_SIZE,) * len(STAGES),
        steps=shards * ROWS_PER_SHARD // BATCH_SIZE,
        batch_size=BATCH_SIZE,
        checkpoint_every=10**6,
        grid_rows=0,
        data="streaming",
    )
    with ray_session(), watch_memory(role_of) as memory, watch_store() as used:
        train_stack(config)
        node = ray.nodes()[0]  # type: ignore[no-untyped-call]
        stats = node_stats(  # type: ignore[no-untyped-call]
            node["NodeManagerAddress"], node["NodeManagerPort"], False
        )
    peaks = {
        f"{role}_{kind}_mb": size / MB
        for kind, sizes in (("rss", memory.rss), ("private", memory.private))
        for role, size in sizes.items()
    }
    return {
        "dataset_mb": shards * ROWS_PER_SHARD * SIDE**2 / MB,
        **peaks,
        "object_store_used_mb": max(used) / MB,
        "spilled_mb": stats.store_stats.spilled_bytes_total / MB,
    }


def pictures(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A shard's pictures, uint8 [N, 64, 64, 1], and labels.

    Squares of noise, the larger the stronger: as in real pictures, details grow from stage to stage
    on the way down, without which the stages' noise levels would not fall.
    """
    generator = np.random.default_rng(seed)
    images = np.zeros((ROWS_PER_SHARD, SIDE, SIDE, 1), np.uint8)
    for side, most in zip(STAGES, (128, 64, 32, 16), strict=True):
        noise = generator.integers(0, most, (ROWS_PER_SHARD, side, side, 1), np.uint8)
        images += noise.repeat(SIDE // side, axis=1).repeat(SIDE // side, axis=2)
    return images, generator.integers(0, CLASSES, ROWS_PER_SHARD)


def role_of(process: psutil.Process) -> str:
    """Whose memory it is: the driver's, the training worker's, or the rest of Ray's."""
    if process.pid == os.getpid():
        return "driver"
    return "worker" if "RayTrainWorker" in " ".join(process.cmdline()) else "ray"


if __name__ == "__main__":
    main()
