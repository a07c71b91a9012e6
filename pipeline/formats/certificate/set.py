"""Certificate sets: what a smoothed classifier answers, and within which radius it must.

DIR/part-00000.parquet ...              one row a picture, in the order of the dataset's rows
DIR/quarantine/part-00000.parquet ...   rows without a label among the classes, where there are any
DIR/manifest.json                       base, dataset, certificate, shards, counts; written last

Bound and radius of a row follow from its counts of votes alone, by anybody's arithmetic; the counts
follow from picture, base classifier, seed and the row's id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats.output import read_json
from pipeline.formats.set_manifest import (
    MANIFEST_FILE,
    hash_with_rows,
    read_manifest,
    write_manifest,
)
from pipeline.formats.shard import Shard, check_present, shards_from_json, table_of
from pipeline.pictures import picture_hashes

FORMAT = 1
KIND = "certificate-set"
_MARKS = {"format": FORMAT, "kind": KIND}


@dataclass(frozen=True)
class CertificateColumns:
    """The rows of one shard; N pictures, K classes.

    Attributes:
        ids: the pictures' ids in the dataset, N strings.
        split: the dataset's split.
        rows: int64 ``[N]``, their row numbers in the split.
        labels: int64 ``[N]``, the true labels, which the certificate does not depend on.
        images: uint8 ``[N, H, W, C]``, the clean pictures; their hashes are stored.
        predicted: int64 ``[N]``, the class with most votes among the first draws.
        n0_counts: int32 ``[N, K]``, the votes of these draws.
        n, n_a: int64 ``[N]``, the later draws, and how many of them voted for ``predicted``.
        p_lower: float64 ``[N]``, lower bound of the probability of such a vote.
        radius: float64 ``[N]``, in L2 of [0, 1] pixels, a multiple of 1e-6; 0 where abstained.
        abstained: bool ``[N]``, where the bound does not exceed 1/2: nothing is said of the row.
    """

    ids: Sequence[str]
    split: str
    rows: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    predicted: np.ndarray
    n0_counts: np.ndarray
    n: np.ndarray
    n_a: np.ndarray
    p_lower: np.ndarray
    radius: np.ndarray
    abstained: np.ndarray


@dataclass(frozen=True)
class CertificateSet:
    """What `manifest.json` says.

    Attributes:
        path: the set's directory, absolute.
        base: what was smoothed: kind, sha256, classes, and what else decides its answers.
        dataset_sha256: identity of the dataset.
        split, start, stop: the rows of the dataset that the set covers, ``start <= row < stop``.
        certificate: sigma, alpha, n0, n, rule, radii, tolerance, noise, seed.
        shards: in the order of the rows.
        quarantine: files with the rows that have no label among the classes.
        manifest: all of it.
    """

    path: Path
    base: dict[str, Any]
    dataset_sha256: str
    split: str
    start: int
    stop: int
    certificate: dict[str, Any]
    shards: tuple[Shard, ...]
    quarantine: tuple[Shard, ...]
    manifest: dict[str, Any]

    @property
    def sigma(self) -> float:
        """Of the noise, in [0, 1] pixels."""
        return float(self.certificate["sigma"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the base classifier, in the order of the labels."""
        return tuple(str(name) for name in self.base["classes"])


def schema(num_classes: int) -> pa.Schema:
    """The columns of a shard."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("split", pa.string()),
            ("row", pa.int64()),  # row number in the split
            ("label", pa.int64()),
            ("clean_sha256", pa.string()),  # of the picture's bytes, rows then channels
            ("predicted", pa.int64()),
            ("n0_counts", pa.list_(pa.int32(), num_classes)),  # votes by class of the first draws
            ("n", pa.int64()),  # draws after those
            ("n_a", pa.int64()),  # of which so many voted for `predicted`
            ("p_lower", pa.float64()),
            ("radius", pa.float64()),  # L2, in [0, 1] pixels
            ("abstained", pa.bool_()),
            ("sigma", pa.float64()),  # in [0, 1] pixels
            ("draws", pa.int64()),  # all of the row's
            ("seed", pa.int64()),
        ]
    )


def certificate_table(columns: CertificateColumns, certificate: dict[str, Any]) -> pa.Table:
    """A shard's table.

    Args:
        certificate: with the keys sigma, seed and n0.
    """
    num, num_classes = columns.n0_counts.shape
    votes = pa.array(np.ascontiguousarray(columns.n0_counts, np.int32).reshape(-1), pa.int32())
    values: dict[str, Any] = {
        "id": columns.ids,
        "split": [columns.split] * num,
        "row": columns.rows,
        "label": columns.labels,
        "clean_sha256": picture_hashes(columns.images),
        "predicted": columns.predicted,
        "n0_counts": pa.FixedSizeListArray.from_arrays(votes, num_classes),
        "n": columns.n,
        "n_a": columns.n_a,
        "p_lower": columns.p_lower,
        "radius": columns.radius,
        "abstained": columns.abstained,
        "sigma": [float(certificate["sigma"])] * num,
        "draws": np.asarray(columns.n, np.int64) + int(certificate["n0"]),
        "seed": [int(certificate["seed"])] * num,
    }
    return table_of(values, schema(num_classes))


def votes_of(table: pa.Table) -> np.ndarray:
    """The column ``n0_counts``, int64 ``[N, K]``."""
    column = table.column("n0_counts")
    size = column.type.list_size
    chunks = [chunk.flatten().to_numpy().reshape(-1, size) for chunk in column.chunks]
    return np.concatenate([np.empty((0, size), np.int32), *chunks]).astype(np.int64)


def write_certificate_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Writes ``manifest.json``, which completes a certificate set.

    Args:
        manifest: base, dataset, certificate, shards and quarantine, as `CertificateSet` names them,
            and any further keys.
    """
    write_manifest(path, {**_MARKS, **manifest}, content_hash)


def content_hash(manifest: dict[str, Any]) -> str:
    """The identity of a certificate set: a hash over base, dataset, certificate and all rows."""
    return hash_with_rows(
        {key: manifest[key] for key in ("base", "dataset", "certificate")}, manifest
    )


def open_certificate_set(path: Path | str) -> CertificateSet:
    """Open a finished certificate set.

    Raises:
        UserError: the set is missing or unfinished, or a shard is missing or has another size.
    """
    opened = read_certificate_manifest(path)
    check_present(opened.path, [*opened.shards, *opened.quarantine])
    return opened


def is_certificate_set(path: Path | str) -> bool:
    """Whether a directory holds a finished certificate set."""
    file = Path(path) / MANIFEST_FILE
    return file.is_file() and read_json(file).get("kind") == KIND


def read_certificate_manifest(path: Path | str) -> CertificateSet:
    """What a certificate set's manifest says, unchecked: neither hash nor shards are verified.

    Raises:
        UserError: the set is missing or unfinished.
    """
    return read_manifest(path, _opened, marks=_MARKS, what="certificate set", job="certify")


def _opened(path: Path, manifest: dict[str, Any]) -> CertificateSet:
    dataset = manifest["dataset"]
    float(manifest["certificate"]["sigma"])  # what all readers of a set take for a number
    return CertificateSet(
        path,
        dict(manifest["base"]),
        str(dataset["sha256"]),
        str(dataset["split"]),
        int(dataset["start"]),
        int(dataset["stop"]),
        dict(manifest["certificate"]),
        shards_from_json(manifest["shards"], path / MANIFEST_FILE),
        shards_from_json(manifest["quarantine"], path / MANIFEST_FILE),
        manifest,
    )
