"""Splits that data state, in words: in folders, names of files, hive keys and columns."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow, Source
from pipeline.sources.folder import FolderSource
from pipeline.sources.idx import IdxSource
from pipeline.sources.metadata import MetadataSource
from pipeline.sources.parquet import ParquetSource
from pipeline.sources.splits import says_split_alone, split_in


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(root / name)
    return root


def write(root: Path, name: str, **columns: object) -> None:
    table = pa.table({"image": pa.array([b"x", b"y"], pa.binary()), "label": [0, 1], **columns})
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, root / name)


def splits_of(source: Source) -> dict[str, str | None]:
    """Each row's id, and the split that it is given."""
    rows = source.read(0, source.num_rows)
    return {row.id: row.split for row in rows if isinstance(row, RawRow)}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("Train2017", "train"),
        ("mnist-test", "test"),
        ("mnistTest", "test"),
        ("MNISTTest", "test"),
        ("Testing", "test"),
        ("val", "validation"),
        ("valid_01", "validation"),
        ("Dev", "validation"),
        ("train-00000-of-00002", "train"),
        ("unlabelled", "unlabeled"),
        ("testament", None),
        ("strain", None),
        ("étrain", None),
        ("invalid", None),
        ("train_test", None),
        ("cat", None),
    ],
)
def test_a_split_is_said_by_a_whole_word_in_any_case(name: str, split: str | None) -> None:
    assert split_in(name) == split


def test_a_name_with_other_words_says_it_less_plainly() -> None:
    assert says_split_alone("test-00000-of-00001")
    assert not says_split_alone("test-tube")


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("training", "testing"), ("x-train", "X_TEST")]
)
def test_split_folders_are_no_classes_in_any_spelling(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    train, test = names
    put(tmp_path, f"{train}/cat/a.png", f"{train}/dog/b.png", f"{test}/cat/c.png")
    source = FolderSource(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.splits == ("train", "test")
    assert source.splits_origin == "folders"
    assert splits_of(source) == {
        f"{train}/cat/a.png": "train", f"{train}/dog/b.png": "train", f"{test}/cat/c.png": "test",
    }  # fmt: skip


def test_an_unlabelled_part_is_left_out_with_a_word(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/a.png", "test/cat/b.png", "unlabeled/c.png")
    source = FolderSource(tmp_path)
    assert source.classes == ("cat",)
    assert source.num_rows == 2
    assert f"{tmp_path / 'unlabeled'} has no labels and is left out" in source.notes
    put(tmp_path / "inside", "cat/train/a.png", "cat/test/b.png", "cat/unlabeled/c.png")
    inside = FolderSource(tmp_path / "inside")
    assert inside.num_rows == 2
    assert inside.notes[0].endswith("cat/unlabeled has no labels and is left out")


def test_a_test_part_alone_is_not_trained_on_and_train_and_validation_are_two(
    tmp_path: Path,
) -> None:
    put(tmp_path, "one/test/cat/a.png", "two/train/cat/a.png", "two/val/cat/a.png")
    assert FolderSource(tmp_path / "one").splits == ("test",)
    assert FolderSource(tmp_path / "two").splits == ("train", "validation")


def test_classes_called_like_splits_stay_classes(tmp_path: Path) -> None:
    for names in (["cat", "dog", "test"], ["test-tube", "deep/er", "train"], ["valid", "invalid"]):
        root = put(tmp_path / names[0], *(f"{name}/a.png" for name in names))
        source = FolderSource(root)
        assert source.classes == tuple(sorted(name.split("/")[0] for name in names))
        assert source.splits == ()
    steam = put(tmp_path / "s", "steam-train/a.png", "bullet-train/a.png")
    assert FolderSource(steam).classes == ("bullet-train", "steam-train")


def test_splits_inside_each_class_are_splits(tmp_path: Path) -> None:
    put(tmp_path, "cat/train/a.png", "cat/test/b.png", "dog/Train/c.png")
    source = FolderSource(tmp_path)
    assert source.classes == ("cat", "dog")
    assert splits_of(source) == {
        "cat/test/b.png": "test", "cat/train/a.png": "train", "dog/Train/c.png": "train",
    }  # fmt: skip


def test_pictures_called_train_and_test_are_those_splits(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "cat/train_1.png", "cat/test_1.png", "dog/Train-2.png"))
    assert source.splits == ("train", "test")
    assert source.splits_origin == "file names"
    assert splits_of(source)["dog/Train-2.png"] == "train"
    # A class whose pictures bear its name says nothing of splits.
    other = FolderSource(put(tmp_path / "o", "train/train_1.png", "test/test_1.png", "cat/1.png"))
    assert other.splits == ()
    assert set(splits_of(other).values()) == {None}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["train/cat/a.png", "test/cat/b.png", "extra/cat/c.png"], "extra says no split"),
        (["cat/a.png", "dog/b.png", "test/cat/c.png"], "test is called as a split and has sub-f"),
        (["train/a.png", "test/b.png"], r"b\.png lies outside the sub-folders of the classes"),
        (
            ["mnist-train/a.png", "mnist-test/b.png"],
            "where mnist-test, mnist-train are the classes",
        ),
        (["cat/train/a.png", "cat/test/b.png", "dog/c.png"], "dog is not divided so"),
        (["cifar/train/cat/a.png", "cifar/test/cat/b.png"], "give --input .*cifar"),
        (["cat/train_1.png", "cat/test_1.png", "cat/c.png"], r"c\.png says no split"),
        (["train/cat/a.png", "test/a.png"], r"a\.png lies outside"),
    ],
)
def test_folders_that_cannot_be_decided_are_refused_in_one_line(
    tmp_path: Path, files: list[str], told: str
) -> None:
    put(tmp_path, *files)
    with pytest.raises(UserError, match=told) as refusal:
        FolderSource(tmp_path)
    assert "\n" not in str(refusal.value)
    assert "--splits-from" in str(refusal.value)
    source = FolderSource(tmp_path, splits_from="draw")  # the way out that the line names
    assert source.splits == ()
    assert source.classes == tuple(sorted({file.split("/")[0] for file in files}))


