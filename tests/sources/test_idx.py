"""idx files: every byte where the header says, and each damage told by the file's name."""

import gzip
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.idx import IdxSource


def idx(array: NDArray[np.uint8]) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 3), np.uint8)


def labels(count: int) -> NDArray[np.uint8]:
    return (np.arange(count) % 3).astype(np.uint8)


def write(
    folder: Path, *, zipped: bool = False, separator: str = "-", test: str | None = "t10k"
) -> Path:
    def put(name: str, array: NDArray[np.uint8]) -> None:
        data = idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)

    for split, count in (("train", 12), (test, 5)):
        if split is not None:
            put(f"{split}-images{separator}idx3-ubyte", pictures(count, count))
            put(f"{split}-labels{separator}idx1-ubyte", labels(count))
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_both_splits_are_read_as_written(
    tmp_path: Path, zipped: bool, separator: str, test: str
) -> None:
    source = pickle.loads(
        pickle.dumps(IdxSource(write(tmp_path, zipped=zipped, separator=separator, test=test)))
    )
    assert source.num_rows == 17
    assert source.splits == ("train", "test")
    assert source.classes == ("0", "1", "2")
    rows = source.read(0, 17)
    images = np.stack([row.image for row in rows])[..., 0]
    assert np.array_equal(images, np.concatenate([pictures(12, 12), pictures(5, 5)]))
    assert [row.label for row in rows] == [*labels(12), *labels(5)]
    assert [row.split for row in rows] == ["train"] * 12 + ["test"] * 5
    assert rows[0].id == "train-00"
    assert rows[12].id == "test-0"


def test_a_range_may_span_both_splits(tmp_path: Path) -> None:
    source = IdxSource(write(tmp_path))
    assert [row.id for row in source.read(10, 14)] == ["train-10", "train-11", "test-0", "test-1"]
    assert source.read(3, 3) == []


def test_one_split_alone_is_left_to_be_divided(tmp_path: Path) -> None:
    source = IdxSource(write(tmp_path, test=None))
    assert source.splits == ()
    assert {row.split for row in source.read(0, 12)} == {None}


def test_class_names_are_those_given(tmp_path: Path) -> None:
    assert IdxSource(write(tmp_path), ["a", "b", "c", "d"]).classes == ("a", "b", "c", "d")


def test_a_label_outside_the_classes_is_named_with_its_row(tmp_path: Path) -> None:
    source = IdxSource(write(tmp_path), ["a", "b"])
    assert source.first_bad_label() == 2
    bad = [row for row in source.read(0, 17) if isinstance(row, BadRow)]
    assert [row.row for row in bad] == [2, 5, 8, 11, 14]
    assert [row.id for row in bad] == ["train-02", "train-05", "train-08", "train-11", "test-2"]
    assert re.match(r"label 2 of row 2 in .*t10k-labels.* the 2 classes", bad[-1].reason)
    assert bad[-1].origin.startswith("picture 2 of ")
    assert IdxSource(tmp_path).first_bad_label() is None


def test_a_missing_and_an_empty_folder_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        IdxSource(tmp_path / "absent")
    with pytest.raises(UserError, match="has no idx files"):
        IdxSource(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("t10k-labels-idx1-ubyte", "has test images but no test labels"),
        ("train-images-idx3-ubyte", "has train labels but no train images"),
    ],
)
def test_a_missing_half_is_named(tmp_path: Path, missing: str, message: str) -> None:
    (write(tmp_path) / missing).unlink()
    with pytest.raises(UserError, match=message):
        IdxSource(tmp_path)


def test_the_same_part_twice_is_a_user_error(tmp_path: Path) -> None:
    write(tmp_path)
    other = tmp_path / "test-images-idx3-ubyte"
    other.write_bytes((tmp_path / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(UserError, match="are both test images"):
        IdxSource(tmp_path)


def test_what_was_unpacked_beside_its_archive_is_read_once(tmp_path: Path) -> None:
    write(tmp_path)
    alone = IdxSource(tmp_path)
    write(tmp_path, zipped=True)
    source = IdxSource(tmp_path)
    assert [row.origin for row in source.read(0, source.num_rows)] == [
        row.origin for row in alone.read(0, alone.num_rows)
    ]


def test_different_numbers_of_pictures_and_labels_are_told(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels(11)))
    with pytest.raises(UserError, match=r"12 pictures and .* 11 labels"):
        IdxSource(tmp_path)


def test_no_pictures_at_all_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pictures(0)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels(0)))
    with pytest.raises(UserError, match="hold no pictures"):
        IdxSource(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("part", ["images-idx3", "labels-idx1"])
def test_a_file_cut_short_is_named(tmp_path: Path, zipped: bool, part: str) -> None:
    write(tmp_path, zipped=zipped)
    file = tmp_path / (f"train-{part}-ubyte" + ".gz" * zipped)
    file.write_bytes(file.read_bytes()[: -12 if zipped else -1])
    with pytest.raises(UserError, match=f"{part}.*(cut short|cannot be read)"):
        IdxSource(tmp_path).read(0, 12)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"\0\0\x0d\x03" + bytes(12), b"GIF89a" * 9])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        IdxSource(tmp_path)


def test_a_file_that_is_not_gzip_is_named(tmp_path: Path) -> None:
    write(tmp_path, zipped=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx(pictures(12)))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        IdxSource(tmp_path)


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path)
    source = IdxSource(tmp_path)
    source.read(0, 1)
    file = tmp_path / "train-images-idx3-ubyte"
    file.unlink()
    file.write_bytes(idx(np.full((12, 4, 3), 9, np.uint8)) + b"tail")
    assert np.array_equal(source.read(0, 1)[0].image, np.full((4, 3, 1), 9))


def test_the_real_files_have_the_published_counts(shared_data: Path) -> None:
    source = IdxSource(shared_data / "fashion-mnist")
    assert source.num_rows == 70_000
    rows = source.read(59_999, 60_001)
    assert [row.split for row in rows] == ["train", "test"]
    # The first test picture of Fashion-MNIST is an ankle boot, class 9.
    assert rows[1].label == 9
    assert np.asarray(rows[1].image).shape == (28, 28, 1)
