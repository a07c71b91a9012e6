"""What sentences cost training: pictures a second from an embedding set against labels.

Both sides are `train-stack`'s own worker on the same pictures (28x28, stages of 14 and 28, batches
of 128, one thread), resident in memory; the one reads labels, the other the states of at most 24
tokens of 384 numbers, joined by the rows' ids, to which the pixels of the 14x14 stage attend. The
vectors alone are measured beside them. The speed is that between two optimiser steps, the first
ones left out.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.common import alternate, median, read_options, report
from benchmarks.datasets import pictures, write_dataset
from benchmarks.train_throughput import SPEC, ours
from noisestack.session import ray_session
from pipeline.conditions import embedded_condition
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.embedding_rows import embedding_table, write_embeddings
from pipeline.formats.embedding_set import shard_file, write_embedding_manifest
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.formats.shard import read_part
from pipeline.stack_spec import StackSpec

TARGETS = {"ratio_text_training": 0.95}
ROWS = 20_000
TOKENS = 24
ENCODER = EncoderId("drawn", "0" * 64, "1" * 64, TOKENS, "mean", 384)


def write_embedded(path: Path, info: DatasetInfo) -> None:
    """An embedding set of a dataset's train split with texts of 3 to 24 drawn tokens."""
    generator = np.random.default_rng(0)
    written = []
    for number, shard in enumerate(info.splits["train"]):
        rows = read_part(info.path / shard.file, 0, shard.num_rows, ["id"])
        ids = [str(row) for row in rows.column("id").to_pylist()]
        pooled = generator.standard_normal((len(ids), ENCODER.width))
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        tokens = generator.standard_normal((len(ids), TOKENS, ENCODER.width)).astype(np.float16)
        lengths = generator.integers(3, TOKENS + 1, len(ids))
        table = embedding_table(ids, pooled.astype(np.float16), tokens, lengths)
        written.append(write_embeddings(table, path, shard_file("train", number)))
    write_embedding_manifest(
        path,
        dataset_sha256=info.sha256,
        encoder=ENCODER,
        splits={"train": written},
        has_tokens=True,
        num_cut=0,
        origin={},
    )


def main() -> None:
    """Measures, and prints the ratios."""
    options = read_options(__doc__)
    steps = 20 if options.quick else 60
    images, labels = pictures(1_000 if options.quick else ROWS)
    with tempfile.TemporaryDirectory() as directory, ray_session():
        info = write_dataset(Path(directory) / "dataset", images, labels)
        write_embedded(Path(directory) / "texts", info)
        sides: dict[str, Callable[[], tuple[float, float]]] = {
            "labels": lambda: ours(info, "resident", steps)
        }
        for name, kind in (("text", "text"), ("vectors", "embedding")):
            rows = RowEmbeddings.open(
                Path(directory) / "texts", info, "train", pooled_only=kind == "embedding"
            )
            condition = embedded_condition(kind, ENCODER)
            attends = (0,) if kind == "text" else ()
            spec = replace(SPEC, classes=(), condition=condition, attends=attends)

            def side(spec: StackSpec = spec, rows: RowEmbeddings = rows) -> tuple[float, float]:
                return ours(info, "resident", steps, spec, rows)

            sides[name] = side
        results = alternate(sides, options.repeats)
    speeds = {name: [speed for speed, _ in measured] for name, measured in results.items()}
    figures = {f"{name}_pictures_per_second": median(values) for name, values in speeds.items()}
    for name, figure in (("text", "ratio_text_training"), ("vectors", "ratio_vector_training")):
        # Round by round: what slowed a whole round down slowed both sides of its ratio.
        figures[figure] = median(
            [one / other for one, other in zip(speeds[name], speeds["labels"], strict=True)]
        )
    report("text_training", figures, options=options, targets=TARGETS)


if __name__ == "__main__":
    main()
