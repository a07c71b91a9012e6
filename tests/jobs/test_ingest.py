"""The ingest job: from each source to a dataset whose every row is the source's, or to one line."""

import contextlib
import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from in_this_process import in_this_process
from PIL import Image
from sklearn.datasets import load_digits

from jobs import ingest
from jobs.ingest import COMMAND, grid
from jobs.ingest.config import IngestConfig
from noisestack.flags import read_config
from pipeline.errors import UserError
from pipeline.formats.dataset import (
    DatasetInfo,
    dataset_table,
    images_of,
    iterate_shards,
    labels_of,
    load_dataset,
    write_dataset_info,
    write_shard,
)
from pipeline.formats.output import read_json
from pipeline.formats.shard import read_part
from pipeline.verification.directory import verify_directory

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "run_shards", in_this_process)
    monkeypatch.setattr(ingest, "ray_session", contextlib.nullcontext)


def rows_of(info: DatasetInfo, split: str) -> dict[str, tuple[bytes, int]]:
    """Each row of a split: id to the picture's bytes and the label."""
    return {
        row: (image.tobytes(), int(label))
        for table in iterate_shards(info, split)
        for row, image, label in zip(
            table["id"].to_pylist(), images_of(table), labels_of(table), strict=True
        )
    }


def put_pictures(root: Path, count: int = 6) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (4, 3), 10 * number).save(root / name / f"{number}.png")
    return root


def error_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a user's mistake is answered with."""
    assert COMMAND.run(arguments) == 2
    lines = [
        line for line in capsys.readouterr().err.splitlines() if not line.startswith("ingest: ")
    ]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.usefixtures("without_ray")
def test_the_digits_become_a_dataset_that_holds_each_of_them_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path / "digits"), "--rows-per-shard", "700"]
    assert COMMAND.run(arguments) == 0
    said = capsys.readouterr().out
    info = load_dataset(tmp_path / "digits")
    assert info.shape == (8, 8, 1)
    assert info.classes == tuple("0123456789")
    assert f"train {info.num_rows('train'):,}, test {info.num_rows('test'):,}" in said
    assert str(tmp_path / "digits") in said
    train, test = rows_of(info, "train"), rows_of(info, "test")
    assert not set(train) & set(test)
    stored = load_digits()
    images = np.rint(stored.images * (255 / 16)).astype(np.uint8)
    assert {**train, **test} == {
        f"digits-{row:04d}": (images[row].tobytes(), int(stored.target[row])) for row in range(1797)
    }
    with Image.open(tmp_path / "digits" / "grid.png") as sheet:
        assert min(sheet.size) > 300
    assert not (tmp_path / "digits" / "records").exists()
    before = (tmp_path / "digits" / "dataset.json").stat().st_mtime_ns
    assert COMMAND.run(arguments) == 0
    assert (tmp_path / "digits" / "dataset.json").stat().st_mtime_ns == before
    assert capsys.readouterr().out == said


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_damaged_picture_is_told_in_one_line_and_once_mended_the_rest_is_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = put_pictures(tmp_path / "pictures")
    for name in ("cat/5.png", "dog/4.png"):
        (root / name).write_bytes(b"no picture")
    arguments = ["--source", "folder", "--input", str(root), "--output", str(tmp_path / "out")]
    arguments += ["--rows-per-shard", "2", "--num-workers", "2"]
    assert COMMAND.run(arguments) == 2
    (line,) = [row for row in capfd.readouterr().err.splitlines() if row.startswith("error: ")]
    assert "cat/5.png is not a picture" in line
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert not list((tmp_path / "out").rglob(".*"))
    for name in ("cat/5.png", "dog/4.png"):
        Image.new("L", (4, 3), 1).save(root / name)
    assert COMMAND.run(arguments) == 0
    info = load_dataset(tmp_path / "out")
    assert info.num_rows("train") + info.num_rows("test") == 12


