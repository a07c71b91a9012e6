"""Sample sets on disk: their columns for any reader of Parquet, and what is not one."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.formats.output import read_json, write_json
from pipeline.formats.sample_set import (
    MANIFEST_FILE,
    iterate_samples,
    open_sample_set,
    sample_table,
    write_manifest,
)
from pipeline.formats.shard import images_of, labels_of, write_shard

SEED = 5
ORIGIN = {"job": "generate", "seed": SEED}


def pictures(indices: np.ndarray) -> np.ndarray:
    """Every picture is filled with its own index."""
    return np.broadcast_to(indices[:, None, None, None], (len(indices), 2, 4, 3)).astype(np.uint8)


def write_set(path: Path, shards: int = 2) -> Path:
    written = []
    for number in range(shards):
        indices = np.arange(3 * number, 3 * number + 3)
        table = sample_table(SEED, indices, indices % 2, pictures(indices))
        written.append(write_shard(table, path, f"part-{number:05d}.parquet"))
    write_manifest(path, shape=(2, 4, 3), classes=("a", "b"), shards=written, origin=ORIGIN)
    return path


def test_a_sample_is_read_back_with_its_keys_in_the_order_of_the_indices(tmp_path: Path) -> None:
    samples = open_sample_set(write_set(tmp_path))
    assert (samples.num_rows, samples.shape, samples.classes) == (6, (2, 4, 3), ("a", "b"))
    assert samples.origin == ORIGIN
    tables = list(iterate_samples(samples))
    assert [t.column("sample_index").to_pylist() for t in tables] == [[0, 1, 2], [3, 4, 5]]
    images = np.concatenate([images_of(table) for table in tables])
    np.testing.assert_array_equal(images, pictures(np.arange(6)))
    assert labels_of(tables[1]).tolist() == [1, 0, 1]


def test_any_reader_of_parquet_sees_the_named_columns(tmp_path: Path) -> None:
    write_set(tmp_path, shards=1)
    table = pq.read_table(tmp_path / "part-00000.parquet")
    assert table.column_names == ["id", "seed", "sample_index", "label", "image"]
    assert table.column("id").to_pylist() == ["5-0", "5-1", "5-2"]
    assert table.column("seed").to_pylist() == [5, 5, 5]
    assert table.schema.field("image").type.shape == [2, 4, 3]


def test_the_identity_is_that_of_the_content(tmp_path: Path) -> None:
    one, same = (
        open_sample_set(write_set(tmp_path / "a")),
        open_sample_set(write_set(tmp_path / "b")),
    )
    shorter = open_sample_set(write_set(tmp_path / "c", shards=1))
    assert one.sha256 == same.sha256 != shorter.sha256


def test_a_set_without_its_manifest_is_unfinished(tmp_path: Path) -> None:
    (write_set(tmp_path) / MANIFEST_FILE).unlink()
    with pytest.raises(UserError, match="not a finished one: it has no manifest"):
        open_sample_set(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "perturbation_set"}, "is not a sample set's"),
        ({"content_sha256": "0" * 64}, "was changed by hand"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    manifest = write_set(tmp_path) / MANIFEST_FILE
    write_json(manifest, {**read_json(manifest), **change})
    with pytest.raises(UserError, match=message):
        open_sample_set(tmp_path)


def test_a_shard_that_lacks_is_named(tmp_path: Path) -> None:
    (write_set(tmp_path) / "part-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"part-00001\.parquet"):
        open_sample_set(tmp_path)
