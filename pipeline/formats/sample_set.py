"""Sample sets: generated pictures with the keys that made them, in Parquet shards.

DIR/part-00000.parquet ...   id string, seed int64, sample_index int64, label int64 (-1: none),
                             caption string (the prompt, or the text that named the label),
                             condition_sha256 string (of a model that takes sentences),
                             image fixed_shape_tensor uint8 [H, W, C]
DIR/manifest.json            model hash, seed, options, classes, shards with hashes; written last
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.output import read_json, sha256_of_json, write_json
from pipeline.formats.seal import sealed
from pipeline.formats.shard import Shard, check_present, image_column, iterate, shards_from_json

MANIFEST_FILE = "manifest.json"
KIND = "sample_set"


@dataclass(frozen=True)
class SampleSet:
    """What a sample set's manifest says.

    Attributes:
        path: its directory, absolute.
        shape: height, width, channels of a picture.
        classes: class names in the order of their labels; empty without labels.
        shards: in the order of the sample indices.
        sha256: hash over the shards' hashes: the set's identity.
        origin: model, seed and options that made it.
    """

    path: Path
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    sha256: str
    origin: dict[str, Any]

    @property
    def num_rows(self) -> int:
        """How many samples."""
        return sum(shard.num_rows for shard in self.shards)


def sample_table(
    seed: int,
    indices: np.ndarray,
    labels: np.ndarray,
    images: np.ndarray,
    captions: pa.Array | None = None,
    hashes: Sequence[str] | None = None,
) -> pa.Table:
    """Rows of a sample set.

    Args:
        indices, labels: int64 ``[N]``.
        images: uint8 ``[N, H, W, C]``.
        captions: N strings; None for a set without that column.
        hashes: `condition_hashes`; None for a set without that column.
    """
    columns = {
        "id": pa.array([f"{seed}-{index}" for index in indices], pa.string()),
        "seed": pa.array(np.full(len(indices), seed), pa.int64()),
        "sample_index": pa.array(indices, pa.int64()),
        "label": pa.array(labels, pa.int64()),
    }
    if captions is not None:
        columns["caption"] = captions
    if hashes is not None:
        columns["condition_sha256"] = pa.array(hashes, pa.string())
    return pa.table(columns | {"image": image_column(images)})


def condition_hashes(conditions: np.ndarray) -> list[str]:
    """The SHA-256 of each row's bytes, as float32 in little-endian order, in C order.

    Args:
        conditions: float32 ``[N, …]``: what the networks are given for a sentence.
    """
    rows = np.ascontiguousarray(conditions, "<f4")
    return [sha256(row.tobytes()).hexdigest() for row in rows]


def write_manifest(
    path: Path,
    *,
    shape: Sequence[int],
    classes: Sequence[str],
    shards: Sequence[Shard],
    origin: dict[str, Any],
) -> None:
    """Writes ``manifest.json``, which completes a sample set."""
    write_json(
        path / MANIFEST_FILE,
        sealed(
            {
                "kind": KIND,
                "shape": list(shape),
                "classes": list(classes),
                "num_rows": sum(shard.num_rows for shard in shards),
                "content_sha256": content_hash(shards),
                "origin": origin,
                "shards": [asdict(shard) for shard in shards],
            }
        ),
    )


def open_sample_set(path: Path | str) -> SampleSet:
    """Opens a finished sample set.

    Raises:
        UserError: it is missing, unfinished or of another kind, or a shard is missing or has
            another size.
    """
    samples = read_sample_manifest(path)
    if content_hash(samples.shards) != samples.sha256:
        raise UserError(
            f"{samples.path / MANIFEST_FILE} was changed by hand: its hash is wrong; generate anew"
        )
    check_present(samples.path, samples.shards)
    return samples


def read_sample_manifest(path: Path | str) -> SampleSet:
    """What a sample set's manifest says, unchecked: neither its hash nor the shards are verified.

    Raises:
        UserError: it is missing, unfinished or of another kind.
    """
    path = Path(path).absolute()
    manifest = path / MANIFEST_FILE
    if not manifest.is_file():
        raise UserError(
            f"{path} is not a sample set, or not a finished one: it has no {MANIFEST_FILE}; "
            "make it, or finish it, with the generate job"
        )
    stored = read_json(manifest)
    if not isinstance(stored, dict) or stored.get("kind") != KIND:
        raise UserError(f"{manifest} is not a sample set's; give the directory of the generate job")
    try:
        height, width, channels = (int(size) for size in stored["shape"])
        return SampleSet(
            path,
            (height, width, channels),
            tuple(str(name) for name in stored["classes"]),
            shards_from_json(stored["shards"], manifest),
            str(stored["content_sha256"]),
            dict(stored["origin"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{manifest} is not complete ({error!r}); generate anew") from None


def iterate_samples(samples: SampleSet, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Each shard's table in turn, in the order of the sample indices."""
    return iterate(samples.path, samples.shards, columns)


def content_hash(shards: Sequence[Shard]) -> str:
    """The identity of a sample set: a hash over its shards' names, rows and hashes."""
    return sha256_of_json([[shard.file, shard.num_rows, shard.sha256] for shard in shards])