@pytest.mark.usefixtures("without_ray")
def test_workers_set_bad_rows_aside_and_the_counts_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = put_pictures(tmp_path / "pictures")
    bad = ["cat/2.png", "cat/3.png", "dog/4.png"]  # one shard of two has no good row
    for name in bad:
        (root / name).write_bytes(b"no picture")
    arguments = ["--source", "folder", "--input", str(root), "--output", str(tmp_path / "out")]
    arguments += ["--rows-per-shard", "2", "--num-workers", "2"]
    assert COMMAND.run([*arguments, "--on-bad-row", "quarantine"]) == 0
    assert f"bad rows  3 set aside in {tmp_path / 'out/quarantine'}" in capsys.readouterr().out
    counts = read_json(tmp_path / "out" / "dataset.json")["counts"]
    assert counts == {"read": 12, "written": 9, "quarantined": 3}
    files = sorted((tmp_path / "out" / "quarantine").iterdir())
    assert [name for file in files for name in pq.read_table(file)["id"].to_pylist()] == bad
    assert verify_directory(tmp_path / "out").faults.lines() == []


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("captions", [False, True])
def test_the_sheet_is_drawn_from_a_bounded_number_of_shards_spread_over_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, captions: bool
) -> None:
    opened: set[Path] = set()

    def spy(path: Path, *arguments: Any) -> pa.Table:
        opened.add(path)
        return read_part(path, *arguments)

    monkeypatch.setattr(grid, "_GRID_SHARDS", 5)
    monkeypatch.setattr(grid, "read_part", spy)
    info = write_sorted_digits(tmp_path, num_shards=90, captions=captions)
    grid.draw_grid(tmp_path, info.splits["train"], info.classes)
    assert (tmp_path / "grid.png").is_file()
    names = sorted(int(path.stem[-5:]) for path in opened)
    assert names == [0, 22, 44, 66, 89]