@pytest.mark.parametrize(
    ("files", "by"),
    [
        (["Train.parquet", "Test.parquet"], "file names"),
        (["mnist-train.parquet", "mnist-test.parquet"], "file names"),
        (["train-00000-of-00002.parquet", "test-00000-of-00001.parquet"], "file names"),
        (["split=train/0.parquet", "split=test/0.parquet"], "hive keys"),
        (["Split=Train/x=test/0.parquet", "Split=TEST/x=train/0.parquet"], "hive keys"),
        (["training/a.parquet", "Testing/a.parquet"], "folders"),
        (["test-data/train.parquet", "test-data/test.parquet"], "file names"),
        (["data/train.parquet", "data/test/b.parquet"], "file names and folders"),
    ],
)
def test_files_folders_and_hive_keys_say_splits(tmp_path: Path, files: list[str], by: str) -> None:
    for name in files:
        write(tmp_path, name)
    source = ParquetSource(tmp_path)
    assert source.splits == ("train", "test")
    assert set(source.splits_origin.split(" and ")) == set(by.split(" and "))
    assert sorted(map(str, splits_of(source).values())) == ["test", "test", "train", "train"]
    drawn = ParquetSource(tmp_path, splits_from="draw")
    assert set(splits_of(drawn).values()) == {None}


@pytest.mark.parametrize("dictionary", [False, True])
def test_a_column_says_each_rows_split(tmp_path: Path, dictionary: bool) -> None:
    said = pa.array(["Test", "training"])
    write(tmp_path, "a.parquet", split=said.dictionary_encode() if dictionary else said)
    source = ParquetSource(tmp_path)
    assert source.splits == ("train", "test")
    assert source.splits_origin == "column split"
    assert splits_of(source) == {"a-0": "test", "a-1": "train"}
    assert ParquetSource(tmp_path, splits_from="names").splits == ()
    assert ParquetSource(tmp_path, splits_from="draw").splits == ()


def test_the_column_may_have_another_name(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", subset=["val", "train"], split=[3, 4])
    source = ParquetSource(tmp_path, split_column="subset")
    assert source.splits == ("train", "validation")


def test_unlabelled_files_are_left_out_and_unlabelled_rows_are_bad(tmp_path: Path) -> None:
    for name in ("train", "test", "unlabeled"):
        write(tmp_path, f"{name}-00000-of-00001.parquet")
    source = ParquetSource(tmp_path)
    assert source.num_rows == 4
    assert "unlabeled-00000-of-00001.parquet has no labels and is left out" in source.notes[0]
    write(tmp_path / "rows", "a.parquet", split=["train", "unlabeled"])
    good, bad = ParquetSource(tmp_path / "rows").read(0, 2)
    assert isinstance(good, RawRow)
    assert isinstance(bad, BadRow)
    assert "no label, as unlabeled in column split says" in bad.reason


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"train.parquet": {}, "extra.parquet": {}}, "extra.parquet says none"),
        ({"train/test.parquet": {}, "train/train.parquet": {}}, "says train and test at once"),
        ({"split=fold1/a.parquet": {}}, "split=fold1 in .* is no split"),
        ({"train.parquet": {"split": ["train", "test"]}}, "row 1 of .* the path says train"),
        ({"a.parquet": {"split": ["train", "mine"]}}, "row 1 of .* has 'mine' in column split"),
        ({"a.parquet": {"split": ["train", None]}}, "row 1 of .* has None in column split"),
        ({"a.parquet": {"split": [0, 1]}}, "column split of .* is int64, not text"),
    ],
)
def test_files_that_cannot_be_decided_are_refused_in_one_line(
    tmp_path: Path, files: dict[str, dict[str, list[object]]], told: str
) -> None:
    for name, columns in files.items():
        write(tmp_path, name, **columns)
    with pytest.raises(UserError, match=told) as refusal:
        ParquetSource(tmp_path)
    assert "\n" not in str(refusal.value)
    assert "--splits-from" in str(refusal.value)
    assert ParquetSource(tmp_path, splits_from="draw").splits == ()


