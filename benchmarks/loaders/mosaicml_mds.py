"""mosaicml-streaming over its own MDS files, shuffled by its default algorithm.

Version 0.13.0 cannot be installed with its declared dependencies beside ours: it asks for numpy
below 2.2 and xxhash below 4, for torchvision, which does not import beside the CPU build of torch
2.13, and for five clouds' clients. So it is installed without them (`make bench`), and the names
that it imports from torchvision and transformers, for picture classes and tokenisers that this
benchmark does not touch, are empty stand-ins while it is imported. What is measured is its own
reading, shuffling and decoding, unchanged.
"""

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch.utils.data

from benchmarks.loaders import Batch
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, labels_of
from pipeline.formats.splits import TRAIN

_ABSENT = {
    "torchvision": (),
    "torchvision.datasets": ("VisionDataset",),
    "torchvision.transforms": (),
    "torchvision.transforms.functional": ("to_tensor",),
    "transformers": (),
    "transformers.feature_extraction_utils": ("BatchFeature",),
    "transformers.tokenization_utils_base": ("BatchEncoding",),
    "transformers.models": (),
    "transformers.models.auto": (),
    "transformers.models.auto.tokenization_auto": ("AutoTokenizer",),
}


def write(info: DatasetInfo, directory: Path) -> None:
    """MDS files of the rows, uncompressed, in shards of its default 64 MiB."""
    with _stand_ins():
        from streaming import MDSWriter
    shape = ",".join(map(str, info.shape))
    columns = {"image": f"ndarray:uint8:{shape}", "label": "int64"}
    with MDSWriter(out=str(directory), columns=columns) as writer:
        for table in iterate_shards(info, TRAIN, ["image", "label"]):
            for image, label in zip(images_of(table), labels_of(table), strict=True):
                writer.write({"image": image, "label": label})


def batches(
    info: DatasetInfo, directory: Path, batch_size: int, seed: int
) -> Generator[Batch, None, None]:
    """Shuffled batches without end; the rows of an epoch's last, smaller batch are dropped."""
    with _stand_ins():
        from streaming import StreamingDataset
    rows = StreamingDataset(
        local=str(directory), shuffle=True, shuffle_seed=seed, batch_size=batch_size
    )
    loader: torch.utils.data.DataLoader[Batch] = torch.utils.data.DataLoader(
        rows, batch_size=batch_size, num_workers=0, collate_fn=collate, drop_last=True
    )
    while True:
        yield from loader


def collate(rows: Sequence[dict[str, Any]]) -> Batch:
    """A batch of single rows."""
    return (
        np.stack([row["image"] for row in rows]),
        np.array([row["label"] for row in rows], np.int64),
    )


@contextmanager
def _stand_ins() -> Iterator[None]:
    before = {name: module for name, module in sys.modules.items() if name in _ABSENT}
    for name, members in _ABSENT.items():
        module = ModuleType(name)
        vars(module).update({member: type(member, (), {}) for member in members})
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in _ABSENT:
            del sys.modules[name]
        sys.modules.update(before)