def write_sorted_digits(path: Path, num_shards: int, captions: bool) -> DatasetInfo:
    """A digit a shard, class after class, as a folder has them; captions in their place."""
    stored = load_digits()
    order = np.argsort(stored.target, kind="stable")[:: 1797 // num_shards][:num_shards]
    shards = []
    for number, row in enumerate(order):
        image = stored.images[row].astype(np.uint8)[None, :, :, None]
        label = None if captions else [int(stored.target[row])]
        table = dataset_table([str(row)], image, label, ["a digit"] if captions else None)
        shards.append(write_shard(table, path, f"train/part-{number:05d}.parquet"))
    return write_dataset_info(
        path,
        shape=(8, 8, 1),
        classes=() if captions else tuple("0123456789"),
        splits={"train": shards},
        has_captions=captions,
        origin={},
    )


@pytest.mark.usefixtures("without_ray")
def test_the_number_of_rows_in_a_shard_changes_no_row(tmp_path: Path) -> None:
    few = load_dataset(ingest.main(IngestConfig(output=tmp_path / "few", rows_per_shard=300)))
    many = load_dataset(ingest.main(IngestConfig(output=tmp_path / "many", rows_per_shard=900)))
    for split in ("train", "test"):
        assert rows_of(few, split) == rows_of(many, split)
        assert len(few.splits[split]) == 6
        assert len(many.splits[split]) == 2


@pytest.mark.usefixtures("without_ray")
def test_the_same_config_gives_the_same_dataset(tmp_path: Path) -> None:
    one, two = (
        load_dataset(ingest.main(IngestConfig(output=tmp_path / name))) for name in ("one", "two")
    )
    assert one.sha256 == two.sha256
    other = load_dataset(ingest.main(IngestConfig(output=tmp_path / "three", seed=1)))
    assert other.sha256 != one.sha256


@pytest.mark.usefixtures("without_ray")
def test_idx_files_keep_their_own_splits(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("t10k", 4)):
        pictures = bytes((0, 0, 8, 3)) + struct.pack(">3I", count, 2, 2) + bytes(range(count * 4))
        labels = bytes((0, 0, 8, 1)) + struct.pack(">I", count) + bytes([1] * count)
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    config = IngestConfig(
        source="idx", input=tmp_path, output=tmp_path / "out", classes=("a", "b"), rows_per_shard=4
    )
    info = load_dataset(ingest.main(config))
    assert info.classes == ("a", "b")
    assert list(info.splits) == ["train", "test"]
    assert list(rows_of(info, "test")) == [f"test-{row}" for row in range(4)]
    assert len(rows_of(info, "train")) == 9


@pytest.mark.usefixtures("without_ray")
def test_the_emoji_are_ingested_with_categories_and_captions(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(ROOT / "configs" / "ingest_emoji.yaml"), "--resize", "16"]
    arguments += ["--input", str(shared_data / "emoji"), "--output", str(tmp_path / "out")]
    assert COMMAND.run(arguments) == 0
    info = load_dataset(tmp_path / "out")
    assert info.shape == (16, 16, 3)
    assert len(info.classes) == 9
    assert info.has_captions
    assert info.num_rows("train") + info.num_rows("test") == 3812
    assert "captions  yes" in capsys.readouterr().out


@pytest.mark.usefixtures("without_ray")
def test_pictures_with_captions_alone_are_drawn_without_classes(
    tmp_path: Path, shared_data: Path
) -> None:
    config = IngestConfig(
        source="parquet",
        input=shared_data / "emoji" / "emoji.parquet",
        output=tmp_path / "out",
        resize=(8, 8),
        channels=1,
        test_fraction=0,
    )
    info = load_dataset(ingest.main(config))
    assert info.classes == ()
    assert list(info.splits) == ["train"]
    assert (tmp_path / "out" / "grid.png").is_file()


@pytest.mark.usefixtures("without_ray")
def test_the_first_picture_of_another_shape_is_named_and_resize_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = put_pictures(tmp_path / "pictures")
    for name in ("cat/3.png", "dog/5.png"):
        Image.new("L", (9, 9)).save(root / name)
    arguments = ["--source", "folder", "--input", str(root), "--rows-per-shard", "2"]
    line = error_line([*arguments, "--output", str(tmp_path / "out")], capsys)
    assert "cat/3.png is 9x9x1 and" in line
    assert "bad row cat/3.png: " in line
    assert "; give --resize 3,4, or set bad rows aside: --on-bad-row quarantine" in line
    assert COMMAND.run([*arguments, "--output", str(tmp_path / "new"), "--resize", "3,4"]) == 0
    assert load_dataset(tmp_path / "new").shape == (3, 4, 1)


@pytest.mark.usefixtures("without_ray")
def test_what_resizing_cut_is_told_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = put_pictures(tmp_path / "pictures")
    Image.new("L", (6, 6)).save(root / "cat" / "3.png")
    arguments = ["--source", "folder", "--input", str(root), "--rows-per-shard", "5"]
    arguments += ["--output", str(tmp_path / "out"), "--resize", "6"]
    told = (
        "resized   12 pictures of 2 shapes (3x4: 11, 6x6: 1) to 6x6 (height x width): "
        "the sides of 11 cropped, 25.0 % of each (--fit pad keeps all)"
    )
    for _ in range(2):  # a finished run tells it again
        assert COMMAND.run(arguments) == 0
        assert told in capsys.readouterr().out.splitlines()
    assert 'fit is "crop" there and "stretch" here' in error_line(
        [*arguments, "--fit", "stretch"], capsys
    )


@pytest.mark.usefixtures("without_ray")
def test_another_configs_dataset_is_refused_and_overwrite_swaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out")]
    assert COMMAND.run(output) == 0
    capsys.readouterr()
    before = load_dataset(tmp_path / "out")
    line = error_line([*output, "--seed", "5"], capsys)
    assert "seed is 0 there and 5 here" in line
    assert load_dataset(tmp_path / "out") == before
    assert COMMAND.run([*output, "--seed", "5", "--overwrite"]) == 0
    assert load_dataset(tmp_path / "out").sha256 != before.sha256
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("without_ray")
def test_an_input_that_has_grown_is_not_taken_for_the_one_that_was_ingested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = put_pictures(tmp_path / "pictures")
    arguments = ["--source", "folder", "--input", str(root), "--output", str(tmp_path / "out")]
    assert COMMAND.run(arguments) == 0
    capsys.readouterr()
    Image.new("L", (4, 3)).save(root / "dog" / "new.png")
    assert "num_rows is 12 there and 13 here" in error_line(arguments, capsys)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("missing", "there is no folder"),
        ("empty", "no sub-folders with pictures"),
        ("first is no picture", "cat/0.png is not a picture"),
    ],
)
def test_a_bad_folder_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: str, message: str
) -> None:
    root = tmp_path / "pictures"
    if prepare == "empty":
        root.mkdir()
    if prepare == "first is no picture":
        (put_pictures(root) / "cat" / "0.png").write_bytes(b"no picture")
    output = tmp_path / "out"
    line = error_line(["--source", "folder", "--input", str(root), "--output", str(output)], capsys)
    assert message in line
    assert not output.exists()


