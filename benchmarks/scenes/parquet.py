"""A Parquet file of scenes that `noisestack ingest --source parquet` takes.

    python -m benchmarks.scenes.parquet --output FILE [--count 20000] [--held-out 500] [--seed 0]

Columns ``id``, ``image`` (PNG), ``caption`` and ``split``: ``train`` has scenes of the combinations
to train on, ``test`` one scene each of combinations that are held out.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scenes.drawing import Scene, distinct, draw, scene_at
from pipeline.pictures import encode_png

_SCHEMA = pa.schema(
    [("id", pa.string()), ("image", pa.binary()), ("caption", pa.string()), ("split", pa.string())]
)
_ROWS_PER_GROUP = 1000


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20_000, help="scenes to train on")
    parser.add_argument("--held-out", type=int, default=500, help="combinations held out")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    rows = write(given.output, given.count, given.held_out, given.seed)
    print(f"{given.output}: {rows:,} scenes")


def write(path: Path, count: int, held_out: int, seed: int = 0) -> int:
    """Writes so many scenes to train on, then so many held-out combinations; how many in all.

    The same numbers give the same scenes as `benchmarks.text_scenes` takes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    rows = 0
    with pq.ParquetWriter(part, _SCHEMA) as writer:
        scenes = _scenes(count, held_out, seed)
        while some := list(islice(scenes, _ROWS_PER_GROUP)):
            pictures = draw([scene for _, _, scene in some])
            columns = {
                "id": [name for name, _, _ in some],
                "image": [encode_png(picture) for picture in pictures],
                "caption": [scene.combination.caption for _, _, scene in some],
                "split": [split for _, split, _ in some],
            }
            writer.write_table(pa.table(columns, schema=_SCHEMA))
            rows += len(some)
    part.replace(path)
    return rows


def _scenes(count: int, held_out: int, seed: int) -> Iterator[tuple[str, str, Scene]]:
    for index in range(count):
        yield f"train-{index:06d}", "train", scene_at(seed, index)
    for index, scene in enumerate(distinct(seed + 1, held_out)):
        yield f"test-{index:06d}", "test", scene


if __name__ == "__main__":
    main()