@pytest.mark.parametrize("names", [("Train", "T10k"), ("emnist-letters-train", "x_TEST")])
def test_idx_files_say_splits_in_any_case(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, count in zip(names, (3, 2), strict=True):
        size = count.to_bytes(4, "big")
        pictures = bytes((0, 0, 8, 3)) + size + bytes((0, 0, 0, 1)) * 2 + bytes(count)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(pictures)
        labels = bytes((0, 0, 8, 1)) + size + bytes(count)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(labels)
    source = IdxSource(tmp_path)
    assert source.splits == ("train", "test")
    assert list(splits_of(source).values()) == ["train"] * 3 + ["test"] * 2
    assert IdxSource(tmp_path, splits_from="draw").splits == ()


def test_a_metadata_file_says_splits_by_its_column_and_by_folders(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "Train/c.png", "Test/d.png")
    (tmp_path / "metadata.csv").write_text(
        "file_name,label,split\na.png,cat,train\nb.png,dog,TEST\n"
        "Train/c.png,cat,training\nTest/d.png,cat,test\n"
    )
    told = r"Train/c\.png lies in the split train, and a\.png in none; .*--splits-from"
    with pytest.raises(UserError, match=told):
        MetadataSource(tmp_path)
    source = MetadataSource(tmp_path, splits_from="column")
    assert source.splits == ("train", "test")
    assert source.splits_origin == "column split"
    assert list(splits_of(source).values()) == ["train", "test", "train", "test"]
    (tmp_path / "metadata.csv").write_text("file_name,label\nTrain/c.png,cat\nTest/d.png,cat\n")
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    assert splits_of(MetadataSource(tmp_path)) == {"Train/c.png": "train", "Test/d.png": "test"}
    assert MetadataSource(tmp_path, splits_from="draw").splits == ()


@pytest.mark.parametrize("tail", ["set", "data", "images"])
def test_words_that_are_joined_to_a_split_say_it(tmp_path: Path, tail: str) -> None:
    names = [f"{split}{tail}" for split in ("train", "test")]
    source = FolderSource(put(tmp_path / "f", *(f"{name}/cat/0.png" for name in names)))
    assert source.classes == ("cat",)
    assert set(splits_of(source).values()) == {"train", "test"}
    for name in names:
        write(tmp_path / "p", f"{name}.parquet")
    assert set(splits_of(ParquetSource(tmp_path / "p")).values()) == {"train", "test"}


def test_names_of_pictures_say_splits_anywhere_where_all_do(tmp_path: Path) -> None:
    words = ("Training", "PublicTest", "PrivateTest")
    files = [f"{face}/{word}_{n}.png" for face in ("glad", "sad") for word in words for n in (1, 2)]
    source = FolderSource(put(tmp_path / "faces", *files))
    assert source.splits_origin == "file names"
    assert {name: split for name, split in splits_of(source).items() if split == "train"} == {
        f"{face}/Training_{n}.png": "train" for face in ("glad", "sad") for n in (1, 2)
    }
    once = put(tmp_path / "once", "a/x_train_1.png", "a/x_test_1.png", "a/holiday.png")
    assert FolderSource(once).splits == ()  # a chance word in a picture's name is none


def test_classes_that_all_say_one_split_are_not_taken_for_it(tmp_path: Path) -> None:
    files = ("test positive/p1/0.png", "test negative/p2/0.png", "test negative/p3/0.png")
    root = put(tmp_path / "covid", *files)
    with pytest.raises(UserError, match=r"no sub-folder in common.*--splits-from draw"):
        FolderSource(root)
    assert FolderSource(root, splits_from="draw").classes == ("test negative", "test positive")
    shared = put(tmp_path / "shared", "a-train/cat/0.png", "b-train/cat/0.png", "b-train/dog/0.png")
    assert FolderSource(shared).classes == ("cat", "dog")