@pytest.mark.usefixtures("without_ray")
def test_too_few_pictures_for_a_test_split_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = put_pictures(tmp_path / "pictures", count=1)
    arguments = ["--source", "folder", "--input", str(root), "--output", str(tmp_path / "out")]
    line = error_line([*arguments, "--test-fraction", "0.0001"], capsys)
    assert "none of the 2 rows falls into the split test" in line


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(("each", "asked"), [(5, 2), (12, 5)])
def test_few_pictures_are_divided_by_class_and_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], each: int, asked: int
) -> None:
    root = put_pictures(tmp_path / "pictures", count=each)
    arguments = ["--source", "folder", "--input", str(root), "--output", str(tmp_path / "out")]
    assert COMMAND.run(arguments) == 0
    said = capsys.readouterr().out
    assert "splits    drawn: 20 % by class, seed 0\n" in said
    info = load_dataset(tmp_path / "out")
    assert info.num_rows("test") == asked
    labels = [label for _, label in rows_of(info, "test").values()]
    assert set(labels) == {0, 1}
    assert abs(labels.count(0) - labels.count(1)) <= 1
    assert COMMAND.run(arguments) == 0
    assert capsys.readouterr().out == said


@pytest.mark.usefixtures("without_ray")
def test_the_output_and_dataset_json_say_what_gave_the_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("Train", "TEST"):
        put_pictures(tmp_path / "in" / part, count=2)
    arguments = ["--source", "folder", "--input", str(tmp_path / "in"), "--output"]
    assert COMMAND.run([*arguments, str(tmp_path / "out"), "--test-fraction", "0.5"]) == 0
    told = "from folders (--test-fraction says nothing here)"
    assert f"splits    {told}\n" in capsys.readouterr().out
    assert read_json(tmp_path / "out" / "dataset.json")["origin"]["splits"] == told
    info = load_dataset(tmp_path / "out")
    assert list(info.splits) == ["train", "test"]
    assert set(rows_of(info, "test")) == {
        f"TEST/{name}/{number}.png" for name in ("cat", "dog") for number in range(2)
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "idx"], "input is needed"),
        (["--input", "x"], "digits brings its own pictures"),
        (["--source", "idx", "--input", "x", "--label-column", "y"], "label_column is for the sou"),
        (["--source", "idx", "--input", "x", "--resize", "1,2,3"], "one or two numbers"),
        (["--source", "idx", "--input", "x", "--resize", "0"], "one or two numbers"),
        (["--source", "idx", "--input", "x", "--classes", "a,a"], "different names"),
        (["--source", "idx", "--input", "x", "--fit", "pad"], "fit says how pictures are resized"),
        (["--resize", "9", "--pad-fill", "3"], "pad_fill is for fit pad, and this is crop"),
        (["--source", "idxx", "--input", "x"], "idx"),
        (["--test-fraction", "1"], "test-fraction"),
        (["--channels", "2"], "channels"),
    ],
)
def test_values_that_do_not_go_together_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in error_line([*arguments, "--output", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["digits", "fashion_mnist", "emoji"])
def test_the_config_files_open_their_source(
    name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = read_config(
        IngestConfig, ["--config", f"configs/ingest_{name}.yaml"], "noisestack ingest"
    )
    source = config.open_source()
    assert source.num_rows == {"digits": 1797, "fashion_mnist": 70_000, "emoji": 3812}[name]
    assert len(source.classes) == {"digits": 10, "fashion_mnist": 10, "emoji": 9}[name]


@pytest.mark.usefixtures("without_ray")
def test_the_dataset_says_where_its_pictures_came_from(tmp_path: Path) -> None:
    ingest.main(IngestConfig(output=tmp_path / "out"))
    origin = read_json(tmp_path / "out" / "dataset.json")["origin"]
    assert origin["source"] == "digits"
    assert origin["num_rows"] == 1797
    assert "num_workers" not in origin


@pytest.mark.usefixtures("without_ray")
def test_a_full_disk_leaves_no_half_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.formats.shard.pq.write_table", full)
        assert COMMAND.run(["--output", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no space is left" in line
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob(".*"))
    assert COMMAND.run(["--output", str(tmp_path / "out")]) == 0


@pytest.mark.usefixtures("without_ray")
def test_rows_that_were_lost_on_the_way_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        return in_this_process(*arguments, **options)[:-1]

    monkeypatch.setattr(ingest, "run_shards", lossy)
    with pytest.raises(RuntimeError, match="1797 rows were read, 1000 written and 0 set aside"):
        ingest.main(IngestConfig(output=tmp_path / "out", rows_per_shard=1000))
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_config_needs_no_command_line(tmp_path: Path) -> None:
    assert IngestConfig(output=tmp_path).decoder().resize is None
    assert IngestConfig(output=tmp_path, resize=(5,)).decoder().resize == (5, 5)
    with pytest.raises(UserError):
        IngestConfig(source="folder", input=tmp_path / "x", output=tmp_path).open_source()
