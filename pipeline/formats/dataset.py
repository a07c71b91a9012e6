"""Datasets: labelled and captioned pictures of one shape in Parquet shards, split by split.

DIR/train/part-00000.parquet ...    id string, image fixed_shape_tensor uint8 [H, W, C],
DIR/test/part-00000.parquet ...     label int64 and/or caption string
DIR/quarantine/part-00000.parquet   the bad rows that were left out, where there are any
DIR/dataset.json                    shape, classes, shards with rows and hashes; written last
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.output import read_json, sha256_of_json, write_json
from pipeline.formats.quarantine import counts_of
from pipeline.formats.seal import sealed
from pipeline.formats.shard import (
    Shard,
    check_present,
    image_column,
    images_of,
    iterate,
    labels_of,
    read_range,
    shards_from_json,
    write_shard,
)

__all__ = [
    "DATASET_FILE",
    "DatasetInfo",
    "Shard",
    "check_fits",
    "content_holds",
    "dataset_table",
    "images_of",
    "iterate_shards",
    "labels_of",
    "load_dataset",
    "read_dataset_info",
    "read_rows",
    "write_dataset_info",
    "write_shard",
]

DATASET_FILE = "dataset.json"
_FORMAT = 1


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says.

    Attributes:
        path: the dataset's directory, absolute.
        shape: height, width, channels (1 grey, 3 RGB) of every picture.
        classes: the name of each label; empty when there are no labels.
        splits: the shards of each split, in order.
        sha256: the content hash over shape, classes and the shards' hashes: the dataset's identity.
        quarantine: files with the bad rows that were left out. They are not in the content hash:
            what was left out does not change what is there.
    """

    path: Path
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    splits: dict[str, tuple[Shard, ...]]
    has_captions: bool
    sha256: str
    quarantine: tuple[Shard, ...] = ()

    def num_rows(self, split: str) -> int:
        """How many rows a split has; UserError for an unknown split."""
        return sum(shard.num_rows for shard in shards_of(self, split))

    @property
    def num_quarantined(self) -> int:
        """How many bad rows were left out."""
        return sum(shard.num_rows for shard in self.quarantine)


def dataset_table(
    ids: Sequence[str],
    images: NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.int64] | None,
    captions: Sequence[str] | None,
) -> pa.Table:
    """A table in the dataset's schema; images uint8 [N, H, W, C]; labels, captions may be None."""
    columns: dict[str, pa.Array] = {
        "id": pa.array(ids, pa.string()),
        "image": image_column(images),
    }
    if labels is not None:
        columns["label"] = pa.array(labels, pa.int64())
    if captions is not None:
        columns["caption"] = pa.array(captions, pa.string())
    return pa.table(columns)


def write_dataset_info(
    path: Path | str,
    *,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    splits: Mapping[str, Sequence[Shard]],
    has_captions: bool,
    origin: Mapping[str, Any],
    quarantine: Sequence[Shard] = (),
) -> DatasetInfo:
    """Writes `dataset.json`, which completes a dataset, into the directory that holds the shards.

    Args:
        path: the directory.
        shape: height, width, channels of every picture.
        classes: the name of each label; empty without labels.
        splits: the shards of each split, in order.
        has_captions: whether the rows have captions.
        origin: where the pictures came from and how they were treated, for people; not in the hash.
        quarantine: the files of the bad rows that were left out.
    """
    path = Path(path).absolute()
    content = _content_hash(shape, classes, splits, has_captions)
    written = [shard for shards in splits.values() for shard in shards]
    write_json(
        path / DATASET_FILE,
        sealed(
            {
                "format": _FORMAT,
                "shape": list(shape),
                "classes": list(classes),
                "has_captions": has_captions,
                "counts": counts_of(written, quarantine),
                "num_rows": {
                    name: sum(shard.num_rows for shard in shards) for name, shards in splits.items()
                },
                "splits": {
                    name: [asdict(shard) for shard in shards] for name, shards in splits.items()
                },
                "quarantine": [asdict(shard) for shard in quarantine],
                "content_sha256": content,
                "origin": dict(origin),
            }
        ),
    )
    return load_dataset(path)


