"""webdataset over tar files: a raw picture and its label for each row, decoded by one `frombuffer`.

Shards in a new order each epoch, rows through a shuffle buffer, batches collated in numpy.
"""

import io
import random
import tarfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import webdataset

from benchmarks.loaders import Batch, as_it_is
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, labels_of
from pipeline.formats.splits import TRAIN

_SHUFFLE_BUFFER = 8192  # rows, as for `torch_parquet`


def write(info: DatasetInfo, directory: Path) -> None:
    """A tar file for each Parquet file: KEY.img, the picture's bytes, and KEY.cls, its label."""
    directory.mkdir(parents=True)
    for number, table in enumerate(iterate_shards(info, TRAIN, ["image", "label"])):
        with tarfile.open(directory / f"part-{number:05d}.tar", "w") as tar:
            rows = zip(images_of(table), labels_of(table), strict=True)
            for row, (image, label) in enumerate(rows):
                key = f"{number:05d}{row:08d}"
                _add(tar, f"{key}.img", image.tobytes())
                _add(tar, f"{key}.cls", str(label).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def batches(
    info: DatasetInfo, directory: Path, batch_size: int, seed: int
) -> Generator[Batch, None, None]:
    """Shuffled batches without end; the rows of an epoch's last, smaller batch are dropped."""
    shape = info.shape

    def decode(row: dict[str, Any]) -> tuple[np.ndarray, int]:
        return np.frombuffer(row["img"], np.uint8).reshape(shape), int(row["cls"])

    files = sorted(str(path) for path in directory.glob("*.tar"))
    # The two shuffles that go on from epoch to epoch: with a plain seed each epoch is the same.
    rows = (
        webdataset.WebDataset(files, shardshuffle=len(files), detshuffle=True, seed=seed)
        .repeat()
        .shuffle(_SHUFFLE_BUFFER, initial=_SHUFFLE_BUFFER, rng=random.Random(seed))
        .map(decode)
        .batched(batch_size, collation_fn=collate, partial=False)
    )
    yield from webdataset.WebLoader(rows, batch_size=None, num_workers=0, collate_fn=as_it_is)


def collate(rows: Sequence[tuple[np.ndarray, int]]) -> Batch:
    """A batch of single rows."""
    return np.stack([image for image, _ in rows]), np.array([label for _, label in rows], np.int64)
