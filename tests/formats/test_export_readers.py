"""Exports in the hands of the tools that they are for; each test skips where its tool is not."""

import io
from pathlib import Path

import numpy as np
import planted_sets
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.formats.hugging_face import HuggingFaceWriter, open_set

LABELS = [row % 2 for row in range(9)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine rows of train in two files, three of test in one."""
    root = tmp_path_factory.mktemp("export")
    source = open_set(planted_sets.write_dataset(root / "set"))
    write = HuggingFaceWriter(source, root / "out")
    for split, number, count, start, stop in (
        ("train", 0, 2, 0, 5),
        ("train", 1, 2, 5, 9),
        ("test", 0, 1, 0, 3),
    ):
        file = f"data/{split}-{number:05d}-of-{count:05d}.parquet"
        write({"file": file, "split": split, "start": start, "stop": stop})
    (root / "out" / "export.json").write_text("{}")  # no reader may stumble over it
    return root / "out"


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data))).reshape(planted_sets.SHAPE)


def check(pictures: list[bytes]) -> None:
    expected = planted_sets.pictures(range(len(pictures)))
    assert np.array_equal(np.stack([pixels(data) for data in pictures]), expected)


def test_pyarrow(exported: Path) -> None:
    tables = [pq.read_table(file) for file in sorted((exported / "data").glob("train-*"))]
    check([cell["bytes"] for table in tables for cell in table["image"].to_pylist()])


def test_datasets_knows_splits_pictures_and_classes(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(str(exported), cache_dir=str(tmp_path))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 9, "test": 3}
    train = loaded["train"]
    assert isinstance(train.features["image"], datasets.Image)
    assert train.features["label"].names == list(planted_sets.CLASSES)
    assert train["label"][:] == LABELS
    found = np.stack([np.asarray(image).reshape(planted_sets.SHAPE) for image in train["image"]])
    assert np.array_equal(found, planted_sets.pictures(range(9)))


def test_polars_reads_the_struct(exported: Path) -> None:
    polars = pytest.importorskip("polars")
    table = polars.read_parquet(exported / "data" / "train-*.parquet")
    check(table["image"].struct.field("bytes").to_list())
    assert table["label"].to_list() == LABELS


def test_duckdb_reads_the_struct(exported: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.sql(
        f"select image.bytes, label from '{exported}/data/train-*.parquet' order by id"
    ).fetchall()
    check([data for data, _ in rows])
    assert [label for _, label in rows] == LABELS


def test_lance_keeps_the_bytes(exported: Path, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    (file, _) = sorted((exported / "data").glob("train-*"))
    table = lance.write_dataset(pq.read_table(file), str(tmp_path / "x.lance")).to_table()
    check([cell["bytes"] for cell in table["image"].to_pylist()])
    assert b"huggingface" in table.schema.metadata


def test_pandas_reads_dicts(exported: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (file,) = (exported / "data").glob("test-*")
    table = pandas.read_parquet(file)
    assert [pixels(cell["bytes"]).flat[0] for cell in table["image"]] == [9, 10, 11]
