"""Exports: what stands in the set stands in the files, to the pixel, with names for its classes."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import planted_sets
import pyarrow.parquet as pq
import pytest
from perturbation_faults import settings, write_inputs, write_set
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.dataset import images_of
from pipeline.formats.hugging_face import HuggingFaceWriter, hugging_face_table, open_set
from pipeline.formats.shard import read_range
from pipeline.sources.decode import Decoder
from pipeline.sources.parquet import ParquetSource


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    write_inputs(root)
    write_set(root, root / "perturbations", settings(steps=2))
    return {
        "dataset": planted_sets.write_dataset(root / "dataset"),
        "sample_set": planted_sets.write_samples(root / "samples"),
        "perturbation-set": root / "perturbations",
    }


def export(path: Path, output: Path, split: str, start: int, stop: int) -> Path:
    shard = {"file": f"data/{split}-0.parquet", "split": split, "start": start, "stop": stop}
    record = HuggingFaceWriter(open_set(path), output)(shard)
    assert record["num_rows"] == stop - start
    return output / record["file"]


def features_in(file: Path) -> dict[str, Any]:
    features = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"]
    assert isinstance(features, dict)
    return features


def test_a_dataset_comes_back_through_ingest_with_its_pixels_labels_and_names(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    for split, start, stop in (("train", 3, 8), ("test", 0, 3)):
        export(sets["dataset"], tmp_path, split, start, stop)
    source = ParquetSource(tmp_path / "data", id_column="id")
    assert source.classes == planted_sets.CLASSES
    assert set(source.splits) == {"train", "test"}
    rows = {row.id: row for row in source.read(0, source.num_rows)}
    assert set(rows) == {f"row-{n}" for n in [*range(3, 8), *range(9, 12)]}
    for name, row in rows.items():
        number = int(name.removeprefix("row-"))
        assert row.label == number % 2
        assert row.split == ("train" if number < 9 else "test")
        assert np.array_equal(Decoder().decode(row), planted_sets.pictures([number])[0])


@pytest.mark.parametrize("kind", ["dataset", "sample_set", "perturbation-set"])
def test_every_picture_is_a_png_of_the_same_pixels_and_every_other_column_stays(
    sets: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    source = open_set(sets[kind])
    assert source.kind == kind
    split = next(iter(source.splits))
    stored = read_range(source.path, source.splits[split], 0, source.num_rows(split))
    table = pq.read_table(export(sets[kind], tmp_path, split, 0, source.num_rows(split)))
    assert table.column_names == stored.column_names
    features = features_in(tmp_path / f"data/{split}-0.parquet")
    assert list(features) == table.column_names
    pictures = [name for name, told in features.items() if told == {"_type": "Image"}]
    assert pictures == [name for name in ("image", "adversarial") if name in table.column_names]
    for name in pictures:
        for cell, image in zip(table[name].to_pylist(), images_of(stored, name), strict=True):
            opened = Image.open(io.BytesIO(cell["bytes"]))
            assert opened.format == "PNG"
            assert np.array_equal(np.asarray(opened).reshape(image.shape), image)
            assert cell["path"].endswith(".png")
    for name in set(table.column_names) - set(pictures):
        expected = stored[name].to_pylist()
        if features[name]["_type"] == "ClassLabel":
            assert features[name]["names"] == list(source.classes)
            expected = [None if value == -1 else value for value in expected]
        assert table[name].to_pylist() == expected


def test_labels_that_stand_for_none_are_null(sets: dict[str, Path], tmp_path: Path) -> None:
    table = pq.read_table(export(sets["sample_set"], tmp_path, "train", 0, 4))
    assert table["label"].to_pylist() == [None, 0, 1, None]


def test_without_classes_there_is_no_column_of_labels(sets: dict[str, Path]) -> None:
    source = open_set(sets["sample_set"])
    table = read_range(source.path, source.splits["train"], 0, 2)
    assert "label" not in hugging_face_table(table, ()).column_names


def test_the_same_rows_give_the_same_bytes(sets: dict[str, Path], tmp_path: Path) -> None:
    one, two = (
        export(sets["dataset"], tmp_path / name, "train", 0, 9).read_bytes() for name in "ab"
    )
    assert one == two


def test_what_is_no_finished_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no directory"):
        open_set(tmp_path / "absent")
    with pytest.raises(UserError, match="is no finished dataset, sample set or perturbation set"):
        open_set(tmp_path)
