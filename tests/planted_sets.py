"""Small finished sets of each kind, and manifests made to agree with what was planted in them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.formats import sample_set
from pipeline.formats.certificate import set as certificate_set
from pipeline.formats.dataset import DATASET_FILE, dataset_table, write_dataset_info
from pipeline.formats.output import read_json, sha256_of_json, write_json
from pipeline.formats.perturbation import set as perturbation_set
from pipeline.formats.quarantine import BadRow, write_quarantine
from pipeline.formats.seal import SEAL, sealed
from pipeline.formats.shard import Shard, read_part, shards_from_json, write_shard

SHAPE = (2, 3, 1)
CLASSES = ("a", "b")
SEED = 5


def pictures(rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Every picture is filled with its own number."""
    return np.broadcast_to(
        np.asarray(rows, np.uint8)[:, None, None, None], (len(rows), *SHAPE)
    ).copy()


def write_dataset(path: Path, *, bad: Sequence[int] = ()) -> Path:
    """Twelve rows read, in train shards of 5 and 4 and a test shard of 3, but for the bad ones."""
    ranges = {"train/part-00000": (0, 5), "train/part-00001": (5, 9), "test/part-00001": (9, 12)}
    splits: dict[str, list[Shard]] = {"train": [], "test": []}
    for name, (start, stop) in ranges.items():
        rows = [row for row in range(start, stop) if row not in bad]
        table = dataset_table(
            [f"row-{row}" for row in rows], pictures(rows), [row % 2 for row in rows], None
        )
        if rows:
            splits[name.split("/")[0]].append(write_shard(table, path, f"{name}.parquet"))
    aside = [BadRow(f"row-{row}", row, f"row {row} of x", "it is bad") for row in sorted(bad)]
    quarantine = write_quarantine(aside, path, "part-00000.parquet")
    write_dataset_info(
        path,
        shape=SHAPE,
        classes=CLASSES,
        splits=splits,
        has_captions=False,
        origin={"num_rows": 12},
        quarantine=shards_from_json(quarantine, path),
    )
    return path


def write_samples(path: Path) -> Path:
    """Nine samples in shards of 5 and 4."""
    shards = []
    for number, (start, stop) in enumerate(((0, 5), (5, 9))):
        indices = np.arange(start, stop)
        table = sample_set.sample_table(SEED, indices, indices % 3 - 1, pictures(indices))
        shards.append(write_shard(table, path, f"part-{number:05d}.parquet"))
    sample_set.write_manifest(
        path, shape=SHAPE, classes=CLASSES, shards=shards, origin={"seed": SEED, "count": 9}
    )
    return path


def manifest_file(path: Path) -> Path:
    return path / (DATASET_FILE if (path / DATASET_FILE).exists() else sample_set.MANIFEST_FILE)


def entry_of(manifest: dict[str, Any], file: str) -> dict[str, Any]:
    """The manifest's entry of a shard, to be changed in place."""
    lists = manifest["splits"].values() if "splits" in manifest else [manifest["shards"]]
    listed = [entry for entries in [*lists, manifest.get("quarantine", [])] for entry in entries]
    return next(entry for entry in listed if entry["file"] == file)


def rehash(path: Path, manifest: dict[str, Any]) -> None:
    """Writes a manifest with the hashes that somebody who edits it by hand would compute anew."""
    if "splits" in manifest:
        rows = {
            name: [[s["file"], s["num_rows"], s["sha256"]] for s in shards]
            for name, shards in manifest["splits"].items()
        }
        keys = ("shape", "classes", "has_captions")
        content = {**{key: manifest[key] for key in keys}, "splits": rows}
        manifest["content_sha256"] = sha256_of_json(content)
    elif manifest["kind"] == sample_set.KIND:
        shards = shards_from_json(manifest["shards"], path)
        manifest["content_sha256"] = sample_set.content_hash(shards)
    elif manifest["kind"] == certificate_set.KIND:
        manifest["content_sha256"] = certificate_set.content_hash(manifest)
    else:
        manifest["content_sha256"] = perturbation_set.content_hash(manifest)
    manifest.pop(SEAL)
    write_json(manifest_file(path), sealed(manifest))


def replant(path: Path, file: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Changes a shard's table and its entry, and all hashes; the counts stay what they were."""
    manifest = read_json(manifest_file(path))
    entry = entry_of(manifest, file)
    table = change(read_part(path / file, 0, entry["num_rows"]))
    entry.update(asdict(write_shard(table, path, file)))
    rehash(path, manifest)


def change_cell(column: str, row: int, value: object) -> Callable[[pa.Table], pa.Table]:
    """A change of one cell, which must be another value than before."""

    def change(table: pa.Table) -> pa.Table:
        values = table.column(column).to_pylist()
        assert values[row] != value
        values[row] = value
        field = table.schema.field(column)
        return table.set_column(
            table.column_names.index(column), field, pa.array(values, field.type)
        )

    return change


def without_row(row: int) -> Callable[[pa.Table], pa.Table]:
    return lambda table: pa.concat_tables([table.slice(0, row), table.slice(row + 1)])
