"""Bad rows of any kind, anywhere, in any source: each is set aside and no other, or is told."""

import contextlib
import io
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_this_process import in_this_process
from PIL import Image

from jobs import ingest
from jobs.ingest import COMMAND
from jobs.ingest.config import IngestConfig
from noisestack.__main__ import main
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, labels_of, load_dataset
from pipeline.formats.output import read_json
from pipeline.verification.directory import verify_directory

CLASSES = ("a", "b")


@pytest.fixture(autouse=True, scope="module")
def without_ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "run_shards", in_this_process)
        patch.setattr(ingest, "ray_session", contextlib.nullcontext)
        yield


def png(row: int, shape: tuple[int, int] = (2, 3)) -> bytes:
    """A grey picture of level `row`."""
    buffer = io.BytesIO()
    Image.fromarray(np.full(shape, row, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


# Each kind of fault: what is planted in the place of a picture, and what is said of it.
PICTURES: dict[str, tuple[Callable[[int], bytes | None], str]] = {
    "no picture": (lambda row: b"no picture", "is not a picture that Pillow can read"),
    "empty": (lambda row: b"", "is not a picture that Pillow can read"),
    "cut short": (lambda row: png(row)[:44], "is damaged or cut short"),
    "another shape": (lambda row: png(row, (5, 5)), "is 5x5x1 and .* is 2x3x1"),
}
NULL = {"null": (lambda row: None, "has no picture in column image")}
LABELS = {
    "no label": (None, "has no label"),
    "label outside": (7, r"has the label 7, which lies outside the 2 classes \(a, b\)"),
}


def write_folder(path: Path, num_rows: int, bad: dict[int, str]) -> list[str]:
    """A folder of pictures; returns their ids in order. "unreadable" is a link to nowhere."""
    names = []
    for row in range(num_rows):
        label = CLASSES[row * 2 // num_rows]
        names.append(f"{label}/{row:03d}.png")
        file = path / names[-1]
        file.parent.mkdir(parents=True, exist_ok=True)
        if bad.get(row) == "unreadable":
            file.symlink_to(path / "nowhere")
        else:
            plant = PICTURES[bad[row]][0] if row in bad else png
            file.write_bytes(plant(row) or b"")
    return names


def write_parquet(path: Path, num_rows: int, bad: dict[int, str]) -> list[str]:
    """Two files of row groups of three; ids from a column."""
    path.mkdir()
    pictures, labels = [], []
    for row in range(num_rows):
        kind = bad.get(row, "")
        plant = (PICTURES | NULL)[kind][0] if kind in PICTURES | NULL else png
        pictures.append(plant(row))
        labels.append(LABELS[kind][0] if kind in LABELS else row % 2)
    ids = [f"key-{row * 7 % 1009}" for row in range(num_rows)]
    table = pa.table(
        {
            "image": pa.array(pictures, pa.binary()),
            "label": pa.array(labels, pa.int64()),
            "key": ids,
        }
    )
    half = num_rows // 2
    pq.write_table(table.slice(0, half), path / "x-0.parquet", row_group_size=3)
    pq.write_table(table.slice(half), path / "x-1.parquet", row_group_size=3)
    return ids


def write_idx(path: Path, num_rows: int, bad: dict[int, str]) -> list[str]:
    """idx files of one split, in which only labels can be bad."""
    path.mkdir()
    pictures = np.repeat(np.arange(num_rows, dtype=np.uint8), 6).tobytes()
    labels = bytes(7 if row in bad else row % 2 for row in range(num_rows))
    head = bytes((0, 0, 8, 3)) + struct.pack(">3I", num_rows, 2, 3)
    (path / "train-images-idx3-ubyte").write_bytes(head + pictures)
    head = bytes((0, 0, 8, 1)) + struct.pack(">I", num_rows)
    (path / "train-labels-idx1-ubyte").write_bytes(head + labels)
    return [f"train-{row:0{len(str(num_rows - 1))}d}" for row in range(num_rows)]


REASONS = {
    **{kind: told for kind, (_, told) in (PICTURES | NULL | LABELS).items()},
    "unreadable": "cannot be read",
    "label outside idx": "label 7 of row .* lies outside the 2 classes",
}
SOURCES: dict[str, tuple[Callable[[Path, int, dict[int, str]], list[str]], list[str]]] = {
    "folder": (write_folder, [*PICTURES, "unreadable"]),
    "parquet": (write_parquet, [*PICTURES, *NULL, *LABELS]),
    "idx": (write_idx, ["label outside idx"]),
}


def config(source: str, root: Path, output: str = "out", **change: Any) -> IngestConfig:
    values: dict[str, Any] = {
        "source": source,
        "input": root / "in",
        "output": root / output,
        "classes": CLASSES,
        "test_fraction": 0,
        "on_bad_row": "quarantine",
        **change,
    }
    if source == "parquet":
        values["id_column"] = "key"
    return IngestConfig(**values)


def quarantined(info: DatasetInfo) -> list[dict[str, Any]]:
    return [
        row
        for shard in info.quarantine
        for row in pq.read_table(info.path / shard.file).to_pylist()
    ]


@st.composite
def planted(draw: st.DrawFn, kinds: list[str]) -> tuple[int, dict[int, str]]:
    """How many rows there are, and which are bad by what; at least half of them, and two, good."""
    num_rows = draw(st.integers(4, 30))
    rows = draw(st.lists(st.integers(0, num_rows - 1), unique=True, max_size=num_rows // 2 - 1))
    return num_rows, {row: draw(st.sampled_from(kinds)) for row in rows}


@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
@settings(max_examples=15)
def test_written_are_the_good_rows_and_set_aside_the_bad_ones_each_for_its_reason(
    source: str, data: st.DataObject
) -> None:
    write, kinds = SOURCES[source]
    num_rows, bad = data.draw(planted(kinds))
    rows_per_shard = data.draw(st.integers(1, num_rows + 1))
    with tempfile.TemporaryDirectory() as folder:
        ids = write(Path(folder) / "in", num_rows, bad)
        info = load_dataset(
            ingest.main(config(source, Path(folder), rows_per_shard=rows_per_shard))
        )
        good = [row for row in range(num_rows) if row not in bad]
        tables = list(iterate_shards(info, "train"))
        assert [name for table in tables for name in table["id"].to_pylist()] == [
            ids[row] for row in good
        ]
        pictures = np.concatenate([images_of(table) for table in tables])
        assert (pictures == np.array(good)[:, None, None, None]).all()
        labels = np.concatenate([labels_of(table) for table in tables])
        assert labels.tolist() == [
            row * 2 // num_rows if source == "folder" else row % 2 for row in good
        ]
        aside = quarantined(info)
        assert [(row["id"], row["row"]) for row in aside] == [(ids[r], r) for r in sorted(bad)]
        for row in aside:
            assert re.search(REASONS[bad[row["row"]]], row["reason"]), row
            assert row["origin"].startswith(("row ", "picture ", str(info.path.parent)))
        counts = read_json(info.path / "dataset.json")["counts"]
        assert counts == {"read": num_rows, "written": len(good), "quarantined": len(bad)}
        assert verify_directory(info.path).faults.lines() == []


@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
@settings(max_examples=5)
def test_a_failed_run_names_a_bad_row_and_goes_on_with_quarantine_where_it_stopped(
    source: str, data: st.DataObject
) -> None:
    write, kinds = SOURCES[source]
    # The first picture is good: in a run that fails at bad rows it sets the shape.
    num_rows, bad = data.draw(planted(kinds).filter(lambda drawn: drawn[1] and 0 not in drawn[1]))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ids = write(root / "in", num_rows, bad)
        asked = config(source, root, rows_per_shard=3)
        with pytest.raises(UserError) as caught:
            ingest.main(asked.model_copy(update={"on_bad_row": "fail"}))
        told = re.match(r"bad row (\S+): (.*), or set bad rows aside: --on", str(caught.value))
        assert told
        assert re.search(REASONS[bad[ids.index(told[1])]], told[2])
        kept = {file: file.stat().st_mtime_ns for file in (root / "out").rglob("part-*.parquet")}
        info = load_dataset(ingest.main(asked))
        assert {file: file.stat().st_mtime_ns for file in kept} == kept
        fresh = load_dataset(ingest.main(config(source, root, "fresh", rows_per_shard=3)))
        assert fresh.sha256 == info.sha256
        assert fresh.quarantine == info.quarantine


def test_a_lost_or_damaged_quarantine_is_made_again_when_a_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "in", 12, dict.fromkeys((1, 2, 8), "empty"))
    asked = config("folder", tmp_path, rows_per_shard=3)
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "draw_grid", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest.main(asked)
    first, second = sorted((tmp_path / "out/quarantine").iterdir())
    whole = first.read_bytes()
    first.write_bytes(whole[:-1] + b"x")
    second.unlink()
    info = load_dataset(ingest.main(asked))
    assert first.read_bytes() == whole
    assert [row["row"] for row in quarantined(info)] == [1, 2, 8]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_that_may_not_set_rows_aside_refuses_those_that_were(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", 6, {3: "empty"})
    asked = config("folder", tmp_path)
    ingest.main(asked)
    with pytest.raises(UserError, match=r"has set 1 bad rows aside in .*quarantine; give"):
        ingest.main(asked.model_copy(update={"on_bad_row": "fail"}))


def test_what_was_set_aside_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "in", 12, {0: "empty", 5: "another shape"})
    arguments = ["--source", "folder", "--input", str(tmp_path / "in")]
    arguments += ["--output", str(tmp_path / "out"), "--on-bad-row", "quarantine"]
    for _ in range(2):  # a finished run tells it again
        assert COMMAND.run(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert f"bad rows  2 set aside in {tmp_path / 'out/quarantine'}" in lines
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith("rows in 2 shards, 2 quarantined\n")


def test_without_any_good_row_nothing_is_written(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", 5, dict.fromkeys(range(5), "empty"))
    with pytest.raises(UserError, match=r"none of the 5 rows is good; the first.*000\.png is not"):
        ingest.main(config("folder", tmp_path))
    assert not (tmp_path / "out").exists()


def test_one_odd_picture_in_front_does_not_make_the_others_bad(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", 9, {0: "another shape"})
    info = load_dataset(ingest.main(config("folder", tmp_path)))
    assert info.shape == (2, 3, 1)
    assert [row["row"] for row in quarantined(info)] == [0]


def test_more_bad_rows_in_front_than_are_looked_at_at_once_are_passed(tmp_path: Path) -> None:
    write_idx(tmp_path / "in", 100, dict.fromkeys(range(99), "label"))
    info = load_dataset(ingest.main(config("idx", tmp_path, rows_per_shard=10)))
    assert (info.num_rows("train"), info.num_quarantined) == (1, 99)
    assert replace(info, quarantine=()).num_quarantined == 0


def test_rows_that_were_lost_are_not_taken_for_bad_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "in", 9, {2: "empty"})

    def lossy(*arguments: Any, **options: Any) -> list[dict[str, Any]]:
        return in_this_process(*arguments, **options)[1:]

    monkeypatch.setattr(ingest, "run_shards", lossy)
    with pytest.raises(RuntimeError, match="9 rows were read, 6 written and 0 set aside"):
        ingest.main(config("folder", tmp_path, rows_per_shard=3))


def test_a_test_part_without_labels_is_left_out_with_a_word_where_bad_rows_are_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, labels in (("train", [0, 1, 0, 1]), ("test", [-1, -1])):
        pictures = pa.array([png(0)] * len(labels), pa.binary())
        table = pa.table({"image": pictures, "label": labels})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    source = IngestConfig(
        source="parquet",
        input=tmp_path,
        output=tmp_path / "out",
        on_bad_row="quarantine",
    )
    info = load_dataset(ingest.main(source))
    assert list(info.splits) == ["train"]
    assert info.num_quarantined == 2
    assert "note      the split test has no good row and is left out\n" in capsys.readouterr().out