def load_dataset(path: Path | str) -> DatasetInfo:
    """Reads `dataset.json` and checks that each shard is there with its recorded size.

    Raises:
        UserError: the directory is missing, not a dataset, half there or altered.
    """
    info = read_dataset_info(path)
    if not content_holds(info):
        raise UserError(
            f"{info.path / DATASET_FILE} was changed by hand: its hash is wrong; ingest anew"
        )
    for shards in info.splits.values():
        check_present(info.path, shards)
    return info


def read_dataset_info(path: Path | str) -> DatasetInfo:
    """What `dataset.json` says, unchecked: neither its hash nor the shards are verified.

    Raises:
        UserError: the directory is missing or not a dataset.
    """
    path = Path(path).absolute()
    described = path / DATASET_FILE
    if not path.is_dir():
        raise UserError(f"there is no dataset directory {path}; check the path")
    if not described.is_file():
        raise UserError(
            f"{path} is not a dataset, or not a finished one: it has no {DATASET_FILE}; "
            "make it with the ingest job"
        )
    stored = read_json(described)
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise UserError(
            f"{described} is of an unknown format (this version reads format {_FORMAT}); "
            "make it anew with the ingest job"
        )
    try:
        height, width, channels = (int(size) for size in stored["shape"])
        classes = tuple(str(name) for name in stored["classes"])
        captions = bool(stored["has_captions"])
        splits = {
            str(name): shards_from_json(entries, described)
            for name, entries in stored["splits"].items()
        }
        quarantine = shards_from_json(stored["quarantine"], described)
        sha256 = str(stored["content_sha256"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{described} is not complete ({error!r}); ingest anew") from None
    shape = (height, width, channels)
    return DatasetInfo(path, shape, classes, splits, captions, sha256, quarantine)


def content_holds(info: DatasetInfo) -> bool:
    """Whether the content hash in `dataset.json` is that of its other entries."""
    return info.sha256 == _content_hash(info.shape, info.classes, info.splits, info.has_captions)


def shards_of(info: DatasetInfo, split: str) -> tuple[Shard, ...]:
    """The shards of a split; UserError, naming the splits there are, for an unknown one."""
    if split not in info.splits:
        raise UserError(
            f"{info.path} has no split {split!r}, only {', '.join(info.splits)}; name one of these"
        )
    return info.splits[split]


def read_rows(
    info: DatasetInfo, split: str, start: int, stop: int, columns: list[str] | None = None
) -> pa.Table:
    """Rows start to stop (exclusive) of a split; reads only the row groups they lie in.

    Raises:
        IndexError: rows outside the split.
        UserError: an unknown split or a damaged shard.
    """
    return read_range(info.path, shards_of(info, split), start, stop, columns)


def iterate_shards(
    info: DatasetInfo, split: str, columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Each shard's table in turn; only one shard is in memory at a time."""
    return iterate(info.path, shards_of(info, split), columns)


def check_fits(
    info: DatasetInfo, *, shape: tuple[int, int, int], classes: Sequence[str], what: str
) -> None:
    """Refuses what has another shape or other classes than the dataset.

    Args:
        info: the dataset.
        shape: height, width, channels of the other thing.
        classes: its class names.
        what: its name in messages, such as "the classifier PATH".

    Raises:
        UserError: they differ.
    """
    if tuple(shape) != info.shape:
        raise UserError(
            f"{what} is for pictures of {_times(shape)}, and those of {info.path} are "
            f"{_times(info.shape)} (height x width x channels); ingest with --resize and "
            "--channels, or use another model"
        )
    for index in range(max(len(classes), len(info.classes))):
        theirs = classes[index] if index < len(classes) else "absent"
        ours = info.classes[index] if index < len(info.classes) else "absent"
        if theirs != ours:
            raise UserError(
                f"{what} and the dataset {info.path} have different classes: label {index} is "
                f"{theirs} in the one and {ours} in the other; use a model trained on these classes"
            )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _content_hash(
    shape: Sequence[int],
    classes: Sequence[str],
    splits: Mapping[str, Sequence[Shard]],
    has_captions: bool,
) -> str:
    return sha256_of_json(
        {
            "shape": list(shape),
            "classes": list(classes),
            "has_captions": has_captions,
            "splits": {
                name: [[shard.file, shard.num_rows, shard.sha256] for shard in shards]
                for name, shards in splits.items()
            },
        }
    )
