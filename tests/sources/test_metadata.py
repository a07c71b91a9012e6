"""Pictures with a metadata file: each line a row; pictures without one and wrong lines are told."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.ingest.config import IngestConfig
from pipeline.errors import UserError
from pipeline.formats.quarantine import BadRow
from pipeline.sources.base import RawRow
from pipeline.sources.decode import Decoder
from pipeline.sources.folder import FolderSource
from pipeline.sources.metadata import MetadataSource
from pipeline.sources.metadata_file import find_metadata


def put(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2), number * 10).save(root / name)
    return root


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines, or a CSV with quoted fields."""
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    lines = [",".join(rows[0])] + [",".join(f'"{cell}"' for cell in row.values()) for row in rows]
    file.write_text("\n".join(lines) + "\n")


ROWS = [
    {"file_name": "b.png", "label": "dog", "text": "a dog, asleep"},
    {"file_name": "deep/a.png", "label": "cat", "text": "a cat"},
]


def opened(root: Path, **options: Any) -> MetadataSource:
    source = IngestConfig(source="folder", input=root, output=root / "out", **options).open_source()
    assert isinstance(source, MetadataSource)
    return pickle.loads(pickle.dumps(source))


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_each_line_is_a_row_with_its_label_and_caption(tmp_path: Path, name: str) -> None:
    put(tmp_path, "b.png", "deep/a.png")
    write(tmp_path / name, ROWS)
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.has_captions
    rows = source.read(0, source.num_rows)
    assert [(row.id, row.label, row.caption, row.split) for row in rows] == [
        ("b.png", 1, "a dog, asleep", None),
        ("deep/a.png", 0, "a cat", None),
    ]
    assert [int(Decoder().decode(row)[0, 0, 0]) for row in rows] == [0, 10]
    assert opened(tmp_path, classes=("dog", "cow", "cat")).read(0, 1)[0].label == 0


def test_a_metadata_file_in_each_splits_folder_gives_the_splits(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    write(tmp_path / "train/metadata.csv", [{"file_name": f"{n}.png", "label": n} for n in (2, 1)])
    write(tmp_path / "test/metadata.jsonl", [{"file_name": "1.png", "label": 1}])
    source = opened(tmp_path)
    rows = source.read(0, 3)
    assert set(source.splits) == {"train", "test"}
    assert {(row.id, row.label, row.split) for row in rows} == {
        ("test/1.png", 0, "test"),
        ("train/2.png", 1, "train"),
        ("train/1.png", 0, "train"),
    }
    put(tmp_path, "more/1.png")
    write(tmp_path / "more/metadata.csv", [{"file_name": "1.png", "label": 1}])
    with pytest.raises(UserError, match=r"lies in the split te.*, and more/1\.png in none"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([3, 7, 3], ("3", "7"), [0, 1, 0]),
        ([3.0, 11.0, 3.0], ("3", "11"), [0, 1, 0]),
        ([True, False, True], ("false", "true"), [1, 0, 1]),
    ],
)
def test_numbers_and_booleans_are_labels(
    tmp_path: Path, labels: list[Any], classes: tuple[str, ...], expected: list[int]
) -> None:
    put(tmp_path, "0.png", "1.png", "2.png")
    rows = [{"file_name": f"{n}.png", "kind": label} for n, label in enumerate(labels)]
    write(tmp_path / "metadata.jsonl", rows)
    source = opened(tmp_path, label_column="kind")
    assert source.classes == classes
    assert [row.label for row in source.read(0, 3)] == expected


def test_numbers_are_places_among_classes_that_are_given(tmp_path: Path) -> None:
    put(tmp_path, "0.png", "1.png")
    write(tmp_path / "metadata.csv", [{"file_name": f"{n}.png", "label": n} for n in (0, 1)])
    source = opened(tmp_path, classes=("dog", "cat"))
    assert [row.label for row in source.read(0, 2)] == [0, 1]


def test_captions_alone_make_no_classes_and_class_folders_still_do(tmp_path: Path) -> None:
    put(tmp_path / "flat", "0.png", "1.png")
    write(tmp_path / "flat/metadata.csv", [{"file_name": f"{n}.png", "text": n} for n in (0, 1)])
    source = opened(tmp_path / "flat")
    assert source.classes == ()
    assert [(row.label, row.caption) for row in source.read(0, 2)] == [(-1, "0"), (-1, "1")]
    names = ["cat/0.png", "dog/1.png"]
    put(tmp_path / "classes", *names)
    write(tmp_path / "classes/metadata.csv", [{"file_name": n, "text": "x"} for n in names])
    source = opened(tmp_path / "classes")
    assert source.classes == ("cat", "dog")
    assert [row.label for row in source.read(0, 2)] == [0, 1]


def test_what_lacks_a_picture_a_line_or_a_label_is_its_rows_fault(tmp_path: Path) -> None:
    put(tmp_path, "0.png", "1.png", "2.png", "3.png")
    rows: list[dict[str, Any]] = [{"file_name": "0.png", "label": "a"}]
    rows += [{"file_name": "gone.png", "label": "a"}, {"file_name": "1.png", "label": None}]
    rows += [{"file_name": "2.png", "label": "b"}]
    write(tmp_path / "metadata.jsonl", rows)
    source = opened(tmp_path, classes=("a",))
    reasons = {row.id: row.reason for row in source.read(0, 5) if isinstance(row, BadRow)}
    assert "gone.png cannot be read (No such file or directory)" in reasons["gone.png"]
    assert "has no label" in reasons["1.png"]
    assert "has the label b, which is none of the 1 classes" in reasons["2.png"]
    assert f"3.png has no line in {tmp_path / 'metadata.jsonl'}" in reasons["3.png"]
    assert source.first_bad_label() == 2
    assert isinstance(source.read(0, 1)[0], RawRow)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("metadata.jsonl", '{"file_name": "0.png", "label": 1}\n{"fi', r"line 2 of .* is not JSON"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": 1}\n3', r"line 2 of .* no JSON object"),
        ("metadata.jsonl", '{"file_name": "0.png", "label": 1}\n{}', r"line 2 of .* no file_name"),
        ("metadata.csv", "file_name,label\n0.png,1\n0.png,1\n", r"line 3 .* names 0\.png again"),
        ("metadata.csv", "file_name,label\n../x.png,1\n", r"line 2 .* lies outside"),
        ("metadata.csv", "file_name,label\n0.png,1,2\n", r"line 2 of .*: more fields than columns"),
        ("metadata.csv", "file_name,width\n0.png,1\n", r"no column label and none caption or text"),
        ("metadata.csv", "file_name,label\n", r"0\.png has no line in"),
        ("metadata.csv", b"file_name,label\n\xff.png,1\n", "is not UTF-8"),
        ("metadata.csv", "", r"metadata\.csv is empty; fill it, or remove it"),
        (
            "metadata.csv",
            "file_name;label\n0.png;1\n",
            r"no column file_name but 'file_name;label'",
        ),
        ("metadata.csv", "file_name,label,label\n0.png,1,2\n", r"two columns called label"),
        ("metadata.jsonl", '{"file_name": "\\u0000.png", "label": 1}', "is no file name"),
        ("metadata.jsonl", '{"file_name": "\\ud800.png", "label": 1}', "is no file name"),
    ],
)
def test_a_file_that_cannot_be_taken_apart_is_told_with_its_line(
    tmp_path: Path, name: str, text: str | bytes, told: str
) -> None:
    put(tmp_path, "0.png")
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=told):
        raise UserError(opened(tmp_path).read(0, 1)[0].reason)


def test_paths_that_windows_wrote_are_understood(tmp_path: Path) -> None:
    put(tmp_path, "deep/a.png")
    write(tmp_path / "metadata.jsonl", [{"file_name": "deep\\a.png", "label": 1}])
    (row,) = opened(tmp_path).read(0, 1)
    assert isinstance(row, RawRow)
    assert row.id == "deep/a.png"


def test_another_metadata_csv_beside_class_folders_is_no_business_of_ours(tmp_path: Path) -> None:
    put(tmp_path, "cat/0.png", "dog/1.png")
    (tmp_path / "metadata.csv").write_text("author,year\nme,2026\n")
    assert find_metadata(tmp_path) == ()
    config = IngestConfig(source="folder", input=tmp_path, output=tmp_path / "out")
    assert isinstance(config.open_source(), FolderSource)
    with pytest.raises(UserError, match=r"has no metadata\.jsonl or metadata\.csv with a column"):
        opened(tmp_path, label_column="kind")


def test_two_metadata_files_for_one_folder_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "0.png")
    write(tmp_path / "metadata.csv", [{"file_name": "0.png", "label": 1}])
    write(tmp_path / "metadata.jsonl", [{"file_name": "0.png", "label": 1}])
    with pytest.raises(UserError, match="speak of the same pictures"):
        opened(tmp_path)


def test_whole_numbers_with_a_point_are_the_numbers_and_negative_ones_no_label(
    tmp_path: Path,
) -> None:
    names = [f"{split}/{n}.png" for split in ("train", "test") for n in range(4)]
    put(tmp_path, *names)
    for split, cells in {"train": ("2", "10", "1", "2"), "test": ("2.0", "10.0", "", "-1")}.items():
        rows = [{"file_name": f"{n}.png", "label": cell} for n, cell in enumerate(cells)]
        write(tmp_path / split / "metadata.csv", rows)
    source = opened(tmp_path)
    assert source.classes == ("1", "2", "10")
    read = source.read(0, 8)
    assert [row.label for row in read if isinstance(row, RawRow)] == [1, 2, 1, 2, 0, 1]
    assert [row.id for row in read if isinstance(row, BadRow)] == ["test/2.png", "test/3.png"]
    named = opened(tmp_path, classes=tuple("abcdefghijk")).read(4, 8)
    assert [row.label for row in named if isinstance(row, RawRow)] == [2, 10, 1, 2]


def test_numbers_that_are_not_all_whole_stay_the_texts_that_they_are(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    rows = [{"file_name": "a.png", "label": "1.0"}, {"file_name": "b.png", "label": "1.5"}]
    write(tmp_path / "metadata.csv", rows)
    assert opened(tmp_path).classes == ("1.0", "1.5")


def test_columns_that_the_first_json_line_lacks_are_read(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "c.png")
    rows = [
        {"file_name": "a.png", "text": "x"},
        {"file_name": "b.png", "label": "cat"},
        {"file_name": "c.png", "label": "dog"},
    ]
    write(tmp_path / "metadata.jsonl", rows)
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog")
    assert source.first_bad_label() == 0
    put(tmp_path / "split", "a.png", "b.png")
    rows = [{"file_name": f"{name}.png", "text": "x"} for name in "ab"]
    write(tmp_path / "split" / "metadata.jsonl", [rows[0], {**rows[1], "split": "test"}])
    with pytest.raises(UserError, match=r"a.png has None for its split"):
        opened(tmp_path / "split")


def test_a_metadata_file_in_parquet_is_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "images/a.png")
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"metadata.parquet is not read"):
        opened(tmp_path)
